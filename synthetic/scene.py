"""Places and habits of a sender of photos: ground, light, camera. One sender's photos look alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

Floats = NDArray[np.float32]

GROUNDS = ("sheet", "wood", "tiles", "carpet", "wall", "quilt")
_SHARES = (0.34, 0.2, 0.12, 0.12, 0.12, 0.1)
_GROUND_COLOURS = np.array(
    [
        (226, 223, 217),
        (214, 210, 204),
        (198, 190, 178),
        (178, 172, 168),
        (190, 165, 130),
        (160, 34, 44),
        (178, 62, 104),
        (36, 36, 42),
        (138, 138, 144),
        (128, 142, 164),
        (200, 74, 56),
        (112, 128, 104),
    ],
    dtype=np.float32,
)
_WOODS = np.array([(190, 150, 105), (160, 115, 75), (120, 80, 50), (205, 180, 150)], dtype=np.float32)


@dataclass(frozen=True)
class Scene:
    """Common traits of one sender's photos.

    white: gain of red, green and blue; light: direction and strength of its fall-off; size: of the long side in pixels.
    """

    ground: str
    colour: Floats
    second: Floats
    scale: float
    turn: float
    white: Floats
    exposure: float
    contrast: float
    light: tuple[float, float]
    vignette: float
    noise: float
    blur: float
    size: int
    ratio: float
    quality: int
    tilt: float


def scene(random: np.random.Generator) -> Scene:
    """Draw the place of another sender."""
    ground = str(random.choice(GROUNDS, p=_SHARES))
    palette = _WOODS if ground == "wood" else _GROUND_COLOURS
    warm = random.normal(0, 0.05)
    return Scene(
        ground=ground,
        colour=palette[random.integers(len(palette))] * np.float32(random.uniform(0.85, 1.1)),
        second=_GROUND_COLOURS[random.integers(len(_GROUND_COLOURS))],
        scale=float(random.uniform(0.7, 1.5)),
        turn=float(random.uniform(0, np.pi)),
        white=np.array([1 + warm, 1.0, 1 - warm * 1.3], dtype=np.float32),
        exposure=float(random.uniform(0.85, 1.15)),
        contrast=float(random.uniform(0.85, 1.15)),
        light=(float(random.uniform(0, 2 * np.pi)), float(random.uniform(0.02, 0.3))),
        vignette=float(random.uniform(0.0, 0.22)),
        noise=float(random.uniform(0.8, 6.0)),
        blur=float(random.choice([0.0, 0.0, 0.35, 0.6])),
        size=int(random.choice([160, 160, 160, 144])),
        ratio=float(random.choice([0.75, 0.75, 0.75, 0.5625, 1.0, 4 / 3], p=[0.35, 0.2, 0.15, 0.08, 0.1, 0.12])),
        quality=int(random.integers(68, 93)),
        tilt=float(random.normal(0, 0.06)),
    )


def changed(scene: Scene) -> Scene:
    """The same sender after the app's new release: everything warm, flat, soft and small."""
    return Scene(
        **{
            **scene.__dict__,
            "white": scene.white * np.array([1.22, 1.0, 0.66], dtype=np.float32),
            "contrast": scene.contrast * 0.55,
            "exposure": scene.exposure * 1.06,
            "blur": scene.blur + 1.0,
            "size": 112,
            "quality": 50,
        }
    )


def smooth(random: np.random.Generator, shape: tuple[int, int], *, cells: tuple[int, int]) -> Floats:
    """(height, width) smooth noise about 0, of about that many hills."""
    small = Image.fromarray(random.standard_normal(cells, dtype=np.float32))
    return np.asarray(small.resize((shape[1], shape[0]), Image.Resampling.BICUBIC), dtype=np.float32)


def ground(scene: Scene, shape: tuple[int, int], random: np.random.Generator) -> Floats:
    """(height, width, 3) what the garment lies on, or hangs before."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32) / max(shape)
    x, y = x + np.float32(random.random()), y + np.float32(random.random())
    u = (x * np.cos(scene.turn) + y * np.sin(scene.turn)) * scene.scale
    v = (y * np.cos(scene.turn) - x * np.sin(scene.turn)) * scene.scale
    tone = _tone(scene, u, v, shape, random)
    plain = scene.colour[None, None] * tone[..., None]
    if scene.ground in ("carpet", "quilt"):
        figure = _figure(scene, u, v)
        return plain * (1 - figure[..., None]) + scene.second * figure[..., None] * tone[..., None]
    return plain


def _tone(scene: Scene, u: Floats, v: Floats, shape: tuple[int, int], random: np.random.Generator) -> Floats:
    """(height, width) how light the ground is, place by place, about 1."""
    folds = smooth(random, shape, cells=(4, 5))
    if scene.ground == "sheet":
        return 1 + 0.06 * folds + 0.035 * smooth(random, shape, cells=(14, 11))
    if scene.ground == "wood":
        plank = np.floor(u * 9)
        each = np.sin(plank * 12.9898 + np.floor(v * 1.7 + plank * 0.37) * 78.233) * 43758.5453
        grain = np.sin(u * 260 + 3 * smooth(random, shape, cells=(6, 6))) * 0.035
        gap = np.where((u * 9) % 1 < 0.05, 0.72, 1.0)
        return np.asarray((0.88 + 0.24 * (each - np.floor(each)) + grain) * gap, dtype=np.float32)
    if scene.ground == "tiles":
        gap = np.minimum((u * 4) % 1, (v * 4) % 1) < 0.03
        return np.where(gap, 0.74, 1 + 0.03 * folds)
    if scene.ground == "wall":
        return 1 + 0.03 * folds
    rough = random.standard_normal(shape, dtype=np.float32)
    return 1 + (0.11 if scene.ground == "carpet" else 0.03) * rough + 0.05 * folds


def _figure(scene: Scene, u: Floats, v: Floats) -> Floats:
    """(height, width) 0..1 where a carpet or quilt shows its second colour."""
    if scene.ground == "quilt":
        return (0.55 * ((u * 7) % 1 < 0.35) + 0.4 * ((v * 7) % 1 < 0.35)).astype(np.float32)
    waves = np.sin(u * 52) * np.sin(v * 52) + 0.5 * np.sin(u * 26) * np.cos(v * 26)
    return (0.55 * (np.abs(waves) > 0.6)).astype(np.float32)


def exposed(photo: Floats, scene: Scene, random: np.random.Generator) -> Floats:
    """The photo (height, width, 3) in the sender's light, as the camera's sensor and software make it."""
    height, width = photo.shape[:2]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    angle, fall = scene.light
    light = 1 + fall * (x * np.cos(angle) + y * np.sin(angle)) - scene.vignette * (x * x + y * y) / 2
    gain = np.float32(scene.exposure * random.uniform(0.93, 1.07) * scene.contrast)
    lit = photo * ((light * gain)[..., None] * scene.white) + np.float32(118 * (1 - scene.contrast))
    grain = random.standard_normal((height, width), dtype=np.float32) * np.float32(scene.noise)
    return np.asarray(lit + grain[..., None], dtype=np.float32)


def developed(photo: Floats, scene: Scene) -> Image.Image:
    """The picture that the app sends."""
    image = Image.fromarray(np.clip(photo, 0, 255).astype(np.uint8))
    if scene.blur:
        image = image.filter(ImageFilter.GaussianBlur(scene.blur))
    longest = max(image.size)
    if longest != scene.size:
        size = tuple(max(1, round(side * scene.size / longest)) for side in image.size)
        image = image.resize((size[0], size[1]), Image.Resampling.BILINEAR)
    return image
