"""Members and stock of the synthetic marketplace: the same every time, with tastes that last, and another stock where it is told to be."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache

import pandas as pd
import pytest

from domains.recommendations import data
from domains.recommendations.features import FIELDS, observe
from domains.recommendations.synthetic import SHIFTS, items, views
from hallmark.declaration import domain as domains
from hallmark.declaration.drift import Drift
from hallmark.drift import profile, verdict
from hallmark.errors import DeclarationError
from hallmark.features.fields import Columns
from hallmark.learners.model import requested
from hallmark.training.split import usual

START = datetime(2026, 9, 1, tzinfo=UTC)


@cache
def looked(days: int = 10, *, offset: int = 0, shift: str | None = None, seed: int = 7) -> pd.DataFrame:
    start = START + timedelta(days=offset)
    return data.draw(start=start, end=start + timedelta(days=days), seed=seed, shift=shift)


@pytest.mark.slow
@pytest.mark.parametrize("shift", [None, "new_stock"])
def test_a_day_is_the_same_whichever_window_asks_for_it(shift: str | None) -> None:
    wide, part = looked(shift=shift), looked(2, offset=4, shift=shift)
    begin, end = START + timedelta(days=4), START + timedelta(days=6)
    inside = wide[(wide.viewed == 1) & (wide.shown_at >= begin) & (wide.shown_at < end)]
    told = ["member_id", "item_id", "shown_at", "category"]
    mine = part[part.viewed == 1]
    pd.testing.assert_frame_equal(inside[told].reset_index(drop=True), mine[told].reset_index(drop=True))
    assert list(map(list, inside.recent_items)) == list(map(list, mine.recent_items))


@pytest.mark.slow
def test_another_seed_gives_others() -> None:
    assert looked(2).item_id.tolist() != looked(2, seed=8).item_id.tolist()


def test_an_item_is_looked_at_while_it_is_for_sale_and_once_by_one_member() -> None:
    seen = views(START, START + timedelta(days=5), seed=7)
    assert not seen.duplicated(["member_id", "item_id"]).any() and seen.shown_at.is_monotonic_increasing
    stock = items(START, START + timedelta(days=5), seed=7).set_index("item_id")
    now = seen[seen.shown_at >= START]
    assert set(now.item_id) <= set(stock.index)
    assert (now.shown_at.to_numpy() >= stock.loc[now.item_id, "shown_at"].to_numpy()).all()


@pytest.mark.slow
def test_members_keep_to_their_size_and_categories() -> None:
    seen = looked()
    rows = seen[(seen.viewed == 1) & (seen.recent_items.map(len) >= 5)]
    same = [row.category in set(row.recent_categories[-5:]) for row in rows.itertuples()]
    others = [
        category in set(before[-5:])
        for category, before in zip(rows.category.iloc[1:], rows.recent_categories, strict=False)
    ]
    assert sum(same) / len(same) > 0.7 and sum(same) / len(same) > 1.2 * sum(others) / len(others)


def test_new_stock_is_another_corpus() -> None:
    usual, shifted = looked(), looked(shift="new_stock")
    share = [frame[frame.viewed == 1].category.isin(["bags", "watches"]).mean() for frame in (usual, shifted)]
    assert share[1] > share[0] + 0.2
    brands = {brand for row in shifted.recent_brands for brand in row}
    assert brands - {brand for row in usual.recent_brands for brand in row}


@pytest.mark.slow
def test_the_next_days_are_no_drift_and_new_stock_is() -> None:
    """Against what training keeps as the reference: of all looks, members who have looked at nothing yet among them."""
    declared = domains.load("recommendations")

    def observed(frame: pd.DataFrame) -> Columns:
        return observe(requested(frame, FIELDS))

    reference = profile.build(observed(usual(declared, looked())), scores={})
    for shift, state in ((None, "OK"), ("new_stock", "DRIFT")):
        seen = looked(2, offset=10, shift=shift)
        found = verdict.judge(reference, observed(seen[seen.viewed == 1]), Drift(minimum=300))
        assert found.state == state, found.columns
        assert {column.name for column in found.columns if column.drifted} == (
            {"category", "price"} if shift else set()
        )


def test_a_shift_that_is_none_is_refused() -> None:
    assert [shift.name for shift in SHIFTS] == ["new_stock"]
    with pytest.raises(DeclarationError, match="no shift"):
        views(START, START + timedelta(days=1), seed=7, shift="winter")
    with pytest.raises(DeclarationError, match="window"):
        views(START, START, seed=7)
