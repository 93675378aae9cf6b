"""A sequential recommender as ONNX: ids as words go in, and ids or vectors come out; the numbers of items are its own affair."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hallmark.errors import HallmarkError
from hallmark.learners.sequence_network import FIRST, NOTHING, PADDING, UNKNOWN, SequenceNetwork
from hallmark.libraries import unwarned

ITEMS, ITEM, FACTS, VECTOR, SCORES = "recent", "item", "facts", "vector", "scores"


@dataclass(frozen=True)
class Exported:
    """An ONNX model that is whole."""

    content: bytes

    def write(self, path: Path) -> None:
        """To a file."""
        path.write_bytes(self.content)


def recommender(network: SequenceNetwork, ids: Sequence[str], *, k: int, facts: int, named: str) -> Exported:
    """`recent` (batch, items) and `facts` (batch, items, f) to the ids `named` and their `scores`, both (batch, k)."""
    made = _traced(_Recommender(network, k), facts=facts, outputs=("places", SCORES))
    return _worded(made, ids, facts=facts, words=ITEMS, names={"places": named}, k=k)


def encoder(network: SequenceNetwork, ids: Sequence[str], *, facts: int) -> Exported:
    """The same inputs to `vector` (batch, dim)."""
    return _worded(_traced(_Encoder(network), facts=facts, outputs=(VECTOR,)), ids, facts=facts, words=ITEMS)


def items(network: SequenceNetwork, ids: Sequence[str], *, facts: int) -> Exported:
    """`item` (batch,) and `facts` (batch, f) to `vector` (batch, dim)."""
    made = _traced(_Items(network), facts=facts, outputs=(VECTOR,), alone=True)
    return _worded(made, ids, facts=facts, words=ITEM, alone=True)


class _Encoder(nn.Module):
    def __init__(self, network: SequenceNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, index: Tensor, facts: Tensor) -> Tensor:
        return self.network.encode(index, facts)


class _Items(nn.Module):
    def __init__(self, network: SequenceNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, index: Tensor, facts: Tensor) -> Tensor:
        return self.network.vectors(index, facts)


class _Recommender(nn.Module):
    """Every item's score, those of the sequence masked, and the k best."""

    every: Tensor
    bias: Tensor

    def __init__(self, network: SequenceNetwork, k: int) -> None:
        super().__init__()
        self.network, self.k = network, k
        with torch.no_grad():
            every = network.vectors(torch.arange(len(network.learnt)))
        bias = torch.zeros(len(every))
        bias[:FIRST] = NOTHING
        missing = max(0, k - len(every))
        self.register_buffer("every", functional.pad(every, (0, 0, 0, missing)).T.contiguous())
        self.register_buffer("bias", functional.pad(bias, (0, missing), value=NOTHING))

    def forward(self, index: Tensor, facts: Tensor) -> tuple[Tensor, Tensor]:
        scores = self.network.encode(index, facts) @ self.every + self.bias
        scores = scores.scatter(1, index, torch.full_like(index, NOTHING, dtype=scores.dtype))
        best, places = scores.topk(self.k, dim=1)
        there = best > NOTHING / 2
        return torch.where(there, places, torch.zeros_like(places)), torch.where(there, best, torch.zeros_like(best))


def _traced(module: nn.Module, *, facts: int, outputs: Sequence[str], alone: bool = False) -> Any:
    """The module over numbers: `numbers` (batch[, items]) and `known` (batch[, items], f), both int64."""
    import onnx

    batch, length = torch.export.Dim("batch", min=1), torch.export.Dim("items", min=1)
    shape, axes = ((3,), {0: batch}) if alone else ((3, 4), {0: batch, 1: length})
    same = dict.fromkeys(axes, torch.export.Dim.AUTO)  # those of the first input, whose names it has
    given = torch.full(shape, FIRST, dtype=torch.int64), torch.zeros((*shape, facts), dtype=torch.int64)
    with unwarned("torch"):
        program = torch.onnx.export(
            module.eval(),
            given,
            dynamo=True,
            verbose=False,
            input_names=["numbers", "known"],
            output_names=list(outputs),
            dynamic_shapes=(axes, same),
        )
    if program is None:
        raise HallmarkError("torch exported nothing", expected="an ONNX program", got="None")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        program.save(path, external_data=False)
        return onnx.load(str(path))


def _worded(
    made: Any,
    ids: Sequence[str],
    *,
    facts: int,
    words: str,
    names: dict[str, str] | None = None,
    k: int = 0,
    alone: bool = False,
) -> Exported:
    """The traced model with words for numbers at its inputs, and at the outputs that `names` says."""
    import numpy as np
    from onnx import TensorProto, checker, helper, numpy_helper

    graph = made.graph
    numbers = list(range(FIRST, FIRST + len(ids)))
    before = [
        helper.make_node(
            "LabelEncoder",
            [words],
            ["numbers"],
            domain="ai.onnx.ml",
            keys_strings=["", *ids],
            values_int64s=[PADDING, *numbers],
            default_int64=UNKNOWN,
        ),
        helper.make_node("Cast", [FACTS], ["known"], to=TensorProto.INT64),
    ]
    after = []
    named = np.array(["", "", *ids, *[""] * k], dtype=object)
    for old, new in (names or {}).items():
        graph.initializer.append(numpy_helper.from_array(named, "ids"))
        after.append(helper.make_node("Gather", ["ids", old], [new]))
    nodes = [*before, *graph.node, *after]
    sides: list[Any] = ["batch"] if alone else ["batch", "items"]
    inputs = [
        helper.make_tensor_value_info(words, TensorProto.STRING, sides),
        helper.make_tensor_value_info(FACTS, TensorProto.INT16, [*sides, facts]),
    ]
    outputs = []
    for each in graph.output:
        if each.name in (names or {}):
            outputs.append(helper.make_tensor_value_info((names or {})[each.name], TensorProto.STRING, ["batch", k]))
        else:
            width = k or made_width(each)
            outputs.append(helper.make_tensor_value_info(each.name, TensorProto.FLOAT, ["batch", width]))
    whole = helper.make_graph(nodes, "sequence", inputs, outputs, list(graph.initializer))
    opsets = [each for each in made.opset_import if each.domain != "ai.onnx.ml"]
    model = helper.make_model(
        whole,
        opset_imports=[*opsets, helper.make_opsetid("ai.onnx.ml", 2)],
        ir_version=made.ir_version,
        functions=made.functions,
    )
    checker.check_model(model)
    return Exported(model.SerializeToString(deterministic=True))


def made_width(output: Any) -> int:
    """Numbers a record of an output (batch, width)."""
    return int(output.type.tensor_type.shape.dim[1].dim_value)
