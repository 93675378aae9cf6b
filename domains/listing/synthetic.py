"""Garment photos of the synthetic marketplace, drawn: 17 kinds in many cuts, fabrics, grounds and lights, a few a sender."""

from __future__ import annotations

import io
import uuid
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from synthetic import scene as scenes
from synthetic import shifts
from synthetic.chance import generator
from synthetic.garments import KINDS, Drawing, GarmentPart
from synthetic.scene import Floats, Scene

if TYPE_CHECKING:
    import pandas as pd

CAMERA_CHANGE = shifts.Shift(
    name="camera_change",
    description="A release of the app takes other photos: warm white balance, flat contrast, blurred and smaller.",
)
SHIFTS = (CAMERA_CHANGE,)
BLOCK = 24
"""Photos among which a few senders share; blocks are independent, so any part of the photos can be drawn alone."""
SIDE = 160
_FINER = 3
"""Outlines are drawn this much larger and reduced, so that their edges are smooth."""
_SHARES = {
    "T-Shirt": 0.14, "Longsleeve": 0.11, "Pants": 0.095, "Shoes": 0.085, "Dress": 0.08, "Shirt": 0.08, "Shorts": 0.065,
    "Outwear": 0.06, "Skirt": 0.045, "Polo": 0.04, "Undershirt": 0.04, "Hat": 0.04, "Hoodie": 0.035, "Blazer": 0.03,
    "Body": 0.03, "Top": 0.025, "Blouse": 0.02,
}  # fmt: skip
_CLOTHS = np.array(
    [
        (28, 28, 34), (232, 230, 226), (128, 130, 136), (36, 52, 96), (70, 110, 170), (150, 30, 40), (206, 70, 90),
        (226, 170, 180), (60, 100, 70), (120, 140, 90), (200, 170, 120), (110, 75, 50), (230, 190, 70), (210, 110, 50),
        (90, 60, 110), (60, 150, 160), (70, 70, 76), (245, 240, 225),
    ],
    dtype=np.float32,
)  # fmt: skip


def photos(count: int, *, seed: int, shift: str | None = None, first: int = 0) -> pd.DataFrame:
    """`count` photos from number `first` on, one row each: image (JPEG bytes), name, sender_id, label, kids.

    A photo is the same whichever part of the photos it is drawn with.
    """
    import pandas as pd

    named = shifts.find(shift, among=SHIFTS, domain="listing")
    rows = [_photo(number, seed=seed, changed=named is CAMERA_CHANGE) for number in range(first, first + count)]
    frame = pd.DataFrame(rows, columns=["image", "name", "sender_id", "label", "kids"])
    return frame.astype({"image": object, "kids": bool})


def _photo(number: int, *, seed: int, changed: bool) -> tuple[bytes, str, str, str, bool]:
    block, place = divmod(number, BLOCK)
    sizes = generator(seed, "senders", block).multinomial(BLOCK - 4, [0.4, 0.25, 0.2, 0.15]) + 1
    sender = block * 4 + int(np.searchsorted(np.cumsum(sizes), place, side="right"))
    of_sender = generator(seed, "sender", sender)
    taken = scenes.scene(of_sender)
    kids = bool(of_sender.random() < 0.12)
    random = generator(seed, "photo", number)
    label = str(random.choice(list(_SHARES), p=_wears(kids=kids)))
    name = f"{uuid.UUID(bytes=random.bytes(16), version=4)}.jpg"
    image = picture(label, scenes.changed(taken) if changed else taken, random)
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=taken.quality)
    return stream.getvalue(), name, str(sender), label, kids or label == "Body"


def _wears(*, kids: bool) -> NDArray[np.float64]:
    """Frequency of each kind; small people wear bodysuits rather than blazers."""
    rarely = {"Body": 5.0, "Blazer": 0.2, "Blouse": 0.3} if kids else {"Body": 0.7}
    weights = np.array([share * rarely.get(label, 1.0) for label, share in _SHARES.items()])
    wears: NDArray[np.float64] = weights / weights.sum()
    return wears


def picture(label: str, scene: Scene, random: np.random.Generator) -> Image.Image:
    """One garment of the kind `label`, as the sender of `scene` shows it."""
    drawing = Drawing(random)
    KINDS[label](drawing)
    wide, high = (SIDE * scene.ratio, SIDE) if scene.ratio <= 1 else (SIDE, SIDE / scene.ratio)
    shape = (round(high), round(wide))
    angle = scene.tilt + random.normal(0, 0.08)
    placed = _placed(drawing.parts, shape, angle=angle, random=random)
    mask, shade, accent = _layers(placed, shape)
    ground = scenes.ground(scene, shape, random)
    if scene.ground == "wall":
        _hanger(ground, placed)
    colours = _colours(random)
    fabric = str(random.choice(drawing.fabrics))
    cloth = _fabric(fabric, colours, shape, angle, random) * (1 - accent[..., None]) + colours[1] * accent[..., None]
    if fabric in ("print", "logo"):
        _print(cloth, placed, colours, small=fabric == "logo", random=random)
    cloth *= (shade * _folds(mask, shape, random))[..., None]
    ground *= _shadow(mask, scene)[..., None]
    whole = ground * (1 - mask[..., None]) + cloth * mask[..., None]
    return scenes.developed(scenes.exposed(whole, scene, random), scene)


