"""Leases: against the API over HTTP, and in every interleaving that hypothesis thinks of."""

from __future__ import annotations

import copy
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from hallmark.errors import Conflict, NotFound, Unavailable
from hallmark.rollout.lease import Fence, Lease
from hallmark.rollout.writer import InferenceServiceWriter
from local_cluster.api import app as api_of_the_cluster
from local_cluster.store import ObjectStore
from tests.web import serving

NAMESPACE, NAME = "fraud", "hallmark-watch"
TOKEN = "a-token-of-this-test-alone"
COLLECTION = f"/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases"


class Leases:
    """What the API server keeps: each write with the resourceVersion it was read at, or 409."""

    def __init__(self) -> None:
        self.object: dict[str, Any] | None = None
        self.version = 0
        self.lock = threading.Lock()

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        assert path in (COLLECTION, f"{COLLECTION}/{NAME}"), path
        with self.lock:
            if method == "GET":
                if self.object is None:
                    raise NotFound(f'leases "{NAME}" not found')
                return copy.deepcopy(self.object)
            assert body is not None and body["kind"] == "Lease" and body["metadata"]["name"] == NAME
            _check(body["spec"])
            if method == "POST" and self.object is not None:
                raise Conflict("AlreadyExists")
            if method == "PUT":
                if self.object is None:
                    raise NotFound(f'leases "{NAME}" not found')
                if body["metadata"].get("resourceVersion") != self.object["metadata"]["resourceVersion"]:
                    raise Conflict("the object has been modified")
            self.version += 1
            self.object = copy.deepcopy(body)
            self.object["metadata"]["resourceVersion"] = str(self.version)
            return copy.deepcopy(self.object)


def _check(spec: dict[str, Any]) -> None:
    """As the API server does: types, and MicroTime to the microsecond."""
    always = {"leaseDurationSeconds", "leaseTransitions", "renewTime", "acquireTime"}
    assert always <= set(spec) <= always | {"holderIdentity"}
    assert spec.get("holderIdentity") != ""
    assert type(spec["leaseDurationSeconds"]) is int and spec["leaseDurationSeconds"] > 0
    assert type(spec["leaseTransitions"]) is int and spec["leaseTransitions"] >= 0
    for name in ("renewTime", "acquireTime"):
        datetime.strptime(spec[name], "%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass
class World:
    """The time that really is, and what interferes with calls."""

    time: float = 1000.0
    leases: Leases = field(default_factory=Leases)
    between: Callable[[], None] = lambda: None
    lose: Callable[[], bool] = lambda: False

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        self.between()
        answer = self.leases.call(method, path, body)
        self.between()
        if self.lose():
            raise Unavailable("the answer was lost on its way")
        return answer

    def lease(self, *, offset: float = 0.0, wall: timedelta = timedelta()) -> Lease:
        """A candidate on a machine whose clocks show something else."""
        started = datetime(2026, 11, 1, tzinfo=UTC) + wall
        return Lease(
            self,
            NAMESPACE,
            NAME,
            clock=lambda: self.time + offset,
            now=lambda: started + timedelta(seconds=self.time),
        )


def test_one_holds_it_until_it_has_been_silent_for_as_long_as_it_said() -> None:
    world = World()
    one, two = world.lease(), world.lease(offset=-500, wall=timedelta(days=-3))
    held = one.acquire("one", 15)
    assert held is not None and held.token == 1 and one.holds(held)
    for _ in range(10):
        world.time += 10
        assert two.acquire("two", 15) is None
        renewed = one.renew(held)
        assert renewed is not None and renewed.token == 1
        held = renewed
    world.time += 14
    assert two.acquire("two", 15) is None  # first sees what was renewed last
    world.time += 14.9
    assert two.acquire("two", 15) is None
    assert not one.holds(held)  # it has given up by itself before another can have it
    world.time += 0.1
    taken = two.acquire("two", 15)
    assert taken is not None and taken.token == 2
    assert one.renew(held) is None
    one.release(held)  # not its own any more: changes nothing
    assert one.acquire("one", 15) is None
    two.release(taken)
    again = one.acquire("one", 15)
    assert again is not None and again.token == 3
    assert two.renew(taken) is None


def test_a_holder_that_was_paused_sees_on_waking_that_it_lost() -> None:
    world = World()
    one, two = world.lease(), world.lease()
    held = one.acquire("same name", 10)
    assert held is not None
    assert two.acquire("same name", 10) is None
    world.time += 10  # one is stopped, and does not know
    taken = two.acquire("same name", 10)
    assert taken is not None and taken.token > held.token
    assert not one.holds(held) and two.holds(taken)
    assert one.renew(held) is None


def test_a_clock_that_stands_still_does_not_look_dead() -> None:
    world = World()
    frozen = Lease(world, NAMESPACE, NAME, clock=lambda: world.time, now=lambda: datetime(2026, 1, 1, tzinfo=UTC))
    other = world.lease()
    held = frozen.acquire("one", 10)
    for _ in range(5):
        assert held is not None
        assert other.acquire("two", 10) is None
        world.time += 9
        held = frozen.renew(held)


def test_a_lease_that_was_deleted_does_not_begin_to_count_again() -> None:
    world = World()
    one, two = world.lease(), world.lease()
    held = one.acquire("one", 10, above=41)
    assert held is not None and held.token == 42
    world.leases.object = None
    assert one.renew(held) is None
    taken = two.acquire("two", 10, above=held.token)
    assert taken is not None and taken.token == 43


def test_a_lost_answer_is_made_up_for() -> None:
    world = World()
    one = world.lease()
    world.lose = lambda: world.leases.object is not None and world.leases.version == 1
    with pytest.raises(Unavailable):
        one.acquire("one", 10)
    world.lose = lambda: False
    held = one.acquire("one", 10)
    assert held is not None and held.token == 1


def play(seed: int) -> None:
    """Three machines with clocks of their own, paused anywhere, also in the middle of a call; some answers get lost."""
    chance = random.Random(seed)
    world = World()
    leases = [
        world.lease(offset=chance.uniform(-1e6, 1e6), wall=timedelta(seconds=chance.uniform(-1e6, 1e6)))
        for _ in range(3)
    ]
    fences: list[Fence | None] = [None, None, None]
    busy = [False, False, False]
    owners: dict[int, str] = {}
    newest = depth = 0

    def act() -> None:
        nonlocal newest
        world.time += chance.choice([0.0, 0.1, 3.0, 5.0, 9.9])
        idle = [n for n in range(3) if not busy[n]]
        if not idle:
            return
        who = chance.choice(idle)
        fence = fences[who]
        busy[who] = True
        try:
            if fence is None or (not leases[who].holds(fence) and chance.random() < 0.5):
                fences[who] = leases[who].acquire(f"machine {who}", chance.choice([5, 10]))
            elif chance.random() < 0.9:
                fences[who] = leases[who].renew(fence)
            else:
                fences[who] = None  # gives up before it says so
                leases[who].release(fence)
        except (Unavailable, Conflict):
            pass  # what it held, it holds until its own clock says otherwise
        finally:
            busy[who] = False
        made = fences[who]
        if made is not None:
            assert owners.setdefault(made.token, made.holder) == made.holder
        holding = [held for n in range(3) if (held := fences[n]) is not None and leases[n].holds(held)]
        assert len(holding) <= 1
        if holding:
            assert holding[0].token >= newest
            newest = holding[0].token

    def between() -> None:
        nonlocal depth
        if depth < 2 and chance.random() < 0.3:
            depth += 1
            for _ in range(chance.randint(1, 4)):
                act()
            depth -= 1

    world.between = between
    world.lose = lambda: chance.random() < 0.05
    for _ in range(30):
        act()
    assert len(owners) >= 1


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**64 - 1))
def test_never_two_holders_and_never_one_token_twice(seed: int) -> None:
    play(seed)


