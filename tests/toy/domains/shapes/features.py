"""Stripes as pixels: a domain whose model is a small CNN, for tests of what int8 does to one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hallmark.features.fields import Columns, Field

SIDE = 24
FIELDS = (
    Field(name="angle", datatype="FP64", minimum=-4, maximum=4),
    Field(name="width", datatype="FP64", minimum=1, maximum=10),
    Field(name="grain", datatype="INT64"),
    Field(name="pale", datatype="INT64", minimum=0, maximum=1),
)


def encode(columns: Columns) -> NDArray[np.float32]:
    """(n, 1, 24, 24): waves of that angle and width, with noise that `grain` seeds."""
    y, x = np.mgrid[:SIDE, :SIDE]
    angle, width = columns["angle"][:, None, None], columns["width"][:, None, None]
    waves = np.sin((x * np.sin(angle) + y * np.cos(angle)) * 2 * np.pi / width)
    noise = [np.random.default_rng(int(seed)).normal(0, 0.4, (SIDE, SIDE)) for seed in columns["grain"]]
    strength = np.where(columns["pale"], 0.6, 1.0)[:, None, None]
    return (waves * strength + np.reshape(noise, waves.shape))[:, None].astype(np.float32)


def observe(columns: Columns) -> Columns:
    """The raw fields, but for the seed."""
    return {name: columns[name] for name in ("angle", "width", "pale")}
