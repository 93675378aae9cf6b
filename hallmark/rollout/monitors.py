"""The drift monitors of a domain's pods, asked through the API server's proxy: verdicts and answers by revision."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from hallmark import object_labels
from hallmark.errors import HallmarkError, Unavailable
from hallmark.rollout.evidence import VariantDrift
from hallmark.rollout.responses import Row, parsed
from hallmark.section import Frozen

if TYPE_CHECKING:
    from hallmark.rollout.writer import InferenceServiceWriter, Object

_MOST = 4000
_CALLS = 20


class Verdicts(Frozen):
    """One revision's verdict over all its pods, the trace that most of its window shares, and its farthest column's index."""

    seen: VariantDrift
    trace: str = ""
    psi: float | None = None


class Monitors:
    """Verdicts and answers of one domain; cursors into the pods' answers are kept from call to call."""

    def __init__(self, writer: InferenceServiceWriter, name: str) -> None:
        self._writer = writer
        self._name = name
        self._cursors: dict[str, int] = {}

    def pods(self) -> dict[str, list[Object]]:
        """The pods of each revision that have not been told to end."""
        found: dict[str, list[Object]] = {}
        for pod in self._writer.pods(self._name):
            if not pod["metadata"].get("deletionTimestamp"):
                found.setdefault(object_labels.revision_of(pod), []).append(pod)
        return found

    def verdict(self, revision: str, pods: list[Object]) -> Verdicts | None:
        """DRIFT where a pod says so, OK where all do, else INSUFFICIENT; none where a monitor does not answer."""
        found = []
        for pod in pods:
            try:
                whole = json.loads(self._writer.sidecar(pod, "verdict"))
                found.append((whole.get("variants") or {}).get(revision) or unknown(whole))
            except (HallmarkError, ValueError, AttributeError):
                return None
        if not found:
            return None
        states = [str(each["state"]) for each in found]
        worst = next((found[at] for at, state in enumerate(states) if state == "DRIFT"), None)
        worst = worst or next((found[at] for at, state in enumerate(states) if state != "OK"), found[0])
        drifted = [column for column in worst.get("columns") or [] if column.get("drifted")]
        return Verdicts(
            seen=VariantDrift(
                state=worst["state"],
                inputs=tuple(column["name"] for column in drifted if column.get("source") != "output"),
                outputs=tuple(column["name"] for column in drifted if column.get("source") == "output"),
                reasons=tuple(worst.get("reasons") or ())[:5],
            ),
            trace=next((str(each["trace"]) for each in found if each.get("trace")), ""),
            psi=max((float(c["psi"]) for c in worst.get("columns") or [] if c.get("psi") is not None), default=None),
        )

    def answers(self, pods: list[Object]) -> tuple[list[Row], int]:
        """The rows that came to these pods since the last call, and how many of them were gone before they were read."""
        rows: list[Row] = []
        lost = 0
        for pod in pods:
            uid = str(pod["metadata"].get("uid") or pod["metadata"]["name"])
            for _ in range(_CALLS):
                path = f"answers?after={self._cursors.get(uid, 0)}&limit={_MOST}"
                try:
                    some, cursor, gone = parsed(self._writer.sidecar(pod, path))
                except ValueError as error:
                    raise Unavailable(f"the monitor of {self._name} gave no answers", got=str(error)) from error
                self._cursors[uid] = cursor
                rows += some
                lost += gone
                if len(some) < _MOST:
                    break
        return rows, lost


def unknown(told: dict[str, Any]) -> dict[str, Any]:
    """The verdict on a revision of which a monitor, which `told` this, knows nothing: it waits for its model, or for requests."""
    return {"state": "INSUFFICIENT", "rows": 0, "reasons": [told.get("waiting") or "no request was captured yet"]}
