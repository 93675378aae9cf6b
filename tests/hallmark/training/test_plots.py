from __future__ import annotations

import io
import re
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from hallmark.artifacts.evaluation import Evaluation, Slice
from hallmark.tasks import Binary, Regression, Targets, estimates
from hallmark.tasks.charts import Confusion
from hallmark.training.plots import drawn, html, png


def binary() -> Evaluation:
    random = np.random.default_rng(0)
    answers = (random.random(2000) < 0.1).astype(np.int64)
    scores = np.clip(0.4 * answers + 0.6 * random.random(2000), 0, 1)
    targets = Targets(labels=answers)
    found = estimates(Binary().metrics().values(), targets, scores, seed="plots")
    return Evaluation(
        rows=2000,
        test="sha256:0",
        metric="average_precision",
        metrics={name: each.value for name, each in found.items()},
        estimates=found,
        slices=(
            Slice(column="payment", value="<card>", rows=10, metric=0.5),
            Slice(column="payment", value="invoice", rows=3, metric=None),
        ),
        charts=Binary().charts(targets, scores),
    )


def photos() -> Evaluation:
    confusion = Confusion(labels=("Hat", "Shoes", "Dress"), counts=((8, 1, 1), (0, 9, 1), (0, 0, 0)))
    return Evaluation(rows=20, test="sha256:0", metric="top1", metrics={"top1": 0.85}, charts=(confusion,))


def prices() -> Evaluation:
    random = np.random.default_rng(0)
    labels = random.lognormal(4, 0.5, 500)
    quantiles = labels[:, None] * random.lognormal(0, 0.2, (500, 1)) * np.array([[0.8, 1.0, 1.3]])
    task = Regression(quantiles=(0.1, 0.5, 0.9), unit="EUR", nonnegative=True)
    charts = task.charts(Targets(labels=labels), quantiles)
    assert len(charts) == 2
    return Evaluation(rows=500, test="sha256:0", metric="pinball_loss", metrics={"pinball_loss": 9.0}, charts=charts)


def bare() -> Evaluation:
    return Evaluation(rows=20, test="sha256:0", metric="top1", metrics={"top1": 0.85})


@pytest.mark.parametrize(
    "evaluation", [binary(), photos(), prices(), bare()], ids=["binary", "photos", "prices", "bare"]
)
def test_picture_is_a_png_and_the_same_twice(evaluation: Evaluation) -> None:
    one = png(evaluation, title="fraud 2")
    assert one == png(evaluation, title="fraud 2")
    width, height = Image.open(io.BytesIO(one)).size
    assert 300 <= width <= 2000 and 300 <= height <= 2000


def test_page_needs_nothing_else_and_shows_text_as_text() -> None:
    page = html(binary(), title="fraud <2>")
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "&lt;card&gt;" in page and "<card>" not in page and "fraud &lt;2&gt;" in page
    assert "average_precision" in page and "—" in page
    error = binary().errors["average_precision"]
    assert f"± {error:.4f}" in page
    assert len(page) < 200_000


@pytest.mark.parametrize("evaluation", [binary(), photos(), prices()], ids=["binary", "photos", "prices"])
def test_no_title_reaches_into_the_next_chart(evaluation: Evaluation) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = drawn(evaluation, title="fraud 2")
    FigureCanvasAgg(figure).draw()
    titles = [axes.title.get_window_extent() for axes in figure.axes]
    edges = [
        0.0,
        *((a.x1 + b.x0) / 2 for a, b in pairwise(axes.get_tightbbox() for axes in figure.axes)),
        figure.bbox.x1,
    ]
    for title, (left, right) in zip(titles, pairwise(edges), strict=True):
        assert left <= title.x0 and title.x1 <= right
