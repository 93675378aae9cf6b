"""Kappa and shares against the libraries that others compute them with."""

from __future__ import annotations

import random

import pytest
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from hallmark.reviews.agreement import kappa, share
from hallmark.reviews.case import Word


@pytest.mark.parametrize("same", [0.0, 0.3, 0.8, 0.97])
@pytest.mark.parametrize("number", [2, 20, 500])
def test_kappa_is_scikit_learns(same: float, number: int) -> None:
    chance = random.Random(f"{same} {number}")
    firsts = [chance.choices(list(Word), (8, 3, 1))[0] for _ in range(number)]
    firsts[:2] = [Word.authentic, Word.counterfeit]
    seconds = [each if chance.random() < same else chance.choice(list(Word)) for each in firsts]
    found = kappa(list(zip(firsts, seconds, strict=True)))
    assert found is not None and found.pairs == number
    assert found.value == pytest.approx(cohen_kappa_score(firsts, seconds))
    assert found.low is not None and found.high is not None and found.value is not None
    assert found.low <= found.value <= found.high <= 1 + 1e-12
    assert found.agreed == sum(map(str.__eq__, firsts, seconds)) / number


def test_a_few_pairs_that_all_agree_do_not_prove_that_people_always_do() -> None:
    pairs = [(word, word) for word in (Word.authentic, Word.counterfeit) * 5]
    few, many = kappa(pairs), kappa(pairs * 100)
    assert few and many and few.low and many.low
    assert (few.value, few.high) == (1, 1) and few.low < 0.6 and many.low > 0.99


def test_where_everybody_says_one_word_kappa_says_nothing() -> None:
    found = kappa([(Word.authentic, Word.authentic)] * 50)
    assert found is not None and (found.agreed, found.value, found.low, found.high) == (1, None, None, None)
    assert kappa([]) is None


@pytest.mark.parametrize(("count", "of"), [(0, 1), (0, 40), (1, 40), (39, 40), (40, 40), (500, 10_000)])
def test_a_share_has_wilsons_interval(count: int, of: int) -> None:
    found, known = share(count, of), binomtest(count, of).proportion_ci(method="wilson")
    assert (found.value, found.low, found.high) == pytest.approx((count / of, known.low, known.high), abs=1e-6)


def test_a_share_of_none_may_be_anything() -> None:
    assert (share(0, 0).value, share(0, 0).low, share(0, 0).high) == (None, 0, 1)
