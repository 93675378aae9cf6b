"""Distribution of the traffic: KServe's rules in Knative mode, as a pure function.

Learned from KServe's ksvc_reconciler.go and inference_service_status.go, and from Knative's configuration and route reconcilers:
- the latest ready revision only moves forward, to the newest one that is ready;
- canaryTrafficPercent N gives N to the latest ready revision, the rest to the one last rolled out; no field gives it all;
- a revision counts as rolled out once it has 100; setting a percentage on one that is already rolled out takes it back to the previous;
- a route is not moved to a revision that is not ready. Knative refuses the whole change then; here a change that only takes
  traffic away from a dead revision goes through, so that a rollback never waits for what it rolls back.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

from pydantic import BaseModel, ConfigDict


class TrafficTarget(BaseModel):
    """A share of the traffic, in Knative's own terms."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    revision: str
    percent: int
    latest: bool
    tag: str | None = None

    def status(self) -> dict[str, Any]:
        """As it stands in the InferenceService's status."""
        shown: dict[str, Any] = {"revisionName": self.revision, "percent": self.percent, "latestRevision": self.latest}
        return shown | ({"tag": self.tag} if self.tag else {})


class RevisionTraffic(BaseModel):
    """The revisions that matter, by name (empty for none), and the traffic between them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    created: str = ""
    ready: str = ""
    rolled_out: str = ""
    previous: str = ""
    traffic: tuple[TrafficTarget, ...] = ()

    @property
    def shares(self) -> dict[str, int]:
        """The percentage of each revision that the traffic names; a revision may be named with 0."""
        shares: dict[str, int] = {}
        for target in self.traffic:
            shares[target.revision] = shares.get(target.revision, 0) + target.percent
        return shares

    @property
    def canary(self) -> str:
        """The latest revision while another one is named beside it; empty when all goes to one."""
        latest = next((t.revision for t in self.traffic if t.latest), "")
        return latest if len(self.shares) > 1 else ""

    @property
    def former(self) -> str:
        """The one that served before, to which a roll-back would go; empty while it serves."""
        return self.previous if self.previous != self.rolled_out and not self.shares.get(self.previous) else ""

    @property
    def needed(self) -> frozenset[str]:
        """The revisions whose pods must run: what serves, what may serve next, and what is pinned."""
        return frozenset({self.created, self.ready, self.rolled_out, *self.shares} - {""})

    @classmethod
    def read(cls, component: dict[str, Any]) -> RevisionTraffic:
        """From the status of an InferenceService's predictor."""
        traffic = tuple(
            TrafficTarget(
                revision=item.get("revisionName", ""),
                percent=int(item.get("percent") or 0),
                latest=bool(item.get("latestRevision")),
                tag=item.get("tag"),
            )
            for item in component.get("traffic") or []
        )
        return cls(
            created=component.get("latestCreatedRevision", ""),
            ready=component.get("latestReadyRevision", ""),
            rolled_out=component.get("latestRolledoutRevision", ""),
            previous=component.get("previousRolledoutRevision", ""),
            traffic=traffic,
        )

    def status(self) -> dict[str, Any]:
        """As it stands in the status of an InferenceService's predictor."""
        names = {
            "latestCreatedRevision": self.created,
            "latestReadyRevision": self.ready,
            "latestRolledoutRevision": self.rolled_out,
            "previousRolledoutRevision": self.previous,
        }
        shown: dict[str, Any] = {key: value for key, value in names.items() if value}
        return shown | ({"traffic": [t.status() for t in self.traffic]} if self.traffic else {})


def decide(was: RevisionTraffic, *, percent: int | None, order: Sequence[str], ready: Set[str]) -> RevisionTraffic:
    """The rollout after the spec's canaryTrafficPercent is `percent`.

    order: every revision of the service, oldest first; the last one is what the spec asks for.
    ready: those whose pods are ready now.
    """
    created = order[-1] if order else ""
    now = was.model_copy(update={"created": created, "ready": _latest_ready(was.ready, order, ready)})
    for _ in range(3):
        wanted = desired(now, percent)
        if not _may_move(now, wanted, ready):
            return now
        settled = _roll_out(now.model_copy(update={"traffic": wanted}))
        if settled == now:
            return now
        # A roll-back changes who was last rolled out, and with that who is to get the rest.
        now = settled
    return now


def desired(now: RevisionTraffic, percent: int | None) -> tuple[TrafficTarget, ...]:
    """The traffic that the spec asks for."""
    if not now.ready:
        return ()
    if percent is None or not now.rolled_out:
        return (TrafficTarget(revision=now.ready, percent=100, latest=True),)
    latest = TrafficTarget(revision=now.ready, percent=percent, latest=True)
    if percent >= 100:
        return (latest,)
    return (latest, TrafficTarget(revision=now.rolled_out, percent=100 - percent, latest=False, tag="prev"))


def _latest_ready(was: str, order: Sequence[str], ready: Set[str]) -> str:
    start = order.index(was) if was in order else 0
    return next((name for name in reversed(order[start:]) if name in ready), was)


def _may_move(now: RevisionTraffic, wanted: tuple[TrafficTarget, ...], ready: Set[str]) -> bool:
    shares = now.shares
    asked = now.model_copy(update={"traffic": wanted}).shares
    return all(name in ready or share <= shares.get(name, 0) for name, share in asked.items())


def _roll_out(now: RevisionTraffic) -> RevisionTraffic:
    latest = next((t for t in now.traffic if t.latest), None)
    if latest is None or latest.revision != now.ready:
        return now
    if now.rolled_out != now.ready:
        if latest.percent == 100:
            return now.model_copy(update={"previous": now.rolled_out, "rolled_out": now.ready})
        return now
    back = now.ready == now.created and latest.percent < 100 and now.shares[latest.revision] == 100 and now.previous
    return now.model_copy(update={"rolled_out": now.previous}) if back else now
