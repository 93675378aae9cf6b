"""Quality of a model: its task's metrics over all test examples and by slice, with standard errors, and charts."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hallmark.artifacts.evaluation import Beside, Evaluation, Slice
from hallmark.errors import ContractBroken, DeclarationError
from hallmark.learners.model import spec, task_of
from hallmark.tasks.bootstrap import Estimate, estimates
from hallmark.tasks.charts import Chart
from hallmark.tasks.retrieval import MISSING

PREDICTED = "predicted"
"""Column of the slices that `gate.slices.parts` makes."""

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.declaration.domain import Domain
    from hallmark.learners.model import OtherAnswers
    from hallmark.settings import Settings
    from hallmark.tasks.targets import Floats, Targets
    from hallmark.tasks.task import BaseTask


def evaluate(
    domain: Domain,
    scores: NDArray[Any],
    test: pd.DataFrame,
    *,
    others: OtherAnswers | None = None,
    figures: Mapping[str, float] | None = None,
    completed: Floats | None = None,
    settings: Settings | None = None,
) -> Evaluation:
    """The evaluation of `scores`, (n, …) as the model gives them, on the n rows of `test`, and of `others` beside it.

    figures: what the model tells of itself, beside the metrics.
    completed: (n,) labels, of which the model drew those that are only bounds.
    """
    task = task_of(domain, spec(domain, settings))
    targets = dataclasses.replace(task.targets(test, domain.data.target_columns), completed=completed)
    predictions = task.predictions(np.asarray(scores), targets)
    examples = digest(test)
    found = estimates(task.metrics().values(), targets, predictions, seed=examples)
    metric = domain.gate.metric
    judged = _judged(domain, task, predictions, test, examples)
    if metric not in found:
        raise DeclarationError(
            f"domains/{domain.name}/domain.yaml: gate.metric cannot be told from these {len(test)} test examples",
            expected=", ".join(found),
            got=metric,
        )
    made = Evaluation(
        rows=len(test),
        test=examples,
        metric=metric,
        metrics={name: each.value for name, each in (found | judged).items()} | dict(figures or {}),
        estimates=found | judged,
        slices=tuple(_slices(domain, task, targets, predictions, test, examples)),
        charts=task.charts(targets, predictions),
    )
    return made if others is None else _with_others(made, domain, task, targets, np.asarray(scores), test, others)


def _with_others(
    made: Evaluation,
    domain: Domain,
    task: BaseTask,
    targets: Targets,
    answers: NDArray[Any],
    test: pd.DataFrame,
    others: OtherAnswers,
) -> Evaluation:
    """The evaluation with the same figures of other answers, a line of each in its charts, and how much of all items is ever answered."""
    shape = task.shape[0] if task.shape else 1
    named = f"coverage@{shape}"
    beside, charts = [], list(made.charts)
    for name, theirs in others.answers.items():
        predictions = task.predictions(theirs, targets)
        figures = {
            metric.name: value
            for metric in task.metrics().values()
            if math.isfinite(value := metric.value(targets, predictions))
        }
        if others.items is not None:
            figures[named] = _coverage(theirs, others.items)
        slices = tuple(each.brief for each in _slices(domain, task, targets, predictions, test, made.test))
        rivals = [metric for metric in task.metrics().values() if metric.name in domain.gate.rivals]
        told = estimates(rivals, targets, predictions, seed=made.test)
        beside.append(Beside(name=name, metrics=figures, slices=slices, estimates=told))
        for place, (chart, drawn) in enumerate(zip(charts, task.charts(targets, predictions), strict=True)):
            if isinstance(chart, Chart) and isinstance(drawn, Chart) and chart.metric:
                own = [line for line in drawn.lines if line not in chart.lines]  # by lot is by lot, whoever answers
                more = tuple(line.model_copy(update={"name": name}) for line in own)
                charts[place] = chart.model_copy(update={"lines": (*chart.lines, *more)})
    metrics = made.metrics | ({} if others.items is None else {named: _coverage(answers, others.items)})
    return made.model_copy(update={"metrics": metrics, "beside": tuple(beside), "charts": tuple(charts)})


def _coverage(answers: NDArray[Any], items: int) -> float:
    """Share of all items that is in some answer."""
    different = set(answers.astype(str).ravel().tolist()) - set(MISSING)
    return len(different) / max(1, items)


def digest(test: pd.DataFrame) -> str:
    """`sha256:` and the hex digest of the rows, in order, and of their columns' names."""
    import pandas as pd

    sha = hashlib.sha256("\n".join(map(str, test.columns)).encode())
    listed = [name for name in test.columns if test[name].dtype == object and _lists(test[name])]
    test = test.assign(**{str(name): test[name].map(_spelled) for name in listed})
    sha.update(pd.util.hash_pandas_object(test, index=False, categorize=False).to_numpy(dtype="<u8").tobytes())
    return f"sha256:{sha.hexdigest()}"


def _judged(
    domain: Domain, task: BaseTask, predictions: Floats, test: pd.DataFrame, examples: str
) -> dict[str, Estimate]:
    """The gate's metric against the relevance that is known of the rows, as "judged_<metric>"; none where the data has none."""
    column, metric = domain.data.judged, domain.gate.metric
    if column is None or column not in test.columns or metric not in task.metrics():
        return {}
    columns = dataclasses.replace(domain.data.target_columns, label=column, propensity=None)
    found = estimates([task.metrics()[metric]], task.targets(test, columns), predictions, seed=examples)
    return {f"judged_{name}": each for name, each in found.items()}


def _lists(values: pd.Series) -> bool:
    """Does a column hold lists, which pandas does not hash?"""
    return any(isinstance(value, list | np.ndarray) for value in values)


def _spelled(value: Any) -> str:
    return json.dumps(value.tolist() if isinstance(value, np.ndarray) else value, default=str)


def _slices(
    domain: Domain, task: BaseTask, targets: Targets, predictions: Floats, test: pd.DataFrame, examples: str
) -> Iterator[Slice]:
    metric = task.metrics()[domain.gate.metric]
    asked = [metric, *(task.metrics()[name] for name in domain.gate.slices.floors if name != metric.name)]
    parts = task.parts(predictions, domain.gate.slices.parts)
    for column in (*domain.gate.slices.columns, *(() if parts is None else (PREDICTED,))):
        if column not in test.columns and column != PREDICTED:
            raise ContractBroken(
                f"there is no column {column} to slice by",
                expected=", ".join(map(str, test.columns)),
                got=column,
                fix=f"mend gate.slices.columns in domains/{domain.name}/domain.yaml",
            )
        groups = parts if parts is not None and column == PREDICTED else task.groups(test[column], targets)
        for value in sorted(set(groups.tolist())):
            inside = groups == value
            seed = f"{examples}/{column}/{value}"
            told = estimates(asked, targets.take(inside), predictions[inside], seed=seed)
            found = told.get(metric.name)
            others = {
                name: each.model_copy(update={"replicates": (), "draws": ""})
                for name, each in told.items()
                if name in domain.gate.slices.floors
            }
            spread = found.model_dump(exclude={"value"}) if found else {}
            metric_value = found.value if found else None
            yield Slice(
                column=column, value=str(value), rows=int(inside.sum()), metric=metric_value, others=others, **spread
            )
