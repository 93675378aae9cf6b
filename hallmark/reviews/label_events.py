"""Verdicts as labels of the answers that they are about: what `hallmark labels` reads and sends, joined by the request's id."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from hallmark.reviews.case import Given


def label_events(verdicts: Iterable[Given]) -> Iterator[tuple[Given, dict[str, Any]]]:
    """Each final verdict that tells, with its label as the drift monitors take it; the same verdict is the same event, whenever it is asked for."""
    for each in verdicts:
        if each.final and each.label is not None:
            row = {} if each.case.row is None else {"row": each.case.row}
            yield each, {"request": each.case.asked, "label": each.label, "at": each.at.isoformat(), **row}


def examples(verdicts: Iterable[Given]) -> Iterator[dict[str, Any]]:
    """The same, with what a training wants to know: where the case came from, and the weight of one that was drawn, one by the probability of that;
    and whether the person had unfolded what a reviewer said, where that is known."""
    for given, event in label_events(verdicts):
        case = given.case
        told = {"item": case.item, "price": case.price, "source": given.source}
        if given.verdict.opened is not None:
            told["opened"] = given.verdict.opened
        yield {**event, **told, "inclusion": case.inclusion, "weight": 1.0 / case.inclusion}
