"""Operators at work: a thread a domain, each under a lease of its own, so that several watches share the domains and one can fall over."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from hallmark import interrupts
from hallmark.declaration.domain import Domain
from hallmark.declaration.traffic import TrafficAdapter, beyond
from hallmark.errors import HallmarkError, Refused, foreseen
from hallmark.rollout.lease import Fence, Lease
from hallmark.rollout.liveness import Liveness

if TYPE_CHECKING:
    from hallmark.rollout.operator import Operator
    from hallmark.rollout.writer import InferenceServiceWriter

LEASE = "hallmark-watch"
LEASE_SECONDS = 15
"""How long a domain waits for another watch after one that was killed; it is renewed five times as often."""
_LOOK = 0.1
Make = Callable[[str, Fence], "Operator"]
Note = Callable[[str], None]


def allowed(domain: Domain, adapter: TrafficAdapter) -> None:
    """`Refused` where the domain's policy asks for what this traffic cannot do."""
    for key, text in beyond(domain.rollout, adapter):
        raise Refused(
            f"{domain.name}: rollout.{key} {text}",
            expected="a policy that this cluster can carry out",
            got=f"rollout.{key}, which is not optional",
            fix=f"`rollout.optional: [{key}]` in domain.yaml lets a rollout do without it here; `hallmark lint` tells before",
        )


def allowed_of(domains: Mapping[str, Domain], writer: InferenceServiceWriter, *, note: Note) -> list[str]:
    """The domains that can be watched on this cluster; one whose policy is beyond it is told, and `Refused` where none is left."""
    found, refused = [], None
    for name, domain in domains.items():
        live = writer.live(name)
        try:
            # Without an object its mode is not known; the beginning of a rollout asks again.
            if live is not None:
                allowed(domain, writer.adapter(live))
            found.append(name)
        except Refused as error:
            refused = error
            note(f"{error.message}; not watched. {error.fix}")
    if not found and refused is not None:
        raise refused
    return found


class Watch:
    """Ticks the operator of each of `names` every `every` seconds while its lease is held; `run` until `stop` is set.

    lease: the lease of a domain's namespace.  above: the highest token that was ever written there.  make: an operator with the token of that lease.  note: hears who holds what.  liveness: counts for Prometheus.
    seconds: how long a lease lasts that nobody renews.
    """

    def __init__(
        self,
        names: Sequence[str],
        *,
        lease: Callable[[str], Lease],
        above: Callable[[str], int],
        make: Make,
        every: float,
        note: Note,
        identity: str = "",
        liveness: Liveness | None = None,
        seconds: int = LEASE_SECONDS,
    ) -> None:
        self._seconds = seconds
        self.stop = threading.Event()
        self._names = list(names)
        self._lease = lease
        self._above = above
        self._make = make
        self._every = every
        self._note = note
        self._identity = identity or f"{socket.gethostname()}-{os.getpid()}"
        self._liveness = liveness or Liveness()
        self._holding: dict[str, _Held] = {}

    def run(self, signals: Sequence[tuple[int, float]] = ()) -> None:
        """Watch until `stop` is set or there is one of `signals` (`interrupts.noted`); every lease is given back then.

        A check under way is waited for, unless ctrl-c is pressed again or it takes too long: what it still writes is fenced off.
        """
        threads = [
            threading.Thread(target=self._follow, args=(name,), name=f"watch-{name}", daemon=True)
            for name in self._names
        ]
        for thread in threads:
            thread.start()
        until = math.inf
        while any(thread.is_alive() for thread in threads):
            if signals and not self.stop.is_set():
                self.stop.set()
                until = time.monotonic() + interrupts.PATIENCE
            if time.monotonic() > until or interrupts.pressed_again(signals):
                for held in list(self._holding.values()):
                    held.give_back()
                return
            time.sleep(_LOOK)

    def _follow(self, name: str) -> None:
        lease = self._lease(name)
        self._liveness.held(name, False)
        said = ""
        while not self.stop.is_set():
            self._liveness.waiting(name)
            fence, why = None, f"another watch holds the lease of {name}"
            try:
                fence = lease.acquire(self._identity, self._seconds, above=self._above(name))
            except Exception as error:  # noqa: BLE001  the loop of a domain never ends by an error
                why = foreseen(error).message
            if fence is None:
                if why != said:
                    self._note(f"{name}: {why}; waiting")
                    said = why
                self.stop.wait(min(2.0, self._every * 2))
                continue
            said = ""
            self._hold(name, lease, fence)

    def _hold(self, name: str, lease: Lease, fence: Fence) -> None:
        """Tick while the lease is held. A step may take long (a model that loads), so renewing has a thread of its own."""
        held = self._holding[name] = _Held(lease, fence)
        self._note(f"{name}: watched from here, fencing token {fence.token}")
        self._liveness.held(name, True)
        try:
            operator = self._make(name, fence)
            while held.is_ours and not self.stop.is_set():
                operator.tick()
                self._liveness.checked(name, operator.check)
                self.stop.wait(self._every)
            if held.is_ours:
                operator.close()
        except Exception as error:  # noqa: BLE001
            told = foreseen(error)
            self._note(f"{name}: {told.message}{f': {told.got}' if told.got else ''}; begins again")
            self.stop.wait(self._every)
        finally:
            self._liveness.held(name, False)
            held.end()
            del self._holding[name]


class _Held:
    """A lease that is renewed by a thread until it is lost or ended."""

    def __init__(self, lease: Lease, fence: Fence) -> None:
        self._lease = lease
        self._fence = fence
        self._lost, self._done = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._thread.start()

    @property
    def is_ours(self) -> bool:
        """True while nobody else can hold it yet."""
        return not self._lost.is_set() and self._lease.holds(self._fence)

    def end(self) -> None:
        """Stop renewing, and give it back where it is still ours."""
        self._done.set()
        self._thread.join()
        self.give_back()

    def give_back(self) -> None:
        """Let the next one have it now, where it is still ours: whatever is under way here may no longer write."""
        self._done.set()
        if not self._lost.is_set():
            with contextlib.suppress(HallmarkError):
                self._lease.release(self._fence)

    def _renew(self) -> None:
        while not self._done.wait(self._fence.seconds / 5):
            try:
                fence = self._lease.renew(self._fence)
            except HallmarkError:
                continue  # The API does not answer; what was held runs out by itself.
            if fence is None:
                self._lost.set()
                return
            self._fence = fence
