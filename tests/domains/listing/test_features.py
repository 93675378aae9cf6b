"""Inputs of the listing model from a photo, and the columns that drift is watched on."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from domains.listing import features
from hallmark.features.image import BadImage


def photo(colour: str, *, size: tuple[int, int] = (120, 160)) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, "JPEG")
    return stream.getvalue()


def columns(*photos: object) -> dict[str, np.ndarray]:
    held = np.empty(len(photos), dtype=object)
    held[:] = photos
    return {"image": held}


def test_the_request_is_one_photo() -> None:
    (field,) = features.FIELDS
    assert (field.name, field.datatype, field.shape, field.media) == ("image", "BYTES", (), "image")


def test_photos_of_any_shape_become_squares() -> None:
    inputs = features.encode(columns(photo("white"), photo("black", size=(300, 40))))
    assert inputs.shape == (2, 3, features.SIDE, features.SIDE)
    assert inputs.dtype == np.float32
    assert inputs[0].min() == pytest.approx(2.0)
    assert inputs[1].max() == pytest.approx(-2.0)


def test_a_record_is_encoded_alike_alone_and_in_a_batch() -> None:
    photos = [photo(colour) for colour in ("red", "green", "blue")]
    together = features.encode(columns(*photos))
    alone = [features.encode(columns(one))[0] for one in photos]
    assert np.array_equal(together, np.stack(alone))


def test_what_is_no_photo_is_refused_with_its_reason() -> None:
    with pytest.raises(BadImage, match="not a photo"):
        features.encode(columns(photo("red"), b"not a photo"))


def test_observed_are_the_statistics_of_each_photo() -> None:
    observed = features.observe(columns(photo("white"), photo("black")))
    assert set(observed) >= {"brightness", "contrast", "colourfulness", "sharpness", "aspect"}
    assert observed["brightness"].tolist() == pytest.approx([1.0, 0.0], abs=0.01)


@pytest.mark.slow
def test_all_the_teams_photos_are_read(album: Path) -> None:
    paths = sorted((album / "images").iterdir())
    inputs = features.encode(columns(*(path.read_bytes() for path in paths)))
    assert len(inputs) == len(paths) >= 60
    assert np.isfinite(inputs).all()
    assert inputs.std(axis=(1, 2, 3)).min() > 0.05
