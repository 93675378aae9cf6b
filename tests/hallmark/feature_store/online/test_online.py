"""What every online store does, on SQLite, a real Redis, and DynamoDB as moto plays it."""

from __future__ import annotations

import asyncio
import itertools
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hallmark.errors import DeclarationError
from hallmark.feature_store.online.keys import EntityKey, Key, entity_key
from hallmark.feature_store.online.store import OnlineStore, Row
from tests.hallmark.feature_store.online import racing
from tests.hallmark.feature_store.online.conftest import environment
from tests.hallmark.feature_store.online.racing import RACERS, VIEW, race, winners
from tests.seeds import how_many

OTHER = "buyer_orders@11"
Make = Callable[..., OnlineStore]


def row(entity: int | str | bytes, event: int, known: int = 0, payload: bytes = b"", view: str = VIEW) -> Row:
    return Row(Key(view, entity_key(entity)), event, known, payload)


def everything(store: OnlineStore, *views: str) -> set[Row]:
    return {each for view in views for page in store.scan(view) for each in page}


VERSIONS = [(1, 9, b"zz"), (2, 1, b"b"), (2, 3, b"a"), (2, 3, b"ab"), (-5, 2**62, b"\xff")]


def test_the_newest_wins_in_every_order(kind: str, store: OnlineStore) -> None:
    versions = VERSIONS[kind == "dynamodb" :]
    orders = list(itertools.permutations(versions))
    for place in range(len(versions)):
        store.write([row(number, *order[place]) for number, order in enumerate(orders)])
    found = store.read([row(number, 0).key for number in range(len(orders))])
    assert found == [row(number, 2, 3, b"ab") for number in range(len(orders))]


def test_the_newest_of_a_batch_wins_in_every_order(store: OnlineStore) -> None:
    orders = list(itertools.permutations(VERSIONS[:4]))
    batch = [row(number, *version) for number, order in enumerate(orders) for version in order]
    assert store.write(batch) == len(orders) and store.write(batch) == 0
    found = store.read([row(number, 0).key for number in range(len(orders))])
    assert found == [row(number, 2, 3, b"ab") for number in range(len(orders))]


@pytest.mark.parametrize("known_first", [True, False])
def test_a_correction_of_the_same_event_time_wins(store: OnlineStore, known_first: bool) -> None:
    """faults.md, 35."""
    told, corrected = row("x", 100, 100, b"told"), row("x", 100, 250, b"corrected")
    for each in (corrected, told) if known_first else (told, corrected):
        store.write([each])
    assert store.read([told.key]) == [corrected]


PAYLOADS = [b"", b"\0", b"\0\0", b"\0\xff", b"\x01", b"10", b"2", b"\x7f", b"\x80", b"\xc3\xa9", b"\xfe" * 300, b"\xff"]


def test_at_one_stamp_the_greater_bytes_win(store: OnlineStore) -> None:
    pairs = list(itertools.combinations(PAYLOADS, 2))
    for turn in (0, 1):
        store.write(
            [
                row(f"{number}-{order}", 7, 7, pair[turn ^ order])
                for order in (0, 1)
                for number, pair in enumerate(pairs)
            ]
        )
    for order in (0, 1):
        found = store.read([row(f"{number}-{order}", 0).key for number in range(len(pairs))])
        assert [each and each.payload for each in found] == [max(pair) for pair in pairs]


def test_long_payloads_that_differ_in_one_byte(store: OnlineStore) -> None:
    lower = [bytes(at) + b"\x01" + bytes(999 - at) for at in (0, 239, 240, 241, 255, 256, 511, 999)]
    for number, payload in enumerate(lower):
        greater = payload.replace(b"\x01", b"\x02")
        store.write([row(number, 7, 7, greater)])
        assert store.write([row(number, 7, 7, payload)]) == 0 and store.write([row(number, 7, 7, greater + b"\0")]) == 1
        store.write([row(-number, 8, 7, payload)])
        assert store.write([row(-number, 8, 7, greater)]) == 1


EDGES = [0, 1, -1, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, -(2**63), 1_800_000_000_000_000]


def test_times_are_exact_and_ordered(store: OnlineStore) -> None:
    rows = [row(number, event, known) for number, (event, known) in enumerate(itertools.product(EDGES, EDGES[3:6]))]
    store.write(rows)
    assert store.read([each.key for each in rows]) == rows
    for one, other in itertools.pairwise(sorted(EDGES)):
        store.write([row("event", one)])
        assert store.write([row("event", other)]) == 1 and store.write([row("event", one, 2**63 - 1)]) == 0


@pytest.mark.parametrize(("event", "known"), [(2**63, 0), (0, -(2**63) - 1)])
def test_times_of_more_than_64_bits_are_refused_and_nothing_is_written(
    store: OnlineStore, event: int, known: int
) -> None:
    with pytest.raises(DeclarationError, match="nanoseconds"):
        store.write([row(1, 1), row(2, event, known)])
    assert store.read([row(1, 0).key]) == [None]


