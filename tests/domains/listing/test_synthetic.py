"""Drawn photos: the same every time, of every kind, alike where one sender took them, changed where a camera is."""

from __future__ import annotations

import io
from functools import cache

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from domains.listing.synthetic import photos, picture
from hallmark.errors import DeclarationError
from hallmark.features import image
from synthetic import scene
from synthetic.chance import generator
from synthetic.garments import KINDS


@cache
def drawn(shift: str | None = None) -> pd.DataFrame:
    return photos(72, seed=7, shift=shift)


def test_a_photo_is_the_same_whichever_part_it_is_drawn_with() -> None:
    pd.testing.assert_frame_equal(photos(9, seed=7, first=20), drawn()[20:29].reset_index(drop=True))
    assert photos(1, seed=8).image[0] != drawn().image[0]


def test_each_is_a_small_jpeg_that_decodes() -> None:
    for data in drawn().image:
        opened = Image.open(io.BytesIO(data))
        assert opened.format == "JPEG" and max(opened.size) in (144, 160) and len(data) < 30_000
    assert drawn().name.is_unique


def test_a_sender_sends_several() -> None:
    sizes = drawn().sender_id.value_counts()
    assert sizes.sum() == 72 and 8 <= len(sizes) <= 14 and sizes.max() >= 6


def test_a_senders_photos_look_more_alike_than_strangers() -> None:
    corners = {}
    for sender, group in drawn().groupby("sender_id"):
        pixels = [image.pixels(data, size=(32, 32)) for data in group.image]
        corners[sender] = np.array(
            [np.concatenate((p[:3].reshape(-1, 3), p[-3:].reshape(-1, 3))).mean(axis=0) for p in pixels]
        )
    within = np.mean([each.std(axis=0).mean() for each in corners.values() if len(each) > 2])
    across = np.std([each.mean(axis=0) for each in corners.values()], axis=0).mean()
    assert within < 0.5 * across


@pytest.mark.parametrize("label", KINDS)
def test_every_garment_covers_a_part_of_the_photo_and_no_two_are_the_same(label: str) -> None:
    seen = set()
    for number in range(3):
        random = generator(1, "test", number)
        made = picture(label, scene.scene(random), random)
        assert np.asarray(made).std() > 4
        seen.add(made.tobytes())
    assert len(seen) == 3


def test_a_camera_change_shows_in_the_statistics_of_photos() -> None:
    before, after = (image.statistics(drawn(shift).image) for shift in (None, "camera_change"))
    for name in ("contrast", "sharpness", "megapixels"):
        assert np.median(after[name]) < np.quantile(before[name], 0.25), name
    pd.testing.assert_series_equal(drawn().label, drawn("camera_change").label)


def test_other_shifts_do_not_happen_to_photos() -> None:
    with pytest.raises(DeclarationError, match="listing has no shift 'season'"):
        photos(1, seed=7, shift="season")
