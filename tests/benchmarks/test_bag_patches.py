"""The study of nearest patches: what it counts, and that a bank knows its own bags and is surprised by what it has never seen."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.bag_patches import (
    WAYS,
    Banks,
    Seen,
    Sizes,
    accepted,
    farthest_first,
    only,
    patches,
    seen,
    spent,
    wider,
)
from domains.authentication.synthetic import photos, stock
from hallmark.learners.photo_set_network import PhotoSetNetwork
from synthetic.chance import generator


@pytest.fixture(scope="module")
def network() -> PhotoSetNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return PhotoSetNetwork(
            widths=(8, 12), depths=(1,), dim=16, traits=4, brands=4, categories=3, embedding=8
        ).eval()


@pytest.fixture(scope="module")
def banks(network: PhotoSetNetwork) -> Banks:
    return Banks(network, Sizes(references=12, each=12, candidates=100_000, kept=60))


def test_farthest_first_takes_the_ends_before_what_lies_between() -> None:
    points = np.array([[0.0], [0.1], [5.0], [10.0], [9.9]], dtype=np.float32)
    assert farthest_first(points, 3).ravel().tolist() == [0.0, 10.0, 5.0]


def test_one_counterfeit_in_a_hundred_may_be_accepted() -> None:
    labels = np.zeros(200, dtype=np.int64)
    labels[[99, 150]] = 1
    score = np.arange(200.0)
    assert accepted(labels, score) == 1.0
    labels[101] = 1
    assert accepted(labels, score) == pytest.approx(101 / 200)
    assert accepted(np.ones(3, dtype=np.int64), np.arange(3.0)) == 0.0


def test_a_doubtful_bag_goes_to_a_person_where_its_price_is_worth_the_minutes() -> None:
    cheap, dear = spent(np.zeros(2), np.array([20.0, 5000.0]), np.array([0.05, 0.05]))
    assert cheap == 0.0
    assert dear >= 6 * 0.75


def test_a_bank_is_surprised_by_what_no_reference_shows(network: PhotoSetNetwork, banks: Banks) -> None:
    random = generator(1, "patches")
    some = stock(3, random)
    found = seen(network, some, photos(some, random))
    strange = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (1, 3, 64, 64), dtype=np.uint8))
    with torch.inference_mode():
        _, other = patches(network, strange)
    for bank in {way[:3] for way in WAYS if not way.by_view}:
        known = banks.distances(found, bank)
        photo = Seen(
            np.zeros(1, np.int64), found.logit, found.odd, np.zeros(1, np.int64), found.view[:1], other.numpy()
        )
        assert known.shape == (len(found.of), 64)
        assert banks.distances(photo, bank).max() > np.nanmedian(known.max(1))


def test_some_items_keep_their_own_photos() -> None:
    whole = stock(8, generator(2, "patches"))
    some = only(whole, np.array([1, 5]))
    assert some.views[some.photos_of == 1].tolist() == whole.views[whole.photos_of == 5].tolist()
    assert some.bags.price.tolist() == whole.bags.price[[1, 5]].tolist()


def test_rows_are_set_apart_and_the_photo_keeps_its_size() -> None:
    drawn = np.full((64, 64, 3), 40, dtype=np.uint8)
    drawn[[20, 21, 42, 43]] = 220
    stream = io.BytesIO()
    Image.fromarray(drawn).save(stream, "PNG")
    rows = np.asarray(Image.open(io.BytesIO(wider(stream.getvalue(), 1.35))).convert("L"))[:, 32]
    assert rows.shape == (64,)
    bright = np.nonzero(rows > 120)[0]
    assert np.ptp(bright) > 26
