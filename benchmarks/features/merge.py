"""Microseconds to read a request's features from three payloads, against unpacking as many plain numbers that somebody else has merged.

`python benchmarks/features/merge.py`; half a minute. Three views of 40 columns together, and of 40 columns each, entities of 1 to 300
events; CPU time, many interleaved rounds, medians. The reference does what no merge can do without: `struct.unpack` of one value a column.
"""

from __future__ import annotations

import random
import statistics
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from hallmark.declaration.feature_view import FeatureView
from hallmark.feature_store.payload import Payload
from hallmark.feature_store.tiles import Plan, Tiles, Type

TYPES: dict[str, Type] = {
    "id": "int64",
    "who": "text",
    "at": "time",
    "known": "time",
    "amount": "int64",
    "price": "float64",
    "card": "text",
}
NOW = 1_790_000_000_000_000
SECOND = 1_000_000
ROUNDS, CALLS, ENTITIES = 60, 200, 100
MARK = 100.0


def view(name: str, columns: int) -> FeatureView:
    """Windows of 1 h, 1 d, 7 d and 30 d, every aggregate, ratios."""
    made: dict[str, Any] = {}
    takes = [
        ("count", None),
        ("sum", "amount"),
        ("sum", "price"),
        ("mean", "price"),
        ("max", "amount"),
        ("min", "price"),
        ("distinct", "card"),
    ]
    for number in range(columns):
        if number % 13 == 12:
            made[f"c{number}"] = {"take": "ratio", "of": "c1", "over": "c0"}
        elif number % 13 == 11:
            made[f"c{number}"] = {"take": "last", "of": "amount"}
        else:
            take, of = takes[number % len(takes)]
            made[f"c{number}"] = {
                "take": take,
                **({"of": of} if of else {}),
                "window": ("1h", "1d", "7d", "30d")[number % 4],
            }
    return FeatureView.model_validate(
        {
            **{
                "name": name,
                "version": 1,
                "owner": {"team": "benchmarks", "contact": "benchmarks@hallmark.example"},
                "description": "",
            },
            **{"entity": "who", "source": "orders@1", "event_time": "at", "known_at": "known", "event_id": "id"},
            **{"freshness": "15m", "ttl": "30d", "columns": made},
        }
    )


def payloads(made: Payload, draw: random.Random, count: int) -> bytes:
    """Of an entity with some events in 30 days, most of them lately."""
    events = []
    for number in range(count):
        at = NOW - int(draw.expovariate(1 / (2 * 86_400))) * SECOND
        row = {
            "id": number,
            "who": "a",
            "at": at,
            "known": at,
            "amount": draw.randrange(10**6),
            "price": draw.random(),
            "card": f"c{draw.randrange(9)}",
        }
        events.append(made.plan.event(row))
    return made.encode(Tiles(made.plan, events))


def measured(ours: Callable[[], object], theirs: Callable[[], object], calls: int) -> tuple[float, float, float]:
    """Medians in microseconds a call, and of the ratios of the pairs."""
    pairs = []
    for _ in range(ROUNDS):
        spent = []
        for each in (ours, theirs):
            begin = time.process_time_ns()
            for _ in range(calls):
                each()
            spent.append((time.process_time_ns() - begin) / calls / 1000)
        pairs.append((spent[0], spent[1]))
    return (
        *(statistics.median(each) for each in zip(*pairs, strict=True)),
        statistics.median(one / other for one, other in pairs),
    )  # type: ignore[return-value]


def main() -> int:
    """Measure, print, and give 1 where a request's features take longer than the mark."""
    draw, at, missed = random.Random(7), NOW + SECOND, 0
    for shown, sizes in (("3 views, 40 columns together", (14, 13, 13)), ("3 views of 40 columns each", (40, 40, 40))):
        for count in (1, 20, 300):
            views = [Payload(Plan(view(f"v{number}", size), TYPES)) for number, size in enumerate(sizes)]
            entities = [[payloads(each, draw, count) for each in views] for _ in range(ENTITIES)]
            size = sum(map(len, entities[0]))
            plain = [struct.Struct(f"<{each}d") for each in sizes]
            packed = [each.pack(*range(n)) for each, n in zip(plain, sizes, strict=True)]

            def read(views: list[Payload] = views, one: list[bytes] = entities[0]) -> list[tuple[Any, ...]]:
                return [each.values(payload, at) for each, payload in zip(views, one, strict=True)]

            def unpack(plain: list[struct.Struct] = plain, packed: list[bytes] = packed) -> list[tuple[Any, ...]]:
                return [each.unpack(payload) for each, payload in zip(plain, packed, strict=True)]

            def table(views: list[Payload] = views, entities: list[list[bytes]] = entities) -> list[Any]:
                return [each.table([entity[number] for entity in entities], at) for number, each in enumerate(views)]

            def singly(views: list[Payload] = views, entities: list[list[bytes]] = entities) -> list[Any]:
                return [
                    [each.values(payload, at) for each, payload in zip(views, entity, strict=True)]
                    for entity in entities
                ]

            ours, theirs, ratio = measured(read, unpack, CALLS)
            together, apart, gain = measured(table, singly, 2)
            missed += ours > MARK and sum(sizes) == 40
            print(
                f"{shown}, {count:3} events, {size:6} bytes: {ours:6.1f} us, unpack alone {theirs:4.1f} us, ratio {ratio:4.1f};"
                f" {ENTITIES} entities at once {together / 1000:5.2f} ms, one by one {apart / 1000:5.2f} ms, ratio {gain:4.2f}"
            )
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
