"""A trained sale price as one ONNX graph: facts to columns, the most alike of past sales, forests, band, chances, and what moved the price."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hallmark.learners import comparables, trees
from hallmark.learners.comparables import DIRECTIONS, NEAREST, TIES, TITLE

if TYPE_CHECKING:
    from hallmark.learners.boosting import Forest
    from hallmark.learners.sale_price import TrainedSalePrice

"""How free text is called among what moved a price."""
SHOWN, LOOKED_AT = 5, 12
"""Facts that an answer names, of so many that are looked at."""
_ML = "ai.onnx.ml"
_LIKELY = float(np.log(9.0))
"""Log odds of 0.9."""


def made(trained: TrainedSalePrice) -> bytes:
    """The model: item, names, tokens, values and words in; the outputs of `domains/pricing/model.py` out."""
    return _Graph(trained).built()


class _Graph:
    """A graph that grows node by node; each call gives the name of its result."""

    def __init__(self, trained: TrainedSalePrice) -> None:
        self.trained = trained
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self._made = 0

    def op(
        self, operator: str, *inputs: str, outputs: int = 1, named: str = "", domain: str = "", **attributes: Any
    ) -> Any:
        from onnx import helper

        self._made += 1
        names = [
            named or f"{operator}_{self._made}",
            *(f"{operator}_{self._made}_{more}" for more in range(1, outputs)),
        ]
        self.nodes.append(helper.make_node(operator, list(inputs), names, domain=domain, **attributes))
        return names[0] if outputs == 1 else names

    def const(self, value: Any) -> str:
        from onnx import numpy_helper

        self._made += 1
        name = f"constant_{self._made}"
        array = np.asarray(value, order="C")
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def ints(self, *values: int) -> str:
        return self.const(np.array(values, dtype=np.int64))

    def floats(self, *values: float) -> str:
        return self.const(np.array(values, dtype=np.float32))

    def widened(self, name: str, axis: int) -> str:
        return str(self.op("Unsqueeze", name, self.ints(axis)))

    def total(self, name: str, axis: int, *, keep: bool = False) -> str:
        return str(self.op("ReduceSum", name, self.ints(axis), keepdims=int(keep)))

    def joined(self, parts: Sequence[str]) -> str:
        return str(self.op("Concat", *parts, axis=1))

    def forest(self, forest: Forest, columns: str) -> str:
        """The answer of a forest to what `columns` names, its nodes inlined."""
        made = trees.forest_onnx(forest.dumps(), output="answer", shape=forest.output.shape)
        self._made += 1
        prefix = f"forest_{self._made}_"
        name = {"input": columns}
        for constant in made.graph.initializer:
            constant.name = name.setdefault(constant.name, prefix + constant.name)
            self.constants.append(constant)
        for node in made.graph.node:
            for names in (node.input, node.output):
                names[:] = [name.setdefault(each, prefix + each) if each else each for each in names]
            node.name = ""
            self.nodes.append(node)
        return name["answer"]

    def built(self) -> bytes:
        from onnx import TensorProto, checker, helper

        columns, present = self._columns()
        places = self._nearest()
        near = self.op(
            "Mul",
            self.total(self.op("Gather", self.const(self.trained.pool.told), places), 1, keep=True),
            self.floats(1 / 8),
        )
        inputs = self.joined([columns, near])
        centre, logs = self._band(inputs)
        self._answers(inputs, centre, logs, places)
        self._moved(inputs, centre, present)
        self.op("Gather", self.const(np.array(self.trained.pool.ids, dtype=object)), places, named="comparables")
        recipe = self.trained.recipe
        text, whole, real = TensorProto.STRING, TensorProto.INT32, TensorProto.FLOAT
        given = [
            helper.make_tensor_value_info("item", text, ["batch"]),
            *(
                helper.make_tensor_value_info(name, kind, ["batch", "facts"])
                for name, kind in (("names", text), ("tokens", whole), ("values", real))
            ),
            helper.make_tensor_value_info("words", whole, ["batch", "words"]),
        ]
        told: list[tuple[str, int, list[Any]]] = [
            ("band", real, [len(recipe.quantiles)]), ("price", real, []), ("prices", real, [len(recipe.factors)]),
            ("chance", real, [len(recipe.factors)]), ("chance_of", text, []), ("comparables", text, [NEAREST]),
            ("moved_by", text, [SHOWN]), ("moved", real, [SHOWN]),
        ]  # fmt: skip
        answered = [helper.make_tensor_value_info(name, kind, ["batch", *shape]) for name, kind, shape in told]
        graph = helper.make_graph(self.nodes, "sale_price", given, answered, self.constants)
        opsets = [helper.make_opsetid("", trees.OPSET), helper.make_opsetid(_ML, trees.ML_OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=trees.IR_VERSION, producer_name="hallmark")
        checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))

    def _columns(self) -> tuple[str, str]:
        """Columns of the facts (batch, width), and which facts there are (batch, names) as 0 and 1."""
        facts, none = self.trained.columns, self.floats(0.0)
        self.codes = self.op(
            "LabelEncoder",
            "names",
            domain=_ML,
            keys_strings=list(facts.names),
            values_int64s=list(range(len(facts.names))),
            default_int64=-1,
        )
        mine = self.op("Equal", self.widened(self.codes, 2), self.const(np.arange(len(facts.names))[None, None, :]))
        is_number = self.op("And", mine, self.widened(self.op("Not", self.op("IsNaN", "values")), 2))
        amount = self.total(self.op("Where", is_number, self.widened("values", 2), none), 1)
        there = self.op("ReduceMax", self.op("Cast", is_number, to=1), axes=[1], keepdims=0)
        number = self.op("Where", self.op("Greater", there, none), amount, self.floats(float("nan")))
        place = {name: at for at, name in enumerate(facts.names)}
        number = self.op("Gather", number, self.ints(*(place[name] for name in facts.numbers)), axis=1)
        worth = self.const(facts.worth)
        worths = self.op("Gather", worth, "tokens")
        word = self.total(self.op("Where", mine, self.widened(worths, 2), none), 1)
        word = self.op("Gather", word, self.ints(*(place[name] for name in facts.words)), axis=1)
        text = self.total(self.op("Gather", worth, "words"), 1, keep=True)
        words = self.joined([word, text])
        whole = self.total(words, 1, keep=True)
        is_word = self.op("And", mine, self.widened(self.op("Greater", "tokens", self.const(np.zeros(1, np.int32))), 2))
        present = self.op("ReduceMax", self.op("Cast", self.op("Or", is_word, is_number), to=1), axes=[1], keepdims=0)
        return self.joined([number, words, whole]), present

    def _nearest(self) -> str:
        """Places of the most alike sales (batch, NEAREST)."""
        pool, names = self.trained.pool, len(self.trained.columns.names)
        table = self.const(comparables.directions())
        known = self.op("Where", self.op("Less", self.codes, self.ints(0)), self.ints(names), self.codes)
        strength = self.widened(self.op("Gather", self.const(pool.strength), known), 2)
        many = self.const(np.array([DIRECTIONS], dtype=np.int32))
        facts = self.op("Gather", table, self.op("Mod", "tokens", many))
        title = self.op("Slice", "words", self.ints(0), self.ints(TITLE), self.ints(1))
        words = self.op("Gather", table, self.op("Mod", title, many))
        at = self.op("Add", self.total(self.op("Mul", facts, strength), 1), self.total(words, 1))
        likeness = self.op("MatMul", at, self.const(2 * pool.vectors.T))
        own = (pool.vectors.astype(np.float64) ** 2).sum(axis=1)
        score = self.op("Sub", self.op("Cast", likeness, to=11), self.const(own))
        score = self.op(
            "Sub",
            self.op("Mul", score, self.const(np.array([TIES]))),
            self.const(np.arange(len(pool.ids), dtype=np.float64)),
        )
        ids = {each: place for place, each in enumerate(pool.ids) if each} or {"\x00": 0}
        itself = self.op(
            "LabelEncoder",
            "item",
            domain=_ML,
            keys_strings=list(ids),
            values_int64s=list(ids.values()),
            default_int64=-1,
        )
        itself = self.op("Equal", self.widened(itself, 1), self.const(np.arange(len(pool.ids))[None, :]))
        score = self.op("Where", itself, self.const(np.array([-1e300])), score)
        return str(self.op("TopK", score, self.ints(NEAREST), outputs=2, axis=1)[1])

    def _centre(self, rows: str) -> str:
        """The centre of rows of columns, (n, 1)."""
        summed = self.op("Gather", rows, self.ints(self.trained.band.summed), axis=1)
        return str(self.op("Add", self.widened(self.forest(self.trained.band.centre, rows), 1), summed))

    def _band(self, inputs: str) -> tuple[str, str]:
        """The centre (batch, 1), and log prices of the band (batch, levels)."""
        band, levels = self.trained.band, len(self.trained.recipe.quantiles)
        centre = self._centre(inputs)
        width = self.trained.columns.width + 1
        rest = self.op("Gather", inputs, self.const(np.arange(1, width)), axis=1)
        logs = self.op("Add", self.op("Add", centre, self.forest(band.spread, rest)), self.const(band.whole[None, :]))
        table = np.zeros((self.trained.recipe.buckets, levels), dtype=np.float32)
        table[band.tokens] = band.of_tokens
        logs = self.op("Add", logs, self.total(self.op("Gather", self.const(table), "tokens"), 1))
        rise = np.diff(band.knots)[None, :]
        along = self.op("Sub", centre, self.const(band.knots[None, :-1]))
        along = self.op("Min", self.op("Max", along, self.floats(0.0)), self.const(rise))
        slopes = np.diff(band.of_knots, axis=0) / rise.T
        drawn = self.op(
            "Add", self.op("MatMul", along, self.const(slopes.astype(np.float32))), self.const(band.of_knots[:1])
        )
        logs = self.op("TopK", self.op("Add", logs, drawn), self.ints(levels), outputs=2, axis=1, largest=0, sorted=1)[
            0
        ]
        return centre, str(logs)

    def _answers(self, inputs: str, centre: str, logs: str, places: str) -> None:
        """band, price, prices and chance."""
        recipe, hazard = self.trained.recipe, self.trained.hazard
        middle = len(recipe.quantiles) // 2
        logs = self.op("Min", logs, self.floats(np.log(1e12)))
        band = self.op("Exp", logs, named="band")
        self.op("Gather", band, self.const(np.array(middle, dtype=np.int64)), axis=1, named="price")
        point = self.op("Gather", logs, self.ints(middle), axis=1)
        factors = self.const(np.log(np.array(recipe.factors, dtype=np.float64)).astype(np.float32)[None, :])
        asked = self.op("Add", point, factors)
        self.op("Exp", asked, named="prices")
        if hazard is not None:
            slope = self.floats(-hazard.elasticity)
            relative = self.op("Mul", self.op("Sub", asked, centre), slope)
            fast = self.op(
                "Log", self.op("Max", self.widened(self.forest(hazard.forest, inputs), 1), self.floats(1e-12))
            )
            expected = self.op(
                "Add",
                self.op("Add", relative, fast),
                self.floats(float(np.log(max(hazard.within(recipe.days), 1e-30)))),
            )
            expected = self.op("Exp", self.op("Min", expected, self.floats(30.0)))
            self.op("Sub", self.floats(1.0), self.op("Exp", self.op("Neg", expected)), named="chance")
        else:
            low, high = (self.op("Gather", logs, self.ints(place), axis=1) for place in (0, len(recipe.quantiles) - 1))
            least = self.floats(1e-3)
            down = self.op("Div", factors, self.op("Max", self.op("Sub", point, low), least))
            up = self.op("Div", factors, self.op("Max", self.op("Sub", high, point), least))
            odds = self.op("Where", self.op("Greater", factors, self.floats(0.0)), up, down)
            self.op("Sigmoid", self.op("Mul", odds, self.floats(-_LIKELY)), named="chance")
        first = self.op("Gather", places, self.const(np.array(0, dtype=np.int64)), axis=1)
        word = np.array(["prices" if hazard is None else "sales"], dtype=object)
        self.op("Gather", self.const(word), self.op("Mul", first, self.ints(0)), named="chance_of")

    def _moved(self, inputs: str, centre: str, present: str) -> None:
        """moved_by and moved: the facts without which the centre would be furthest off, and by which share each moved it."""
        facts, usual = self.trained.columns, self.trained.usual
        width = facts.width + 1
        looked = self.trained.telling[:LOOKED_AT]
        swapped = np.zeros((1, len(looked), width), dtype=bool)
        word = np.zeros(len(looked), dtype=np.int64)
        has_word = np.zeros((1, len(looked)), dtype=np.float32)
        for place, name in enumerate(looked):
            for column in facts.of(name):
                swapped[0, place, column] = True
                if column >= len(facts.numbers):
                    word[place], has_word[0, place] = column, 1.0
        without = self.op("Where", self.const(swapped), self.const(usual[None, None, :]), self.widened(inputs, 1))
        words = np.where(np.arange(width) >= len(facts.numbers), usual, 0)[word].astype(np.float32)[None, :]
        less = self.op(
            "Sub",
            self.const(words),
            self.op("Gather", inputs, self.const(np.where(has_word[0] > 0, word, len(facts.numbers))), axis=1),
        )
        less = self.op("Mul", less, self.const(has_word))
        whole = np.zeros((1, 1, width), dtype=np.float32)
        whole[0, 0, facts.summed] = 1.0
        is_whole = self.const(whole > 0)
        without = self.op("Where", is_whole, self.op("Add", without, self.widened(less, 2)), without)
        rows = self.op("Reshape", without, self.ints(-1, width))
        other = self.op("Reshape", self._centre(rows), self.ints(-1, len(looked)))
        has_text = self.op(
            "ReduceMax",
            self.op("Cast", self.op("Greater", "words", self.const(np.zeros(1, np.int32))), to=1),
            axes=[1],
            keepdims=1,
        )
        places = [facts.names.index(name) if name in facts.names else len(facts.names) for name in looked]
        there = self.op("Gather", self.joined([present, has_text]), self.ints(*places), axis=1)
        change = self.op("Mul", self.op("Sub", self.op("Exp", self.op("Sub", centre, other)), self.floats(1.0)), there)
        padding = max(0, SHOWN - len(looked))
        if padding:
            change = self.op("Pad", change, self.ints(0, 0, 0, padding))
        best = self.op("TopK", self.op("Abs", change), self.ints(SHOWN), outputs=2, axis=1)
        self.op("GatherElements", change, best[1], axis=1, named="moved")
        names = self.op("Gather", self.const(np.array([*looked, *[""] * padding], dtype=object)), best[1])
        nothing = self.const(np.array([""], dtype=object))
        self.op("Where", self.op("Greater", best[0], self.floats(0.0)), names, nothing, named="moved_by")
