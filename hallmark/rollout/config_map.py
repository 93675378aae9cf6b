"""One text in a ConfigMap of a domain's namespace, written with its resourceVersion as compare-and-set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hallmark.errors import NotFound

if TYPE_CHECKING:
    from hallmark.rollout.writer import InferenceServiceWriter, Object


class ConfigMapText:
    """The text under one key of a ConfigMap."""

    def __init__(self, writer: InferenceServiceWriter, namespace: str, *, name: str, key: str) -> None:
        self._writer, self._namespace, self._name, self._key = writer, namespace, name, key
        self._version: str | None = None

    def read(self) -> str | None:
        """The text; none where there is no such ConfigMap or key."""
        try:
            found = self._writer.config_map(self._namespace, self._name)
        except NotFound:
            self._version = None
            return None
        self._version = str(found["metadata"]["resourceVersion"])
        text: str | None = (found.get("data") or {}).get(self._key)
        return text

    def write(self, text: str) -> None:
        """Put a text in the place of the one that was read; `Conflict` where somebody else wrote meanwhile."""
        body: Object = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": self._name,
                "namespace": self._namespace,
                "labels": {"app.kubernetes.io/part-of": "hallmark"},
            },
            "data": {self._key: text},
        }
        if self._version is not None:
            body["metadata"]["resourceVersion"] = self._version
        done = self._writer.write_config_map(body, create=self._version is None)
        self._version = str(done["metadata"]["resourceVersion"])
