"""Garments laid flat: outlines and details of each of 17 kinds, no two alike.

Measures are in halves of a body's width: x to the right of the middle, y down from the shoulders.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Kind = Literal["cloth", "shade", "accent"]


@dataclass(frozen=True)
class GarmentPart:
    """One stroke of a drawing, in order: `cloth` adds to the garment, `shade` darkens (< 1) or lightens it, `accent` recolours it.

    points: (n, 2) of a polygon, or of a line where `width` is above 0.
    """

    kind: Kind
    points: Points
    value: float = 1.0
    width: float = 0.0


@dataclass
class Drawing:
    """A garment being drawn; `fabrics` are the patterns that suit it."""

    random: np.random.Generator
    fabrics: tuple[str, ...] = ("plain", "plain", "plain", "stripes", "dots", "floral", "print")
    parts: list[GarmentPart] = field(default_factory=list)

    def cloth(self, points: Points) -> None:
        self.parts.append(GarmentPart("cloth", points))

    def shade(self, points: Points, value: float) -> None:
        self.parts.append(GarmentPart("shade", points, value))

    def line(self, *points: tuple[float, float], value: float = 0.62, width: float = 0.022) -> None:
        self.parts.append(GarmentPart("shade", np.array(points), value, width))

    def accent(self, points: Points, *, width: float = 0.0) -> None:
        self.parts.append(GarmentPart("accent", points, 1.0, width))

    def both(self, points: Points, draw: Callable[[Points], None]) -> None:
        """Draw on the right, and mirrored on the left."""
        draw(points)
        draw(points * (-1, 1))

    def between(self, low: float, high: float) -> float:
        return float(self.random.uniform(low, high))

    def chance(self, share: float) -> bool:
        return bool(self.random.random() < share)

    def dots(self, places: Sequence[tuple[float, float]], *, size: float = 0.03, value: float = 0.4) -> None:
        for x, y in places:
            self.shade(ellipse(x, y, size, size), value)


def ellipse(x: float, y: float, wide: float, high: float, *, start: float = 0.0, end: float = 2 * np.pi) -> Points:
    """(24, 2) points on an ellipse from angle `start` to `end`."""
    angle = np.linspace(start, end, 24)
    return np.stack((x + wide * np.cos(angle), y + high * np.sin(angle)), axis=1)


def bent(*points: tuple[float, float], steps: int = 7) -> Points:
    """A smooth line through `points` (Catmull and Rom)."""
    known = np.array((points[0], *points, points[-1]), dtype=np.float64)
    t = np.linspace(0, 1, steps, endpoint=False)[:, None]
    parts = []
    for a, b, c, d in zip(known, known[1:], known[2:], known[3:], strict=False):
        parts.append(0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3))
    return np.concatenate((*parts, known[-1:]))


def mirrored(right: Points) -> Points:
    """An outline from its right half, which begins and ends in the middle."""
    return np.concatenate((right, right[::-1] * (-1, 1)))


@dataclass(frozen=True)
class Cut:
    """The measures of what covers a torso."""

    length: float = 2.5
    shoulder: float = 0.92
    drop: float = 0.16
    bust: float = 0.86
    armhole: float = 0.85
    waist: float = 0.84
    hem: float = 0.88
    neck: float = 0.34
    depth: float = 0.26
    pointed: bool = False
    curve: float = 0.06


def torso(g: Drawing, cut: Cut) -> None:
    """The body of a garment with its neckline, and the back of the neck seen through it."""
    if cut.pointed:
        neck = np.array([(0.0, cut.depth), (cut.neck, 0.0)])
    else:
        neck = bent((0.0, cut.depth), (cut.neck * 0.66, cut.depth * 0.72), (cut.neck, 0.0))
    side = bent((cut.bust, cut.armhole), (cut.waist, cut.length * 0.58), (cut.hem, cut.length))
    hem = bent((cut.hem, cut.length), (cut.hem * 0.5, cut.length + cut.curve), (0.0, cut.length + cut.curve * 1.2))
    arm = bent((cut.shoulder, cut.drop), (cut.bust * 0.93, cut.armhole * 0.6), (cut.bust, cut.armhole))
    back = mirrored(np.concatenate((bent((0.0, 0.05), (cut.neck * 0.7, 0.03), (cut.neck, 0.0)), neck[::-1])))
    g.cloth(back)
    g.cloth(mirrored(np.concatenate((neck, arm, side, hem))))
    g.shade(back, 0.62)


def sleeves(g: Drawing, cut: Cut, *, length: float, width: float, end: float, angle: float, cuff: bool = False) -> None:
    """Two sleeves, each lying a little otherwise; `angle` from hanging straight down, in radians."""
    for side in (1, -1):
        turn = angle + g.between(-0.10, 0.10)
        along = np.array((np.sin(turn), np.cos(turn)))
        across = np.array((along[1], -along[0]))
        top = np.array((cut.shoulder, cut.drop))
        pit = np.array((cut.bust - 0.03, cut.armhole))
        stop = (top + pit) / 2 + along * length * g.between(0.95, 1.05)
        outer, inner = stop + across * end, stop - across * end
        elbow = (top + outer) / 2 + across * (width - end) * 0.35
        outline = np.concatenate((bent(tuple(top), tuple(elbow), tuple(outer)), inner[None], pit[None])) * (side, 1)
        g.cloth(outline)
        seam = np.stack((top, (top + pit) / 2 - (0.07, 0), pit)) * (side, 1)
        g.parts.append(GarmentPart("shade", bent(*map(tuple, seam)), 0.66, 0.022))
        if cuff:
            edge = np.stack((outer - along * 0.13, inner - along * 0.13)) * (side, 1)
            g.parts.append(GarmentPart("shade", edge, 0.66, 0.025))


def _collar(g: Drawing, cut: Cut, *, size: float, contrast: bool = False) -> None:
    """Two pointed leaves about the neck."""
    leaf = np.array(
        [(0.02, cut.depth * 0.8), (cut.neck, -0.06), (cut.neck + 0.16, 0.1), (size * 0.75, cut.depth + size * 0.42)]
    )
    middle = mirrored(bent((0.0, -0.02), (cut.neck * 0.6, -0.07), (cut.neck + 0.02, -0.06)))
    g.cloth(middle)
    for draw in (g.cloth, g.accent) if contrast else (g.cloth,):
        g.both(leaf, draw)
    g.both(leaf, lambda points: g.shade(points, 1.14))
    g.both(np.concatenate((leaf, leaf[:1])), lambda points: g.parts.append(GarmentPart("shade", points, 0.55, 0.02)))


def _placket(g: Drawing, top: float, bottom: float, *, buttons: int, width: float = 0.08) -> None:
    g.line((width, top), (width, bottom), value=0.72, width=0.016)
    g.line((-width, top), (-width, bottom), value=0.72, width=0.016)
    g.dots([(0.0, top + (bottom - top) * (i + 0.5) / buttons) for i in range(buttons)], value=g.between(0.3, 1.5))


def _pocket(g: Drawing, x: float, y: float, *, wide: float = 0.24, high: float = 0.3) -> None:
    g.line(
        (x - wide, y), (x + wide, y), (x + wide, y + high), (x, y + high * 1.15), (x - wide, y + high), (x - wide, y)
    )


def _ribs(g: Drawing, cut: Cut) -> None:
    g.line((-cut.hem, cut.length - 0.14), (0.0, cut.length + cut.curve - 0.12), (cut.hem, cut.length - 0.14), value=0.7)


def t_shirt(g: Drawing) -> None:
    cut = Cut(
        length=g.between(2.2, 2.75),
        hem=g.between(0.82, 0.98),
        neck=g.between(0.3, 0.42),
        depth=g.between(0.18, 0.4),
        pointed=g.chance(0.25),
    )
    g.fabrics = ("plain", "plain", "print", "print", "print", "stripes", "dots", "floral")
    angle = g.between(0.75, 1.15)
    sleeves(g, cut, length=g.between(0.62, 0.85), width=0.4, end=g.between(0.3, 0.38), angle=angle, cuff=g.chance(0.4))
    torso(g, cut)
    if g.chance(0.4):
        _ribs(g, cut)


def polo(g: Drawing) -> None:
    cut = Cut(length=g.between(2.3, 2.75), hem=g.between(0.86, 0.98), neck=0.33, depth=0.3, pointed=True)
    g.fabrics = ("plain", "plain", "plain", "plain", "stripes", "logo", "logo")
    sleeves(g, cut, length=g.between(0.68, 0.88), width=0.4, end=0.34, angle=g.between(0.7, 1.1), cuff=True)
    torso(g, cut)
    _collar(g, cut, size=0.44, contrast=g.chance(0.3))
    _placket(g, 0.34, g.between(0.8, 1.0), buttons=3, width=0.09)


def longsleeve(g: Drawing) -> None:
    cut = Cut(
        length=g.between(2.2, 2.7),
        hem=g.between(0.8, 0.95),
        neck=g.between(0.3, 0.4),
        depth=g.between(0.16, 0.34),
        pointed=g.chance(0.2),
    )
    g.fabrics = ("plain", "plain", "plain", "knit", "knit", "stripes", "print", "logo")
    sleeves(
        g, cut, length=g.between(1.75, 2.15), width=0.36, end=g.between(0.17, 0.24), angle=_hang(g), cuff=g.chance(0.7)
    )
    torso(g, cut)
    if g.chance(0.7):
        _ribs(g, cut)


def shirt(g: Drawing) -> None:
    short = g.chance(0.3)
    cut = Cut(
        length=g.between(2.5, 2.9),
        hem=g.between(0.88, 1.0),
        neck=0.32,
        depth=0.24,
        pointed=True,
        curve=g.between(0.05, 0.2),
    )
    g.fabrics = ("plain", "plain", "pinstripes", "pinstripes", "plaid", "plaid", "dots")
    long = g.between(0.8, 0.95) if short else g.between(1.8, 2.1)
    angle = g.between(0.6, 1.0) if short else _hang(g)
    sleeves(g, cut, length=long, width=0.38, end=0.34 if short else 0.2, angle=angle, cuff=True)
    torso(g, cut)
    _collar(g, cut, size=0.48, contrast=g.chance(0.1))
    _placket(g, 0.3, cut.length, buttons=7)
    if g.chance(0.6):
        _pocket(g, 0.42, 0.85)
    if g.chance(0.25):
        _pocket(g, -0.42, 0.85)


def blouse(g: Drawing) -> None:
    flare = g.between(0.05, 0.25)
    cut = Cut(
        length=g.between(2.0, 2.4),
        hem=0.92 + flare,
        waist=0.8 + flare * 0.3,
        neck=g.between(0.34, 0.5),
        depth=g.between(0.3, 0.6),
        pointed=g.chance(0.6),
        curve=g.between(0.05, 0.2),
    )
    g.fabrics = ("plain", "plain", "floral", "floral", "dots")
    wide = g.between(0.32, 0.46)
    sleeves(g, cut, length=g.between(1.0, 1.6), width=0.5, end=wide, angle=g.between(0.35, 0.75), cuff=g.chance(0.5))
    torso(g, cut)
    if g.chance(0.5):
        _bow(g, cut)
    for x in np.linspace(-0.7, 0.7, 7):
        g.line((x * 0.8, cut.length * 0.62), (x * 1.15, cut.length), value=0.82, width=0.02)


def _bow(g: Drawing, cut: Cut) -> None:
    y = cut.depth
    for side in (1, -1):
        leaf = np.array([(0, y), (0.3, y - 0.14), (0.34, y + 0.1), (0, y)]) * (side, 1)
        tail = np.array([(0, y), (0.12, y + 0.6), (0.24, y + 0.56), (0.04, y)]) * (side, 1)
        for part in (leaf, tail):
            g.cloth(part)
            g.shade(part, 0.82)


def top(g: Drawing) -> None:
    """Held by thin straps, short, often with a straight or heart-shaped edge."""
    length, wide = g.between(1.4, 2.0), g.between(0.62, 0.74)
    strap, hem = g.between(0.35, 0.46), wide + g.between(-0.06, 0.2)
    edge = bent((0.0, g.between(0.6, 0.72)), (strap * 0.6, 0.56), (strap, 0.46))
    side = bent((wide, 0.86), (wide * 0.94, length * 0.65), (hem, length))
    g.fabrics = ("plain", "plain", "floral", "floral", "dots", "knit")
    g.cloth(mirrored(np.concatenate((edge, side, bent((hem, length), (0.0, length + 0.06))))))
    line = bent((strap, 0.5), (strap + 0.02, 0.2), (strap - 0.06, -0.08))
    g.both(line, lambda points: g.parts.append(GarmentPart("cloth", points, 1.0, 0.065)))
    if g.chance(0.5):
        for x in (-0.4, 0.4):
            g.line((x, 0.6), (x * 0.9, length), value=0.75, width=0.018)
    if g.chance(0.4):
        g.line((-wide, 0.95), (0.0, 1.05), (wide, 0.95), value=0.7)


def undershirt(g: Drawing) -> None:
    """A tank top: broad straps, deep armholes, long."""
    length, strap, hem = g.between(2.3, 2.7), g.between(0.16, 0.24), g.between(0.76, 0.88)
    neck, depth = g.between(0.3, 0.38), g.between(0.5, 0.8)
    inner = bent((0.0, depth), (neck * 0.8, depth * 0.7), (neck, 0.0))
    arm = bent((neck + strap, 0.02), (neck + strap + 0.04, 0.5), (0.74, 0.95))
    side = bent((0.74, 0.95), (0.72, length * 0.6), (hem, length))
    g.fabrics = ("plain", "plain", "plain", "ribbed", "ribbed", "print", "stripes")
    back = mirrored(np.concatenate((bent((0.0, depth * 0.45), (neck * 0.8, depth * 0.3), (neck, 0.0)), inner[::-1])))
    g.cloth(back)
    g.cloth(mirrored(np.concatenate((inner, arm, side, bent((hem, length), (0.0, length + 0.08))))))
    g.shade(back, 0.62)
    g.both(arm[2:], lambda points: g.parts.append(GarmentPart("shade", points * (0.95, 1), 0.72, 0.02)))


def body(g: Drawing) -> None:
    """A baby's bodysuit: legs cut high, snaps below, short arms."""
    length = g.between(1.85, 2.15)
    cut = Cut(length=length, shoulder=0.72, bust=0.68, armhole=0.6, neck=g.between(0.3, 0.4), depth=0.22)
    g.fabrics = ("plain", "plain", "dots", "dots", "print", "stripes", "floral")
    if g.chance(0.8):
        long = g.chance(0.45)
        length_of_arm = g.between(0.95, 1.2) if long else g.between(0.4, 0.55)
        sleeves(
            g, cut, length=length_of_arm, width=0.3, end=0.2 if long else 0.26, angle=g.between(0.6, 1.0), cuff=True
        )
    neck = bent((0.0, cut.depth), (cut.neck * 0.7, cut.depth * 0.7), (cut.neck, 0.0))
    hip = bent((0.68, 0.6), (0.66, length * 0.5), (0.72, length * 0.68))
    leg = bent((0.72, length * 0.68), (0.42, length * 0.8), (0.27, length))
    g.cloth(mirrored(np.concatenate((neck, [(0.72, 0.14)], hip, leg, [(0.0, length + 0.03)]))))
    g.shade(mirrored(np.concatenate((bent((0.0, 0.05), (cut.neck, 0.0)), neck[::-1]))), 0.65)
    g.both(leg * (0.94, 0.985), lambda points: g.parts.append(GarmentPart("shade", points, 0.68, 0.025)))
    g.line((-0.27, length - 0.12), (0.27, length - 0.12), value=0.7)
    g.dots([(-0.16, length - 0.05), (0.0, length - 0.04), (0.16, length - 0.05)], size=0.03, value=0.45)
    if g.chance(0.6):
        g.both(
            np.array([(cut.neck, 0.02), (0.62, 0.3)]),
            lambda points: g.parts.append(GarmentPart("shade", points, 0.66, 0.02)),
        )


