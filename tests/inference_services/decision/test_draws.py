"""Draws that nobody who names items can foretell, alike in every process of one folder."""

from __future__ import annotations

import multiprocessing
import stat
from pathlib import Path

import pytest

from hallmark.errors import DeclarationError
from hallmark.policy import lot
from inference_services.decision.draws import Draws

NAMES = [f"item-{at}" for at in range(400)]


def _secret(folder: str) -> str:
    return Draws.of(Path(folder)).secret


def test_processes_that_begin_at_once_have_one_secret(tmp_path: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        found = pool.map(_secret, [str(tmp_path / "records")] * 16, chunksize=1)
    assert len(set(found)) == 1 and len(found[0]) == 64
    (kept,) = (tmp_path / "records").iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


def test_who_names_items_dodges_nothing(tmp_path: Path) -> None:
    one, other = (Draws.of(tmp_path / name).lot("bags") for name in ("one", "other"))
    dodging = [each for each in NAMES if lot.drawn([each], "bags/explore")[0] >= 0.5]
    share = sum(one(each) < 0.5 for each in dodging) / len(dodging)
    assert 0.38 < share < 0.62
    assert [one(each) for each in NAMES] == [Draws.of(tmp_path / "one").lot("bags")(each) for each in NAMES]
    assert one("item-1") != other("item-1") != Draws.of(tmp_path / "other").lot("belts")("item-1")
    assert all(0 <= one(each) < 1 for each in NAMES)


def test_a_file_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    (tmp_path / "draws.secret").write_text("short\n")
    with pytest.raises(DeclarationError, match="take the file away"):
        Draws.of(tmp_path)
