"""The drift monitors of a domain's pods, asked through the API server's proxy: verdicts and evidence by revision."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hallmark import object_labels
from hallmark.errors import HallmarkError, NotFound, Unavailable
from hallmark.rollout.aggregates import FORMAT, EvidenceRequest, PodEvidence
from hallmark.rollout.evidence import VariantDrift
from hallmark.section import Frozen

if TYPE_CHECKING:
    from hallmark.rollout.writer import InferenceServiceWriter, Object


class Verdicts(Frozen):
    """One revision's verdict over all its pods, the trace that most of its window shares, and its farthest column's index."""

    seen: VariantDrift
    trace: str = ""
    psi: float | None = None


class Monitors:
    """Verdicts and evidence of one domain; cursors into the pods' answers are kept from call to call."""

    def __init__(self, writer: InferenceServiceWriter, name: str) -> None:
        self._writer = writer
        self._name = name
        self._cursors: dict[str, str] = {}

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

    def evidence(self, pods: list[Object], asked: EvidenceRequest) -> Iterator[PodEvidence]:
        """What came to each of these pods since the last call; `Unavailable` at the first that does not tell it."""
        for pod in pods:
            uid = str(pod["metadata"].get("uid") or pod["metadata"]["name"])
            question = asked.model_copy(update={"cursor": self._cursors.get(uid, "")})
            try:
                found = PodEvidence.read(self._writer.sidecar(pod, question.path()))
            except (NotFound, ValueError) as error:
                raise Unavailable(
                    f"the drift monitor of {pod['metadata']['name']} gives no evidence that this watch can read",
                    expected=f"format {FORMAT}",
                    got=error.message if isinstance(error, NotFound) else str(error),
                    fix=f"release the version of {self._name} again, so that its pods get this version's image",
                ) from error
            yield found
            self._cursors[uid] = found.cursor


def unknown(told: dict[str, Any]) -> dict[str, Any]:
    """The verdict on a revision of which a monitor, which `told` this, knows nothing: it waits for its model, or for requests."""
    return {"state": "INSUFFICIENT", "rows": 0, "reasons": [told.get("waiting") or "no request was captured yet"]}