def dress(g: Drawing) -> None:
    length, flare = g.between(3.1, 4.3), g.between(0.15, 0.8)
    waist = g.between(0.54, 0.68)
    cut = Cut(
        shoulder=0.7,
        bust=0.68,
        armhole=0.72,
        neck=g.between(0.3, 0.46),
        depth=g.between(0.2, 0.55),
        pointed=g.chance(0.4),
    )
    g.fabrics = ("plain", "plain", "floral", "floral", "floral", "dots", "stripes", "plaid")
    kind = g.random.random()
    if kind > 0.5:
        arm = g.between(0.4, 0.6) if kind < 0.85 else g.between(1.4, 1.8)
        sleeves(g, cut, length=arm, width=0.3, end=0.27 if kind < 0.85 else 0.17, angle=g.between(0.5, 0.9))
    neck = bent((0.0, cut.depth), (cut.neck * 0.7, cut.depth * 0.7), (cut.neck, 0.0))
    if cut.pointed:
        neck = np.array([(0.0, cut.depth), (cut.neck, 0.0)])
    side = bent((0.68, 0.72), (waist, 1.45), (waist + flare * 0.55, length * 0.6), (waist + flare, length))
    hem = bent((waist + flare, length), ((waist + flare) * 0.5, length + 0.1), (0.0, length + 0.12))
    back = mirrored(np.concatenate((bent((0.0, 0.06), (cut.neck, 0.0)), neck[::-1])))
    g.cloth(back)
    g.cloth(mirrored(np.concatenate((neck, bent((0.7, 0.12), (0.62, 0.45), (0.68, 0.72)), side, hem))))
    g.shade(back, 0.62)
    if g.chance(0.6):
        g.line((-waist, 1.45), (0.0, 1.49), (waist, 1.45), value=0.6, width=0.05)
    for x in np.linspace(-0.75, 0.75, int(g.random.integers(4, 9))):
        g.line((x * waist, 1.55), (x * (waist + flare), length), value=0.84, width=0.025)


