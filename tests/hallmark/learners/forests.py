"""Rows that a forest can learn, rows that sit on its very thresholds, and what ONNX answers to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from hallmark.learners.boosting import Forest
from hallmark.learners.model import Examples
from hallmark.learners.options import CLASSES, OBJECTIVES

COLUMNS, CODES = 5, 3
"""How many columns there are, and the one that holds codes of categories where a case has them."""


@dataclass(frozen=True)
class Richer(Examples):
    """Examples with what ranking and weighing need."""

    groups: NDArray[Any] | None = None
    weights: NDArray[Any] | None = None


def rows(count: int, *, seed: int, missing: bool = False, categories: bool = False) -> NDArray[np.float32]:
    random = np.random.default_rng(seed)
    found = random.normal(size=(count, COLUMNS)).astype(np.float32)
    found[::7, 0] = 0
    if categories:
        found[:, CODES] = random.choice([*range(40), 70, 1000], count)
    if missing:
        found[random.random(found.shape) < 0.15] = np.nan
    return found


def drawn(objective: str, count: int = 1200, *, seed: int = 0, **kind: bool) -> Examples:
    """Examples for an objective, in queries of 40 where it ranks."""
    inputs = rows(count, seed=seed, **kind)
    random = np.random.default_rng(seed + 1)
    known = np.nan_to_num(inputs)
    signal = known[:, 0] + known[:, 1] * (known[:, 2] > 0) + 0.4 * (known[:, CODES] % 3)
    if objective in {"binary", "cross_entropy", "cross_entropy_lambda"}:
        labels = (random.random(count) < 1 / (1 + np.exp(-signal))).astype(np.int64)
    elif objective in CLASSES:
        labels = np.digitize(signal, [-0.3, 0.8]).astype(np.int64)
    elif OBJECTIVES[objective].grouped:
        labels = np.clip(signal + 1, 0, 3).astype(np.int64)
    elif objective in {"poisson", "tweedie"}:
        labels = random.poisson(np.exp(0.5 * signal)).astype(np.float64)
    else:
        labels = 100 + 10 * signal + random.normal(size=count)
    groups = random.permutation(np.arange(count) // 40) if OBJECTIVES[objective].grouped else None
    return Richer(inputs, labels, groups=groups)


def on_the_edge(forest: Forest, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """`inputs` with numbers replaced by the float32 numbers around the forest's own thresholds."""
    found: dict[int, set[float]] = {}
    waiting = [tree["tree_structure"] for dump in forest.dumps() for tree in dump["tree_info"]]
    while waiting:
        node = waiting.pop()
        if "split_index" in node:
            waiting += [node["left_child"], node["right_child"]]
            if node["decision_type"] == "<=":
                found.setdefault(node["split_feature"], set()).add(node["threshold"])
    random, inputs = np.random.default_rng(5), inputs.copy()
    for column, thresholds in found.items():
        with np.errstate(over="ignore"):
            near = np.array(sorted(thresholds), dtype=np.float32)
        near = np.concatenate([np.nextafter(near, np.float32(-np.inf)), near, np.nextafter(near, np.float32(np.inf))])
        near[np.abs(near) < 1e-34] = 0  # LightGBM reads what is smaller as 0
        inputs[:, column] = random.choice(near, len(inputs))
    return inputs


def answers(model: bytes, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
    """The last output of an ONNX model."""
    running = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    found: NDArray[np.float32] = running.run(None, {"input": inputs})[-1]
    return found


def apart(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    """The largest difference, absolute below 1 and relative above."""
    return float((np.abs(found - wanted) / np.maximum(1, np.abs(wanted))).max())