def _placed(
    parts: list[GarmentPart], shape: tuple[int, int], *, angle: float, random: np.random.Generator
) -> list[GarmentPart]:
    """The parts in pixels: warped as cloth lies, turned, and sized to the frame with some room about them."""
    every = np.concatenate([part.points for part in parts if part.kind == "cloth"])
    low, high = every.min(axis=0), every.max(axis=0)
    middle, extent = (low + high) / 2, high - low
    phase, bend = random.uniform(0, 2 * np.pi, 4), random.normal(0, 0.029, 4)
    stretch = np.exp(random.normal(0, 0.05, 2))
    cos, sin = np.cos(angle), np.sin(angle)
    turned = np.array([[abs(cos), abs(sin)], [abs(sin), abs(cos)]]) @ (extent * stretch)
    fill = random.uniform(0.8, 1.03)
    scale = fill * min(shape[1] / turned[0], shape[0] / turned[1])
    slack = (np.array((shape[1], shape[0])) - turned * scale) / 2
    centre = np.array((shape[1], shape[0])) / 2 + slack * random.uniform(-0.8, 0.8, 2)
    skew = random.normal(0, 0.05)

    outlines = [_dense(part.points, closed=not part.width) for part in parts]
    p = (np.concatenate(outlines) - middle) * stretch
    p = p * (1 + skew * p[:, 1:] / extent[1])
    slow = bend[:2] * np.sin(np.array((2.1, 2.3)) * p[:, ::-1] + phase[:2])
    fast = bend[2:] * np.sin(np.array((4.7, 5.1)) * p[:, ::-1] + phase[2:])
    p = (p + slow + fast) @ np.array([[cos, sin], [-sin, cos]]) * scale + centre
    laid = np.split(p, np.cumsum([len(each) for each in outlines])[:-1])
    return [
        GarmentPart(part.kind, points, part.value, part.width * scale) for part, points in zip(parts, laid, strict=True)
    ]


def _dense(points: NDArray[np.float64], *, closed: bool) -> NDArray[np.float64]:
    """The outline with points at most about 0.15 apart, so that it can be bent."""
    ring = np.concatenate((points, points[:1])) if closed else points
    length = np.concatenate(([0.0], np.cumsum(np.hypot(*np.diff(ring, axis=0).T))))
    at = np.linspace(0, length[-1], max(len(ring), int(length[-1] / 0.15)))
    at = np.union1d(at, length)
    return np.stack((np.interp(at, length, ring[:, 0]), np.interp(at, length, ring[:, 1])), axis=1)


def _layers(parts: list[GarmentPart], shape: tuple[int, int]) -> tuple[Floats, Floats, Floats]:
    """(height, width) each: where there is cloth (0..1), how light it is (about 1), where it has its second colour (0..1)."""
    size = (shape[1] * _FINER, shape[0] * _FINER)
    images = {"cloth": Image.new("L", size, 0), "shade": Image.new("L", size, 128), "accent": Image.new("L", size, 0)}
    pens = {name: ImageDraw.Draw(image) for name, image in images.items()}
    for part in parts:
        points = [tuple(point) for point in (part.points * _FINER).tolist()]
        fill = min(255, round(128 * part.value)) if part.kind == "shade" else 255
        if part.width:
            pens[part.kind].line(points, fill=fill, width=max(2, round(part.width * _FINER)), joint="curve")
        else:
            pens[part.kind].polygon(points, fill=fill)
        if part.kind == "cloth" and not part.width:  # what lies above hides the details of what lies below
            pens["shade"].polygon(points, fill=128)
    full = np.float32(255), np.float32(128), np.float32(255)
    cloth, shade, accent = (
        np.asarray(image.reduce(_FINER), dtype=np.float32) / most
        for image, most in zip(images.values(), full, strict=True)
    )
    return cloth, shade, accent


def _colours(random: np.random.Generator) -> Floats:
    """(2, 3) a garment's colour and the one it goes with."""
    first, second = random.choice(len(_CLOTHS), 2, replace=False)
    both = _CLOTHS[[first, second]] + random.normal(0, 9, (2, 3))
    return np.clip(both, 8, 250).astype(np.float32)


