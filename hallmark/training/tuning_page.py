"""A search's tries to look at: one page, one picture for the tries in turn and one for each option."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from hallmark import page
from hallmark.training.search_space import Choice, Searched
from hallmark.training.tuning import Try, Tuned

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 340, 190, 52, 30, 12


class Dot(NamedTuple):
    """A try in a picture, in pixels, and what is said of it."""

    x: float
    y: float
    best: bool
    said: str


class Picture(NamedTuple):
    """One picture.

    x, y:  ticks, each with its place in pixels.
    level: place of the declared options' figure.
    steps: line of the best figure so far, as points of SVG; "" where there is none.
    """

    title: str
    dots: tuple[Dot, ...]
    x: tuple[tuple[float, str], ...]
    y: tuple[tuple[float, str], ...]
    level: float
    steps: str
    width: int = _WIDTH
    height: int = _HEIGHT
    left: int = _LEFT
    bottom: int = _HEIGHT - _BOTTOM


def html(found: Tuned, searched: Mapping[str, Searched]) -> str:
    """The page of a search; one file, no network."""
    finished = [each for each in found.tries if each.estimate]
    options = [*searched]
    order = sorted(
        finished, key=lambda each: (-1 if found.higher else 1) * (each.estimate.value if each.estimate else 0)
    )
    rest = [each for each in found.tries if not each.estimate]
    return page.filled(
        "training/tuning.html",
        filters={"figure": _figure},
        found=found,
        options=options,
        pictures=[_in_turn(found, finished), *(_by_option(found, finished, name, searched[name]) for name in options)],
        rows=[found.declared, *order, *rest],
    )


def _in_turn(found: Tuned, finished: Sequence[Try]) -> Picture:
    numbers = [float(each.number or 0) for each in finished]
    low, high = min(numbers, default=0.0), max(numbers, default=1.0)
    made = _picture("tries in turn", found, finished, numbers, low, max(high, low + 1), ticks=None)
    best, points = made.level, []
    for dot in sorted(made.dots):
        points.append(f"{dot.x:.1f},{best:.1f}")
        best = min(best, dot.y)  # of pixels, in which less is better: _picture turns a metric that is better lower
        points.append(f"{dot.x:.1f},{best:.1f}")
    return made._replace(steps=" ".join(points))


def _by_option(found: Tuned, finished: Sequence[Try], name: str, searched: Searched) -> Picture:
    if isinstance(searched, Choice):
        places = [float(searched.values.index(each.options[name])) for each in finished]
        ticks = [(float(place), str(value)) for place, value in enumerate(searched.values)]
        return _picture(name, found, finished, places, -0.5, len(searched.values) - 0.5, ticks=ticks)
    scale = math.log if searched.by_logarithm else float
    places = [scale(float(each.options[name])) for each in finished]
    low, high = scale(float(searched.low)), scale(float(searched.high))
    ticks = [(low, f"{searched.low:g}"), (high, f"{searched.high:g}")]
    return _picture(name, found, finished, places, low, high, ticks=ticks)


def _picture(
    title: str,
    found: Tuned,
    tries: Sequence[Try],
    places: Sequence[float],
    low: float,
    high: float,
    *,
    ticks: Sequence[tuple[float, str]] | None,
) -> Picture:
    values = [each.estimate.value for each in (found.declared, *tries) if each.estimate]
    bottom, top = min(values), max(values)
    if top == bottom:
        bottom, top = bottom - 0.5, top + 0.5

    def x(place: float) -> float:
        return round(_LEFT + 8 + (_WIDTH - _LEFT - 20) * (place - low) / (high - low), 1)

    def y(value: float) -> float:
        share = (value - bottom) / (top - bottom)
        return round(_TOP + (_HEIGHT - _TOP - _BOTTOM - 8) * ((1 - share) if found.higher else share), 1)

    assert found.declared.estimate is not None  # noqa: S101 - the declared options have one
    dots = tuple(
        Dot(x(place), y(each.estimate.value), each.number == found.best.number, _said(each, found.metric))
        for place, each in zip(places, tries, strict=True)
        if each.estimate
    )
    told = ticks if ticks is not None else [(low, f"{low:g}"), (high, f"{high:g}")]
    return Picture(
        title=title,
        dots=dots,
        x=tuple((x(place), text) for place, text in told),
        y=tuple((y(value), f"{value:.4g}") for value in (bottom, top)),
        level=y(found.declared.estimate.value),
        steps="",
    )


def _said(each: Try, metric: str) -> str:
    estimate = each.estimate
    told = ", ".join(f"{name} {_figure(value)}" for name, value in each.options.items())
    return (
        f"try {each.number}: {metric} {estimate.value:.4f}; {told}" if estimate else f"try {each.number}: {each.state}"
    )


def _figure(value: object) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
