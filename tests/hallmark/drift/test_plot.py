"""The history as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from hallmark.drift import plot
from hallmark.errors import NotFound


def points(effects: list[float]) -> list[dict[str, Any]]:
    return [
        {
            "at": 1_795_000_000 + 60 * at,
            "state": "DRIFT" if effect > 1 else "OK",
            "effects": {"score": effect, "amount": 0.2},
            "drifted": ["score"] if effect > 1 else [],
        }
        for at, effect in enumerate(effects)
    ]


def reddish(path: Path) -> float:
    """The share of pixels that are of the ground that DRIFT has."""
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(int)
    return float((np.abs(pixels - (251, 213, 208)).sum(axis=2) < 12).mean())


@pytest.mark.slow
def test_drift_is_seen_and_its_absence_too(tmp_path: Path) -> None:
    rising, calm = points([0.3] * 10 + [1.5, 3.0, 8.0, 40.0]), points([0.3] * 14)
    drawn = plot.draw({"stable": calm, "canary": rising}, tmp_path / "a" / "drift.png", title="fraud")
    plot.draw({"stable": calm}, tmp_path / "calm.png", title="fraud")
    assert reddish(drawn) > 0.03 and reddish(tmp_path / "calm.png") == 0


def test_one_point_is_drawn_and_none_is_said(tmp_path: Path) -> None:
    assert plot.draw({"stable": points([0.3])}, tmp_path / "one.png", title="fraud").stat().st_size > 5000
    with pytest.raises(NotFound, match="no history"):
        plot.draw({"stable": []}, tmp_path / "none.png", title="fraud")