def hoodie(g: Drawing) -> None:
    cut = Cut(
        length=g.between(2.2, 2.55),
        shoulder=0.98,
        bust=0.96,
        hem=g.between(0.84, 0.96),
        neck=0.4,
        depth=0.32,
        pointed=True,
    )
    g.fabrics = ("plain", "plain", "plain", "print", "logo")
    high = g.between(0.5, 0.75)
    hood = mirrored(bent((0.0, -high), (0.34, -high * 0.9), (0.55, -high * 0.35), (0.48, 0.16), (0.0, 0.42)))
    inside = mirrored(bent((0.0, -high * 0.72), (0.26, -high * 0.6), (0.36, -0.1), (0.18, 0.22), (0.0, 0.34)))
    sleeves(g, cut, length=g.between(1.8, 2.1), width=0.46, end=0.23, angle=_hang(g), cuff=True)
    torso(g, cut)
    g.cloth(hood)
    g.shade(hood, 0.9)
    g.shade(inside, 0.5)
    g.parts.append(GarmentPart("shade", np.concatenate((hood, hood[:1])), 0.6, 0.022))
    _ribs(g, cut)
    zipped = g.chance(0.45)
    if zipped:
        g.line((0.0, 0.36), (0.0, cut.length), value=g.between(0.35, 1.5), width=0.04)
        g.both(
            np.array([(0.12, 1.9), (0.52, 1.5)]),
            lambda points: g.parts.append(GarmentPart("shade", points, 0.55, 0.03)),
        )
    else:
        g.line(
            (-0.34, 1.45),
            (0.34, 1.45),
            (0.6, 1.75),
            (0.6, 2.05),
            (-0.6, 2.05),
            (-0.6, 1.75),
            (-0.34, 1.45),
            value=0.6,
            width=0.028,
        )
    for x in (-0.12, 0.12):
        g.line((x, 0.3), (x * 1.3, g.between(0.75, 0.95)), value=1.5, width=0.03)


