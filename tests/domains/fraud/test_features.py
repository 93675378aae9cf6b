from __future__ import annotations

import numpy as np
import pytest

from domains.fraud.features import FIELDS, NAMES, encode, observe
from hallmark.features.fields import Columns


def orders(n: int = 64, *, seed: int = 0) -> Columns:
    """Orders anywhere in the declared ranges, both ends included."""
    random = np.random.default_rng(seed)
    made = {}
    for field in FIELDS:
        if field.categories:
            made[field.name] = random.choice(np.array(field.categories, dtype=object), n)
        elif field.datatype == "BOOL":
            made[field.name] = random.random(n) < 0.5
        else:
            drawn = random.uniform(float(field.minimum or 0), float(field.maximum or 0), n)
            drawn[:2] = field.minimum, field.maximum
            made[field.name] = drawn.astype(field.dtype)
    return made


def test_every_declared_order_has_a_finite_code() -> None:
    given = encode(orders())
    assert given.shape == (64, len(NAMES)) and given.dtype == np.float32
    assert np.isfinite(given).all()
    assert len(set(NAMES)) == len(NAMES)


def test_an_order_has_the_same_code_alone_and_in_a_batch() -> None:
    batch = orders(300)
    together = encode(batch)
    for row in range(300):
        alone = encode({name: column[row : row + 1] for name, column in batch.items()})
        assert (alone[0] == together[row]).all()


def test_the_code_is_what_the_names_say() -> None:
    given = {name: column[:1].copy() for name, column in orders().items()}
    given |= {"amount": np.array([99.0]), "hour": np.array([6]), "discount": np.array([0.25])}
    given |= {"payment": np.array(["card"], dtype=object), "express": np.array([True])}
    row = dict(zip(NAMES, encode(given)[0], strict=True))
    assert row["log_amount"] == pytest.approx(np.log(100.0))
    assert row["hour"] == 6 and row["hour_sin"] == pytest.approx(1) and row["hour_cos"] == pytest.approx(0, abs=1e-7)
    assert row["discount"] == 0.25 and row["express"] == 1
    assert [row[f"payment_{value}"] for value in ("bank_transfer", "card", "invoice", "wallet")] == [0, 1, 0, 0]


def test_an_empty_batch_has_an_empty_code() -> None:
    assert encode({name: column[:0] for name, column in orders().items()}).shape == (0, len(NAMES))


def test_what_is_observed_is_the_request_but_for_the_clock() -> None:
    given = orders()
    watched = observe(given)
    assert list(watched) == [field.name for field in FIELDS if field.name != "hour"]
    assert all((watched[name] == given[name]).all() for name in watched)
