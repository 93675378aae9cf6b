"""Photos of bags: a whole one and close-ups of seam, logo, hardware and leather, drawn from an item's traits, many of one kind at once."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]

VIEWS = ("whole", "seam", "logo", "hardware", "leather", "receipt")
"""What a photo shows; a receipt is a wrong photo, which tells nothing of the item."""
SIDE = 64
_SILVER, _GOLD = np.array([196.0, 198.0, 204.0]), np.array([222.0, 172.0, 84.0])
_HIDES = np.array(
    [(30, 28, 30), (92, 58, 36), (150, 104, 64), (196, 160, 118), (120, 30, 36), (40, 54, 86), (70, 84, 62), (210, 200, 186)],
    dtype=np.float32,
)  # fmt: skip
_WAVES = 14
_LIGHT = 22.0


@dataclass(frozen=True)
class Camera:
    """Light and noise of n photos. studio: very light, sharp and alike, as a workshop's own are."""

    studio: NDArray[np.bool_]
    random: np.random.Generator

    def taken(self, photos: Floats) -> list[bytes]:
        """(n, side, side, 3) as JPEG files."""
        random, n = self.random, len(photos)
        gain = np.where(self.studio, random.normal(1.2, 0.015, n), random.normal(1.0, 0.09, n))
        white = 1 + random.normal(0, 0.008, (n, 3)) * ~self.studio[:, None]
        slope = random.normal(0, 0.06, (n, 2)) * ~self.studio[:, None]
        noise = np.where(self.studio, 0.6, random.uniform(1.0, 4.5, n)).astype(np.float32)
        quality = np.where(self.studio, 92, random.integers(80, 93, n)).tolist()
        place = np.linspace(-1, 1, SIDE, dtype=np.float32)
        light = 1 + slope[:, 0, None, None] * place[None, :, None] + slope[:, 1, None, None] * place[None, None, :]
        lit = (
            photos
            * (gain[:, None, None] * light)[..., None].astype(np.float32)
            * white[:, None, None].astype(np.float32)
        )
        lit += random.standard_normal(photos.shape, dtype=np.float32) * noise[:, None, None, None]
        pixels = np.clip(lit, 0, 255).astype(np.uint8)
        return [_jpeg(each, quality=how) for each, how in zip(pixels, quality, strict=True)]


def drawn(
    view: str,
    *,
    traits: NDArray[np.float64],
    category: Ints,
    hide: Ints,
    camera: Camera,
) -> list[bytes]:
    """Photos of one kind of view, a file for each item: its traits (n, 4), its category, and the colour of its leather."""
    random = camera.random
    photos = _SCENES[view](traits.astype(np.float32), category, _HIDES[hide % len(_HIDES)], random)
    return camera.taken(photos)


def _grid(random: np.random.Generator, n: int, *, turn: float) -> tuple[Floats, Floats]:
    """(n, side, side) along and across, in pixels from a drawn place, turned by a drawn angle."""
    angle = random.normal(0, turn, n)[:, None, None]
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32) - SIDE / 2
    along = x * np.cos(angle) + y * np.sin(angle)
    across = y * np.cos(angle) - x * np.sin(angle)
    return along.astype(np.float32), across.astype(np.float32)


