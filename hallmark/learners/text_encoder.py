"""Texts as directions: what is searched for and what is clicked on come to lie near each other, whatever words and language they have.

A text is the sum of the vectors of its words and of their parts (hallmark/features/text.py), made one long. The vectors are
learnt from clicks alone: of what was clicked in a batch, each query has to find its own (a softmax over the batch, and over what was
shown beside it and passed over). Queries and items share one table, so what is written alike begins alike.

Learning needs torch; what is learnt is a table of numbers, which neither `encode` nor the exported graph needs it for.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.errors import ContractBroken
from hallmark.learners.model import Progress, unrestorable

FILE = "text_encoder.npy"
ONNX = "encoder.onnx"
_ROWS = 4096
_LEAST = 1e-6


@dataclass(frozen=True)
class TextTower:
    """A recipe for an encoder.

    buckets: numbers that words and their parts have.   dimension: of a direction.   temperature: of the softmax.
    """

    buckets: int = 1 << 15
    dimension: int = 32
    epochs: int = 8
    batch: int = 512
    rate: float = 0.01
    temperature: float = 0.1

    def fit(
        self,
        queries: NDArray[np.int32],
        items: NDArray[np.int32],
        *,
        clicked: NDArray[np.bool_],
        groups: NDArray[np.int64],
        weights: NDArray[np.float64] | None = None,
        seed: int,
        progress: Progress | None = None,
    ) -> TextEncoder:
        """Learn from rows: a query's numbers (n, q), an item's (n, t), whether it was clicked, and which search it was shown in.

        weights: (n,) how much a click counts. The same rows and seed give the same table, on one thread.
        """
        import torch
        from torch.nn import functional

        from hallmark.learners.loop import fixed_threads

        hits = np.flatnonzero(clicked)
        if not len(hits):
            raise ContractBroken("nothing was clicked", expected="rows with a click, to learn from", got="none")
        random = np.random.default_rng(seed)
        passed = _Passed(clicked, groups)
        with fixed_threads(1):
            drawn = random.normal(0, self.dimension**-0.5, (self.buckets, self.dimension)).astype(np.float32)
            table = torch.nn.EmbeddingBag.from_pretrained(
                torch.from_numpy(drawn), freeze=False, mode="sum", padding_idx=0, sparse=True
            )
            optimizer = torch.optim.SparseAdam(table.parameters(), lr=self.rate)
            for epoch in range(self.epochs):
                order = random.permutation(hits)
                total = 0.0
                for group in optimizer.param_groups:
                    group["lr"] = self.rate * (1 - epoch / self.epochs)
                for start in range(0, len(order), self.batch):
                    rows = order[start : start + self.batch]
                    beside = passed.draw(rows, random)
                    asked = functional.normalize(table(_numbers(queries[rows])), dim=1, eps=_LEAST)
                    found = functional.normalize(table(_numbers(items[rows])), dim=1, eps=_LEAST)
                    others = functional.normalize(table(_numbers(items[np.maximum(beside, 0)])), dim=1, eps=_LEAST)
                    near = asked @ found.T
                    same = torch.from_numpy(groups[rows][:, None] == groups[rows][None, :])
                    near = near.masked_fill(same & ~torch.eye(len(rows), dtype=torch.bool), -1e4)
                    own = (asked * others).sum(1, keepdim=True)
                    own = own.masked_fill(torch.from_numpy(beside < 0)[:, None], -1e4)
                    logits = torch.cat((near, own), dim=1) / self.temperature
                    losses = functional.cross_entropy(logits, torch.arange(len(rows)), reduction="none")
                    each = torch.ones(len(rows)) if weights is None else torch.from_numpy(weights[rows]).float()
                    loss = (losses * each).sum() / each.sum()
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()  # type: ignore[no-untyped-call]
                    total += loss.item() * len(rows)
                if progress is not None:
                    progress(epoch + 1, self.epochs, f"softmax loss {total / len(hits):.4f}")
            learnt = table.weight.detach().numpy().copy()
        learnt[0] = 0
        return TextEncoder(learnt)

    def restore(self, folder: Path) -> TextEncoder:
        """The encoder that `save` wrote into `folder`."""
        try:
            table = np.load(folder / FILE, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise unrestorable(f"{FILE} is no table", expected="vectors of words", error=error) from error
        return TextEncoder(np.asarray(table, dtype=np.float32))


@dataclass(frozen=True, eq=False)
class TextEncoder:
    """A trained encoder. table: (buckets, dimension) float32, of which row 0, where a text has no more words, is nothing."""

    table: NDArray[np.float32]

    def encode(self, numbers: NDArray[np.int32]) -> NDArray[np.float32]:
        """(n, dimension) directions of length 1 of texts as numbers (n, slots); a text without words is a zero."""
        once, which = np.unique(numbers, axis=0, return_inverse=True)
        made = np.empty((len(once), self.table.shape[1]), dtype=np.float32)
        for start in range(0, len(once), _ROWS):
            part = self.table[once[start : start + _ROWS]].sum(axis=1)
            made[start : start + _ROWS] = part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), _LEAST)
        return made[which.reshape(-1)]

    def nearness(self, first: NDArray[np.int32], second: NDArray[np.int32]) -> NDArray[np.float32]:
        """(n, 1) cosine of each two texts."""
        found: NDArray[np.float32] = (self.encode(first) * self.encode(second)).sum(axis=1, keepdims=True)
        return found

    def save(self, folder: Path) -> None:
        """Write the table into `folder`."""
        np.save(folder / FILE, self.table, allow_pickle=False)

    def export(self, path: Path) -> None:
        """Write the ONNX model: `text` (n, slots) int32, of any n and slots, to `embedding` (n, dimension)."""
        from onnx import TensorProto, checker, helper

        from hallmark.learners.trees import IR_VERSION, OPSET

        nodes, constants = self.nodes("text", source="text", result="embedding")
        given = helper.make_tensor_value_info("text", TensorProto.INT32, ["batch", "slots"])
        found = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", self.table.shape[1]])
        graph = helper.make_graph(nodes, "encoder", [given], [found], [self.constant(), *constants])
        opsets = [helper.make_opsetid("", OPSET)]
        made = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="hallmark")
        checker.check_model(made, full_check=True)
        path.write_bytes(made.SerializeToString(deterministic=True))

    def nodes(self, name: str, *, source: str, result: str) -> tuple[list[Any], list[Any]]:
        """Nodes and constants of an ONNX graph that gives what `encode` does of the input `source`, (batch, slots) int32.

        They read the constant `text_table`, which is the caller's to add once (`constant`).
        """
        from onnx import helper, numpy_helper

        made = [
            helper.make_node("Gather", ["text_table", source], [f"{name}_vectors"], axis=0),
            helper.make_node("ReduceSum", [f"{name}_vectors", f"{name}_axis"], [f"{name}_sum"], keepdims=0),
            helper.make_node("ReduceL2", [f"{name}_sum"], [f"{name}_long"], axes=[1], keepdims=1),
            helper.make_node("Max", [f"{name}_long", f"{name}_least"], [f"{name}_length"]),
            helper.make_node("Div", [f"{name}_sum", f"{name}_length"], [result]),
        ]
        constants = [
            numpy_helper.from_array(np.array([1], dtype=np.int64), f"{name}_axis"),
            numpy_helper.from_array(np.array([_LEAST], dtype=np.float32), f"{name}_least"),
        ]
        return made, constants

    def constant(self) -> Any:
        """The table as a constant of an ONNX graph."""
        from onnx import numpy_helper

        return numpy_helper.from_array(self.table, "text_table")


class _Passed:
    """Rows that were shown in the same search as a clicked one, and not clicked."""

    def __init__(self, clicked: NDArray[np.bool_], groups: NDArray[np.int64]) -> None:
        missed = np.flatnonzero(~clicked)
        self._rows = missed[np.argsort(groups[missed], kind="stable")]
        self._groups, self._of = groups, groups[self._rows]

    def draw(self, rows: NDArray[np.int64], random: np.random.Generator) -> NDArray[np.int64]:
        """One for each of these rows, -1 where all that was shown was clicked."""
        low = np.searchsorted(self._of, self._groups[rows], side="left")
        high = np.searchsorted(self._of, self._groups[rows], side="right")
        at = low + (random.random(len(rows)) * (high - low)).astype(np.int64)
        return (
            np.where(high > low, self._rows[np.minimum(at, len(self._rows) - 1)], -1)
            if len(self._rows)
            else low * 0 - 1
        )


def _numbers(texts: NDArray[np.int32]) -> Any:
    import torch

    return torch.from_numpy(np.ascontiguousarray(texts, dtype=np.int64))
