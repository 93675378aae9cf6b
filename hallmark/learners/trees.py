"""Boosted forests of LightGBM as ONNX, with the very same answers at every split.

A booster compares in double precision, `x <= t`; ONNX holds `t` as float32. The inputs are float32 on both sides, so
rounding every threshold down to the next float32 keeps each comparison as it was: no row changes its leaf (save one
with a value of -1e-35 and no other, which LightGBM reads as 0). onnxmltools rounds them to the nearest one, and a fifth
of the rows that sit on a threshold change theirs; tests/hallmark/learners/test_converter.py measures it.

Splits are decided as `Tree::NumericalDecision` and `Tree::CategoricalDecision` of LightGBM's include/LightGBM/tree.h do.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.errors import ModelRefused

OPSET, ML_OPSET, IR_VERSION = 17, 3, 8
ZERO = np.float32(1e-35)
"""Largest size that LightGBM takes for zero, on both sides of it."""
_INFINITE = 1e300
_LINKS = {
    "binary": "sigmoid",
    "cross_entropy": "sigmoid",
    "cross_entropy_lambda": "softplus",
    "gamma": "exp",
    "multiclass": "softmax",
    "multiclassova": "sigmoid",
    "poisson": "exp",
    "tweedie": "exp",
    **dict.fromkeys(("fair", "huber", "mape", "quantile", "regression", "regression_l1"), "identity"),
    **dict.fromkeys(("lambdarank", "rank_xendcg"), "identity"),
}
_OPERATORS = {"sigmoid": "Sigmoid", "softplus": "Softplus", "exp": "Exp", "softmax": "Softmax"}


def forest_onnx(dumps: Sequence[dict[str, Any]], *, output: str, shape: tuple[int, ...] = ()) -> Any:
    """The ONNX model of what `Booster.dump_model()` gave: `input` (batch, k) float32 in, `output` (batch, *shape) out.

    dumps: one booster; or several of one objective and one output each, whose answers are sorted (quantiles do not cross).
    """
    from onnx import TensorProto, checker, helper

    link, slope = _link(dumps)
    width = sum(int(dump["num_tree_per_iteration"]) for dump in dumps)
    if width != (int(np.prod(shape)) if shape else 1):
        raise ModelRefused(
            "the forest does not give what the domain declares",
            expected=f"{output} (batch, {', '.join(map(str, shape))})",
            got=f"{width} answers for each row",
        )
    columns = int(dumps[0]["max_feature_idx"]) + 1
    trees = [tree for dump in dumps for tree in _trees(dump)]
    parts = _Graph()
    last = _prepared(parts, trees, columns)
    forest: dict[str, Any] = _forest(dumps, trees)
    last = parts.add("TreeEnsembleRegressor", last, domain="ai.onnx.ml", name="margin", n_targets=width, **forest)
    if link == "sigmoid":
        last = parts.add("Mul", last, parts.constant("slope", np.array([slope], dtype=np.float32)), name="scaled")
    if link == "sqrt":
        last = parts.add("Mul", last, parts.add("Abs", last, name="size"), name="column")
    elif link != "identity":
        axis: dict[str, Any] = {"axis": 1} if link == "softmax" else {}
        last = parts.add(_OPERATORS[link], last, name="column", **axis)
    if len(dumps) > 1:
        count = parts.constant("count", np.array([len(dumps)], dtype=np.int64))
        last = parts.add("TopK", last, count, name="ordered", more=("places",), axis=1, largest=0, sorted=1)
    parts.add("Reshape", last, parts.constant("flat", np.array([-1, *shape], dtype=np.int64)), name=output)
    graph = helper.make_graph(
        parts.nodes,
        "forest",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", columns])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", *shape])],
        parts.constants,
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="hallmark")
    checker.check_model(made, full_check=True)
    return made


def not_above(threshold: float) -> float:
    """The largest float32 that is not above `threshold`; infinity from 1e300 on, which is how LightGBM reads infinity."""
    with np.errstate(over="ignore"):
        near: NDArray[np.float32] = np.array([threshold], dtype=np.float32)
    if float(near[0]) > threshold and threshold < _INFINITE:
        near = np.nextafter(near, np.float32(-np.inf))
    return float(near[0])


class _Graph:
    """Nodes of a graph, each with one output that the next one reads."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, operator: str, *inputs: str, name: str, more: tuple[str, ...] = (), **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(operator, list(inputs), [name, *more], **attributes))
        return name

    def constant(self, name: str, value: NDArray[Any]) -> str:
        from onnx import helper

        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        self.constants.append(helper.make_tensor(name, kind, value.shape, value.flatten().tolist()))
        return name


def _link(dumps: Sequence[dict[str, Any]]) -> tuple[str, float]:
    """Link function from the sum over trees to an answer, and the slope of a sigmoid."""
    objectives = {str(dump["objective"]) for dump in dumps}
    name, *told = min(objectives).split()
    if len(objectives) > 1 or name not in _LINKS or any(dump["average_output"] for dump in dumps):
        raise ModelRefused(
            "this booster does not become an ONNX forest here",
            expected=f"one objective of {', '.join(sorted(_LINKS))}; a sum of trees, not their mean",
            got=", ".join(sorted(objectives)),
        )
    values = dict(part.split(":") for part in told if ":" in part)
    return "sqrt" if "sqrt" in told else _LINKS[name], float(values.get("sigmoid", 1))


