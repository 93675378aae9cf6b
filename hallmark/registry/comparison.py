"""Two trainings of a domain beside each other: versions or trials, of any experiment."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hallmark.artifacts.evaluation import Evaluation
from hallmark.section import Frozen
from hallmark.tasks.bootstrap import Estimate, difference_error

if TYPE_CHECKING:
    from hallmark.artifacts.model_card import ModelCard
    from hallmark.artifacts.trial import Trial
    from hallmark.registry.store import Registry
    from hallmark.tasks.metric import Metric

SURE = 2.0
"""Standard errors of a difference beyond which it is told from chance: chance alone goes so far in one of twenty."""
_ROUNDING = 1e-9
"""Sums in another order differ by less, though every draw of the same order of answers has the same difference: 0."""
_ABSENT = "-"


class Side(Frozen):
    """One of the two.   name: "version 3" or "run 1f2e…".   evaluation: with what errors of differences come from, where it is at hand."""

    name: str
    kind: str
    created: datetime
    passed: bool
    reasons: tuple[str, ...]
    evaluation: bool


class MetricRow(Frozen):
    """A metric of both.

    difference: b - a.   error: of the difference.   told: is it told from chance; None where its error is not known.
    better:     a or b where that is told and the metric has a better side.
    """

    metric: str
    a: float | None
    a_error: float | None
    b: float | None
    b_error: float | None
    difference: float | None
    error: float | None
    told: bool | None
    better: str = ""


class Row(Frozen):
    """One thing that both say, as text; `same` where they say the same."""

    what: str
    a: str
    b: str
    same: bool


class SliceRow(Frozen):
    """The gate's metric of both in one slice."""

    slice: str
    rows: int
    a: float | None
    b: float | None
    difference: float | None
    error: float | None
    told: bool | None


class ImportanceRow(Frozen):
    """What the gate's metric loses of both where a field is shuffled."""

    field: str
    a: float | None
    b: float | None


class Comparison(Frozen):
    """All of it.

    metric:   the gate's.
    paired:   were both judged on the same test examples, so that errors are those of the difference itself?
    """

    domain: str
    metric: str
    a: Side
    b: Side
    paired: bool
    metrics: tuple[MetricRow, ...]
    slices: tuple[SliceRow, ...]
    options: tuple[Row, ...]
    data: tuple[Row, ...]
    code: tuple[Row, ...]
    importance: tuple[ImportanceRow, ...]


def compare(domain: str, a: str, b: str, registry: Registry, metrics: Mapping[str, Metric]) -> Comparison:
    """Compare two trainings, each a version, an alias or the run of a trial; `NotFound` where one is not there.

    metrics: of the domain's task; they say which direction is better.
    """
    first, second = _found(domain, a, registry), _found(domain, b, registry)
    (one, one_seen, one_name), (two, two_seen, two_name) = first, second
    paired = one.test == two.test
    names = list(dict.fromkeys([one.metric, *one.metrics, *two.metrics]))
    return Comparison(
        domain=domain,
        metric=two.metric,
        a=_side(one, one_seen, one_name),
        b=_side(two, two_seen, two_name),
        paired=paired,
        metrics=tuple(_metric(name, one, two, one_seen, two_seen, metrics.get(name)) for name in names),
        slices=tuple(_slices(one, two, one_seen, two_seen)),
        options=tuple(
            _row(name, one.request.options.get(name, _ABSENT), two.request.options.get(name, _ABSENT))
            for name in sorted({*one.request.options, *two.request.options})
        ),
        data=_data(one, two),
        code=_code(one, two),
        importance=_importance(one_seen, two_seen),
    )


_Found = tuple["ModelCard | Trial", "Evaluation | None", str]


def _found(domain: str, wanted: str, registry: Registry) -> _Found:
    from hallmark.errors import NotFound

    try:
        released = registry.resolve(domain, wanted)
    except NotFound:
        if wanted.isdigit() and len(wanted) < 4:
            raise
        trial, folder = registry.trial(domain, wanted)
        run = wanted[:8]
        name = f"run {run}" + (f" of {trial.experiment}" if trial.experiment else ", refused")
        return trial, _evaluation(folder / "plots" if folder else None), name
    return (
        released.model_card(),
        _evaluation(registry.plots_of(domain, released.version)),
        f"version {released.version}",
    )


def _evaluation(folder: Path | None) -> Evaluation | None:
    path = folder / "evaluation.json" if folder is not None else None
    if path is None or not path.is_file():
        return None
    try:
        return Evaluation.model_validate_json(path.read_bytes())
    except ValueError:  # of a form that was written once
        return None


def _side(found: ModelCard | Trial, seen: Evaluation | None, name: str) -> Side:
    return Side(
        name=name,
        kind=getattr(found, "outcome", "version"),
        created=found.created,
        passed=found.decision.passed,
        reasons=found.decision.reasons,
        evaluation=seen is not None,
    )


