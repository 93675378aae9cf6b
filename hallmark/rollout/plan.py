"""Dry-run client: reads what is live, and prints its changes as kubectl commands."""

from __future__ import annotations

import copy
import json
import shlex
from collections.abc import Callable
from typing import Any

from hallmark.errors import NotFound
from hallmark.render.manifest import text
from hallmark.rollout.writer import InferenceServiceWriter, Object

_SERVERS = ("resourceVersion", "uid", "generation", "creationTimestamp", "managedFields", "selfLink")


class PlannedWriter(InferenceServiceWriter):
    """Every write becomes a line of `tell`, to be pasted into a shell; what was written is seen by the reads that follow.

    flags: what kubectl is told to mean this cluster. The patches are without the resourceVersion that the real ones carry
    as compare-and-set, since a status that is written in between would make a pasted one fail.
    """

    def __init__(self, client: Any, *, flags: tuple[str, ...], tell: Callable[[str], None]) -> None:
        super().__init__(client)
        self._flags = "".join(f" {shlex.quote(flag)}" for flag in flags)
        self._tell = tell
        self._written: dict[str, Object] = {}

    @property
    def changed(self) -> bool:
        """Was anything written?"""
        return bool(self._written)

    def live(self, name: str) -> Object | None:
        """The InferenceService as it would be by now."""
        path = f"/apis/serving.kserve.io/v1beta1/namespaces/{name}/inferenceservices/{name}"
        return copy.deepcopy(self._written[path]) if path in self._written else super().live(name)

    def wait(self, name: str, settled: Any, *, what: str, **_: Any) -> Object:
        """Say what would be waited for; the object as it would be then."""
        self._tell(f"# wait until: {what}   (kubectl get inferenceservice {name} -n {name} --watch{self._flags})")
        live = self.live(name)
        if live is None:
            raise NotFound(f"no InferenceService {name} in namespace {name}")
        return live

    def mark(self, live: Object) -> None:
        """Labels of pods are no part of a plan."""

    def _raw(self, method: str, path: str, body: Object | None = None, *, content: str = "application/json") -> Object:
        if method == "GET":
            return copy.deepcopy(self._written[path]) if path in self._written else super()._raw("GET", path)
        body = body or {}
        if method == "DELETE":
            *_, namespace, resource, name = path.split("/")
            self._tell(f"kubectl delete {resource} {name} -n {namespace}{self._flags}")
            return {}
        if method == "PATCH":
            self._written[path] = merged(self._raw("GET", path), body)
            self._tell(self._patch_command(path, body))
        else:
            where = path if method == "PUT" else f"{path}/{body['metadata']['name']}"
            self._written[where] = copy.deepcopy(body)
            self._tell(self._manifest(body, verb="replace" if method == "PUT" else "apply"))
        return copy.deepcopy(self._written[path if method != "POST" else where])

    def _patch_command(self, path: str, body: Object) -> str:
        *_, namespace, resource, name = path.split("/")
        meta = {key: value for key, value in (body.get("metadata") or {}).items() if key not in _SERVERS}
        shown = {**({"metadata": meta} if meta else {}), **{k: v for k, v in body.items() if k != "metadata"}}
        patch = shlex.quote(json.dumps(shown, separators=(",", ":")))
        if not patch.startswith("'"):
            patch = f"'{patch}'"
        return f"kubectl patch {resource.removesuffix('s')} {name} -n {namespace} --type merge -p {patch}{self._flags}"

    def _manifest(self, body: Object, *, verb: str) -> str:
        shown = {key: value for key, value in body.items() if key != "status"}
        shown["metadata"] = {key: value for key, value in shown["metadata"].items() if key not in _SERVERS}
        return f"kubectl {verb} -f -{self._flags} <<'EOF'\n{text([shown])}EOF"


def merged(whole: Any, patch: Any) -> Any:
    """`whole` after a JSON merge patch, RFC 7396: maps are merged, null takes away, everything else replaces."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    found = dict(whole) if isinstance(whole, dict) else {}
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        else:
            found[key] = merged(found.get(key), value)
    return found