def outwear(g: Drawing) -> None:
    """A jacket or coat: thick, closed by a zip, with pockets; quilted, hooded or with a collar that stands."""
    cut = Cut(
        length=g.between(2.3, 3.5),
        shoulder=1.0,
        bust=1.0,
        waist=0.96,
        hem=g.between(0.96, 1.14),
        neck=0.4,
        depth=0.18,
        curve=0.02,
    )
    g.fabrics = ("plain", "plain", "plain", "plain", "denim")
    sleeves(g, cut, length=g.between(1.85, 2.15), width=0.5, end=g.between(0.25, 0.32), angle=_hang(g), cuff=True)
    torso(g, cut)
    if g.chance(0.5):
        hood = mirrored(bent((0.0, -0.5), (0.4, -0.42), (0.6, -0.05), (0.44, 0.2), (0.0, 0.3)))
        g.cloth(hood)
        if g.chance(0.5):
            g.accent(np.concatenate((hood, hood[:1])), width=0.16)
        g.shade(hood * (0.62, 0.7), 0.5)
    else:
        stand = mirrored(bent((0.0, -0.14), (0.36, -0.16), (0.46, 0.1), (0.0, 0.26)))
        g.cloth(stand)
        g.shade(stand, 0.78)
    g.line((0.0, 0.2), (0.0, cut.length), value=g.between(0.35, 1.4), width=0.055)
    if g.chance(0.45):
        for y in np.arange(0.5, cut.length, g.between(0.22, 0.4)):
            g.line((-1.02, y), (0.0, y + 0.04), (1.02, y), value=0.62, width=0.03)
    pocket = cut.length * 0.68
    g.both(
        np.array([(0.3, pocket), (0.72, pocket - g.between(0.0, 0.25))]),
        lambda p: g.parts.append(GarmentPart("shade", p, 0.5, 0.04)),
    )


