"""The listing contract: drawn and real photos keep it; whatever is done to them stops before training (faults.md, row 24)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import pandas as pd
import pytest

from domains.listing import data
from hallmark.data import contract
from hallmark.errors import ContractBroken

START = datetime(2026, 1, 1, tzinfo=UTC)


@cache
def photos() -> pd.DataFrame:
    return data.draw(start=START, end=START + timedelta(days=2), seed=7)


def cell(frame: pd.DataFrame, column: str, value: object) -> pd.DataFrame:
    values = frame[column].astype(object)
    values.iloc[[2, 5]] = pd.Series([value, value], index=values.index[[2, 5]], dtype=object)
    return frame.assign(**{column: values})


CHANGES: dict[str, tuple[str, Callable[[pd.DataFrame], pd.DataFrame]]] = {
    "photos renamed": ("image", lambda f: f.rename(columns={"image": "photo"})),
    "photos dropped": ("image", lambda f: f.drop(columns="image")),
    "photos as text": ("image", lambda f: f.assign(image=f.image.map(lambda photo: photo.hex()))),
    "a photo missing": ("image", lambda f: cell(f, "image", None)),
    "an empty photo": ("image", lambda f: cell(f, "image", b"")),
    "a text for a photo": ("image", lambda f: cell(f, "image", b"<html>not found</html>")),
    "half a photo": ("image", lambda f: cell(f, "image", f.image[2][: len(f.image[2]) // 2])),
    "labels renamed": ("label", lambda f: f.rename(columns={"label": "garment"})),
    "an unknown garment": ("label", lambda f: cell(f, "label", "Submarine")),
    "another spelling": ("label", lambda f: f.assign(label=f.label.str.lower())),
    "labels as numbers": ("label", lambda f: f.assign(label=range(len(f)))),
    "a label missing": ("label", lambda f: cell(f, "label", None)),
    "senders as numbers": ("sender_id", lambda f: f.assign(sender_id=f.sender_id.astype("int64"))),
    "a sender missing": ("sender_id", lambda f: cell(f, "sender_id", None)),
    "an empty sender": ("sender_id", lambda f: cell(f, "sender_id", "")),
    "a name twice": ("name", lambda f: cell(f, "name", "one.jpg")),
    "kids as text": ("kids", lambda f: f.assign(kids=f.kids.map({True: "yes", False: "no"}))),
    "kids missing": ("kids", lambda f: f.drop(columns="kids")),
}


def test_drawn_photos_keep_the_contract() -> None:
    assert contract.breaches(data.contract(), photos()) == ()
    assert (
        contract.breaches(
            data.contract(), data.draw(start=START, end=START + timedelta(days=1), seed=1, shift="camera_change")
        )
        == ()
    )


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_stopped_and_its_column_named(change: str) -> None:
    column, made = CHANGES[change]
    with pytest.raises(ContractBroken) as caught:
        contract.check(data.contract(), made(photos().copy()), "photos")
    assert f"column {column}:" in caught.value.message


def test_a_day_has_the_same_photos_whichever_window_asks_for_it() -> None:
    second = data.draw(start=START + timedelta(days=1), end=START + timedelta(days=2), seed=7)
    pd.testing.assert_frame_equal(second, photos()[data.PER_DAY :].reset_index(drop=True))


def test_the_labels_are_those_the_model_has_classes_for() -> None:
    model = pytest.importorskip("domains.listing.model")
    assert model.LABELS == data.LABELS


def test_the_teams_photos_keep_the_contract(album: Path) -> None:
    frame = data.read(album)
    assert len(frame) == len(list((album / "images").iterdir())) and set(frame.label) <= set(data.LABELS)
    assert contract.breaches(data.contract(), frame[:300]) == ()
