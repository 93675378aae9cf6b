"""What the drift monitors of a domain's pods keep of its answers, as rows of a log: what was asked and answered, and what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from hallmark.rollout.monitors import Monitors

if TYPE_CHECKING:
    from hallmark.declaration.domain import Domain
    from hallmark.rollout.writer import InferenceServiceWriter

_AT_ONCE = 5000


class Captures(NamedTuple):
    """The rows of answers whose label is known, in the domain's own names; `unlabelled`: how many others there are."""

    rows: list[dict[str, Any]]
    unlabelled: int


def captured(writer: InferenceServiceWriter, domain: Domain) -> Captures:
    """All that is kept now, of every pod; copies that a shadow answered are left out, since nobody got them.

    A row has the watched columns, the outputs, the revision that answered and the request (a hash of the client's id). The label's own
    treatment and propensity, where it has them, are what was really done.
    """
    data, found, unlabelled = domain.data, [], 0
    for record in _records(writer, domain.name):
        if record["shadow"]:
            continue
        label = record["label"]
        if label is None:
            unlabelled += 1
            continue
        done = label if isinstance(label, dict) else {"label": label}
        row = {**record["outputs"], **record["columns"], **{name: done[name] for name in done if name != "label"}}
        row[data.label] = done["label"]
        row["request"], row["revision"] = f"{record['request']}/{record['row']}", record["revision"]
        row.setdefault(data.entity, row["request"])
        if data.event_time:
            row[data.event_time] = datetime.fromtimestamp(record["at"], tz=UTC)
        found.append(row)
    return Captures(found, unlabelled)


def _records(writer: InferenceServiceWriter, name: str) -> Iterator[dict[str, Any]]:
    """Rows as GET /answers tells them, with their revision."""
    for revision, pods in Monitors(writer, name).pods().items():
        for pod in pods:
            after = 0
            while True:
                told = json.loads(writer.sidecar(pod, f"answers?after={after}&limit={_AT_ONCE}"))
                after = told["cursor"]
                for row in told["rows"]:
                    yield {**row, "revision": revision}
                if len(told["rows"]) < _AT_ONCE:
                    break
