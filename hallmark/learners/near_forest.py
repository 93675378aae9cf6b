"""A forest that reads how near two texts are, beside numbers: encoder and forest learnt from one log, exported as one graph.

On rows that an encoder has learnt from, what was clicked lies nearer than it ever will again, and a forest that trusts it there is
worse than one without. So two more encoders learn from one half of the groups each, and the forest reads each half with the encoder that
has not seen it; the encoder of all of them is the one that serves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.errors import ContractBroken, ModelRefused
from hallmark.learners.boosting import Boosting, Forest
from hallmark.learners.model import Examples, Progress
from hallmark.learners.options import whole
from hallmark.learners.text_encoder import ONNX, TextEncoder, TextTower

Named = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class NearForest:
    """A recipe, as a domain's model.py declares it.

    forest: reads the nearness, then the numbers.   tower: of the encoder.
    texts:  names of the two inputs that hold texts as numbers, (n, slots) int32: what is asked, and what is found.
    numbers: name of the input (n, k) float32.
    """

    forest: Boosting
    tower: TextTower = field(default_factory=TextTower)
    texts: tuple[str, str] = ("query", "item")
    numbers: str = "numbers"

    def fit(
        self, train: Examples, validation: Examples, *, seed: int, progress: Progress | None = None, **options: Any
    ) -> TrainedNearForest:
        """Learn encoder and forest; the same examples and seed give the same model.

        Examples carry groups, and several inputs by name. A row of a positive label counts as often as its weight says.
        options: `epochs` of the encoder; others are the forest's.
        """
        epochs = whole("epochs", options.pop("epochs", self.tower.epochs))
        if train.groups is None:
            raise ContractBroken(
                "texts are learnt from groups of rows", expected="data.query in domain.yaml", got="none"
            )
        tower = TextTower(**{**vars(self.tower), "epochs": epochs})
        early = _first_half(train.groups)
        learnt = [
            _learnt(self, tower, train, rows, seed=seed, progress=_part(progress, at))
            for at, rows in enumerate((early, ~early, np.ones(len(train), dtype=np.bool_)))
        ]
        unseen = np.where(early[:, None], _near(self, learnt[1], train.named), _near(self, learnt[0], train.named))
        encoder = learnt[2]
        parts = [_read(self, train, unseen), _read(self, validation, _near(self, encoder, validation.named))]
        forest = self.forest.fit(*parts, seed=seed, progress=progress, **options)
        return TrainedNearForest(encoder, forest, recipe=self)

    def restore(self, folder: Path) -> TrainedNearForest:
        """The model that `save` wrote into `folder`."""
        return TrainedNearForest(self.tower.restore(folder), self.forest.restore(folder), recipe=self)


class TrainedNearForest:
    """A trained one (hallmark.learners.model.Trained)."""

    def __init__(self, encoder: TextEncoder, forest: Forest, *, recipe: NearForest) -> None:
        self.encoder, self.forest, self.recipe = encoder, forest, recipe

    def predict(self, inputs: Named) -> NDArray[np.float32]:
        """The forest's output for inputs by name."""
        near = _near(self.recipe, self.encoder, inputs)
        return self.forest.predict(np.hstack((near, inputs[self.recipe.numbers])))

    def save(self, folder: Path) -> None:
        """Write encoder and boosters into `folder`."""
        self.encoder.save(folder)
        self.forest.save(folder)

    def export(self, path: Path) -> None:
        """Write one ONNX model: both texts and the numbers in, the forest's output out, any n; and beside it the encoder alone."""
        import onnx
        from onnx import TensorProto, checker, compose, helper

        from hallmark.learners import trees

        output = self.forest.output
        forest = trees.forest_onnx(self.forest.dumps(), output=output.name, shape=output.shape)
        columns = forest.graph.input[0].type.tensor_type.shape.dim[1].dim_value
        nodes, constants, given = [], [self.encoder.constant()], []
        for name in self.recipe.texts:
            made, more = self.encoder.nodes(name, source=name, result=f"{name}_direction")
            nodes += made
            constants += more
            given.append(helper.make_tensor_value_info(name, TensorProto.INT32, ["batch", f"{name}_slots"]))
        first, second = (f"{name}_direction" for name in self.recipe.texts)
        constants.append(onnx.numpy_helper.from_array(np.array([1], dtype=np.int64), "near_axis"))
        nodes += [
            helper.make_node("Mul", [first, second], ["together"]),
            helper.make_node("ReduceSum", ["together", "near_axis"], ["nearness"], keepdims=1),
            helper.make_node("Concat", ["nearness", self.recipe.numbers], ["read"], axis=1),
        ]
        numbers = self.recipe.numbers
        given.append(helper.make_tensor_value_info(numbers, TensorProto.FLOAT, ["batch", columns - 1]))
        wanted = [helper.make_tensor_value_info("read", TensorProto.FLOAT, ["batch", columns])]
        graph = helper.make_graph(nodes, "texts", given, wanted, constants)
        texts = helper.make_model(graph, opset_imports=list(forest.opset_import), ir_version=forest.ir_version)
        made_of = compose.merge_models(texts, forest, io_map=[("read", "input")])
        checker.check_model(made_of, full_check=True)
        path.write_bytes(made_of.SerializeToString(deterministic=True))
        self.encoder.export(path.with_name(ONNX))


def _learnt(
    recipe: NearForest,
    tower: TextTower,
    train: Examples,
    rows: NDArray[np.bool_],
    *,
    seed: int,
    progress: Progress | None,
) -> TextEncoder:
    """The encoder that some rows of the examples teach."""
    some = train.targets.take(rows)
    texts = (train.named[name][rows] for name in recipe.texts)
    return tower.fit(
        *texts, clicked=some.labels > 0, groups=some.grouped()[0], weights=some.weights, seed=seed, progress=progress
    )


def _read(recipe: NearForest, examples: Examples, near: NDArray[np.float32]) -> Examples:
    """What the forest learns from: the nearness of the texts, then the numbers."""
    targets = examples.targets
    inputs = np.hstack((near, examples.named[recipe.numbers]))
    return Examples(inputs=inputs, labels=targets.labels, groups=targets.groups, weights=targets.weights)


def _near(recipe: NearForest, encoder: TextEncoder, named: Named) -> NDArray[np.float32]:
    """(n, 1) nearness of both texts; `ModelRefused` where an input is missing."""
    wanted = (*recipe.texts, recipe.numbers)
    if not set(wanted) <= named.keys():
        raise ModelRefused("an input of the model is missing", expected=", ".join(wanted), got=", ".join(named))
    return encoder.nearness(*(named[name] for name in recipe.texts))


def _part(progress: Progress | None, at: int) -> Progress | None:
    """Tell of the encoder number `at` of three."""
    if progress is None:
        return None
    return lambda done, of, note: progress(at * of + done, 3 * of, note)


def _first_half(groups: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(n,) whether a row is of one of the groups that come first."""
    _, first, which = np.unique(groups, return_index=True, return_inverse=True)
    order = np.argsort(np.argsort(first))
    early: NDArray[np.bool_] = order[which.reshape(-1)] < len(first) // 2
    return early
