"""An exact index: items as directions among encoded queries, the best k of all by one matrix product, as ONNX."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.errors import DeclarationError
from hallmark.features.fields import Output
from hallmark.learners.model import Examples, Progress, unrestorable

VECTORS, IDS = "items.npy", "items.json"
_NOTHING = np.float32(-1e9)
_NONE: dict[str, str | int] = {"BYTES": "", "INT64": -1}


@dataclass(frozen=True)
class ExactIndex:
    """A recipe for an index; small enough catalogues, up to some hundred thousand items, need no approximate one.

    output: the ids that it answers, (k,) of BYTES or INT64.
    ridge:  how strongly directions are drawn to nothing: an item that few queries wanted stays near its popularity.
    """

    output: Output
    ridge: float = 1.0

    def __post_init__(self) -> None:
        if len(self.output.shape) != 1 or self.output.datatype not in _NONE:
            raise DeclarationError(
                f"an index does not answer what the output {self.output.name} declares",
                expected="k ids a record: a shape of (k,), of BYTES or INT64",
                got=f"{self.output.datatype} of shape {self.output.shape}",
            )

    def fit(
        self,
        train: Examples,
        validation: Examples,
        *,
        seed: int,
        progress: Progress | None = None,
        ridge: float | None = None,
    ) -> Index:
        """Regress on the encoded queries which items were relevant, all items at once; `validation` is not learnt from.

        Examples carry groups (n,), the query of each row, and items (n,); what is no number of a query counts as its mean.
        """
        if train.groups is None or train.items is None:
            raise DeclarationError(
                "an index is learnt from queries and their items",
                expected="data.query and data.item in domain.yaml",
                got="examples without them",
            )
        _, first, query = np.unique(train.groups, return_index=True, return_inverse=True)
        ids, item = np.unique(train.items, return_inverse=True)
        wanted = np.zeros((len(first), len(ids)))
        np.add.at(wanted, (query.ravel(), item.ravel()), train.labels)
        inputs = train.inputs[first].astype(np.float64)
        middle = np.nan_to_num(np.nanmean(inputs, axis=0))
        spread = np.maximum(np.nan_to_num(np.nanstd(inputs, axis=0)), 1e-6)
        x = np.nan_to_num((inputs - middle) / spread)
        popular = wanted.mean(axis=0)
        held = len(first) * (self.ridge if ridge is None else ridge) * 1e-3
        directions = np.linalg.solve(x.T @ x + held * np.eye(x.shape[1]), x.T @ (wanted - popular))
        if progress is not None:
            progress(1, 1, f"{len(ids)} items, {len(first)} queries")
        return Index(
            ids.tolist(),
            np.vstack([directions, popular]).astype(np.float32),
            scale=np.stack([middle, spread]).astype(np.float32),
            output=self.output,
        )

    def restore(self, folder: Path) -> Index:
        """The index that `save` wrote into `folder`."""
        try:
            ids = json.loads((folder / IDS).read_bytes())
            vectors = np.load(folder / VECTORS, allow_pickle=False)
            return Index(list(ids), vectors[:, 2:], scale=vectors[:-1, :2].T, output=self.output)
        except (OSError, ValueError, IndexError, TypeError) as error:
            raise unrestorable("the folder holds no index", expected=f"{VECTORS} and {IDS}", error=error) from error


class Index:
    """A trained index (hallmark.learners.model.Trained).

    ids: of the items.  vectors: (d + 1, items) float32, the last row each item's popularity.  scale: (2, d) mean and deviation of inputs.
    """

    def __init__(
        self, ids: list[str | int], vectors: NDArray[np.float32], *, scale: NDArray[np.float32], output: Output
    ) -> None:
        self.ids, self.vectors, self.scale, self.output = ids, vectors, scale, output

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[Any]:
        """(n, k) ids, best first, as the exported model gives them."""
        from hallmark.learners import onnx_model

        name = self.output.name
        return onnx_model.run(onnx_model.session(self._onnx()), inputs, [name])[name]

    def save(self, folder: Path) -> None:
        """Write ids, and vectors with the scale beside them, into `folder`."""
        width = self.vectors.shape[0]
        scale = np.zeros((width, 2), dtype=np.float32)
        scale[:-1] = self.scale.T
        np.save(folder / VECTORS, np.concatenate([scale, self.vectors], axis=1), allow_pickle=False)
        (folder / IDS).write_text(json.dumps(self.ids), encoding="utf-8")

    def export(self, path: Path) -> None:
        """Write the ONNX model: `input` (n, d) to k ids; fewer items than k are filled up with "" or -1."""
        path.write_bytes(self._onnx())

    def _onnx(self) -> bytes:
        from onnx import TensorProto, helper, numpy_helper

        kind = self.output.datatype
        (k,) = self.output.shape
        empty = max(0, k - len(self.ids))
        padding = np.zeros((self.vectors.shape[0], empty), dtype=np.float32)
        padding[-1:] = _NOTHING
        vectors = np.concatenate([self.vectors, padding], axis=1)
        ids = np.array([*self.ids, *[_NONE[kind]] * empty], dtype=object if kind == "BYTES" else np.int64)
        if kind == "BYTES":
            ids = np.array([str(each) for each in ids.tolist()], dtype=object)
        constants = {
            "middle": self.scale[0],
            "spread": self.scale[1],
            "nothing": np.zeros((), dtype=np.float32),
            "directions": vectors[:-1],
            "popular": vectors[-1],
            "k": np.array([k], dtype=np.int64),
            "ids": ids,
        }
        nodes = [
            helper.make_node("Sub", ["input", "middle"], ["centred"]),
            helper.make_node("Div", ["centred", "spread"], ["scaled"]),
            helper.make_node("IsNaN", ["scaled"], ["gone"]),
            helper.make_node("Where", ["gone", "nothing", "scaled"], ["embedding"]),
            helper.make_node("MatMul", ["embedding", "directions"], ["likeness"]),
            helper.make_node("Add", ["likeness", "popular"], ["scores"]),
            helper.make_node("TopK", ["scores", "k"], ["best", "places"], axis=1),
            helper.make_node("Gather", ["ids", "places"], [self.output.name]),
        ]
        answered = TensorProto.STRING if kind == "BYTES" else TensorProto.INT64
        graph = helper.make_graph(
            nodes,
            "exact_index",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", self.scale.shape[1]])],
            [helper.make_tensor_value_info(self.output.name, answered, ["batch", k])],
            [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in constants.items()],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        return bytes(made.SerializeToString(deterministic=True))
