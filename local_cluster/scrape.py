"""Samples without a Prometheus: the gateway's own statistics, and each pod's /metrics through the API server's proxy."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from hallmark import leash, object_labels
from hallmark.errors import Unavailable
from hallmark.rollout.samples import Sample
from local_cluster.samples import parse

if TYPE_CHECKING:
    from hallmark.rollout.writer import InferenceServiceWriter
    from hallmark.settings import Settings

_PORT = 8080
_SECONDS = 3.0


class Scrape:
    """Samples of the local cluster. `gateway` gives where Envoy's statistics are now, or nothing while it is down."""

    def __init__(self, writer: InferenceServiceWriter, *, gateway: Callable[[], str | None]) -> None:
        self._writer = writer
        self._gateway = gateway

    def read(self, namespace: str, names: Sequence[str]) -> list[Sample]:
        """The samples called `names` of the gateway and of every pod in `namespace`; `Unavailable` where one does not answer."""
        found = parse(self._statistics(), names)
        for pod in self._writer.pods(namespace):
            if object_labels.is_ready(pod):
                text = self._writer.sidecar(pod, "metrics", port=_PORT).decode("utf-8", "replace")
                found += parse(text, names)
        return found

    def _statistics(self) -> str:
        where = self._gateway()
        if where is None:
            raise Unavailable("the gateway is not up", fix="hallmark up")
        try:
            url = f"http://{where}/stats/prometheus?filter=hallmark"
            with urllib.request.urlopen(url, timeout=_SECONDS) as answer:
                return str(answer.read().decode("utf-8", "replace"))
        except (OSError, urllib.error.URLError) as error:
            raise Unavailable(
                "the gateway's statistics do not answer", got=str(error), fix="hallmark status"
            ) from error


def source(writer: InferenceServiceWriter, settings: Settings) -> Scrape:
    """The local cluster as a source of samples; `hallmark watch` finds it by its entry point in `hallmark.sources`."""
    return Scrape(writer, gateway=lambda: local_gateway(settings))


def local_gateway(settings: Settings) -> str | None:
    """The address of the local cluster's Envoy statistics, which the cluster writes down; none while none runs."""
    try:
        state = json.loads(settings.cluster_state.read_bytes())
        return str(state["admin"]) if leash.identity(state["pid"]) == state["identity"] else None
    except (OSError, ValueError, KeyError):
        return None
