from __future__ import annotations

import io
import re

import numpy as np
import pytest
from PIL import Image

from hallmark.artifacts.evaluation import Confusion, Evaluation, Slice
from hallmark.training import metrics
from hallmark.training.evaluate import curves
from hallmark.training.plots import html, png


def binary() -> Evaluation:
    random = np.random.default_rng(0)
    answers = (random.random(2000) < 0.1).astype(np.int64)
    scores = np.clip(0.4 * answers + 0.6 * random.random(2000), 0, 1)
    return Evaluation(
        rows=2000,
        test="sha256:0",
        metric="average_precision",
        metrics=metrics.binary(answers, scores),
        slices=(
            Slice(column="payment", value="<card>", rows=10, metric=0.5),
            Slice(column="payment", value="invoice", rows=3, metric=None),
        ),
        curves=curves(answers, scores),
    )


def photos() -> Evaluation:
    confusion = Confusion(labels=("Hat", "Shoes", "Dress"), counts=((8, 1, 1), (0, 9, 1), (0, 0, 0)))
    return Evaluation(rows=20, test="sha256:0", metric="top1", metrics={"top1": 0.85}, confusion=confusion)


@pytest.mark.parametrize("evaluation", [binary(), photos()], ids=["binary", "photos"])
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
    assert len(page) < 200_000