def blazer(g: Drawing) -> None:
    """Lapels down to one or two buttons, and the lining between them."""
    cut = Cut(
        length=g.between(2.4, 2.75),
        shoulder=0.96,
        waist=0.78,
        hem=g.between(0.88, 0.98),
        neck=0.36,
        depth=0.1,
        curve=0.04,
    )
    g.fabrics = ("plain", "plain", "plain", "pinstripes", "plaid", "denim")
    low = g.between(1.15, 1.55)
    sleeves(g, cut, length=g.between(1.8, 2.05), width=0.38, end=0.2, angle=_hang(g), cuff=g.chance(0.3))
    torso(g, cut)
    inside = mirrored(np.array([(0.0, -0.02), (cut.neck, 0.0), (0.02, low)]))
    g.shade(inside, 0.45)
    notch = g.between(0.45, 0.65)
    lapel = np.array(
        [
            (cut.neck - 0.08, -0.05),
            (cut.neck + 0.12, 0.02),
            (0.5, notch - 0.1),
            (0.4, notch),
            (0.54, notch + 0.06),
            (0.02, low),
        ]
    )
    g.both(lapel, g.cloth)
    g.both(lapel, lambda points: g.shade(points, 1.12))
    g.both(np.concatenate((lapel, lapel[:1])), lambda points: g.parts.append(GarmentPart("shade", points, 0.5, 0.022)))
    g.line((0.02, low), (0.04, cut.length), value=0.5, width=0.028)
    g.dots([(-0.02, low + 0.08), (-0.02, low + 0.45)][: 1 + g.chance(0.6)], size=0.045, value=0.35)
    g.both(np.array([(0.3, 1.75), (0.68, 1.7)]), lambda points: g.parts.append(GarmentPart("shade", points, 0.5, 0.05)))
    if g.chance(0.5):
        g.line((0.35, 0.95), (0.6, 0.9), value=0.55, width=0.045)


