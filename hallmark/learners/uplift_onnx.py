"""The parts of an uplift as one ONNX graph: forests side by side, those of effects behind the prognosis, and the weighed sum of their views."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.features.fields import Output
from hallmark.learners import trees


def graph(
    forests: Mapping[str, Sequence[dict[str, Any]]], weights: NDArray[np.float64], *, outputs: tuple[Output, Output]
) -> Any:
    """The ONNX model of what `dump_model()` gave for "prognosis", "outcome-0".. and "effect-1"..: `input` (batch, k) to uplift and expected outcome.

    weights: (treatments, 4) of the constant, the prognosis, the difference of outcomes and the effect; a part whose weights are 0 is left out.
    """
    from onnx import TensorProto, checker, helper

    uplift, expected = outputs
    built = _Built()
    columns = int(forests["prognosis"][0]["max_feature_idx"]) + 1
    prognosis = built.forest("prognosis", forests["prognosis"], source="input")
    wide = built.node(
        "Unsqueeze", prognosis, built.constant("second", np.array([1], dtype=np.int64)), name="prognosis_column"
    )
    none = built.forest("none", forests["outcome-0"], source="input") if weights[:, 2].any() else ""
    read = built.node("Concat", "input", wide, name="read", axis=1) if weights[:, 3].any() else ""
    columns_of = []
    for arm, (constant, likely, apart, effect) in enumerate(weights.tolist(), start=1):
        parts = [(prognosis, likely)] if likely else []
        if apart:
            outcome = built.forest(f"outcome_{arm}", forests[f"outcome-{arm}"], source="input")
            parts.append((built.node("Sub", outcome, none, name=f"difference_{arm}"), apart))
        if effect:
            parts.append((built.forest(f"effect_{arm}", forests[f"effect-{arm}"], source=read), effect))
        last = built.node("Mul", prognosis, built.number(f"zero_{arm}", 0.0), name=f"nothing_{arm}")
        last = built.node("Add", last, built.number(f"constant_{arm}", constant), name=f"constant_of_{arm}")
        for place, (part, weight) in enumerate(parts):
            one = built.node("Mul", part, built.number(f"weight_{arm}_{place}", weight), name=f"weighed_{arm}_{place}")
            last = built.node("Add", last, one, name=f"sum_{arm}_{place}")
        axis = built.constant(f"axis_{arm}", np.array([1], dtype=np.int64))
        columns_of.append(built.node("Unsqueeze", last, axis, name=f"uplift_{arm}"))
    together = built.node("Concat", *columns_of, name="uplifts", axis=1)
    built.node(
        "Reshape", together, built.constant("flat", np.array([-1, *uplift.shape], dtype=np.int64)), name=uplift.name
    )
    built.node("Identity", prognosis, name=expected.name)
    made = helper.make_graph(
        built.nodes,
        "uplift",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", columns])],
        [helper.make_tensor_value_info(each.name, TensorProto.FLOAT, ["batch", *each.shape]) for each in outputs],
        built.constants,
    )
    opsets = [helper.make_opsetid("", trees.OPSET), helper.make_opsetid("ai.onnx.ml", trees.ML_OPSET)]
    model = helper.make_model(made, opset_imports=opsets, ir_version=trees.IR_VERSION, producer_name="hallmark")
    checker.check_model(model, full_check=True)
    return model


class _Built:
    """Nodes and constants of the graph, in order."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def node(self, operator: str, *inputs: str, name: str, **attributes: Any) -> str:
        from onnx import helper

        self.nodes.append(helper.make_node(operator, list(inputs), [name], **attributes))
        return name

    def constant(self, name: str, value: NDArray[Any]) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(value, name))
        return name

    def number(self, name: str, value: float) -> str:
        return self.constant(name, np.array(value, dtype=np.float32))

    def forest(self, name: str, dumps: Sequence[dict[str, Any]], *, source: str) -> str:
        """The (batch,) answers of a forest that reads `source`."""
        from onnx import compose

        one = compose.add_prefix(trees.forest_onnx(dumps, output="answer"), f"{name}.", rename_inputs=False)
        for node in one.graph.node:
            for place, given in enumerate(node.input):
                if given == "input":
                    node.input[place] = source
            self.nodes.append(node)
        self.constants += one.graph.initializer
        return f"{name}.answer"
