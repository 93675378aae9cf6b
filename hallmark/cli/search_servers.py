"""One search asked of the servers that are live, changes of items included: stable's, and the candidate's beside it, each a ready pod of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from hallmark import object_labels
from hallmark.cli.clusters import connected
from hallmark.cli.console import say
from hallmark.errors import HallmarkError, NotFound, Unavailable

if TYPE_CHECKING:
    from hallmark.rollout.writer import InferenceServiceWriter, Object
    from hallmark.settings import Settings

STABLE, CANARY = "stable", "canary"
_CONTAINER = "kserve-container"


class Server(NamedTuple):
    """A ready pod of a variant, and the version that it serves."""

    variant: str
    version: int
    digest: str
    pod: Object
    writer: InferenceServiceWriter

    def answer(self, domain: str, record: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs for one record; `Unavailable` where none came."""
        from hallmark.render.network import HTTP

        path = f"v1/models/{domain}:predict"
        try:
            body = self.writer.sidecar(self.pod, path, port=HTTP, body={"instances": [dict(record)]})
            found: dict[str, Any] = json.loads(body)["predictions"][0]
        except (HallmarkError, ValueError, LookupError, TypeError) as error:
            raise Unavailable(
                f"the {self.variant} server of {domain} did not answer",
                expected=f"the items of version {self.version}",
                got=error.message if isinstance(error, HallmarkError) else type(error).__name__,
                fix=f"`hallmark status {domain}`; --version searches the index of a version instead",
            ) from error
        return found


def servers(domain: str, settings: Settings, kubeconfig: Path | None, context: str | None) -> dict[str, Server]:
    """A server of each variant that has one, stable first; none where no cluster was named, and the local one is down or has none.

    A cluster is asked that was named, or that `hallmark up` made; kubectl's own current context is not.
    """
    from hallmark.rollout import clusters

    named = kubeconfig is not None or context is not None
    if not named and not clusters.choose(settings).here:
        return {}
    try:
        found = _servers(connected(settings, kubeconfig, context), domain)
    except HallmarkError as error:
        if named:
            raise
        say(f"the local cluster does not answer, so no server is asked: {error.message}")
        return {}
    if named and not found:
        raise NotFound(
            f"no server of {domain} is ready", expected="a version that serves", got="none", fix="`hallmark status`"
        )
    return found


def _servers(writer: InferenceServiceWriter, domain: str) -> dict[str, Server]:
    from hallmark.render.inferenceservice import DIGEST_ENV, VERSION_ENV
    from hallmark.rollout.writer import variants

    live = writer.live(domain)
    if live is None:
        return {}
    roles, found = variants(live), dict[str, Server]()
    for pod in writer.pods(domain):
        revision = object_labels.revision_of(pod)
        role = roles.get(revision, "")
        if not role or role in found or pod["metadata"].get("deletionTimestamp") or not object_labels.is_ready(pod):
            continue
        env = _environment(pod)
        version, digest = env.get(VERSION_ENV, ""), env.get(DIGEST_ENV, "")
        if version.isdigit() and digest:
            found[role] = Server(role, int(version), digest, pod, writer)
    return {role: found[role] for role in (STABLE, CANARY) if role in found}


def _environment(pod: Object) -> dict[str, str]:
    """Plain variables of a pod's model server."""
    containers = (pod.get("spec") or {}).get("containers") or []
    told = [item for each in containers if each["name"] == _CONTAINER for item in each.get("env") or []]
    return {item["name"]: str(item["value"]) for item in told if item.get("value") is not None}
