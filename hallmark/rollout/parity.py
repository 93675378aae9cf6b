"""Parity of a domain's features on its cluster: the lookups that its pods' monitors keep, and the report that rollouts are held by.

The report is a ConfigMap of the domain's namespace, where the loop is too, whatever machine judges parity.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from pydantic import ValidationError

from hallmark.declaration.domain import Domain
from hallmark.errors import HallmarkError, NotFound, Unavailable
from hallmark.feature_store.lookups import CapturedLookups
from hallmark.feature_store.parity_report import ParityReport
from hallmark.rollout.config_map import ConfigMapText
from hallmark.rollout.evidence import FeatureParity
from hallmark.rollout.monitors import Monitors

if TYPE_CHECKING:
    from hallmark.rollout.writer import InferenceServiceWriter, Object

NAME = "hallmark-parity"
_KEY = "report.json"
_AT_ONCE = 2000


class PodLookups(NamedTuple):
    """What the monitor of one pod told, and up to where: `cursor` is for the next call."""

    pod: Object
    revision: str
    told: CapturedLookups
    cursor: str


def lookups(writer: InferenceServiceWriter, name: str, *, cursors: Mapping[str, str]) -> Iterator[PodLookups]:
    """What each pod of domain `name` has captured since these cursors (by pod), some thousand at a time; `Unavailable` where one does not answer."""
    for revision, pods in Monitors(writer, name).pods().items():
        for pod in pods:
            epoch, _, place = cursors.get(pod["metadata"]["name"], "").partition(".")
            after = int(place or 0)
            while True:
                told = _ask(writer, pod, f"lookups?after={after}&limit={_AT_ONCE}")
                if told.epoch != epoch and after:  # another process: its places begin anew
                    epoch, after = told.epoch, 0
                    continue
                epoch, after = told.epoch, told.cursor
                yield PodLookups(pod, revision, told, f"{epoch}.{after}")
                if len(told.lookups) < _AT_ONCE:
                    break


def of_request(writer: InferenceServiceWriter, name: str, ident: str) -> Iterator[PodLookups]:
    """What each pod of domain `name` has of one request, by an id as monitors keep it."""
    for revision, pods in Monitors(writer, name).pods().items():
        for pod in pods:
            told = _ask(writer, pod, f"lookups?request={ident}")
            yield PodLookups(pod, revision, told, "")


def _ask(writer: InferenceServiceWriter, pod: Object, path: str) -> CapturedLookups:
    try:
        return CapturedLookups.model_validate_json(writer.sidecar(pod, path))
    except (NotFound, ValidationError) as error:
        raise Unavailable(
            f"the drift monitor of {pod['metadata']['name']} tells no lookups that can be read here",
            expected="GET /lookups of this version",
            got=str(error).splitlines()[0],
            fix="release the version again, so that its pods get this version's image",
        ) from error


class ParityStore:
    """The report of one domain in its ConfigMap, written with its resourceVersion as compare-and-set."""

    def __init__(self, writer: InferenceServiceWriter, namespace: str) -> None:
        self._text = ConfigMapText(writer, namespace, name=NAME, key=_KEY)

    def read(self) -> ParityReport | None:
        """The report; none where parity was never judged, or by another version."""
        try:
            return ParityReport.model_validate_json(self._text.read() or "")
        except ValidationError:
            return None

    def write(self, report: ParityReport) -> None:
        """Keep a report in the place of the one that was read; `Conflict` where somebody else judged meanwhile."""
        self._text.write(report.model_dump_json())


def evidence(writer: InferenceServiceWriter, domain: Domain, now: datetime) -> FeatureParity | None:
    """What the domain's report says for a rollout; none of a domain that looks no features up."""
    if domain.features is None:
        return None
    try:
        report = ParityStore(writer, domain.namespace).read()
    except HallmarkError as error:
        return FeatureParity(state="UNKNOWN", text=f"how features compare cannot be read: {error.message}")
    if report is None:
        text = f"features were never compared with the offline store: `hallmark features parity {domain.name}`"
        return FeatureParity(state="UNKNOWN", text=text)
    if stale := report.stale(now):
        return FeatureParity(state="UNKNOWN", text=stale)
    return FeatureParity(state="BURNS" if report.burns else "OK", text=report.told)
