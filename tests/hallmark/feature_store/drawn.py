"""Views, rows and streams for hypothesis, small enough that ties, edges and corrections are met often."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from hallmark.declaration.feature_view import FeatureView
from hallmark.feature_store.tiles import Type
from tests.hallmark.feature_store.sql_meanings import DRAWN, FITTING, chosen

TYPES: Mapping[str, Type] = {
    **{"buyer": "text", "happened": "time", "known": "time", "order": "int64"},
    **{"amount": "int64", "price": "float64", "gift": "bool", "card": "text", "paid": "time"},
}
START = datetime(2026, 3, 1, tzinfo=UTC)
BUYERS = ("a", "b", "ü")
WINDOWS = (24, 60, 90, 1800, 3600, 90_000, 200_000)
"""Seconds: hops of 1 s, 1 m and 1 h."""
_OF = {
    **{"sum": ("amount", "price", "gift"), "mean": ("amount", "price", "gift")},
    **{"min": ("amount", "price", "gift", "card", "paid"), "max": ("amount", "price", "gift", "card", "paid")},
    **{"last": ("amount", "price", "gift", "card", "paid"), "distinct": ("amount", "price", "gift", "card", "paid")},
}
_WHERE = ({}, {"gift": True}, {"card": ("x", "y")}, {"gift": False, "card": "x"}, {"amount": 1})


def view(columns: Mapping[str, Any], *, ttl: int, name: str = "drawn") -> FeatureView:
    """A view of the source that `TYPES` describes."""
    return FeatureView.model_validate(
        {
            **{"name": name, "version": 1, "owner": {"team": "tests", "contact": "tests@hallmark.example"}},
            **{
                "description": "",
                "entity": "buyer",
                "source": "orders@1",
                "event_time": "happened",
                "known_at": "known",
            },
            **{"event_id": "order", "freshness": "15m", "ttl": timedelta(seconds=ttl), "columns": columns},
        }
    )


@st.composite
def views(draw: st.DrawFn) -> FeatureView:
    """One to eight columns, and ratios of them."""
    columns: dict[str, dict[str, Any]] = {}
    for number in range(draw(st.integers(1, 8))):
        take = draw(st.sampled_from(("count", *_OF)))
        columns[f"c{number}"] = {"take": take, "where": draw(st.sampled_from(_WHERE))}
        if take != "count":
            columns[f"c{number}"]["of"] = draw(st.sampled_from(_OF[take]))
            if draw(st.integers(0, 2)) == 0:
                sql = draw(st.sampled_from(chosen(DRAWN, *FITTING[take])))
                columns[f"c{number}"] |= {"of": None, "sql": sql}
        if draw(st.integers(0, 3)) == 0:
            columns[f"c{number}"]["where"] = draw(st.sampled_from(chosen(DRAWN, "truth")))
        if draw(st.booleans()):
            columns[f"c{number}"]["window"] = timedelta(seconds=draw(st.sampled_from(WINDOWS)))
    numbers = [
        name
        for name, each in columns.items()
        if each["take"] != "last"
        and each.get("of") not in ("card", "paid")
        and not (each.get("sql") and each["take"] in ("min", "max"))
    ]
    if numbers and draw(st.booleans()):
        columns["r"] = {"take": "ratio", "of": draw(st.sampled_from(numbers)), "over": draw(st.sampled_from(numbers))}
    windows = [each["window"] for each in columns.values() if "window" in each]
    longest = max([timedelta(seconds=24), *windows])
    ttl = draw(st.sampled_from([longest, longest * 2, max(longest, timedelta(days=3))]))
    return view(columns, ttl=int(ttl.total_seconds()))


SECONDS = st.one_of(
    st.integers(-400_000, 4000), st.integers(-120, 120), st.sampled_from((0, 60, 3600, -60, -3600, -90_000))
)
OFFSETS = st.sampled_from((0, 0, 0, 1, -1, 500_000))
"""Microseconds, mostly none, so that edges are met."""


def moment(seconds: int, microseconds: int = 0) -> datetime:
    return START + timedelta(seconds=seconds, microseconds=microseconds)


@st.composite
def rows(draw: st.DrawFn, most: int = 25) -> list[dict[str, Any]]:
    """Rows of a source: versions of few orders, some dated ahead, some too far ahead, nulls, ties."""
    found = []
    for _ in range(draw(st.integers(0, most))):
        happened = moment(draw(SECONDS), draw(OFFSETS))
        delay = draw(st.sampled_from((-301, -300, -200, -20, -1, 0, 0, 1, 30, 4000, 100_000)))
        found.append(
            {
                "order": draw(st.integers(0, 15)),
                "buyer": draw(st.sampled_from((*BUYERS, None))),
                "happened": happened,
                "known": happened + timedelta(seconds=delay),
                "amount": draw(st.one_of(st.none(), st.integers(-3, 3), st.integers(-(2**58), 2**58))),
                "price": draw(
                    st.one_of(st.none(), st.integers(-800, 800).map(lambda each: each / 8), st.floats(-1e3, 1e3))
                ),
                "gift": draw(st.sampled_from((None, False, True))),
                "card": draw(st.sampled_from((None, "", "x", "y", "œ" * 9))),
                "paid": draw(st.sampled_from((None, moment(0), moment(7, 1)))),
            }
        )
    return found


@st.composite
def instants(draw: st.DrawFn, known: datetime) -> datetime:
    """A time after `known`: just after, soon, at an edge, long after."""
    later = draw(st.one_of(st.integers(0, 400), st.sampled_from((3600, 89_000, 90_000, 260_000, 10**7))))
    at = known + timedelta(seconds=later, microseconds=draw(st.sampled_from((1, 1, 2, 500_001))))
    if draw(st.booleans()):
        at += timedelta(microseconds=(START - at) // timedelta(microseconds=1) % 1_000_000)
    return at
