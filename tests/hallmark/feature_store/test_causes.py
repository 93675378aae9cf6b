"""Causes on random histories: whatever rows are missing, the fault that left them out is the one that is named."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from hallmark.feature_store.causes import History, Served, same
from hallmark.feature_store.payload import Payload
from hallmark.feature_store.state import Applied
from hallmark.feature_store.tiles import LEAST, Event, Plan, Tiles
from tests.hallmark.feature_store.drawn import TYPES, view

PLAN = Plan(
    view(
        {
            "n": {"take": "count", "window": "1h"},
            "total": {"take": "sum", "of": "price", "window": "1d"},
            "last": {"take": "last", "of": "amount"},
            "cards": {"take": "distinct", "of": "card"},
        },
        ttl=3 * 86_400,
    ),
    TYPES,
)
NOW, SECOND = 1_790_000_000_000_000, 1_000_000


def history(chance: random.Random) -> list[Event]:
    """Rows of a few events of one buyer, some of them corrected: another amount, another time, or another buyer; no two known at once."""
    rows: list[dict[str, Any]] = []
    for number in range(chance.randrange(1, 10)):
        when = NOW - chance.choice((1, 50)) * chance.randrange(3600, 7200) * SECOND
        about = {"buyer": "a", "happened": when, "known": when + chance.randrange(1, 1800) * SECOND, "order": number}
        row = {
            **about,
            "amount": chance.randrange(50),
            "price": round(chance.uniform(1, 90), 2),
            "card": chance.choice("xyz"),
        }
        rows.append(row)
        if chance.random() < 0.5:
            known = row["known"] + chance.randrange(1, 1800) * SECOND
            moved = {"happened": when + SECOND} if chance.random() < 0.3 else {}
            other = {"buyer": "b"} if chance.random() < 0.2 else {}
            rows.append({**row, "known": known, "amount": chance.randrange(50, 99), "price": 91.5, **moved, **other})
    for number, row in enumerate(rows):
        row["known"] += number
    return [tuple(row[name] for name in PLAN.view.reads) for row in sorted(rows, key=lambda row: row["known"])]


def counted(rows: Sequence[Event]) -> dict[Any, Event]:
    return {row[PLAN.ident]: row for row in sorted(rows, key=PLAN.greatness)}


def stored(rows: Sequence[Event]) -> bytes | None:
    mine = [row for row in counted(rows).values() if row[PLAN.entity] == "a"]
    return Payload(PLAN).encode(Tiles(PLAN, mine)) if mine else None


def known(rows: Sequence[Event]) -> int:
    return max((row[PLAN.known] for row in rows), default=LEAST)


def causes(
    rows: Sequence[Event], served: Sequence[Event], *, online: Sequence[Event], stream: Sequence[Event]
) -> Iterator[str]:
    """Causes of what was served from some of the rows, while the store and the stream have those that they have."""
    applied = Applied(
        known(rows) if len(stream) == len(rows) else known(stream), 0, counted(stream), owes=False, fates={}
    )
    whole = History(PLAN, PLAN, "a", rows, stored(online), applied, max(applied.known, known(online)))
    (given, newest), (expected, _) = whole.folded(served, NOW), whole.folded(rows, NOW)
    for name in expected:
        if not same(given[name], expected[name]):
            yield whole.cause(Served(name, given[name], expected[name], None, NOW, newest))


@pytest.mark.parametrize("seed", range(5))
def test_the_fault_that_left_rows_out_is_the_one_that_is_named(seed: int) -> None:
    chance, seen = random.Random(seed), 0
    for _ in range(25):
        rows = history(chance)
        part = rows[: -chance.randrange(1, len(rows) + 1)]
        found = {
            "late": [
                *causes(rows, part, online=rows, stream=rows),
                *causes(rows, part, online=part, stream=part),
            ],
            "race": [*causes(rows, part, online=part, stream=rows)] if stored(part) else [],
        }
        first: dict[Any, Event] = {}
        skipped = [
            row
            for row in rows
            if (had := first.setdefault(row[PLAN.ident], row)) is not row and had[PLAN.when] == row[PLAN.when]
        ]
        kept = [row for row in rows if row not in skipped]
        if skipped and skipped[-1] is not rows[-1]:
            found["equal_time_correction"] = [*causes(rows, kept, online=kept, stream=kept)]
        for cause, told in found.items():
            assert set(told) <= {cause}, (cause, told, rows)
            seen += len(told)
    assert seen > 100
