"""Charts of each task as data."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import auc, confusion_matrix

from hallmark.tasks import Binary, Multiclass, Ranking, Regression, Retrieval, Targets, Uplift
from hallmark.tasks.charts import Chart, ChartLine, Confusion


def charts(found: tuple[Chart | Confusion, ...]) -> list[Chart]:
    return [chart for chart in found if isinstance(chart, Chart)]


def area(line: ChartLine) -> float:
    return float(auc([point.x for point in line.points], [point.y for point in line.points]))


def test_binary_curves_are_thin_and_keep_their_area() -> None:
    generator = np.random.default_rng(0)
    labels = (generator.random(5000) < 0.1).astype(np.int64)
    scores = np.clip(generator.normal(0.3 + 0.2 * labels, 0.2), 0, 1)
    targets = Targets(labels)
    precision, roc = charts(Binary().charts(targets, scores))
    assert all(len(chart.lines[0].points) <= 200 for chart in (precision, roc))
    assert precision.baseline == pytest.approx(labels.mean()) and precision.steps and roc.diagonal
    value = {name: metric.value(targets, scores) for name, metric in Binary().metrics().items()}
    assert area(roc.lines[0]) == pytest.approx(value[roc.metric], abs=2e-3)
    assert area(precision.lines[0]) == pytest.approx(value[precision.metric], abs=0.02)
    assert (roc.lines[0].points[0].x, roc.lines[0].points[-1].x) == (0.0, 1.0)
    assert Binary().charts(Targets(np.zeros(0)), np.zeros(0)) == ()


def test_the_confusion_matrix_is_that_of_scikit_learn() -> None:
    generator = np.random.default_rng(1)
    labels, given = generator.integers(0, 3, 90), generator.dirichlet(np.ones(3), 90)
    (found,) = Multiclass(labels=("a", "b", "c")).charts(Targets(labels), given)
    assert isinstance(found, Confusion)
    np.testing.assert_array_equal(found.counts, confusion_matrix(labels, given.argmax(axis=1)))


def test_regression_shows_what_came_true_by_tenths_and_by_quantile() -> None:
    generator = np.random.default_rng(2)
    middle = generator.random(4000) * 10
    targets = Targets(middle + generator.normal(size=4000))
    given = np.column_stack([middle - 1.2816, middle, middle + 1.2816])
    tenths, quantiles = charts(Regression(quantiles=(0.1, 0.5, 0.9)).charts(targets, given))
    assert len(tenths.lines[0].points) == 10
    assert all(point.y == pytest.approx(point.x, abs=0.3) for point in tenths.lines[0].points)
    assert all(point.y == pytest.approx(point.x, abs=0.03) for point in quantiles.lines[0].points)
    unknown = Targets(np.ones(2), censored=np.array([True, True]))
    assert Regression().charts(unknown, np.ones(2)) == ()


def test_figures_by_query_grow_with_the_places_that_count() -> None:
    targets = Targets(np.array([0.0, 1, 1]), groups=np.zeros(3, dtype=np.int64))
    (gain,) = charts(Ranking().charts(targets, np.array([3.0, 2, 1])))
    assert [point.y for point in gain.lines[0].points[:2]] == pytest.approx([0, 1 / np.log2(3) / (1 + 1 / np.log2(3))])
    (recall,) = charts(Retrieval().charts(targets, np.array([1, 2, np.inf])))
    assert [point.y for point in recall.lines[0].points[:3]] == [0, 0.5, 0.5]
    (empty,) = charts(Ranking().charts(Targets(np.zeros(2), groups=np.zeros(2, dtype=np.int64)), np.ones(2)))
    assert empty.lines[0].points == ()


def test_uplift_shows_the_qini_curve_against_treating_by_lot() -> None:
    targets = Targets(np.array([1.0, 0, 0, 1]), treatment=np.array([1, 0, 1, 0]))
    chart, *_ = charts(Uplift().charts(targets, np.array([0.9, 0.8, 0.2, 0.1])))
    model, random = chart.lines
    assert [(point.x, point.y) for point in model.points] == [(0, 0), (0.25, 0.25), (0.5, 0.25), (0.75, 0.25), (1, 0)]
    assert random.points[-1].y == 0
    several = Targets(np.array([1.0, 0, 0, 1]), treatment=np.array([1, 0, 2, 0]))
    both, *_ = charts(Uplift(treatments=2).charts(several, np.zeros((4, 2))))
    assert [line.name for line in both.lines] == [
        "treatment 1",
        "treatment 1 by lot",
        "treatment 2",
        "treatment 2 by lot",
    ]


def test_uplift_shows_what_came_true_by_tenths_and_sales_by_spending() -> None:
    random = np.random.default_rng(0)
    uplift, treated = np.repeat([0.4, 0.0], 5000), random.integers(0, 2, 10_000)
    chance = np.where(treated == 1, 0.5, 0.5)
    bought = (random.random(10_000) < 0.1 + uplift * treated).astype(np.float64)
    targets = Targets(bought, treatment=treated, propensity=chance, values=20 * bought)
    _, among, sales, calibration = charts(Uplift(cost=(0.5,)).charts(targets, uplift))
    assert (sales.across, sales.up) == ("spent, per 1,000 records", "sales gained, per 1,000 records")
    assert sales.lines[0].points[5].x == 250 and sales.lines[0].points[5].y == pytest.approx(4000, rel=0.1)
    assert among.lines[0].points[-1].y == pytest.approx(0.2, abs=0.02)
    assert [point.y for point in calibration.lines[0].points] == pytest.approx([0.4] * 5 + [0.0] * 5, abs=0.08)