def _metric(
    name: str,
    one: ModelCard | Trial,
    two: ModelCard | Trial,
    one_seen: Evaluation | None,
    two_seen: Evaluation | None,
    metric: Metric | None,
) -> MetricRow:
    a, b = one.metrics.get(name), two.metrics.get(name)
    a_error, b_error = one.errors.get(name), two.errors.get(name)
    difference = b - a if a is not None and b is not None else None
    error = _error(
        one_seen.estimates.get(name) if one_seen else None,
        two_seen.estimates.get(name) if two_seen else None,
        a_error,
        b_error,
        same=one.test == two.test,
    )
    told = _told(difference, error)
    better = ""
    if told and difference and metric is not None and metric.direction != "neither":
        better = "b" if (difference > 0) == (metric.direction == "higher") else "a"
    return MetricRow(
        metric=name,
        a=a,
        a_error=a_error,
        b=b,
        b_error=b_error,
        difference=difference,
        error=error,
        told=told,
        better=better,
    )


def _error(
    a: Estimate | None, b: Estimate | None, a_error: float | None, b_error: float | None, *, same: bool
) -> float | None:
    """Standard error of the difference: of paired draws where there are such, else of two that know nothing of each other.

    Of the same test examples without the draws it is not known: their errors go together, by how much nobody can say.
    """
    if a is not None and b is not None and a.draws and a.draws == b.draws:
        return difference_error(b, a)
    if same or a_error is None or b_error is None:
        return None
    return math.hypot(a_error, b_error)


def _told(difference: float | None, error: float | None) -> bool | None:
    if difference is None or error is None:
        return None
    return abs(difference) > max(SURE * error, _ROUNDING)


def _slices(
    one: ModelCard | Trial, two: ModelCard | Trial, one_seen: Evaluation | None, two_seen: Evaluation | None
) -> list[SliceRow]:
    if one.metric != two.metric:
        return []
    before = {(part.column, part.value): part for part in (one_seen.slices if one_seen else one.slices)}
    found = []
    for part in two_seen.slices if two_seen else two.slices:
        old = before.get((part.column, part.value))
        a = old.metric if old else None
        difference = part.metric - a if part.metric is not None and a is not None else None
        error = _error(
            old.estimate if old else None,
            part.estimate,
            old.error if old else None,
            part.error,
            same=one.test == two.test,
        )
        found.append(
            SliceRow(
                slice=f"{part.column} = {part.value}",
                rows=part.rows,
                a=a,
                b=part.metric,
                difference=difference,
                error=error,
                told=_told(difference, error),
            )
        )
    return found


def _data(one: ModelCard | Trial, two: ModelCard | Trial) -> tuple[Row, ...]:
    def day(value: datetime | None) -> str:
        return f"{value:%Y-%m-%d}" if value else _ABSENT

    return (
        _row("origin", one.request.origin, two.request.origin),
        _row("shift", one.request.shift or "none", two.request.shift or "none"),
        _row("as of", one.request.as_of[:10], two.request.as_of[:10]),
        _row("seed", one.request.seed, two.request.seed),
        _row("rows", f"{one.data.rows:,}", f"{two.data.rows:,}"),
        _row("first", day(one.data.first), day(two.data.first)),
        _row("last", day(one.data.last), day(two.data.last)),
        _row("data digest", one.data.digest[:19], two.data.digest[:19]),
        _row("contract", one.data.contract[:19], two.data.contract[:19]),
        _row("test rows", f"{one.test_rows:,}", f"{two.test_rows:,}"),
        _row("test digest", one.test[:19], two.test[:19]),
    )


def _code(one: ModelCard | Trial, two: ModelCard | Trial) -> tuple[Row, ...]:
    def commit(found: ModelCard | Trial) -> str:
        return found.code.commit[:9] + (", changed since" if found.code.dirty else "")

    versions = sorted({*one.libraries, *two.libraries})
    return (
        _row("commit", commit(one), commit(two)),
        _row("code digest", one.code.digest[:19] or _ABSENT, two.code.digest[:19] or _ABSENT),
        _row("features.py", one.features[:19], two.features[:19]),
        *(
            row
            for name in versions
            if not (row := _row(name, one.libraries.get(name, _ABSENT), two.libraries.get(name, _ABSENT))).same
        ),
    )


def _importance(one: Evaluation | None, two: Evaluation | None) -> tuple[ImportanceRow, ...]:
    a, b = (one.importance if one else {}), (two.importance if two else {})
    names = sorted({*a, *b}, key=lambda name: -max(a.get(name, 0.0), b.get(name, 0.0)))
    return tuple(ImportanceRow(field=name, a=a.get(name), b=b.get(name)) for name in names)


def _row(what: str, a: Any, b: Any) -> Row:
    return Row(what=what, a=str(a), b=str(b), same=str(a) == str(b))