def _fabric(kind: str, colours: Floats, shape: tuple[int, int], angle: float, random: np.random.Generator) -> Floats:
    """(height, width, 3) the cloth as if it filled the frame."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32)
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    step = float(random.uniform(4, 13))
    if kind == "denim":
        blue = np.array([70, 95, 140], dtype=np.float32) * np.float32(random.uniform(0.45, 1.35))
        worn = (
            1
            + 0.07 * random.standard_normal(shape, dtype=np.float32)
            + 0.16 * scenes.smooth(random, shape, cells=(5, 4))
        )
        return np.asarray(blue * worn[..., None], dtype=np.float32)
    second: Any = 0.0
    if kind == "stripes":
        second = (v / (1.6 * step)) % 1 < random.uniform(0.25, 0.6)
    elif kind == "pinstripes":
        second = 0.7 * ((u / (0.7 * step)) % 1 < 0.3)
    elif kind == "plaid":
        second = 0.45 * ((u / (1.5 * step)) % 1 < 0.45) + 0.45 * ((v / (1.5 * step)) % 1 < 0.45)
    elif kind == "dots":
        second = ((u / step) % 1 - 0.5) ** 2 + ((v / step) % 1 - 0.5) ** 2 < random.uniform(0.03, 0.09)
    elif kind == "floral":
        second = scenes.smooth(random, shape, cells=(22, 18)) > random.uniform(0.2, 0.8)
    elif kind in ("knit", "ribbed"):
        second = 0.22 * (np.sin((u if kind == "ribbed" else v) * 2 * np.pi / random.uniform(3, 5)) > 0)
    share = np.broadcast_to(np.asarray(second, dtype=np.float32), shape)[..., None]
    return np.asarray(colours[0] * (1 - share) + colours[1] * share, dtype=np.float32)


def _print(
    cloth: Floats, parts: list[GarmentPart], colours: Floats, *, small: bool, random: np.random.Generator
) -> None:
    """Something on the chest: a figure, letters, or a small mark to one side."""
    every = np.concatenate([part.points for part in parts if part.kind == "cloth"])
    low, high = every.min(axis=0), every.max(axis=0)
    wide = (high - low).min() * (0.06 if small else random.uniform(0.16, 0.3))
    centre = (low + high) / 2 + (high - low) * ((0.13, -0.2) if small else (0.0, random.uniform(-0.14, 0.02)))
    layer = Image.new("L", (cloth.shape[1], cloth.shape[0]), 0)
    pen = ImageDraw.Draw(layer)
    for _ in range(1 if small else int(random.integers(2, 7))):
        x, y = centre + random.normal(0, wide * 0.35, 2)
        a, b = wide * random.uniform(0.25, 0.8, 2)
        form = random.integers(3)
        if form == 0:
            pen.ellipse((x - a, y - b, x + a, y + b), fill=255)
        elif form == 1:
            pen.rectangle((x - a, y - b * 0.3, x + a, y + b * 0.3), fill=255)
        else:
            pen.polygon([(x - a, y + b), (x, y - b), (x + a, y + b)], fill=255)
    share = np.asarray(layer, dtype=np.float32)[..., None] / 255
    cloth += share * (colours[1] - cloth)


def _folds(mask: Floats, shape: tuple[int, int], random: np.random.Generator) -> Floats:
    """(height, width) light on cloth that is not quite flat, darker towards its edges."""
    round_ = Image.fromarray((mask * 255).astype(np.uint8)).filter(ImageFilter.BoxBlur(4))
    edge = 0.72 + 0.28 * np.asarray(round_, dtype=np.float32) / 255
    folds = 0.05 * scenes.smooth(random, shape, cells=(7, 6)) + 0.035 * scenes.smooth(random, shape, cells=(20, 9))
    return np.asarray(edge * (1 + random.uniform(0.4, 1.6) * folds), dtype=np.float32)


def _shadow(mask: Floats, scene: Scene) -> Floats:
    """(height, width) how much light is left on the ground about a garment."""
    angle, fall = scene.light
    moved = np.roll(mask, (round(-3 * np.sin(angle)), round(-3 * np.cos(angle))), axis=(0, 1))
    soft = Image.fromarray((moved * 255).astype(np.uint8)).filter(ImageFilter.BoxBlur(3))
    return np.asarray(1 - (0.2 + fall) * np.asarray(soft, dtype=np.float32) / 255, dtype=np.float32)


def _hanger(ground: Floats, parts: list[GarmentPart]) -> None:
    """A hook above what hangs on a wall."""
    every = np.concatenate([part.points for part in parts if part.kind == "cloth"])
    top, x = int(every[:, 1].min()), int((every[:, 0].min() + every[:, 0].max()) / 2)
    ground[: max(0, top + 6), max(0, x - 1) : x + 1] *= 0.4
