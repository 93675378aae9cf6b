"""Kubeflow Pipelines' v2beta1 REST API as far as runs, graphs and schedules share it: calls, lists, a domain's experiment and graph."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hallmark.errors import Conflict, HallmarkError, NotFound, Refused
from hallmark.remote import Remote

_PREFIX = "/apis/v2beta1"
_PAGE = 50
_MOST_PAGES = 100
_KINDS: dict[int, type[HallmarkError]] = {401: Refused, 403: Refused, 404: NotFound, 409: Conflict}

Reference = dict[str, str]
"""A version of a graph: its pipeline_id and its pipeline_version_id."""


class KubeflowApi:
    """One Kubeflow Pipelines. What belongs to a domain is in its namespace, graphs too: a shared one could be anybody's."""

    def __init__(self, remote: Remote) -> None:
        self.remote = remote

    @classmethod
    def at(cls, url: str, *, token: Path | None = None) -> KubeflowApi:
        """That at this address, such as http://ml-pipeline.kubeflow:8888."""
        return cls(Remote.at(url, what="Kubeflow Pipelines", token=token))

    def ask(self, method: str, path: str, **parts: Any) -> dict[str, Any]:
        """Answer to a call; refusals become Hallmark's errors."""
        answer = self.remote.ask(method, _PREFIX + path, **parts)
        body = answer.body if isinstance(answer.body, dict) else {}
        if answer.status < 300:
            return body
        kind = _KINDS.get(answer.status, HallmarkError)
        told = [str(body[name]) for name in ("message", "error_message", "error", "error_details") if body.get(name)]
        raise kind(
            "Kubeflow Pipelines refused a call",
            expected=f"{method} {_PREFIX}{path} to be allowed",
            got=f"{answer.status}: {told[0] if told else 'no reason'}",
            fix="see that the graph is uploaded and that the token may use pipelines in the domain's namespace",
        )

    def all(self, path: str, name: str, query: Mapping[str, str]) -> Iterator[dict[str, Any]]:
        """Items of a list, page after page."""
        token = ""
        for _ in range(_MOST_PAGES):
            page = self.ask("GET", path, query={**query, "page_size": str(_PAGE), "page_token": token})
            yield from page.get(name) or []
            token = page.get("next_page_token") or ""
            if not token:
                return
        raise self.remote.unavailable(f"more than {_MOST_PAGES} pages of {name}", fix="archive what is old")

    def experiment(self, domain: str) -> str | None:
        """The id of the domain's experiment; none where nothing has run yet."""
        query = {"namespace": domain, "filter": named(domain)}
        for each in self.all("/experiments", "experiments", query):
            if each.get("display_name") == domain:
                return str(each["experiment_id"])
        return None

    def experiment_made(self, domain: str) -> str:
        """The id of the domain's experiment, which is made where it is not there."""
        found = self.experiment(domain)
        if found is not None:
            return found
        try:
            body = {"display_name": domain, "namespace": domain}
            return str(self.ask("POST", "/experiments", body=body)["experiment_id"])
        except Conflict:  # somebody else has just made it
            found = self.experiment(domain)
            if found is None:
                raise
            return found

    def pipeline(self, name: str, domain: str) -> str:
        """The id of the domain's graph of this name; `NotFound` where it was never uploaded."""
        found = self.ask("GET", f"/pipelines/names/{name}", query={"namespace": domain})
        return str(found["pipeline_id"])


def named(name: str) -> str:
    """The filter for a display name. It takes capitals for small letters, so whoever asks looks at what comes."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})