def _trees(dump: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for tree in dump["tree_info"]:
        yield tree["tree_structure"]


def _splits(trees: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Every node of these trees that is no leaf; `ModelRefused` at a leaf that holds a line instead of a number."""
    waiting = list(trees)
    while waiting:
        node = waiting.pop()
        if "split_index" in node:
            yield node
            waiting += [node["left_child"], node["right_child"]]
        elif "leaf_coeff" in node:
            raise ModelRefused("linear trees have no form in ONNX", expected="a number in each leaf", got="a line")


def _prepared(parts: _Graph, trees: Sequence[dict[str, Any]], columns: int) -> str:
    """The inputs as splits read them: zeros that count as missing are NaN, codes of categories whole numbers."""
    found: dict[int, set[str]] = {}
    for node in _splits(trees):
        kind = node["missing_type"] if node["decision_type"] == "<=" else "code"
        found.setdefault(int(node["split_feature"]), set()).add(kind)
    mixed = {column for column, kinds in found.items() if len(kinds) > 1}
    if mixed:
        raise ModelRefused(
            f"column {min(mixed)} is read in two ways", expected="one", got=", ".join(sorted(found[min(mixed)]))
        )
    masks = {
        kind: np.array([[kind in found.get(column, ()) for column in range(columns)]], dtype=bool)
        for kind in ("Zero", "code")
    }
    last = "input"
    if masks["code"].any():  # towards zero, as a C cast does: -0.5 and 0.5 are both the category 0
        down, up = parts.add("Floor", last, name="down"), parts.add("Ceil", last, name="up")
        negative = parts.add("Less", last, parts.constant("zero", np.zeros(1, np.float32)), name="negative")
        whole = parts.add("Where", negative, up, down, name="whole")
        last = parts.add("Where", parts.constant("codes", masks["code"]), whole, last, name="coded")
    if masks["Zero"].any():
        near = parts.add("Abs", last, name="distance")
        near = parts.add("LessOrEqual", near, parts.constant("least", np.array([ZERO])), name="near")
        near = parts.add("And", near, parts.constant("numbers", masks["Zero"]), name="absent")
        last = parts.add("Where", near, parts.constant("nan", np.full(1, np.nan, np.float32)), last, name="told")
    return last


def _forest(dumps: Sequence[dict[str, Any]], trees: Sequence[dict[str, Any]]) -> dict[str, list[Any]]:
    """The attributes of a TreeEnsembleRegressor, node by node."""
    names = (
        *("nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_modes", "nodes_values", "nodes_truenodeids"),
        *("nodes_falsenodeids", "nodes_missing_value_tracks_true"),
        *("target_treeids", "target_nodeids", "target_ids", "target_weights"),
    )
    forest: dict[str, list[Any]] = {name: [] for name in names}
    targets, before = [], 0
    for dump in dumps:
        each = int(dump["num_tree_per_iteration"])
        targets += [before + number % each for number in range(len(dump["tree_info"]))]
        before += each
    for number, (tree, target) in enumerate(zip(trees, targets, strict=True)):
        _grow(forest, number, tree, target=target)
    if not any(forest["nodes_missing_value_tracks_true"]):  # what is not said is not looked at, row by row
        del forest["nodes_missing_value_tracks_true"]
    return forest


def _grow(forest: dict[str, list[Any]], tree: int, root: Mapping[str, Any], *, target: int) -> None:
    """Add one tree; nodes are numbered as they are met, the root is 0."""
    waiting, made = [(0, root)], 1
    while waiting:
        number, node = waiting.pop()
        if "split_index" not in node:
            _node(forest, tree, number, mode="LEAF")
            forest["target_treeids"].append(tree)
            forest["target_nodeids"].append(number)
            forest["target_ids"].append(target)
            forest["target_weights"].append(float(node["leaf_value"]))
            continue
        left, right, made = made, made + 1, made + 2
        waiting += [(left, node["left_child"]), (right, node["right_child"])]
        column = int(node["split_feature"])
        if node["decision_type"] == "==":  # a chain: each category leads to one and the same left child
            codes = [float(code) for code in str(node["threshold"]).split("||")]
            for code, last in zip(codes, [False] * (len(codes) - 1) + [True], strict=True):
                following, made = (right, made) if last else (made, made + 1)
                _node(forest, tree, number, mode="BRANCH_EQ", column=column, value=code, true=left, false=following)
                number = following
        else:
            threshold = float(node["threshold"])
            # NaN where the data had none is read as 0; where it is missing, it goes as the split says
            missing = threshold >= 0 if node["missing_type"] == "None" else bool(node["default_left"])
            value = not_above(threshold)
            _node(
                forest, tree, number, mode="BRANCH_LEQ", column=column, value=value, true=left, false=right,
                missing=missing,
            )  # fmt: skip


def _node(
    forest: dict[str, list[Any]], tree: int, number: int, *, mode: str, column: int = 0, value: float = 0.0,
    true: int = 0, false: int = 0, missing: bool = False,
) -> None:  # fmt: skip
    forest["nodes_treeids"].append(tree)
    forest["nodes_nodeids"].append(number)
    forest["nodes_modes"].append(mode)
    forest["nodes_featureids"].append(column)
    forest["nodes_values"].append(value)
    forest["nodes_truenodeids"].append(true)
    forest["nodes_falsenodeids"].append(false)
    forest["nodes_missing_value_tracks_true"].append(int(missing))
