"""Calls of a test to the API server, as whoever it says."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx

Object = dict[str, Any]
FIELD_MANAGER = "conformance"


class Refusal(Exception):
    """The API server said no: its status code and message."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message


class Api:
    """An API server, and the user who asks; `as_` is the same server asked by another."""

    def __init__(self, token: str, authority: Path, *, headers: Iterable[tuple[str, str]] = ()) -> None:
        self._token, self._authority = token, authority
        self.client = httpx.Client(
            base_url="https://127.0.0.1:6443",
            headers=[("Authorization", f"Bearer {token}"), *headers],
            verify=ssl.create_default_context(cafile=str(authority)),
            trust_env=False,
            timeout=60,
        )
        self._others: list[Api] = []
        self._places: dict[tuple[str, str], tuple[str, bool]] = {}

    def as_(self, user: str, *groups: str) -> Api:
        """The same, impersonating a user."""
        headers = [("Impersonate-User", user), *(("Impersonate-Group", group) for group in groups)]
        other = Api(self._token, self._authority, headers=headers)
        self._others.append(other)
        return other

    def close(self) -> None:
        """Close the connections, those of every `as_` too."""
        for each in (*self._others, self):
            each.client.close()

    def call(self, method: str, path: str, body: Any = None, *, content: str = "application/json") -> Object:
        """One call; `Refusal` where it is not answered 2xx."""
        text = None if body is None else json.dumps(body)
        answer = self.client.request(method, path, content=text, headers={"Content-Type": content})
        if not answer.is_success:
            try:
                message = answer.json()["message"]
            except (ValueError, KeyError, TypeError):
                message = answer.text
            raise Refusal(answer.status_code, message)
        return dict(answer.json())

    def get(self, path: str) -> Object:
        return self.call("GET", path)

    def apply(self, wanted: Object, *, dry_run: bool = False) -> Object:
        """Server-side apply, strict: a field that the schema does not know is refused, as is one of another type."""
        query = f"fieldManager={FIELD_MANAGER}&fieldValidation=Strict&force=true" + ("&dryRun=All" if dry_run else "")
        path = f"{self.path(wanted)}?{query}"
        return self.call("PATCH", path, wanted, content="application/apply-patch+yaml")

    def create(self, wanted: Object, *, dry_run: bool = False) -> Object:
        """POST, strict."""
        query = "fieldValidation=Strict" + ("&dryRun=All" if dry_run else "")
        return self.call("POST", f"{self.path(wanted).rpartition('/')[0]}?{query}", wanted)

    def patch(self, target: Object, body: Object) -> Object:
        """A merge patch of an object."""
        return self.call("PATCH", self.path(target), body, content="application/merge-patch+json")

    def live(self, target: Object) -> Object:
        """An object as it is now."""
        return self.get(self.path(target))

    def has(self, target: Object) -> bool:
        """Is there such an object? `Refusal` where there is none."""
        return bool(self.live(target))

    def delete(self, target: Object) -> None:
        self.call("DELETE", self.path(target))

    def known(self, each: Object) -> bool:
        """Has the API server this object's kind?"""
        try:
            self._place(each["apiVersion"], each["kind"])
        except Refusal:
            return False
        return True

    def path(self, each: Object) -> str:
        """The path of an object."""
        plural, namespaced = self._place(each["apiVersion"], each["kind"])
        root = _root(each["apiVersion"])
        where = f"/namespaces/{each['metadata'].get('namespace') or 'default'}" if namespaced else ""
        return f"{root}{where}/{plural}/{each['metadata']['name']}"

    def _place(self, version: str, kind: str) -> tuple[str, bool]:
        if (version, kind) not in self._places:
            for each in self.get(_root(version))["resources"]:
                if "/" not in each["name"]:
                    self._places[version, each["kind"]] = (each["name"], each["namespaced"])
        if (version, kind) not in self._places:
            raise Refusal(404, f"{version} has no {kind}")
        return self._places[version, kind]


def _root(version: str) -> str:
    return f"/apis/{version}" if "/" in version else f"/api/{version}"