# Over HTTP, with the Kubernetes client that everything here uses.


def served(leases: Leases) -> Starlette:
    async def answer(request: Request) -> Response:
        try:
            body = await request.json() if request.method in ("POST", "PUT") else None
            return JSONResponse(leases.call(request.method, request.url.path, body))
        except NotFound as error:
            return _status(404, "NotFound", error.message)
        except Conflict as error:
            return _status(409, "Conflict", error.message)

    return Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST", "PUT"])])


def _status(code: int, reason: str, message: str) -> Response:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "message": message}
    return JSONResponse(body | {"code": code}, status_code=code)


@contextmanager
def writer(app: Starlette) -> Iterator[InferenceServiceWriter]:
    from kubernetes import client

    with serving(app) as address:
        configuration = client.Configuration(host=address)
        configuration.retries = 0
        configuration.api_key = {"authorization": f"Bearer {TOKEN}"}
        with client.ApiClient(configuration) as made:
            yield InferenceServiceWriter(made)
            made.rest_client.pool_manager.clear()


@pytest.fixture(params=["stand-in", "local cluster"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Starlette]:
    if request.param == "stand-in":
        yield served(Leases())
        return
    store = ObjectStore(tmp_path / "store")
    store.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
    yield api_of_the_cluster(store, pods=NoPods(), token=TOKEN)  # type: ignore[arg-type]
    store.close()


class NoPods:
    """The local cluster runs none here."""


def test_eight_racers_over_http_have_one_winner_a_round(app: Starlette) -> None:
    with writer(app) as api:
        tokens = []
        for _ in range(10):
            leases = [Lease(api, NAMESPACE, NAME) for _ in range(8)]
            won: list[tuple[Lease, Fence]] = []
            ready = threading.Barrier(8)

            def race(lease: Lease, won: list[tuple[Lease, Fence]] = won, ready: threading.Barrier = ready) -> None:
                ready.wait()
                fence = lease.acquire("racer", 30)
                if fence is not None:
                    won.append((lease, fence))

            threads = [threading.Thread(target=race, args=(lease,)) for lease in leases]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            ((winner, fence),) = won
            tokens.append(fence.token)
            renewed = winner.renew(fence)
            assert renewed is not None
            winner.release(renewed)
        assert tokens == sorted(set(tokens))


def test_what_is_no_conflict_is_not_taken_for_one() -> None:
    async def broken(request: Request) -> Response:
        return _status(503, "ServiceUnavailable", "etcd is away")

    with writer(Starlette(routes=[Route("/{path:path}", broken, methods=["GET"])])) as api:
        lease = Lease(api, NAMESPACE, NAME)
        with pytest.raises(Unavailable):
            lease.acquire("one", 10)
        with pytest.raises(Unavailable):
            lease.renew(Fence(1, "one", 10, 0.0))
