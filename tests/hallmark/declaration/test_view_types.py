"""A view's columns have the types that its source's contract gives them, or the view is refused with the key."""

from __future__ import annotations

from typing import Any

import pytest

from hallmark.declaration import feature_view, source
from hallmark.declaration.feature_view import FeatureView
from hallmark.declaration.view_types import faults, view_types
from hallmark.errors import DeclarationError
from hallmark.settings import Settings
from tests.hallmark.declaration import contract_changes

SALES = contract_changes.source()


def view(columns: dict[str, Any] | None = None, **keys: Any) -> FeatureView:
    return FeatureView.model_validate(
        {
            "name": "buyer_sales",
            "version": 1,
            "owner": {"team": "pricing", "contact": "pricing@hallmark.example"},
            "description": "What a buyer buys.",
            "entity": "buyer",
            "source": "sales@1",
            "event_time": "sold_at",
            "known_at": "told_at",
            "event_id": "sale_id",
            "freshness": "15m",
            "ttl": "90d",
            "columns": columns or {"sales": {"take": "count"}},
            **keys,
        }
    )


def test_types_follow_the_aggregate_and_the_contract() -> None:
    found = view_types(
        view(
            {
                "sales": {"take": "count"},
                "cards": {"take": "distinct", "of": "payment"},
                "pieces": {"take": "sum", "of": "items"},
                "spent": {"take": "sum", "of": "amount", "where": {"payment": ["card", "wallet"], "gift": False}},
                "mean_pieces": {"take": "mean", "of": "items"},
                "most_pieces": {"take": "max", "of": "items"},
                "least": {"take": "min", "of": "amount", "where": {"items": 1, "distance": 2}},
                "first_sale": {"take": "min", "of": "sold_at"},
                "last_code": {"take": "last", "of": "code", "default": "none"},
                "last_gift": {"take": "last", "of": "gift", "default": False},
                "a_piece": {"take": "ratio", "of": "spent", "over": "pieces"},
            }
        ),
        SALES,
    )
    assert found == {
        "sales": "INT64",
        "cards": "INT64",
        "pieces": "INT64",
        "spent": "FP64",
        "mean_pieces": "FP64",
        "most_pieces": "INT64",
        "least": "FP64",
        "first_sale": "TIME",
        "last_code": "BYTES",
        "last_gift": "BOOL",
        "a_piece": "FP64",
    }


def test_our_own_views_have_types() -> None:
    settings = Settings.load()
    for reference in feature_view.references(settings):
        found = feature_view.load(reference, settings)
        assert set(view_types(found, source.load(found.source, settings))) == set(found.columns)


@pytest.mark.parametrize(
    ("columns", "keys", "fault", "path", "said"),
    [
        ({"x": {"take": "sum", "of": "code"}}, {}, "aggregate", "columns.x.take", "take distinct, last of it"),
        ({"x": {"take": "mean", "of": "gift"}}, {}, "aggregate", "columns.x.take", "a boolean"),
        ({"x": {"take": "min", "of": "code"}}, {}, "aggregate", "columns.x.take", "a string"),
        ({"x": {"take": "sum", "of": "sold_at"}}, {}, "aggregate", "columns.x.take", "distinct, last, min, max"),
        (
            {
                "t": {"take": "max", "of": "sold_at"},
                "n": {"take": "count"},
                "x": {"take": "ratio", "of": "t", "over": "n"},
            },
            {},
            "aggregate",
            "columns.x.of",
            "t is a timestamp",
        ),
        ({"x": {"take": "sum", "of": "amuont"}}, {}, "lacking", "columns.x.of", "no column amuont"),
        ({"x": {"take": "count", "where": {"city": "a"}}}, {}, "lacking", "columns.x.where.city", "no column city"),
        (
            {"x": {"take": "count", "where": {"payment": "cash"}}},
            {},
            "value",
            "columns.x.where.payment",
            "card, wallet",
        ),
        ({"x": {"take": "count", "where": {"gift": 1}}}, {}, "value", "columns.x.where.gift", "true or false"),
        ({"x": {"take": "count", "where": {"items": 1.5}}}, {}, "value", "columns.x.where.items", "whole number"),
        ({"x": {"take": "count", "where": {"items": True}}}, {}, "value", "columns.x.where.items", "whole number"),
        ({"x": {"take": "count", "where": {"sold_at": "2026"}}}, {}, "value", "columns.x.where.sold_at", "a window"),
        ({"x": {"take": "count", "default": "none"}}, {}, "value", "columns.x.default", "an integer"),
        ({"x": {"take": "last", "of": "sold_at", "default": "never"}}, {}, "value", "columns.x.default", "a timestamp"),
        (None, {"event_time": "code"}, "clock", "event_time", "a required timestamp"),
        (None, {"known_at": "heard_at"}, "lacking", "known_at", "no column heard_at"),
        (None, {"event_id": "serial"}, "event_id", "event_id", "name sale_id"),
        (None, {"event_id": "number"}, "lacking", "event_id", "no column number"),
        (None, {"entity": "amount"}, "entity", "entity", "a string or an integer"),
        (None, {"entity": "who"}, "lacking", "entity", "no column who"),
    ],
)
def test_what_a_source_does_not_give_is_refused_with_the_key(
    columns: dict[str, Any] | None, keys: dict[str, Any], fault: str, path: str, said: str
) -> None:
    asked = view(columns, **keys)
    (found,) = faults(asked, SALES)
    assert (found.fault, ".".join(found.path)) == (fault, path) and said in found.text
    with pytest.raises(DeclarationError, match=path):
        view_types(asked, SALES)


def test_a_clock_that_may_be_missing_is_no_clock() -> None:
    loose = contract_changes.source(lambda document, columns: columns["told_at"].pop("required"))
    (found,) = faults(view(), loose)
    assert found.fault == "clock" and found.path == ("known_at",)


def test_all_that_is_wrong_is_told_at_once() -> None:
    asked = view({"x": {"take": "sum", "of": "code"}, "y": {"take": "sum", "of": "nothing"}}, entity="amount")
    with pytest.raises(DeclarationError) as caught:
        view_types(asked, SALES)
    assert all(each in str(caught.value) for each in ("entity", "columns.x.take", "columns.y.of"))