def pants(g: Drawing) -> None:
    length, ankle = g.between(3.6, 4.3), g.between(0.2, 0.42)
    _legs(g, length=length, hip=g.between(0.66, 0.8), knee=(0.32 + ankle) / 2, ankle=ankle, spread=g.between(0.0, 0.16))


def shorts(g: Drawing) -> None:
    length = g.between(1.35, 2.1)
    leg = g.between(0.42, 0.56)
    _legs(g, length=length, hip=g.between(0.7, 0.86), knee=leg, ankle=leg, spread=g.between(0.02, 0.16))


def _legs(g: Drawing, *, length: float, hip: float, knee: float, ankle: float, spread: float) -> None:
    g.fabrics = ("plain", "plain", "denim", "denim", "denim", "plaid", "floral")
    waist, crotch = hip * g.between(0.76, 0.9), g.between(0.95, 1.15)
    for side in (1, -1):
        middle = hip * 0.5 + spread + g.between(0.0, 0.08)
        outer = bent(
            (waist, 0.0), (hip, crotch * 0.8), (middle + knee, (crotch + length) / 2), (middle + ankle, length)
        )
        inner = bent((middle - ankle, length), (middle - knee * 0.92, (crotch + length) / 2), (0.0, crotch))
        g.cloth(np.concatenate((outer, inner, [(0.0, 0.03)])) * (side, 1))
        g.parts.append(GarmentPart("shade", inner * (side, 1), 0.62, 0.03))
    band = np.array(
        [(-waist, 0.0), (0.0, 0.05), (waist, 0.0), (waist + 0.02, 0.17), (0.0, 0.22), (-waist - 0.02, 0.17)]
    )
    g.shade(band, g.between(0.72, 0.9))
    g.line((0.0, 0.2), (0.03, crotch * 0.75), value=0.6)
    g.line((0.0, crotch * 0.75), (0.0, crotch), value=0.6)
    if g.chance(0.75):
        g.both(
            bent((waist * 0.5, 0.2), (waist * 0.66, 0.42), (hip * 0.97, 0.52)),
            lambda p: g.parts.append(GarmentPart("shade", p, 0.6, 0.022)),
        )
        g.dots([(0.0, 0.11)], size=0.045, value=1.5)
    else:
        g.line((-0.06, 0.12), (-0.12, 0.5), value=1.5, width=0.03)
        g.line((0.06, 0.12), (0.1, 0.48), value=1.5, width=0.03)


