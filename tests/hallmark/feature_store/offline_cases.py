"""Random views, rows and questions for the offline executions, and what the reference loop answers."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from hallmark.declaration.feature_view import FeatureView
from tests.hallmark.feature_store import reference
from tests.hallmark.feature_store.sql_meanings import FITTING, ORDERS, chosen

START = datetime(2026, 3, 28, 22, 0, tzinfo=UTC)
"""Some hours before clocks in Berlin go forward."""
MICRO = timedelta(microseconds=1)
SOURCE = "orders@1"
SCHEMA = pa.schema(
    {
        "order_id": pa.string(),
        "buyer_id": pa.string(),
        "ordered_at": pa.timestamp("us", "UTC"),
        "known_at": pa.timestamp("us", "UTC"),
        "amount": pa.float64(),
        "items": pa.int64(),
        "paid": pa.bool_(),
        "card": pa.string(),
    }
)
WINDOWS = ("24s", "30s", "90s", "30m", "1h", "26h", "30d")
WHERE: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"card": "v'\\"},
    {"card": ("m", "v'\\")},
    {"paid": True},
    {"paid": 0},
    {"items": (1, 2.0, 3.5)},
    {"items": True, "card": "m"},
    {"amount": (0.1, 2)},
    {"amount": "m"},
    {"card": 1},
    {"card": ("{}", "m")},
)


@dataclass(frozen=True)
class Case:
    view: FeatureView
    rows: list[dict[str, Any]]
    questions: list[dict[str, Any]]

    def expected(self) -> list[dict[str, Any]]:
        """The reference loop's answers; a question about no entity sees no rows."""
        return [
            reference.features(self.view, self.rows if one["buyer_id"] is not None else (), one["buyer_id"], one["at"])
            for one in self.questions
        ]

    def files(self, folder: Path, parts: int = 2) -> list[Path]:
        paths = [folder / f"rows-{part}.parquet" for part in range(parts)]
        for part, path in enumerate(paths):
            pq.write_table(pa.Table.from_pylist(self.rows[part::parts], schema=SCHEMA), path)
        return paths

    def asked(self, folder: Path) -> Path:
        path = folder / "questions.parquet"
        schema = pa.schema({"n": pa.int64(), "buyer_id": pa.string(), "at": pa.timestamp("us", "UTC")})
        pq.write_table(pa.Table.from_pylist(self.questions, schema=schema), path)
        return path


def view(columns: dict[str, Any], ttl: str = "30d") -> FeatureView:
    return FeatureView.model_validate(
        {
            "name": "buyer",
            "version": 1,
            "owner": {"team": "t", "contact": "t@hallmark.example"},
            "description": "d",
            "entity": "buyer_id",
            "source": SOURCE,
            "event_time": "ordered_at",
            "known_at": "known_at",
            "event_id": "order_id",
            "freshness": "15m",
            "ttl": ttl,
            "columns": columns,
        }
    )


def row(ident: str, buyer: str | None, happened: datetime, known: datetime, **values: Any) -> dict[str, Any]:
    return {
        "order_id": ident,
        "buyer_id": buyer,
        "ordered_at": happened,
        "known_at": known,
        "amount": 1.0,
        "items": 1,
        "paid": True,
        "card": "m",
        **values,
    }


def case(seed: int, *, size: int = 25, corrections: bool | None = None, everywhere: bool = False) -> Case:
    """A case of a seed; without corrections every event has one row. everywhere: with SQL that Spark and Snowflake have too."""
    rng = random.Random(seed)
    corrected = rng.random() < 0.6 if corrections is None else corrections
    made = _view(rng, everywhere=everywhere)
    names = rng.choice((WINDOWS[:3], WINDOWS[3:5], WINDOWS[5:], WINDOWS))
    spread = 3 * max(made.window(name) for name in made.computed) if rng.random() < 0.7 else made.window("c0")
    del names
    step = rng.choice((MICRO, timedelta(seconds=1), timedelta(minutes=1), timedelta(hours=1)))
    rows: list[dict[str, Any]] = []
    count = rng.randrange(size + 1)
    for number in range(count):
        happened = START + _on(rng, spread, step)
        if rows and rng.random() < 0.3:
            happened = rng.choice(rows)[rng.choice(("ordered_at", "known_at"))]
        late = rng.choice(
            (timedelta(0), timedelta(0), timedelta(seconds=3), timedelta(hours=2), spread / 3, -timedelta(minutes=5))
        )
        if rng.random() < 0.08:
            late = -timedelta(minutes=5) - MICRO
        ident = f"o{rng.randrange(count // 2 + 1)}" if corrected else f"o{number:03}"
        rows.append(
            row(
                ident,
                rng.choice(("a", "a", "a", "b", "c\u00e9", None)),
                happened,
                happened + late,
                amount=rng.choice((None, 0.1, 0.25, -3.5, 2.0, 1e6, 0.0, 7.125)),
                items=rng.choice((None, 0, 1, 2, 3, -7, 2**53 + 1)),
                paid=rng.choice((None, True, False)),
                card=rng.choice((None, "m", "v'\\", "", "\u00e4")),
            )
        )
        if corrected and rng.random() < 0.3:
            old = rng.choice(rows)
            rows.append(
                old
                | rng.choice(
                    (
                        {},
                        {"amount": 5.0},
                        {"amount": None},
                        {"buyer_id": rng.choice(("a", "b", None))},
                        {"known_at": old["known_at"] + rng.choice((MICRO, spread / 5)), "buyer_id": "a"},
                        {"known_at": old["known_at"] + spread / 4, "ordered_at": old["ordered_at"] + spread / 7},
                        {"ordered_at": old["ordered_at"] - timedelta(seconds=1)},
                    )
                )
            )
    if not corrected:
        for each in rows:
            each["amount"] = each["amount"] if rng.random() < 0.9 or _compares(made) else math.nan
    return Case(made, rows, _questions(rng, made, rows, spread, step))