def test_payloads_are_any_bytes(store: OnlineStore) -> None:
    payloads = [*PAYLOADS, bytes(range(256)), b"\r\n$5\r\n", b"x" * 300_000]
    rows = [row(number, 1, 1, payload) for number, payload in enumerate(payloads)]
    store.write(rows)
    assert store.read([each.key for each in rows]) == rows


def test_a_read_keeps_the_order_of_its_keys(store: OnlineStore) -> None:
    rows = [row(number, number, view=view) for number in range(60) for view in (VIEW, OTHER, "seller@2")]
    store.write(rows)
    asked = [*reversed(rows), rows[7], row("nowhere", 0), rows[7], row("0", 0)]
    expected = [each if each in rows else None for each in asked]
    assert store.read([each.key for each in asked]) == expected
    assert asyncio.run(awaited(store, [each.key for each in asked])) == expected


async def awaited(store: OnlineStore, keys: list[Key]) -> list[Row | None]:
    try:
        return await store.aread(keys)
    finally:
        await store.aclose()


def test_nothing_asked_is_nothing_done(store: OnlineStore) -> None:
    assert store.read([]) == [] and asyncio.run(awaited(store, [])) == []
    assert store.write([]) == 0 and store.erase(entity_key(1), []) == 0 and everything(store, VIEW) == set()


def test_types_of_keys_do_not_collide(store: OnlineStore) -> None:
    rows = [row(1, 1, 1, b"int"), row("1", 2, 2, b"str"), row(b"1", 3, 3, b"bytes"), row("", 4), row("a/b*?[\\", 5)]
    assert store.write(rows) == 5
    assert store.read([each.key for each in rows]) == rows and everything(store, VIEW) == set(rows)


def test_domains_do_not_meet(kind: str, make: Make) -> None:
    one, other = make(kind, namespace="shared-one"), make(kind, namespace="shared-one-b")
    one.write([row(1, 5, payload=b"one")])
    assert other.read([row(1, 0).key]) == [None] and everything(other, VIEW) == set()
    assert other.write([row(1, 1, payload=b"other")]) == 1 and other.erase(entity_key(1), [VIEW]) == 1
    assert one.read([row(1, 0).key]) == [row(1, 5, payload=b"one")]
    with pytest.raises(DeclarationError, match="no namespace"):
        make(kind, namespace="a/b")


def test_a_view_without_a_version_is_refused(store: OnlineStore) -> None:
    for ask in (lambda: store.read([Key("buyer", entity_key(1))]), lambda: store.erase(entity_key(1), ["buyer"])):
        with pytest.raises(DeclarationError, match="names no version"):
            ask()
    with pytest.raises(DeclarationError, match="names no version"):
        store.write([row(1, 1, view="buyer")])


def test_an_entity_is_erased_from_the_views_named(store: OnlineStore) -> None:
    rows = [row(entity, 9, view=view) for entity in (1, "1", 2) for view in (VIEW, OTHER, "seller@2")]
    store.write(rows)
    assert store.erase(entity_key(1), [VIEW, OTHER, "never@1"]) == 2 and store.erase(entity_key(1), [VIEW]) == 0
    gone = {(VIEW, entity_key(1)), (OTHER, entity_key(1))}
    assert everything(store, VIEW, OTHER, "seller@2") == {each for each in rows if each.key not in gone}
    store.scrub()
    assert everything(store, VIEW, OTHER, "seller@2") == {each for each in rows if each.key not in gone}
    assert store.write([row(1, 3)]) == 1, "what was erased bounds nothing that comes later"


def test_a_view_is_looked_through_in_pages(kind: str, store: OnlineStore) -> None:
    count = 70 if kind == "dynamodb" else 2500
    rows = [row(number, number, payload=b"x" * 50) for number in range(count)]
    assert store.write([*rows, row(3, 1, view=OTHER)]) == count + 1
    pages = list(store.scan(VIEW))
    assert {each for page in pages for each in page} == set(rows) and len(pages) > 1 and all(pages)


def test_pages_go_on_while_rows_are_erased(kind: str, store: OnlineStore) -> None:
    rows = [row(number, number) for number in range(20 if kind == "dynamodb" else 1500)]
    store.write(rows)
    seen = 0
    for page in store.scan(VIEW):
        for each in page:
            seen += store.erase(each.key.entity, [VIEW])
    assert seen == len(rows) and everything(store, VIEW) == set()


NOW = int(time.time() * 1_000_000)
DAY = 86_400_000_000