def _plain(n: int, hide: Floats, random: np.random.Generator) -> Floats:
    """(n, side, side, 3) smooth leather."""
    rough = random.standard_normal((n, SIDE // 2, SIDE // 2), dtype=np.float32).repeat(2, 1).repeat(2, 2)
    return hide[:, None, None] * (1 + 0.04 * rough[..., None])


def _soft(x: Floats, width: float = 0.6) -> Floats:
    """0..1 across an edge at 0."""
    return np.asarray(1 / (1 + np.exp(-np.clip(x / width, -30, 30))), dtype=np.float32)


def _band(phase: Floats, share: float, period: Floats) -> Floats:
    """1 within `share` of each period, with soft ends; phase in periods."""
    near = np.abs((phase + 0.5) % 1 - 0.5) * period
    return _soft(share * period / 2 - near)


def _seam(traits: Floats, category: Ints, hide: Floats, random: np.random.Generator) -> Floats:
    """Two lines of stitches, `stitch_pitch` apart from 5 to 13 pixels."""
    n = len(traits)
    along, across = _grid(random, n, turn=0.12)
    pitch = (5 + 8 * traits[:, 0])[:, None, None]
    place = random.uniform(-10, 10, n).astype(np.float32)[:, None, None]
    thread = np.where(hide.mean(axis=1, keepdims=True) > 110, hide * 0.45, np.minimum(hide + 110, 250))
    whole = np.zeros((n, SIDE, SIDE), dtype=np.float32)
    for row in (-11.0, 11.0):
        start = random.random(n).astype(np.float32)[:, None, None]
        dash = _band(along / pitch + start, 0.62, pitch)
        whole += dash * _soft(1.6 - np.abs(across - place - row))
    ground = _plain(n, hide, random) * (1 - 0.25 * _soft(1.2 - np.abs(across - place)))[..., None]
    return np.asarray(ground + whole[..., None] * (thread[:, None, None] - ground), dtype=np.float32)


def _logo(traits: Floats, category: Ints, hide: Floats, random: np.random.Generator) -> Floats:
    """Two lines of embossed letters, `logo_kerning` sets them 6.5 to 13.5 pixels apart."""
    n = len(traits)
    along, across = _grid(random, n, turn=0.08)
    step = (6.5 + 7 * traits[:, 1])[:, None, None]
    place = random.uniform(-6, 6, n).astype(np.float32)[:, None, None]
    letters = np.zeros((n, SIDE, SIDE), dtype=np.float32)
    for row in (-13.0, 13.0):
        start = random.random(n).astype(np.float32)[:, None, None]
        phase = along / step + start
        stem = _soft(2.2 - np.abs((phase + 0.5) % 1 - 0.5) * step)
        hollow = _soft(2.5 - np.abs(across - place - row + 2.0 * (np.floor(phase + 0.5) % 2) - 1.0)) * 0.7
        letters += stem * _soft(8 - np.abs(across - place - row)) * (1 - hollow)
    shine = np.where(hide.mean(axis=1) > 110, -70.0, 95.0).astype(np.float32)
    return np.asarray(_plain(n, hide, random) + letters[..., None] * shine[:, None, None, None], dtype=np.float32)


def _hardware(traits: Floats, category: Ints, hide: Floats, random: np.random.Generator) -> Floats:
    """A buckle before a grey card; `hardware_tone` from silver to gold."""
    n = len(traits)
    along, across = _grid(random, n, turn=0.4)
    size = random.uniform(15, 22, n).astype(np.float32)[:, None, None]
    middle = random.uniform(-5, 5, (n, 2)).astype(np.float32)[..., None, None]
    u, v = np.abs(along - middle[:, 0]), np.abs(across - middle[:, 1])
    plate = _soft(size - np.maximum(u, v * 1.3)) * (1 - _soft(size * 0.35 - np.maximum(u, v)))
    metal = (_SILVER + traits[:, 2, None] * (_GOLD - _SILVER)).astype(np.float32)
    gloss = 1 + 0.1 * np.sin((u + v) / 9 + random.uniform(0, 6, n).astype(np.float32)[:, None, None])
    card = np.full((n, SIDE, SIDE, 3), 128.0, dtype=np.float32)
    return np.asarray(card + plate[..., None] * (metal[:, None, None] * gloss[..., None] - card), dtype=np.float32)


def _leather(traits: Floats, category: Ints, hide: Floats, random: np.random.Generator) -> Floats:
    """Leather from near: `grain` from 4 to 11 pixels, the same in all directions."""
    n = len(traits)
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    size = 4 + 7 * traits[:, 3]
    field = np.zeros((n, SIDE, SIDE), dtype=np.float32)
    for _ in range(_WAVES):
        angle, start = random.uniform(0, np.pi, n), random.uniform(0, 2 * np.pi, n)
        k = 2 * np.pi / (size * random.normal(1, 0.05, n))
        across = (k * np.cos(angle))[:, None] * x[0] + start[:, None]
        down = (k * np.sin(angle))[:, None] * y[:, 0]
        # cos(a + b), of a row and a column: no field of cosines a wave
        field += (
            np.cos(down)[:, :, None] * np.cos(across)[:, None] - np.sin(down)[:, :, None] * np.sin(across)[:, None]
        ).astype(np.float32)
    relief = field / np.sqrt(_WAVES / 2)
    return np.asarray(hide[:, None, None] + 26 * relief[..., None], dtype=np.float32)


def _whole(traits: Floats, category: Ints, hide: Floats, random: np.random.Generator) -> Floats:
    """The item on a table: its outline and colour."""
    n = len(traits)
    along, across = _grid(random, n, turn=0.1)
    high = np.array([17.0, 11.0, 4.0], dtype=np.float32)[category][:, None, None]
    wide = np.array([21.0, 17.0, 29.0], dtype=np.float32)[category][:, None, None]
    body = _soft(np.minimum(wide - np.abs(along), high - np.abs(across - 6)), 0.8)
    ring = np.hypot(along, (across + 12) * 1.1)
    handle = _soft(1.6 - np.abs(ring - 12)) * (category == 0)[:, None, None] * (across < -8)
    shape = np.maximum(body, handle)[..., None]
    table = random.uniform(120, 225, (n, 1, 1, 3)).astype(np.float32) * np.ones((n, SIDE, SIDE, 1), dtype=np.float32)
    return np.asarray(table + shape * (_plain(n, hide, random) - table), dtype=np.float32)


def _receipt(traits: Floats, category: Ints, hide: Floats, random: np.random.Generator) -> Floats:
    """Paper with lines of ink."""
    n = len(traits)
    along, across = _grid(random, n, turn=0.15)
    start, step = random.random(n).astype(np.float32)[:, None, None], np.full((n, 1, 1), 7, dtype=np.float32)
    line = _band(np.asarray(across / 7 + start, dtype=np.float32), 0.3, step)
    ink = random.random((n, SIDE // 4, SIDE // 4)).repeat(4, 1).repeat(4, 2) > 0.35
    paper = np.full((n, SIDE, SIDE), 228.0, dtype=np.float32) - 150 * line * ink * (np.abs(along) < 24)
    return np.asarray(np.repeat(paper[..., None], 3, axis=3), dtype=np.float32)


_SCENES = {
    "whole": _whole,
    "seam": _seam,
    "logo": _logo,
    "hardware": _hardware,
    "leather": _leather,
    "receipt": _receipt,
}


def _jpeg(pixels: NDArray[np.uint8], *, quality: int) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=quality, subsampling=0)
    return stream.getvalue()