def every_sql(*, everywhere: bool = False, most: int = 2**62) -> Case:
    """A value of all SQL that has a meaning after each of some rows. most: a whole number whose square may have no 64 bits."""
    draw, rows = random.Random(5), []
    for number in range(40):
        at = START + timedelta(minutes=7 * number)
        told = at + timedelta(minutes=draw.choice((0, 1, 300)))
        values = {
            "amount": draw.choice((None, 0.1, 0.25, -3.5, 2.5, 1e6, 0.0, 1e200, -0.5)),
            "items": draw.choice((None, 0, 1, 2, 3, -7, most)),
            "paid": draw.choice((None, True, False)),
            "card": draw.choice((None, "m", "v'\\", "", "\u00e4")),
        }
        rows.append(row(f"o{number}", "a", at, told, **values))
    texts = chosen(ORDERS, "number", "text", "time", "truth", everywhere=everywhere)
    columns = {f"c{place}": {"take": "last", "sql": text} for place, text in enumerate(texts)}
    asked = [{"n": n, "buyer_id": "a", "at": each["known_at"] + MICRO} for n, each in enumerate(rows)]
    return Case(view(columns), rows, asked)


def _compares(made: FeatureView) -> bool:
    """Does a column order or compare amounts? NaN has no place in an order, and what SQL says of it no contract lets happen."""
    return any(
        each.take in ("min", "max", "distinct") or "amount" in each.allowed for each in made.columns.values()
    ) or any("amount" in each.columns for each in made.expressions)


def _view(rng: random.Random, *, everywhere: bool) -> FeatureView:
    names = rng.choice((WINDOWS[:3], WINDOWS[3:5], WINDOWS[5:], WINDOWS))
    columns: dict[str, Any] = {}
    for place in range(rng.randrange(1, 6)):
        take = rng.choice(("count", "sum", "min", "max", "mean", "last", "last", "distinct"))
        of = {
            "count": (None,),
            "sum": ("amount", "items", "paid"),
            "mean": ("amount", "items", "paid"),
            "min": ("amount", "items", "paid", "card", "ordered_at"),
            "max": ("amount", "items", "card", "known_at"),
            "last": ("amount", "items", "paid", "card", "ordered_at", "order_id"),
            "distinct": ("amount", "items", "paid", "card"),
        }[take]
        columns[f"c{place}"] = {"take": take, "of": rng.choice(of), "where": rng.choice(WHERE)}
        if take != "count" and rng.random() < 0.4:
            fitting = chosen(ORDERS, *FITTING[take], everywhere=everywhere)
            columns[f"c{place}"] |= {"of": None, "sql": rng.choice(fitting)}
        if rng.random() < 0.3:
            columns[f"c{place}"]["where"] = rng.choice(chosen(ORDERS, "truth", everywhere=everywhere))
        if rng.random() < 0.75:
            columns[f"c{place}"]["window"] = rng.choice(names)
    widest = max(
        (name for name in (c.get("window") for c in columns.values()) if name), key=WINDOWS.index, default=names[0]
    )
    ttl = rng.choice((widest, widest, WINDOWS[min(len(WINDOWS) - 1, WINDOWS.index(widest) + 1)]))
    numbers = [n for n, c in columns.items() if c["take"] in ("count", "sum", "mean", "distinct")]
    if numbers:
        columns["share"] = {"take": "ratio", "of": rng.choice(numbers), "over": rng.choice(numbers)}
    return view(columns, ttl)


def _on(rng: random.Random, spread: timedelta, step: timedelta) -> timedelta:
    return rng.randrange(max(1, spread // step)) * step


def _questions(
    rng: random.Random, made: FeatureView, rows: Sequence[dict[str, Any]], spread: timedelta, step: timedelta
) -> list[dict[str, Any]]:
    """Questions at events, when they become known, at the edges of windows, and a microsecond to either side."""
    asked = []
    for number in range(rng.randrange(40)):
        at = START + _on(rng, 2 * spread, step)
        if rows and rng.random() < 0.8:
            at = rng.choice(rows)[rng.choice(("ordered_at", "known_at"))]
            name = rng.choice(made.computed)
            if rng.random() < 0.6:
                at += rng.choice((made.window(name), made.ttl))
                if rng.random() < 0.5:
                    at += made.hop(name) - (at - made.window(name) - reference.EPOCH) % made.hop(name)
            at += rng.choice((-1, 0, 0, 1)) * MICRO
        asked.append({"n": number, "buyer_id": rng.choice(("a", "a", "b", "c\u00e9", "never", None)), "at": at})
        if rng.random() < 0.2:
            asked.append(dict(asked[-1], n=1000 + number))
    return asked


def differences(expected: Sequence[dict[str, Any]], got: Sequence[dict[str, Any]], case: Case) -> list[Any]:
    """Where two answers differ by more than 1e-9."""
    assert len(expected) == len(got)
    return [
        (case.questions[place], name, value, found.get(name))
        for place, (one, found) in enumerate(zip(expected, got, strict=True))
        for name, value in one.items()
        if name not in found or not _equal(value, found[name])
    ]


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    if isinstance(one, int | float) and isinstance(other, int | float):
        return (isinstance(one, int) == isinstance(other, int) and one == other) or (
            (isinstance(one, float) or isinstance(other, float))
            and math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
        )
    return type(one) is type(other) and bool(one == other)
