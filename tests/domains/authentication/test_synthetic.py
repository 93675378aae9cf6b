"""Drawn bags: the same every time, their best possible answer known, and super-fakes that nobody tells by what they are."""

from __future__ import annotations

import io
from datetime import UTC, datetime, timedelta
from functools import cache

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import average_precision_score, roc_auc_score

from domains.authentication import data, features
from domains.authentication.synthetic import MOST, items, stock
from hallmark.data import contract
from hallmark.errors import ContractBroken, DeclarationError
from synthetic import bag_photos, bags
from synthetic.chance import generator

START = datetime(2026, 3, 1, tzinfo=UTC)


@cache
def drawn(shift: str | None = None) -> pd.DataFrame:
    return items(START, START + timedelta(days=2), seed=5, shift=shift, per_day=25)


def test_a_day_is_the_same_whichever_window_asks_for_it() -> None:
    second = items(START + timedelta(days=1), START + timedelta(days=2), seed=5, per_day=25)
    both = drawn()
    pd.testing.assert_frame_equal(second, both[both.listed_at >= START + timedelta(days=1)].reset_index(drop=True))
    other = items(START, START + timedelta(days=1), seed=6, per_day=25)
    assert other.photos[0][0] != both.photos[0][0]


@pytest.mark.parametrize("shift", [None, "super_fakes"])
def test_drawn_items_keep_the_contract(shift: str | None) -> None:
    assert contract.breaches(data.contract(), drawn(shift)) == ()


def test_a_change_is_stopped_and_its_column_named() -> None:
    for column, changed in (
        ("photos", drawn().assign(photos=pd.Series([[b"no photo"]] * len(drawn()), dtype=object))),
        ("brand", drawn().assign(brand="Somebody")),
        ("grain", drawn().drop(columns="grain")),
        ("inspected_at", drawn().assign(inspected_at=drawn().listed_at - pd.Timedelta(hours=1))),
    ):
        with pytest.raises(ContractBroken) as caught:
            contract.check(data.contract(), changed, "items")
        assert f"column {column}:" in caught.value.message


def test_photos_are_small_jpegs_up_to_eight_and_not_in_one_order() -> None:
    counts = drawn().photos.map(len)
    assert counts.min() >= 1 and counts.max() <= MOST and counts.nunique() > 2
    opened = Image.open(io.BytesIO(drawn().photos[0][0]))
    assert (opened.format, opened.size) == ("JPEG", (bag_photos.SIDE, bag_photos.SIDE))
    found = stock(400, generator(1, "views"))
    firsts = np.concatenate(([0], np.cumsum(np.bincount(found.photos_of, minlength=400))[:-1]))
    assert set(found.views[firsts]) == set(range(len(bag_photos.VIEWS)))
    assert 0.02 < (found.views == bag_photos.VIEWS.index("receipt")).mean() < 0.09
    assert 0.7 < found.seen.mean() < 0.95


def test_the_model_is_told_the_brands_and_categories_that_there_are() -> None:
    assert (features.BRANDS, features.CATEGORIES, data.SHEET) == (bags.BRANDS, bags.CATEGORIES, bags.TRAITS)
    assert (features.SIDE, features.MOST) == (bag_photos.SIDE, MOST)


def test_the_best_possible_answer_is_a_chance_that_comes_true_and_what_is_not_seen_costs() -> None:
    found = stock(60_000, generator(2, "best"))
    best, partly = bags.chance(found.bags), bags.chance(found.bags, found.seen)
    truth = found.bags.counterfeit
    for low, high in ((0.0, 0.01), (0.01, 0.1), (0.1, 0.5), (0.5, 0.9), (0.9, 1.0)):
        rows = (partly >= low) & (partly < high)
        error = 4 * np.sqrt(partly[rows].mean() / rows.sum())
        assert abs(partly[rows].mean() - truth[rows].mean()) < error
    assert average_precision_score(truth, best) > average_precision_score(truth, partly) > 0.9
    guess = bags.chance(found.bags, np.zeros_like(found.seen))
    assert average_precision_score(truth, guess) < 0.3


def test_one_to_three_traits_are_altered() -> None:
    found = bags.market(4000, generator(3, "altered"))
    far = (np.abs(found.off) > 2.6).sum(axis=1)
    assert set(np.unique(far[found.counterfeit])) == {0, 1, 2, 3} or far[found.counterfeit].max() <= 4
    assert (far[found.counterfeit] >= 1).mean() > 0.9 > 0.1 > (far[~found.counterfeit] >= 1).mean()


def test_super_fakes_are_a_fifth_and_told_by_their_photos_alone() -> None:
    found = stock(20_000, generator(4, "wave"), wave=True).bags
    assert 0.18 < found.super_fake.mean() < 0.22
    authentic = ~found.counterfeit & (found.brand == 0) & (found.category == 0)
    either = found.super_fake | authentic
    assert roc_auc_score(found.super_fake[either], bags.chance(found)[either]) < 0.62
    told = features.observe(
        {name: column(drawn("super_fakes"), name) for name in ("photos", "brand", "category", "price")}
    )
    usual = features.observe({name: column(drawn(), name) for name in ("photos", "brand", "category", "price")})
    assert (told["photos"] == MOST).mean() > 0.1 and (usual["photos"] == MOST).mean() == 0
    assert (told["brand"] == bags.BRANDS[0]).mean() > (usual["brand"] == bags.BRANDS[0]).mean()


def test_other_shifts_do_not_happen_to_bags() -> None:
    with pytest.raises(DeclarationError, match="authentication has no shift 'season'"):
        items(START, START + timedelta(days=1), seed=5, shift="season")


def column(frame: pd.DataFrame, name: str) -> np.ndarray:
    found = np.empty(len(frame), dtype=object)
    found[:] = [np.array(value, dtype=object) if name == "photos" else value for value in frame[name]]
    return found.astype(np.float64) if name == "price" else found