def skirt(g: Drawing) -> None:
    length, waist = g.between(1.3, 2.8), g.between(0.52, 0.64)
    hem = waist + g.between(0.1, 0.75)
    g.fabrics = ("plain", "plain", "plain", "plaid", "floral", "denim", "dots", "stripes")
    side = bent((waist, 0.0), ((waist + hem) / 2 + 0.07, length * 0.5), (hem, length))
    g.cloth(
        mirrored(
            np.concatenate(([(0.0, 0.04)], side, bent((hem, length), (hem * 0.5, length + 0.1), (0.0, length + 0.12))))
        )
    )
    g.shade(mirrored(np.array([(0.0, 0.04), (waist, 0.0), (waist + 0.02, 0.16), (0.0, 0.2)])), g.between(0.7, 0.9))
    if g.chance(0.65):
        for x in np.linspace(-0.9, 0.9, int(g.random.integers(5, 12))):
            g.line((x * waist, 0.2), (x * hem, length + 0.08 * (1 - abs(x))), value=0.72, width=0.03)
    if g.chance(0.3):
        g.line((-hem, length - 0.22), (0.0, length - 0.12), (hem, length - 0.22), value=0.65, width=0.04)


def shoes(g: Drawing) -> None:
    """A pair seen from above, or one behind the other from the side."""
    g.fabrics = ("plain", "plain", "plain", "plain", "denim")
    (_shoes_from_above if g.chance(0.65) else _shoes_from_the_side)(g)


def _shoes_from_above(g: Drawing) -> None:
    apart, wide, toe = g.between(0.44, 0.6), g.between(0.34, 0.42), g.between(0.0, 0.12)
    laced, open_ = g.chance(0.5), g.between(0.5, 0.85)
    for side in (1, -1):
        outline = bent(
            (0.0, 0.0), (wide * 0.8, 0.14 + toe), (wide, 0.6), (wide * 0.8, 1.25), (wide * 0.78, 1.9), (0.0, 2.15)
        )
        outline = np.concatenate(
            (
                outline,
                bent(
                    (0.0, 2.15),
                    (-wide * 0.74, 1.9),
                    (-wide * 0.7, 1.25),
                    (-wide * 0.92, 0.6),
                    (-wide * 0.7, 0.14),
                    (0.0, 0.0),
                ),
            )
        )
        place = np.array((apart, g.between(-0.08, 0.08)))
        g.cloth(outline * (side, 1) + place * (side, 1))
        g.parts.append(
            GarmentPart("accent", np.concatenate((outline, outline[:1])) * (side, 1) + place * (side, 1), 1.0, 0.07)
        )
        hole = ellipse(0.0, 1.92 - open_ * 0.62, wide * 0.6, open_ * 0.72) * (side, 1) + place * (side, 1)
        g.shade(hole, 0.34)
        if laced:
            for y in np.linspace(0.62, 1.0, 4):
                lace = np.array([(-wide * 0.4, y), (wide * 0.4, y + 0.05)]) * (side, 1) + place * (side, 1)
                g.accent(lace, width=0.05)
        else:
            strap = bent((-wide * 0.8, 0.6), (0.0, 0.52), (wide * 0.9, 0.6)) * (side, 1) + place * (side, 1)
            g.parts.append(GarmentPart("shade", strap, 0.6, 0.04))


def _shoes_from_the_side(g: Drawing) -> None:
    boot, heel = g.chance(0.35), g.between(0.0, 0.34) * g.chance(0.4)
    high = g.between(1.0, 1.5) if boot else g.between(0.55, 0.75)
    for x, y in ((0.25, -0.62), (0.0, 0.5)):
        upper = bent(
            (-0.95, 0.0),
            (-0.98, -high * 0.6),
            (-0.86, -high),
            (-0.3, -high),
            (-0.12, -0.5),
            (0.55, -0.3),
            (1.0, -0.16),
            (1.06, 0.06),
        )
        place = np.array((x, y))
        raised = np.array(
            [
                (-0.95, 0.02),
                (1.06, 0.06 + heel),
                (1.08, 0.16 + heel),
                (0.3, 0.18 + heel),
                (-0.35, 0.2),
                (-0.6, 0.2 + heel),
                (-0.98, 0.2 + heel),
            ]
        )
        if heel:
            upper = upper + np.stack((np.zeros(len(upper)), heel * (upper[:, 0] + 0.95) / 2), axis=1)
        g.cloth(upper + place)
        g.cloth(raised + place)
        g.accent(raised + place)
        g.shade(ellipse(-0.58, -high, 0.28, 0.1) + place, 0.4)
        for step in range(4 if not boot else 2):
            g.accent(
                np.array([(-0.1 + step * 0.13, -0.46 + step * 0.04), (0.02 + step * 0.13, -0.28 + step * 0.03)])
                + place,
                width=0.05,
            )


