"""One at a time: a Kubernetes Lease with a fencing token.

Whoever holds it writes a new renewTime again and again, with the resourceVersion as compare-and-set. Another takes over only
once it has itself watched the same words for as long as the holder said it would need, on its own clock, as client-go does:
what time it is on which machine does not matter. A holder counts from before it asked, so it gives up first.

The token is `leaseTransitions`, which rises with every change of holder. A holder that slept through its end may still believe
for a moment: what it changes must be refused by whoever has seen a higher token, which is what tokens are for.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from hallmark.errors import Conflict, NotFound

Object = dict[str, Any]

_FORMAT = "%Y-%m-%dT%H:%M:%S.%fZ"
_TRIES = 3


class LeaseApi(Protocol):
    """The Kubernetes API, as `hallmark.rollout.writer.InferenceServiceWriter` has it."""

    def call(self, method: str, path: str, body: Object | None = None) -> Object:
        """The answer, or `NotFound`, `Conflict` (409), `Unavailable`."""
        ...


@dataclass(frozen=True)
class Fence:
    """That `holder` holds the lease, as long as its own clock is before `until`. `token` is no other holder's, before or after."""

    token: int
    holder: str
    seconds: int
    until: float


def elapsed() -> float:
    """Seconds on a clock that never goes back and does not stop while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Lease:
    """One candidate for the lease `name`; two objects are two candidates, whatever they call themselves.

    clock: this machine's, for durations. now: what is written for people to read.
    """

    def __init__(
        self,
        api: LeaseApi,
        namespace: str,
        name: str,
        *,
        clock: Callable[[], float] = elapsed,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._api = api
        self._place = {"name": name, "namespace": namespace}
        self._all = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
        self._path = f"{self._all}/{name}"
        self._clock = clock
        self._now = now
        self._own = uuid.uuid4().hex[:12]
        self._seen: tuple[Object, float] | None = None

    def acquire(self, identity: str, seconds: int, *, above: int = 0) -> Fence | None:
        """Take the lease for `seconds`, or none while another has it.

        above: the highest token known from elsewhere, such as from what it protects; a lease that was deleted and made anew
            would begin to count again.
        """
        began, holder = self._clock(), f"{identity}_{self._own}"
        try:
            found = self._api.call("GET", self._path)
        except NotFound:
            wanted = self._spec({}, holder, seconds, token=above + 1, taken=True)
            return self._write("POST", self._all, {"metadata": self._place, "spec": wanted}, began)
        spec = dict(found.get("spec") or {})
        token = int(spec.get("leaseTransitions") or 0)
        if spec.get("holderIdentity") == holder:  # an answer of before was lost on its way here
            return self._write(
                "PUT", self._path, found | {"spec": self._spec(spec, holder, seconds, token=token)}, began
            )
        if spec.get("holderIdentity") and not self._is_over(spec, seconds):
            return None
        wanted = self._spec(spec, holder, seconds, token=max(token, above) + 1, taken=True)
        return self._write("PUT", self._path, found | {"spec": wanted}, began)

    def renew(self, fence: Fence) -> Fence | None:
        """Hold it for as long again; none where it has passed on to another. `Unavailable` leaves what was held as it is."""
        for _ in range(_TRIES):
            began = self._clock()
            found = self._mine(fence)
            if found is None:
                return None
            wanted = self._spec(found["spec"], fence.holder, fence.seconds, token=fence.token)
            renewed = self._write("PUT", self._path, found | {"spec": wanted}, began)
            if renewed is not None:
                return renewed
        raise Conflict(
            f"the lease {self._place['name']} is being changed by others all the time",
            expected="nobody else to write to a lease that is held",
            got=f"{_TRIES} conflicts one after the other",
            fix="see who does: `kubectl get lease -o yaml --show-managed-fields`",
        )

    def release(self, fence: Fence) -> None:
        """Let the next one have it now; nothing happens where it has passed on already."""
        for _ in range(_TRIES):
            found = self._mine(fence)
            if found is None:
                return
            wanted = self._spec(found["spec"], "", fence.seconds, token=fence.token)
            if self._write("PUT", self._path, found | {"spec": wanted}, 0.0) is not None:
                return

    def holds(self, fence: Fence) -> bool:
        """True while nobody else can hold it yet; decided without a call."""
        return self._clock() < fence.until

    def _mine(self, fence: Fence) -> Object | None:
        try:
            found = self._api.call("GET", self._path)
        except NotFound:
            return None
        spec = found.get("spec") or {}
        same = spec.get("holderIdentity") == fence.holder and spec.get("leaseTransitions") == fence.token
        return found if same else None

    def _is_over(self, spec: Object, seconds: int) -> bool:
        """True if we have seen nothing but these words for as long as they hold."""
        now = self._clock()
        if self._seen is None or self._seen[0] != spec:
            self._seen = spec, now
            return False
        return now - self._seen[1] >= int(spec.get("leaseDurationSeconds") or seconds)

    def _spec(self, before: Object, holder: str, seconds: int, *, token: int, taken: bool = False) -> Object:
        now = self._now()
        if now.strftime(_FORMAT) == before.get("renewTime"):  # what does not change is a sign of death
            now += timedelta(microseconds=1)
        stamp = now.strftime(_FORMAT)
        before = {name: value for name, value in before.items() if name != "holderIdentity"}
        return before | {
            **({"holderIdentity": holder} if holder else {}),  # left out and not empty, which newer API servers refuse
            "leaseDurationSeconds": seconds,
            "leaseTransitions": token,
            "renewTime": stamp,
            **({"acquireTime": stamp} if taken else {}),
        }

    def _write(self, method: str, path: str, body: Object, began: float) -> Fence | None:
        """The fence that this write gives; none where somebody else wrote first."""
        spec = body["spec"]
        try:
            self._api.call(method, path, {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"} | body)
        except Conflict:
            return None
        except NotFound:  # deleted since it was read; a namespace that is not there is another matter
            if method == "PUT":
                return None
            raise
        seconds = int(spec["leaseDurationSeconds"])
        return Fence(int(spec["leaseTransitions"]), str(spec.get("holderIdentity")), seconds, began + seconds)
