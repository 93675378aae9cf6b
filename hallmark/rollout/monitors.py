"""The drift monitors of a domain's pods, asked through the API server's proxy: verdicts and evidence by revision."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hallmark import object_labels
from hallmark.drift import fleet
from hallmark.drift.analysis import WindowMeasurement
from hallmark.drift.fleet import Cut, FleetReference, PodWindow, WindowSketch
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


@dataclass(frozen=True)
class _Judged:
    """The last interim analysis of a revision: the rows that it was on, of how many that ever came, and the result."""

    key: tuple[str, Cut, int]
    window: WindowSketch
    measured: WindowMeasurement


class FleetVerdicts:
    """Verdicts on a revision over all its pods: their monitors tell counts, which are judged here once (hallmark.drift.fleet).

    What a reference is, and what was measured last, is kept from call to call.
    """

    def __init__(self, writer: InferenceServiceWriter, name: str) -> None:
        self._writer = writer
        self._name = name
        self._references: dict[str, FleetReference] = {}
        self._judged: dict[str, _Judged] = {}

    def of(self, revision: str, pods: Sequence[Object]) -> dict[str, Any]:
        """The verdict as a monitor tells its own, with the requests and the time behind it; `Unavailable` where a monitor does not tell it."""
        try:
            parts = [self._ask(pod, revision) for pod in pods]
        except NotFound:
            return self._without_sketches(revision, pods)
        found = [(pod, part) for pod, part in zip(pods, parts, strict=True) if part.sketch is not None]
        whole = fleet.merged([part for _, part in found])
        if whole is None:
            return unknown({"waiting": next((part.waiting for part in parts if part.waiting), "")})
        digests = {part.digest for _, part in found}
        if len(digests) > 1:
            raise self._unreadable(pods[0], "one model in all pods of a revision", ", ".join(sorted(digests)))
        reference = self._reference(found[0][0], found[0][1].digest)
        judged = self._measured(revision, [pod for pod, _ in found], whole, reference)
        silent = [
            replace(part, doubts=(f"the monitor of {pod['metadata']['name']} waits: {part.waiting}",))
            if part.waiting and object_labels.is_ready(pod)
            else part
            for pod, part in zip(pods, parts, strict=True)
        ]
        verdict = fleet.judge(silent, judged.measured, judged.window, reference)
        since, until = (
            datetime.fromtimestamp(at / 1e6, UTC).isoformat(timespec="milliseconds")
            for at in judged.window.judged[[0, -1]].tolist()
        )
        return {
            **verdict.model_dump(mode="json"),
            "requests": whole.requests,
            "since": since,
            "until": until,
            "pods": len(pods),
        }

    def _measured(
        self, revision: str, pods: Sequence[Object], whole: WindowSketch, reference: FleetReference
    ) -> _Judged:
        cut = Cut.of(whole.times, whole.added, reference.drift)
        rows = int(cut.holds(whole.times).sum())
        key = (reference.digest, cut, rows)
        last = self._judged.get(revision)
        if last is not None and last.key == key:
            return last
        if rows < len(whole.times):
            parts = [self._ask(pod, revision, cut) for pod in pods]
            whole = fleet.merged(parts) or whole
        measured = fleet.measure(reference.profile, reference.sample, whole, reference.drift)
        self._judged[revision] = _Judged(key, whole, measured)
        return self._judged[revision]

    def _ask(self, pod: Object, revision: str, cut: Cut | None = None) -> PodWindow:
        within = f"&since={cut.since}&until={cut.until}" if cut else ""
        try:
            return PodWindow.read(self._writer.sidecar(pod, f"sketch?format={fleet.FORMAT}&variant={revision}{within}"))
        except ValueError as error:
            raise self._unreadable(pod, f"format {fleet.FORMAT}", str(error)) from error

    def _reference(self, pod: Object, digest: str) -> FleetReference:
        if digest not in self._references:
            try:
                found = FleetReference.model_validate_json(self._writer.sidecar(pod, "reference"))
            except ValueError as error:
                raise self._unreadable(pod, "a reference", str(error).splitlines()[0]) from error
            if found.digest != digest:
                raise self._unreadable(pod, digest, found.digest)
            self._references = {digest: found, **dict(list(self._references.items())[:3])}
        return self._references[digest]

    def _unreadable(self, pod: Object, expected: str, got: str) -> Unavailable:
        return Unavailable(
            f"the drift monitor of {pod['metadata']['name']} tells no window that can be read here",
            expected=expected,
            got=got,
            fix=f"ask again; if it stays, release the version of {self._name} again, so that its pods get this version's image",
        )

    def _without_sketches(self, revision: str, pods: Sequence[Object]) -> dict[str, Any]:
        """Of pods whose image is from before there were sketches: DRIFT where one says so, OK where all do, each on its own rows."""
        found: list[dict[str, Any]] = []
        for pod in pods:
            try:
                whole = json.loads(self._writer.sidecar(pod, "verdict"))
                found.append((whole.get("variants") or {}).get(revision) or unknown(whole))
            except (ValueError, AttributeError) as error:
                raise self._unreadable(pod, "a verdict", str(error)) from error
        rank = {"DRIFT": 0, "INSUFFICIENT": 1, "OK": 2}
        worst = min(found, key=lambda each: rank.get(str(each["state"]), 1))
        return {**worst, "trace": next((each["trace"] for each in found if each.get("trace")), ""), "pods": len(pods)}


class Monitors:
    """Verdicts and evidence of one domain; cursors into the pods' answers are kept from call to call."""

    def __init__(self, writer: InferenceServiceWriter, name: str) -> None:
        self._writer = writer
        self._name = name
        self._cursors: dict[str, str] = {}
        self._fleet = FleetVerdicts(writer, name)

    def pods(self) -> dict[str, list[Object]]:
        """The pods of each revision that have not been told to end."""
        found: dict[str, list[Object]] = {}
        for pod in self._writer.pods(self._name):
            if not pod["metadata"].get("deletionTimestamp"):
                found.setdefault(object_labels.revision_of(pod), []).append(pod)
        return found

    def verdict(self, revision: str, pods: list[Object]) -> Verdicts | None:
        """The one verdict on the windows of all these pods (`FleetVerdicts`); none where a monitor does not answer."""
        try:
            found = self._fleet.of(revision, pods) if pods else None
        except HallmarkError:
            return None
        if found is None:
            return None
        drifted = [column for column in found.get("columns") or [] if column.get("drifted")]
        return Verdicts(
            seen=VariantDrift(
                state=found["state"],
                inputs=tuple(column["name"] for column in drifted if column.get("source") != "output"),
                outputs=tuple(column["name"] for column in drifted if column.get("source") == "output"),
                reasons=tuple(found.get("reasons") or ())[:5],
                broken=bool((found.get("labels") or {}).get("broken")),
            ),
            trace=str(found.get("trace") or ""),
            psi=max((float(c["psi"]) for c in found.get("columns") or [] if c.get("psi") is not None), default=None),
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


def erase(writer: InferenceServiceWriter, name: str, person: Mapping[str, str]) -> int:
    """Have the monitors of a domain's pods forget who has these values, by column; how much they held. `Unavailable` where one does not."""
    count = 0
    for pod in writer.pods(name):
        try:
            count += int(json.loads(writer.sidecar(pod, "erase", body=dict(person)))["erased"])
        except (NotFound, ValueError, KeyError, TypeError) as error:
            raise Unavailable(
                f"the drift monitor of {pod['metadata']['name']} forgets nobody",
                expected="how much it has forgotten",
                got=str(error),
                fix=f"release the version of {name} again, so that its pods get this version's image, or delete the pod",
            ) from error
    return count


def unknown(told: dict[str, Any]) -> dict[str, Any]:
    """The verdict on a revision of which a monitor, which `told` this, knows nothing: it waits for its model, or for requests."""
    return {"state": "INSUFFICIENT", "rows": 0, "reasons": [told.get("waiting") or "no request was captured yet"]}