def hat(g: Drawing) -> None:
    g.fabrics = ("plain", "plain", "plain", "knit", "plaid", "logo")
    kind = g.random.random()
    (_cap if kind < 0.4 else _brimmed if kind < 0.68 else _beanie)(g)


def _cap(g: Drawing) -> None:
    side = 1 if g.chance(0.5) else -1
    high = g.between(0.8, 1.0)
    dome = bent(
        (-0.95, 0.0),
        (-0.9, -high * 0.62),
        (-0.35, -high),
        (0.35, -high * 0.96),
        (0.86, -high * 0.5),
        (0.95, 0.0),
        (0.0, 0.14),
    )
    visor = bent((0.3, 0.02), (0.95, -0.16), (1.55, 0.02), (1.66, 0.2), (1.0, 0.22), (0.2, 0.16))
    g.cloth(dome * (side, 1))
    g.cloth(visor * (side, 1))
    if g.chance(0.4):
        g.accent(visor * (side, 1))
    g.shade(visor * (side, 1), 0.8)
    for x in (-0.5, 0.05, 0.55):
        g.parts.append(
            GarmentPart(
                "shade", bent((0.05, -high), (x * 1.15, -high * 0.55), (x * 1.25, 0.1)) * (side, 1), 0.68, 0.022
            )
        )
    g.shade(ellipse(0.03 * side, -high, 0.07, 0.05), 0.55)


def _brimmed(g: Drawing) -> None:
    wide, high = g.between(1.3, 1.7), g.between(0.7, 1.0)
    brim = ellipse(0.0, 0.0, wide, g.between(0.3, 0.55))
    g.cloth(brim)
    g.shade(brim, 0.92)
    crown = mirrored(bent((0.0, -high), (0.5, -high * 0.96), (0.72, -high * 0.4), (0.78, 0.0), (0.0, 0.16)))
    g.cloth(crown)
    g.shade(crown, 1.08)
    band = np.concatenate(
        (bent((-0.78, 0.0), (0.0, 0.16), (0.78, 0.0)), bent((0.76, -0.2), (0.0, -0.05), (-0.76, -0.2)))
    )
    g.accent(band) if g.chance(0.7) else g.shade(band, 0.6)


def _beanie(g: Drawing) -> None:
    high = g.between(1.1, 1.4)
    dome = mirrored(bent((0.0, -high), (0.5, -high * 0.88), (0.82, -high * 0.4), (0.85, 0.0), (0.0, 0.05)))
    cuff = mirrored(bent((0.0, -0.3), (0.84, -0.34), (0.92, 0.12), (0.0, 0.2)))
    if g.chance(0.5):
        ball = ellipse(0.0, -high - 0.16, 0.27, 0.25)
        g.cloth(ball)
        g.accent(ball)
    g.cloth(dome)
    g.cloth(cuff)
    g.shade(cuff, 0.84)
    for x in np.linspace(-0.8, 0.8, 9):
        g.line((x, -0.3), (x * 1.08, 0.16), value=0.68, width=0.03)


def _hang(g: Drawing) -> float:
    """Distance of long sleeves from the body: along it, or spread."""
    return g.between(0.18, 0.42) if g.chance(0.7) else g.between(0.42, 0.8)


KINDS: dict[str, Callable[[Drawing], None]] = {
    "Blazer": blazer,
    "Blouse": blouse,
    "Body": body,
    "Dress": dress,
    "Hat": hat,
    "Hoodie": hoodie,
    "Longsleeve": longsleeve,
    "Outwear": outwear,
    "Pants": pants,
    "Polo": polo,
    "Shirt": shirt,
    "Shoes": shoes,
    "Shorts": shorts,
    "Skirt": skirt,
    "T-Shirt": t_shirt,
    "Top": top,
    "Undershirt": undershirt,
}
"""Drawing function of each kind, by the label that the marketplace's listings know."""
