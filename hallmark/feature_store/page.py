"""A page of all feature views: whose they are, who reads them, how fresh they are, and how their values are distributed now.

Entities are never shown, and no text of a personal column: of these only how many values are missing.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from hallmark import page as static_page
from hallmark.declaration import feature_view, source
from hallmark.declaration.column_type import COLUMN_TYPES
from hallmark.declaration.expression import Expression
from hallmark.declaration.view_types import view_types
from hallmark.errors import HallmarkError
from hallmark.feature_store.payload import Payload
from hallmark.section import EXACT, spelled

if TYPE_CHECKING:
    from markupsafe import Markup

    from hallmark.declaration.feature_view import Column, FeatureView
    from hallmark.declaration.source import Source
    from hallmark.feature_store.place import FeatureStore, Stage
    from hallmark.settings import Settings

SAMPLE = 5000
"""Entities of a view that are read for its distributions."""
_BINS, _WIDTH, _HEIGHT = 24, 240, 48
_BROADEST = 24
"""Width of a bar at most."""
_MOST = 5
"""Values of a text column that are named."""


@dataclass(frozen=True)
class Distribution:
    """Values of a column in the sample. missing: their share, 0 to 1.   drawn: a histogram.   text: least, median and greatest, or the frequent ones."""

    missing: float
    drawn: Markup | None
    text: str


@dataclass(frozen=True)
class ColumnShown:
    """A column of a view: what it is, as a phrase, and how it is distributed; none without values."""

    name: str
    kind: str
    computed: str
    window: str
    description: str
    distribution: Distribution | None


@dataclass(frozen=True)
class ViewShown:
    """A version of a view. stage: how far it has come here.   newest: when the newest event happened, none where none came in.   sampled: how many entities were read."""

    view: FeatureView
    versions: tuple[str, ...]
    read_by: tuple[str, ...]
    stage: Stage
    newest: datetime | None
    age: str
    fresh: bool | None
    sampled: int
    columns: tuple[ColumnShown, ...]


def page(
    store: FeatureStore,
    settings: Settings,
    *,
    read_by: Mapping[str, Sequence[object]],
    now: datetime,
    tell: Callable[[str], None] = lambda _: None,
) -> str:
    """The page as HTML. read_by: who reads each view.   tell: is told which views' values cannot be read, and why."""
    references = feature_view.references(settings)
    shown = []
    for reference in references:
        view = feature_view.load(reference, settings)
        versions = tuple(each for each in references if each.partition("@")[0] == view.name)
        newest, age, fresh = store.freshness(view, now=now)
        stage = store.stage(reference)
        values, sampled = ({}, 0) if stage.name == "declared" else _sampled(store, view, now, tell)
        shown.append(
            ViewShown(
                view=view,
                versions=versions,
                read_by=tuple(map(str, read_by.get(reference, ()))),
                stage=stage,
                newest=newest,
                age="" if age is None else _spoken(age),
                fresh=fresh,
                sampled=sampled,
                columns=tuple(_columns(view, source.load(view.source, settings), values)),
            )
        )
    return static_page.filled(
        "feature_store/views.html",
        filters={"spelled": spelled, "day": lambda at: at.astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")},
        views=shown,
        made=now,
    )


def _sampled(
    store: FeatureStore, view: FeatureView, now: datetime, tell: Callable[[str], None]
) -> tuple[dict[str, tuple[Any, Any]], int]:
    """Values and validity of each column, of so many entities of the online store; none where it does not answer."""
    payload = Payload(store.plan(view))
    try:
        payloads = list(islice(store.payloads(view.reference), SAMPLE))
        at = (now - datetime.fromtimestamp(0, UTC)) // timedelta(microseconds=1)
        return payload.table(payloads, at) if payloads else {}, len(payloads)
    except HallmarkError as error:
        tell(f"{view.reference}: its values cannot be read: {error.message}")
        return {}, 0


def _columns(view: FeatureView, contract: Source, values: Mapping[str, tuple[Any, Any]]) -> list[ColumnShown]:
    types, found = view_types(view, contract), []
    for name, column in view.columns.items():
        taken = column.sql.columns if column.sql else (column.of,)
        private = types[name] == "BYTES" and not {*contract.personal}.isdisjoint(taken)
        found.append(
            ColumnShown(
                name=name,
                kind=COLUMN_TYPES[types[name]].noun,
                computed=_computed(column),
                window="" if column.take == "ratio" else spelled(view.window(name)),
                description=column.description,
                distribution=_distribution(*values[name], kind=types[name], private=private)
                if name in values
                else None,
            )
        )
    return found


def _computed(column: Column) -> str:
    said = f"{column.take} of {column.term or 'events'}"
    if column.over:
        said += f" over {column.over}"
    if isinstance(column.where, Expression):
        said += f", where {column.where.text}"
    elif column.where:
        parts = [
            f"{key} is {' or '.join(map(str, value)) if isinstance(value, tuple) else value}"
            for key, value in column.where.items()
        ]
        said += f", where {' and '.join(parts)}"
    return said


def _distribution(values: Any, valid: Any, *, kind: str, private: bool) -> Distribution:
    import numpy as np

    missing, there = 1.0 - float(valid.mean()), values[valid]
    if not len(there):
        return Distribution(missing, None, "")
    if kind == "BYTES" or kind == "BOOL":
        if private:
            return Distribution(missing, None, "personal: not shown")
        common = Counter(map(str, there.tolist())).most_common(_MOST)
        return Distribution(missing, None, ", ".join(f"{value} {count / len(there):.0%}" for value, count in common))
    numbers = np.sort(there.astype(np.float64))
    numbers = numbers[np.isfinite(numbers)]
    if not len(numbers):
        return Distribution(missing, None, "none that is finite")
    if kind == "TIME":
        ends = [
            datetime.fromtimestamp(numbers[at] / 1e6, UTC).strftime("%Y-%m-%d %H:%M")
            for at in (0, len(numbers) // 2, -1)
        ]
    else:
        ends = [f"{numbers[at]:.6g}" for at in (0, len(numbers) // 2, -1)]
    return Distribution(missing, histogram(numbers), f"{ends[0]} to {ends[2]}, median {ends[1]}")


def histogram(numbers: Any) -> Markup:
    """Bars of sorted numbers, one for each whole number where there are few, else 24 from the least to the 99th of a hundred, the rest in the last."""
    import numpy as np
    from markupsafe import Markup

    low, high = float(numbers[0]), float(numbers[max(0, math.ceil(0.99 * len(numbers)) - 1)])
    whole = bool((numbers == np.round(numbers)).all()) and high - low < _BINS and max(-low, high) < EXACT
    edges = np.arange(low, high + 2) if whole else np.linspace(low, high, _BINS + 1 if high > low else 2)
    counts, _ = np.histogram(np.minimum(numbers, edges[-1]), edges)
    step, most = min(_BROADEST, _WIDTH / len(counts)), int(counts.max())
    bars = []
    for at, count in enumerate(counts.tolist()):
        if not count:
            continue
        height = max(1.0, _HEIGHT * count / most)
        name = f"{edges[at]:.6g}" if whole else f"{edges[at]:.6g} to {edges[at + 1]:.6g}"
        more = " and above" if at == len(counts) - 1 and numbers[-1] > edges[-1] - (1 if whole else 0) else ""
        bars.append(
            f'<rect x="{at * step + 0.5:.2f}" y="{_HEIGHT - height:.2f}" width="{max(step - 1, 0.5):.2f}" height="{height:.2f}">'
            f"<title>{name}{more}: {count}</title></rect>"
        )
    label = f"histogram of {len(numbers)} values"
    drawn = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}">{"".join(bars)}</svg>'
    return Markup(drawn)  # noqa: S704 - numbers alone


def _spoken(age: timedelta) -> str:
    """An age in its two largest units."""
    seconds = max(0, int(age.total_seconds()))
    parts = [(seconds // 86400, "d"), (seconds // 3600 % 24, "h"), (seconds // 60 % 60, "min"), (seconds % 60, "s")]
    first = next((at for at, (count, _) in enumerate(parts) if count), len(parts) - 1)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count or first == len(parts) - 1)
