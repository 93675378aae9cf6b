"""A boosted forest of LightGBM as ONNX, with the very same answers at every split.

A booster compares in double precision, `x <= t`; ONNX holds `t` as float32. The inputs are float32 on both sides, so
rounding every threshold down to the next float32 keeps each comparison as it was: no row changes its leaf (save one
with a value within 1e-35 of 0, which LightGBM reads as 0).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.errors import ModelRefused

OPSET, ML_OPSET, IR_VERSION = 17, 3, 8


def binary_onnx(dump: dict[str, Any], *, output: str) -> Any:
    """The ONNX model of `Booster.dump_model()`: `input` (batch, k) float32 in, `output` (batch,) float32 0..1 out."""
    from onnx import TensorProto, checker, helper

    if dump["objective"].split()[0] != "binary" or dump["num_tree_per_iteration"] != 1:
        raise ModelRefused(
            "only a binary booster becomes an ONNX forest here", expected="objective binary", got=dump["objective"]
        )
    slope = float(dict(part.split(":") for part in dump["objective"].split()[1:]).get("sigmoid", 1))
    columns = int(dump["max_feature_idx"]) + 1
    forest = _forest(dump["tree_info"])
    nodes = [
        helper.make_node(
            "TreeEnsembleRegressor", ["input"], ["margin"], domain="ai.onnx.ml", n_targets=1,
            aggregate_function="SUM", post_transform="NONE", **forest
        ),
        helper.make_node("Mul", ["margin", "slope"], ["scaled"]),
        helper.make_node("Sigmoid", ["scaled"], ["column"]),
        helper.make_node("Reshape", ["column", "flat"], [output]),
    ]  # fmt: skip
    graph = helper.make_graph(
        nodes,
        "forest",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", columns])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch"])],
        [
            helper.make_tensor("slope", TensorProto.FLOAT, [1], [slope]),
            helper.make_tensor("flat", TensorProto.INT64, [1], [-1]),
        ],
    )
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)]
    made = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="hallmark")
    checker.check_model(made, full_check=True)
    return made


def not_above(threshold: float) -> float:
    """The largest float32 that is not above `threshold`."""
    near: NDArray[np.float32] = np.array([threshold], dtype=np.float32)
    if float(near[0]) > threshold:
        near = np.nextafter(near, np.float32(-np.inf))
    return float(near[0])


def _forest(trees: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """The attributes of a TreeEnsembleRegressor, node by node."""
    forest: dict[str, list[Any]] = {
        name: []
        for name in (
            *("nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_modes", "nodes_values"),
            *("nodes_truenodeids", "nodes_falsenodeids", "target_treeids", "target_nodeids", "target_ids"),
            "target_weights",
        )
    }
    for number, tree in enumerate(trees):
        _grow(forest, number, tree["tree_structure"])
    return forest


def _grow(forest: dict[str, list[Any]], tree: int, root: dict[str, Any]) -> None:
    """Add one tree; nodes are numbered as they are met, the root is 0."""
    waiting, made = [(0, root)], 1
    while waiting:
        node_id, node = waiting.pop()
        leaf = "split_index" not in node
        forest["nodes_treeids"].append(tree)
        forest["nodes_nodeids"].append(node_id)
        forest["nodes_modes"].append("LEAF" if leaf else "BRANCH_LEQ")
        forest["nodes_featureids"].append(0 if leaf else node["split_feature"])
        forest["nodes_values"].append(0.0 if leaf else not_above(_threshold(node)))
        forest["nodes_truenodeids"].append(0 if leaf else made)
        forest["nodes_falsenodeids"].append(0 if leaf else made + 1)
        if leaf:
            forest["target_treeids"].append(tree)
            forest["target_nodeids"].append(node_id)
            forest["target_ids"].append(0)
            forest["target_weights"].append(float(node["leaf_value"]))
        else:
            waiting += [(made, node["left_child"]), (made + 1, node["right_child"])]
            made += 2


def _threshold(node: dict[str, Any]) -> float:
    if node["decision_type"] != "<=" or node["missing_type"] != "None":
        raise ModelRefused(
            "the booster has a split that ONNX would decide otherwise",
            expected="numeric splits (<=) and no missing values (use_missing=False)",
            got=f"{node['decision_type']} with missing values as {node['missing_type']}",
        )
    return float(node["threshold"])
