"""The synthetic listings: what is true of them is what they were drawn by."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from domains.pricing import data, synthetic
from hallmark.data import contract
from hallmark.errors import DeclarationError

START = datetime(2026, 8, 1, tzinfo=UTC)
END = START + timedelta(days=30)


@pytest.fixture(scope="module")
def sales() -> pd.DataFrame:
    return synthetic.sales(START, END, seed=3)


def test_they_keep_the_contract_and_a_day_is_the_same_in_every_window(sales: pd.DataFrame) -> None:
    contract.check(data.contract(), data.told(sales), "the synthetic listings")
    later = synthetic.sales(START + timedelta(days=10), END, seed=3)
    pd.testing.assert_frame_equal(later, sales.tail(len(later)).reset_index(drop=True))


def test_as_many_sell_for_a_price_as_the_known_distribution_of_offers_says(sales: pd.DataFrame) -> None:
    sold = sales["sold_at"].notna()
    worth, wanted = sales["true_worth"].to_numpy(), sales["wanted"].to_numpy()
    for share in (0.1, 0.5, 0.9):
        reached = sales["price"].to_numpy() > synthetic.best_offer(worth, wanted, share)
        told = sold & reached | ~sold & False
        known = sales["asked"].to_numpy() <= synthetic.best_offer(
            worth, wanted, share
        )  # else it is hidden whether it did
        assert told[known].mean() == pytest.approx(1 - share, abs=0.03)
    assert (sales.loc[sold, "price"] >= sales.loc[sold, "asked"] - 0.01).all()
    assert sales.loc[~sold, "unlisted_at"].notna().all() and sales.loc[sold, "unlisted_at"].isna().all()


def test_what_is_wanted_costs_more_beside_its_worth_and_sells_sooner_all_the_same(sales: pd.DataFrame) -> None:
    dear = np.log(sales["asked"] / sales["true_worth"])
    wanted = sales["wanted"] > sales["wanted"].median()
    assert dear[wanted].mean() > dear[~wanted].mean() + 0.05
    assert sales.loc[wanted, "sold_at"].notna().mean() > sales.loc[~wanted, "sold_at"].notna().mean() - 0.1


def test_a_jump_of_luxury_makes_it_dearer_and_more_of_it_and_leaves_the_rest(sales: pd.DataFrame) -> None:
    from synthetic import vocabulary

    luxury = [name for name, tier in vocabulary.BRANDS if tier == 1]
    jumped = synthetic.sales(START, END, seed=3, shift="luxury_jump")
    before, after = (each["brand"].isin(luxury) for each in (sales, jumped))
    assert after.mean() > before.mean() + 0.2
    both = before & (sales["brand"] == jumped["brand"])
    assert np.allclose(jumped.loc[both, "true_worth"] / sales.loc[both, "true_worth"], 2.0)
    assert np.allclose(jumped.loc[~after, "price"], sales.loc[~after, "price"])


def test_a_window_that_is_none_is_refused() -> None:
    with pytest.raises(DeclarationError, match="the window is not one"):
        synthetic.sales(END, START, seed=1)
