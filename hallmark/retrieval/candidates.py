"""Items that were found, as the columns that a ranker reads: the same in the server and in `hallmark search`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.artifacts.retriever import Retriever
from hallmark.features.arrays import objects
from hallmark.features.fields import Field
from hallmark.retrieval.fusion import Fused

VECTORS, WORDS = "vectors", "words"
"""The two ways by which an item may be found, as the fusion names them."""


def item_columns(
    declared: Retriever, ids: Sequence[str], known: Mapping[str, Sequence[Any]]
) -> dict[str, NDArray[Any]]:
    """(n,) each: the items' ids, filters and all that the index keeps of them. known: values by column; None, or NaN among numbers, where there is none."""
    corpus = declared.corpus
    numbered = corpus.datatype == "INT64"
    made = {corpus.id: np.array(list(map(int, ids)), dtype=np.int64) if numbered else objects(list(ids))}
    for each in corpus.filters:
        values = known[each.column]
        if each.datatype == "BYTES":
            made[each.column] = objects(values)
        elif isinstance(values, np.ndarray):
            made[each.column] = values
        else:
            made[each.column] = np.array([number(value) for value in values], dtype=np.float64)
    for field in declared.kept:
        made[field.name] = _held(known[field.name], field)
    return made


def found_columns(items: Sequence[Fused]) -> dict[str, NDArray[Any]]:
    """(n,) each: by which way items were found, and how far up."""
    made: dict[str, NDArray[Any]] = {}
    for name, way in (("vector", VECTORS), ("word", WORDS)):
        made[f"{name}_rank"] = np.array([item.ranks.get(way, 0) for item in items], dtype=np.int32)
        made[f"{name}_score"] = np.array([item.scores.get(way, 0.0) for item in items], dtype=np.float32)
    made["fused_score"] = np.array([item.score for item in items], dtype=np.float32)
    return made


def _held(values: Sequence[Any], field: Field) -> NDArray[Any]:
    """A column of items as training has it; of an item that was deleted meanwhile "" or 0 where its field is never missing."""
    if field.datatype == "BYTES":
        return objects(list(values) if field.optional else [value or "" for value in values])
    nothing = np.nan if field.optional else 0
    return np.array([nothing if value is None else value for value in values], dtype=field.dtype)


def number(value: Any) -> float:
    """A value of a column as a number, a time in seconds since 1970; NaN where there is none."""
    if value is None:
        return float("nan")
    return datetime.fromisoformat(value.replace("Z", "+00:00")).timestamp() if isinstance(value, str) else float(value)