def test_only_rows_that_nobody_may_read_are_dropped(store: OnlineStore) -> None:
    """A row whose time to live ended is kept a day longer at least, and the store's own clock cannot drop a fresh one."""
    keep = {VIEW: timedelta(days=30)}
    fresh, ended, other = row(1, NOW), row(2, NOW - 30 * DAY - DAY // 2), row(3, NOW - 900 * DAY, view=OTHER)
    assert store.write([fresh, ended, other], keep=keep) == 3
    assert store.read([fresh.key, ended.key, other.key]) == [fresh, ended, other]


def test_a_row_with_no_end_replaces_one_with_an_end(store: OnlineStore) -> None:
    old = NOW - 60 * DAY
    store.write([row(1, old)], keep={VIEW: timedelta(days=59, hours=1)})
    store.write([row(1, old, 1)])
    assert store.read([row(1, 0).key]) == [row(1, old, 1)]


@pytest.mark.slow
def test_eight_threads_race(kind: str, make: Make) -> None:
    store = make(kind, write_seconds=60)
    count = 2 if kind == "dynamodb" else 40
    with ThreadPoolExecutor(RACERS) as pool:
        list(pool.map(lambda racer: race(store, racer, count), range(RACERS)))
    assert everything(store, VIEW) == winners(count)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_eight_processes_race(kind: str, make: Make, addresses: Callable[[str], str]) -> None:
    """DynamoDB promises what SQLite and Redis show here; a race on moto would prove nothing of it."""
    command = [sys.executable, racing.__file__, addresses(kind), f"race-{kind}"]
    racers = [
        subprocess.Popen(
            [*command, str(number), "40"],
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(RACERS)
    ]
    try:
        for each in racers:
            assert each.stdout and each.stdout.readline() == "ready\n"
        for each in racers:
            assert each.stdin and each.stdin.write("go\n")
            each.stdin.flush()
        assert [each.wait(timeout=200) for each in racers] == [0] * RACERS
    finally:
        for each in racers:
            each.kill()
            each.communicate()
    assert everything(make(kind, namespace=f"race-{kind}"), VIEW) == winners(40)


FORKED = """
import os, sys
from hallmark.feature_store.online.address import connect
from hallmark.feature_store.online.keys import EntityKey, Key, entity_key
from hallmark.feature_store.online.store import Row
store = connect(sys.argv[1], namespace="forked", read_seconds=5)
rows = [Row(Key("v@1", entity_key(n)), n, n, b"") for n in range(8)]
store.write(rows)
keys = [each.key for each in rows]
assert store.read(keys) == rows
children = []
for n in range(2):
    child = os.fork()
    if child == 0:
        for _ in range(3):
            assert store.read(keys[n:]) == rows[n:]
            store.write(rows)
        os._exit(0)
    children.append(child)
for _ in range(3):
    assert store.read(keys) == rows
assert [os.waitpid(child, 0)[1] for child in children] == [0] * 2
store.close()
"""


def test_a_forked_process_has_connections_of_its_own(kind: str, addresses: Callable[[str], str]) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKED, addresses(kind)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr


ENTITIES = (1, "1", b"1", "é")
KEYS = st.tuples(st.sampled_from(["orders", "order"]), st.sampled_from(ENTITIES))
TIMES = st.integers(-2, 2) | st.sampled_from(EDGES)
WRITES = st.lists(st.tuples(KEYS, TIMES, TIMES, st.binary(max_size=2)), max_size=4)
_VERSIONS = itertools.count(1)


class Model:
    """An online store as a dict."""

    def __init__(self) -> None:
        self.rows: dict[Key, Row] = {}

    def write(self, rows: Iterable[Row]) -> int:
        before = dict(self.rows)
        for each in rows:
            self.rows[each.key] = max(self.rows.get(each.key, each), each, key=lambda one: one[1:])
        return sum(before.get(key) != each for key, each in self.rows.items())

    def erase(self, entity: bytes, views: Iterable[str]) -> int:
        return sum(self.rows.pop(Key(view, EntityKey(entity)), None) is not None for view in views)


@pytest.mark.parametrize(
    "examples",
    [30, pytest.param(how_many(300, 1000), marks=[pytest.mark.slow, pytest.mark.many, pytest.mark.timeout(1200)])],
)
def test_any_history_ends_in_one_state(examples: int, make: Make) -> None:
    """faults.md, 21: the same answers and the same state in SQLite, Redis, DynamoDB and a dict."""
    stores = [make(kind) for kind in ("sqlite", "redis", "dynamodb")]

    @settings(max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(WRITES | KEYS, max_size=5))
    def holds(history: list[Any]) -> None:
        model, version = Model(), next(_VERSIONS)

        def key(view: str, entity: Any) -> Key:
            return Key(f"{view}@{version}", entity_key(entity))

        for act in history:
            if isinstance(act, list):
                rows = [Row(key(*where), *what) for where, *what in act]
                told = [each.write(rows) for each in (model, *stores)]
            else:
                where = key(*act)
                told = [each.erase(where.entity, [where.view]) for each in (model, *stores)]
            assert len(set(told)) == 1, (act, told)
        keys = [key(view, entity) for view in ("orders", "order") for entity in ENTITIES]
        for each in stores:
            assert each.read(keys) == [model.rows.get(key) for key in keys]

    holds()
