"""Status of what is live: each revision of each domain, its version, its share and whether it is ready."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hallmark.rollout.writer import InferenceServiceWriter


def live_rows(writer: InferenceServiceWriter, names: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Rows of what is live of these domains, or of all: one a pod of each revision."""
    services = [each for each in of_domains(writer)[0] if not names or each["metadata"]["name"] in names]
    return [row for each in services for row in revisions(writer, each)]


def of_domains(writer: InferenceServiceWriter) -> tuple[list[dict[str, Any]], list[str]]:
    """The InferenceServices of domains, each in the namespace of its name, and namespace/name of all others."""
    ours, foreign = [], []
    for each in writer.all():
        name, namespace = each["metadata"]["name"], each["metadata"].get("namespace")
        if namespace == name:
            ours.append(each)
        else:
            foreign.append(f"{namespace}/{name}")
    return ours, foreign


def revisions(writer: InferenceServiceWriter, live: dict[str, Any]) -> list[dict[str, Any]]:
    from hallmark import object_labels
    from hallmark.render.inferenceservice import CONFIG_LABEL, VERSION_LABEL
    from hallmark.rollout import record as records
    from hallmark.rollout.writer import condition, predictor_status, variants

    meaning, record = variants(live), records.written(live) or records.RolloutRecord()
    since = {"stable": record.since, "canary": record.rollout.since if record.rollout else None}
    name = live["metadata"]["name"]
    shares: Counter[str] = Counter()
    for item in predictor_status(live).get("traffic") or []:
        shares[str(item.get("revisionName"))] += int(item.get("percent") or 0)
    rows = []
    for pod in writer.pods(name) or [{"metadata": {}}]:  # a row, even where no pod serves it
        revision = object_labels.revision_of(pod)
        containers = (pod.get("status") or {}).get("containerStatuses") or []
        labels = pod["metadata"].get("labels") or {}
        variant = meaning.get(revision, "")
        at = since.get(variant)
        rows.append(
            {
                "domain": name,
                "variant": variant,
                "since": f"{at:%Y-%m-%d %H:%M}Z" if at else "",
                "version": labels.get(VERSION_LABEL, ""),
                "config": labels.get(CONFIG_LABEL, ""),
                "revision": revision,
                "percent": shares[revision],
                "ready": object_labels.is_ready(pod),
                "restarts": sum(int(item.get("restartCount") or 0) for item in containers),
                "service": condition(live, "Ready"),
            }
        )
    return rows
