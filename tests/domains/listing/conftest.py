"""The listing team's photos as a folder: drawn ones everywhere, and the real ones where a machine has them."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="session")
def clothing() -> Path:
    """The folder of real photos: `clothing` in the folder that HALLMARK_DATA names. Skips where there is none (tests/skips.py)."""
    folder = Path(os.environ.get("HALLMARK_DATA") or ROOT.parent / "shared" / "data") / "clothing"
    if not (folder / "images.csv").is_file():
        pytest.skip("no real photos: HALLMARK_DATA names no folder with clothing/images.csv")
    return folder


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight days' drawn photos, laid out as the team's own: images.csv, which names files without their ending, and images/."""
    from domains.listing import data

    start = datetime(2026, 1, 1, tzinfo=UTC)
    frame = data.draw(start=start, end=start + timedelta(days=8), seed=11)
    folder = tmp_path_factory.mktemp("clothing")
    (folder / "images").mkdir()
    for name, photo in zip(frame["name"], frame["image"], strict=True):
        (folder / "images" / name).write_bytes(photo)
    listed = frame.assign(image=[Path(name).stem for name in frame["name"]])
    listed[["image", "sender_id", "label", "kids"]].to_csv(folder / "images.csv", index=False)
    return folder


@pytest.fixture(params=["drawn", "real"])
def album(request: pytest.FixtureRequest) -> Path:
    """A folder of photos as the listing team keeps it."""
    found: Path = request.getfixturevalue("drawn" if request.param == "drawn" else "clothing")
    return found
