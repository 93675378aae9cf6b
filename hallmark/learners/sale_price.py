"""The band of prices that an item goes for, and how likely it sells at a price: learnt from what was sold and from what was not.

Log price is centre(x) + spread(x): the centre by least squares, rising in the fact that ranks items; quantiles of what is left by forests
that do not read that fact, so the whole band rises in it. Sold rows count by the inverse of the chance that such a price is seen (an item
that went unsold is worth less than was asked). Then the band's ends are moved until it holds what it promises in every larger group.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.errors import ContractBroken
from hallmark.features.fields import Output
from hallmark.learners import comparables, fact_columns, sale_hazard
from hallmark.learners.boosting import Boosting, Forest, Rows
from hallmark.learners.comparables import Comparables
from hallmark.learners.fact_columns import FactColumns, Named, Single
from hallmark.learners.model import Examples, OtherAnswers, Progress, refuse_weights
from hallmark.learners.options import whole
from hallmark.learners.price_band import Band, Residuals
from hallmark.learners.sale_hazard import SaleHazard
from hallmark.tasks import censoring

Floats = NDArray[np.float64]
NAIVE = "learnt from sold items alone"
_DRAWS = 4
"""Prices that an unsold item is completed by where a band is calibrated."""
_SMALLEST = 0.005
"""No price is less than this: its logarithm has an end."""


@dataclass(frozen=True)
class SalePrice:
    """A recipe, as a domain's model.py declares it.

    quantiles: three, rising, of the band.  first: the fact by which items rank, the more the dearer.  days: a chance of sale is of so many.
    asked, days_listed, dated: names of `data.outcomes`: what was asked, for how long, and whether the data says when.
    factors:  of the band's middle, the prices that a chance is told for.
    centre, spread, hazard: forests.   rounds of each go down with the option `rounds`.
    """

    quantiles: tuple[float, ...]
    days: float
    factors: tuple[float, ...]
    first: str
    buckets: int
    asked: str = "asked"
    days_listed: str = "days"
    dated: str = "dated"
    ridge: float = 4.0
    most_facts: int = 24
    rounds: int = 300
    options: Mapping[str, Any] = field(default_factory=dict)

    def centre(self) -> Boosting:
        """What facts tell of the price."""
        base = {
            "learning_rate": 0.08,
            "num_leaves": 47,
            "min_data_in_leaf": 30,
            "lambda_l2": 3.0,
            "feature_fraction": 0.8,
        }
        made = {"objective": "regression", **base, **self.options}
        return Boosting(output=_ONE, options=made, rounds=self.rounds, patience=25, rising=(0,), singly=True)

    def spread(self) -> Boosting:
        """Quantiles of what is left."""
        output = Output(name="spread", datatype="FP32", shape=(len(self.quantiles),))
        base = {
            "learning_rate": 0.08,
            "num_leaves": 15,
            "min_data_in_leaf": 100,
            "lambda_l2": 3.0,
            "feature_fraction": 0.8,
        }
        return Boosting(
            output=output, options=base, rounds=max(1, self.rounds // 3), patience=15, quantiles=self.quantiles
        )

    def hazard(self) -> Boosting:
        """How fast items sell at their centre."""
        base = {
            "learning_rate": 0.06,
            "num_leaves": 23,
            "min_data_in_leaf": 60,
            "lambda_l2": 3.0,
            "feature_fraction": 0.8,
        }
        made = {"objective": "poisson", **base}
        return Boosting(output=_ONE, options=made, rounds=self.rounds, patience=20, rising=(0,))

    def fit(
        self, train: Examples, validation: Examples, *, seed: int, progress: Progress | None = None, **options: Any
    ) -> TrainedSalePrice:
        """Learn all of it; the same examples and seed give the same model. options: `rounds`, and LightGBM's for the centre."""
        refuse_weights("a band of prices", train, validation)
        recipe = replace(
            self, rounds=whole("rounds", options.pop("rounds", self.rounds)), options={**self.options, **options}
        )
        return _Fit(recipe, train, validation, seed=seed, progress=progress).made()

    def restore(self, folder: Path) -> TrainedSalePrice:
        """The model that `save` wrote into `folder`."""
        from hallmark.learners import sale_price_files

        return sale_price_files.restored(self, folder)


_ONE = Output(name="answer", datatype="FP32")


class TrainedSalePrice:
    """A trained one (hallmark.learners.model.Trained).

    columns, pool: of facts, and of past sales.  band, naive: of prices, the naive one without the unsold; None where all were sold.
    hazard: None where the data does not say when things were sold.   usual: (width,) of each column, for a fact that is left out.
    telling: the facts that may have moved a price, those that tell most of it first.
    """

    def __init__(
        self,
        recipe: SalePrice,
        *,
        columns: FactColumns,
        pool: Comparables,
        band: Band,
        naive: Band | None,
        hazard: SaleHazard | None,
        usual: Single,
        telling: tuple[str, ...],
        crossed: float,
    ) -> None:
        self.recipe, self.columns, self.pool, self.telling = recipe, columns, pool, telling
        self.band, self.naive, self.hazard, self.usual, self.crossed = band, naive, hazard, usual, crossed
        self._read: tuple[Named, Single] | None = None

    def inputs(self, named: Named) -> Single:
        """(n, width) what the forests read."""
        # An evaluation asks for answers, others' answers and figures of the same rows; looking for their likes is most of its work.
        if self._read is None or any(named[name] is not values for name, values in self._read[0].items()):
            near = self.pool.near(self.pool.nearest(named, self.columns))
            self._read = dict(named), np.hstack((self.columns.columns(named), near[:, None]))
        return self._read[1]

    def predict(self, named: Named) -> NDArray[np.float32]:
        """(n, quantiles) the band, EUR, each row rising."""
        return _prices(self.band.predict(self.inputs(named), named["tokens"]))

    def others(self, named: Named) -> OtherAnswers | None:
        """The band that sold items alone teach."""
        if self.naive is None:
            return None
        return OtherAnswers({NAIVE: _prices(self.naive.predict(self.inputs(named), named["tokens"]))})

    def completed(self, examples: Examples) -> Floats | None:
        """(n,) labels, of which those that are only bounds are drawn: the best price below what was asked, by the hazard of sale."""
        sold = _sold(examples)
        if self.hazard is None or sold.all():
            return None
        rows = np.flatnonzero(~sold)
        inputs = self.inputs(examples.named)[rows]
        bound = np.log(np.maximum(examples.labels[rows], _SMALLEST))
        days = examples.outcomes[self.recipe.days_listed][rows]
        expected = self.hazard.expected(inputs, bound - self.band.centre_of(inputs), days)
        share = np.random.default_rng([len(sold), 3]).random(len(rows))
        made = np.asarray(examples.labels, dtype=np.float64).copy()
        made[rows] = np.exp(bound - sale_hazard.drawn_below(expected, self.hazard.elasticity, share=share))
        return made

    def figures(self, examples: Examples) -> dict[str, float]:
        """What the model tells of itself: the elasticity, how well it says who sells sooner, and what sold items alone would add."""
        inputs = self.inputs(examples.named)
        found = {"quantiles_crossed": self.crossed}
        middle = len(self.recipe.quantiles) // 2
        if self.naive is not None:
            bands = [each.predict(inputs, examples.named["tokens"])[:, middle] for each in (self.naive, self.band)]
            found["sold_alone_asks_more"] = float(np.expm1(np.median(bands[0] - bands[1])))
        if self.hazard is not None:
            asked = np.log(np.maximum(examples.outcomes[self.recipe.asked], _SMALLEST))
            risk = self.hazard.risk(inputs, asked - self.band.centre_of(inputs))
            sold = _sold(examples)
            days = examples.outcomes[self.recipe.days_listed]
            found |= {
                "concordance": sale_hazard.concordance(risk, days, sold),
                "elasticity": self.hazard.elasticity,
                "elasticity_error": self.hazard.error,
                "elasticity_of_prices_as_they_are": self.hazard.naive,
            }
        return found

    def save(self, folder: Path) -> None:
        """Write forests as text and numbers as arrays into `folder`."""
        from hallmark.learners import sale_price_files

        sale_price_files.save(self, folder)

    def export(self, path: Path) -> None:
        """Write one ONNX model: facts in; band, chances, comparables and what moved the price out."""
        from hallmark.learners import sale_price_onnx

        path.write_bytes(sale_price_onnx.made(self))


class _Fit:
    """One training: what its steps share."""

    def __init__(
        self, recipe: SalePrice, train: Examples, validation: Examples, *, seed: int, progress: Progress | None
    ) -> None:
        self.recipe, self.seed, self.progress, self.done = recipe, seed, progress, 0
        self.train, self.validation = train, validation
        for part in (train, validation):
            if (part.labels <= 0).any():
                raise ContractBroken("a price is 0 or less", expected="prices above 0", got=f"{part.labels.min():g}")
        self.price = np.log(np.maximum(train.labels, _SMALLEST))
        self.held = np.log(np.maximum(validation.labels, _SMALLEST))
        self.known, self.held_known = _sold(train), _sold(validation)
        self.half = np.random.default_rng([seed, 5]).random(len(train)) < 0.5
        dated = all(each.outcomes[recipe.dated].all() for each in (train, validation) if recipe.dated in each.outcomes)
        self.dated = dated and recipe.dated in train.outcomes
        self.total = 9 if self.dated else 6

    def tell(self, note: str) -> None:
        """Say which part begins."""
        if self.progress is not None:
            self.progress(self.done, self.total, note)
        self.done += 1

    def made(self) -> TrainedSalePrice:
        recipe = self.recipe
        self.tell("words")
        columns = fact_columns.choose(
            self.train.named, first=recipe.first, most=recipe.most_facts, buckets=recipe.buckets
        )
        even = self.known.astype(np.float64)
        columns, table, base = self._worth(columns, even)
        self.tell("how much unsold items say")
        weights, held_weights = self._weights(columns, table, base)
        self.tell("comparables")
        strength = comparables.strengths(columns, table)
        rows = np.flatnonzero(self.known)[-comparables.POOL :]
        pool = comparables.pool(
            self.train.named, rows, self.price[rows] - base - table[rows, -1], columns=columns, strength=strength
        )
        itself = np.full(len(self.train), -1, dtype=np.int64)
        itself[rows] = np.arange(len(rows))
        near = pool.near(pool.nearest(self.train.named, columns, itself=itself))
        table = np.hstack((table, near[:, None]))
        held_near = pool.near(pool.nearest(self.validation.named, columns))
        held_table = np.hstack((columns.columns(self.validation.named), held_near[:, None]))
        self.tell("prices")
        band, late, earlier, crossed = self._band(columns, table, held_table, weights, held_weights)
        naive = None
        if not self.known.all():
            self.tell("prices of sold items alone")
            even_held = self.held_known.astype(np.float64)
            naive, theirs, _, _ = self._band(columns, table, held_table, even, even_held, less=2)
            naive = naive.calibrated(theirs)
        hazard = self._hazard(table, band) if self.dated else None
        if earlier is not None:
            band = band.calibrated(late, groups=late.with_rows(earlier))
        elif hazard is not None:
            asked = self.held - band.centre_of(held_table)
            expected = hazard.expected(held_table, asked, self.validation.outcomes[recipe.days_listed])
            # Half a model's errors are not the whole one's: late rows alone.
            completed = self._completed(late, expected, hazard)
            band = band.calibrated(completed, groups=completed)
        else:
            band = band.calibrated(late)
        usual = np.nan_to_num(np.nanmedian(np.where(np.isnan(table).all(axis=0), 0, table), axis=0))
        usual[len(columns.numbers) :] = table[:, len(columns.numbers) :].mean(axis=0)
        self.tell("done")
        return TrainedSalePrice(
            recipe,
            columns=columns,
            pool=pool,
            band=band,
            naive=naive,
            hazard=hazard,
            usual=_usual(usual, len(columns.numbers)),
            telling=_telling(columns, band.centre, table[weights > 0]),
            crossed=crossed,
        )

    def _worth(self, columns: FactColumns, weights: Floats) -> tuple[FactColumns, Single, float]:
        """What words are worth, and the columns of the training rows by what the other half says of them; and the mean log price."""
        named, base = self.train.named, float(weights @ self.price / weights.sum())
        more: dict[str, Any] = {"buckets": self.recipe.buckets, "ridge": self.recipe.ridge}
        table = np.empty((len(self.train), columns.width), dtype=np.float32)
        for mine in (self.half, ~self.half):
            worth = fact_columns.learnt(named, self.price - base, np.where(mine, 0.0, weights), **more)
            some = {name: values[mine] for name, values in named.items()}
            table[mine] = columns.columns(some, worth=worth)
        return replace(columns, worth=fact_columns.learnt(named, self.price - base, weights, **more)), table, base

    def _weights(self, columns: FactColumns, table: Single, base: float) -> tuple[Floats, Floats]:
        """How much each known row counts in training and in validation, so that rows that are only bounds are spoken for."""
        if self.known.all() and self.held_known.all():
            return np.ones(len(self.train)), np.ones(len(self.validation))
        held = columns.columns(self.validation.named)
        asked = [self._asked(each) for each in (self.train, self.validation)]
        if any(
            (a != p)[k].any()
            for a, p, k in zip(asked, (self.price, self.held), (self.known, self.held_known), strict=True)
        ):
            # What was asked is known of every row, and what hides an item's worth is only that.
            recipe, expected = self.recipe.centre(), np.empty(len(self.train))
            for mine in (self.half, ~self.half):
                found = self._grow(
                    recipe,
                    Rows(table[~mine], asked[0][~mine]),
                    Rows(held, asked[1]),
                    rounds=self.recipe.rounds,
                )
                expected[mine] = found.predict(table[mine])
            left = np.sort(asked[0] - expected)
            whole_of = self._grow(recipe, Rows(table, asked[0]), Rows(held, asked[1]), rounds=self.recipe.rounds)
            share = [
                np.searchsorted(left, price - told, side="right") / len(left)
                for price, told in ((self.price, expected), (self.held, whole_of.predict(held).astype(np.float64)))
            ]
            return _inverse(share[0], self.known), _inverse(share[1], self.held_known)
        left, held_left = self.price - base - table[:, -1], self.held - base - held[:, -1]
        both = np.concatenate((left, held_left))
        known = np.concatenate((self.known, self.held_known))
        counted = censoring.weights(both, known, bound="upper")
        return counted[: len(left)], counted[len(left) :]

    def _asked(self, examples: Examples) -> Floats:
        """(n,) log of what was asked; where the data does not say that, of the price."""
        return np.log(np.maximum(examples.outcomes.get(self.recipe.asked, examples.labels), _SMALLEST))

    def _completed(self, rows: Residuals, expected: Floats, hazard: SaleHazard) -> Residuals:
        """Rows to calibrate on, the unsold ones by prices below what was asked, as likely as the hazard says."""
        share = (np.arange(_DRAWS) + np.random.default_rng([self.seed, 9]).random((len(expected), _DRAWS))) / _DRAWS
        return rows.completed(sale_hazard.drawn_below(expected[:, None], hazard.elasticity, share=share))

    def _band(
        self,
        columns: FactColumns,
        table: Single,
        held: Single,
        weights: Floats,
        held_weights: Floats,
        *,
        less: int = 1,
    ) -> tuple[Band, Residuals, Residuals | None, float]:
        """The band before it is calibrated, the late rows to do that on and, where all prices are known, the earlier ones (half by half, each
        answered by what the other half teaches), and the share of rows in which its quantiles crossed before they were put in order.

        less: by how much fewer trees, for a band that is only shown and has no shifts by group.
        """
        recipe, sold = self.recipe, self.held_known
        # What words add up to is the forest's beginning: what of it only trees would find is lost on rare ones.
        beyond = self.price - table[:, columns.summed]
        watched = Rows(held[sold], (self.held - held[:, columns.summed])[sold], held_weights[sold])
        rounds = recipe.rounds // less
        counted = weights > 0
        relative = np.empty(len(table))
        for mine in (self.half, ~self.half):
            rows = counted & ~mine
            found = self._grow(recipe.centre(), Rows(table[rows], beyond[rows], weights[rows]), watched, rounds=rounds)
            relative[mine] = beyond[mine] - found.predict(table[mine])
        centre = self._grow(
            recipe.centre(), Rows(table[counted], beyond[counted], weights[counted]), watched, rounds=rounds
        )
        told = centre.predict(held).astype(np.float64) + held[:, columns.summed]
        left = Rows(table[counted][:, 1:], relative[counted], weights[counted])
        known = self.held_known
        rest = Rows(held[known][:, 1:], (self.held - told)[known], held_weights[known])

        def spread_of(rows: Rows) -> Forest:
            return self._grow(recipe.spread(), rows, rest, rounds=max(1, rounds // 3))

        spread = spread_of(left)
        raw = np.stack([np.asarray(each.predict(held[:, 1:])) for each in spread.boosters.values()], axis=1)
        crossed = float((np.diff(raw, axis=1) < 0).any(axis=1).mean()) if len(raw) else 0.0

        def left_by(
            forest: Forest,
            prices: Floats,
            centres: Floats,
            rows: Single,
            tokens: NDArray[np.int32],
            sold: NDArray[np.bool_],
            weighed: Floats,
        ) -> Residuals:
            levels = np.sort(centres[:, None] + forest.predict(rows[:, 1:]).astype(np.float64), axis=1)
            some = sold if less > 1 else np.ones(len(sold), dtype=np.bool_)  # the naive one knows of no others
            return Residuals(centres[some], (prices[:, None] - levels)[some], tokens[some], sold[some], weighed[some])

        late = left_by(spread, self.held, told, held, self.validation.named["tokens"], known, held_weights)
        halves = []
        for mine in (self.half, ~self.half) if less == 1 and self.known.all() and self.held_known.all() else ():
            rows = counted & ~mine
            other = spread_of(Rows(table[rows][:, 1:], relative[rows], weights[rows]))
            tokens, centres = self.train.named["tokens"][mine], (self.price - relative)[mine]
            halves.append(left_by(other, self.price[mine], centres, table[mine], tokens, counted[mine], weights[mine]))
        earlier = halves[0].with_rows(halves[1]) if halves else None
        band = Band(centre=centre, spread=spread, levels=recipe.quantiles, summed=columns.summed)
        return band, late, earlier, crossed

    def _hazard(self, table: Single, band: Band) -> SaleHazard:
        """The hazard of sale beside the price asked, relative to the band's centre."""
        recipe = self.recipe
        asked = np.log(np.maximum(self.train.outcomes[recipe.asked], _SMALLEST))

        def grow(boosting: Boosting, train: Rows, watched: Rows) -> Forest:
            if self.done < self.total - 1:
                self.tell("sales")
            return self._grow(boosting, train, watched, rounds=recipe.rounds // 2)

        def worth(differences: Floats, rows: NDArray[np.bool_]) -> Floats:
            mean, named = float(differences[rows].mean()), self.train.named
            weights = fact_columns.learnt(
                named, differences - mean, rows.astype(np.float64), buckets=recipe.buckets, ridge=recipe.ridge
            ).astype(np.float64)
            found: Floats = mean + weights[named["tokens"]].sum(axis=1) + weights[named["words"]].sum(axis=1)
            return found

        return sale_hazard.fit(
            table,
            relative=asked - band.centre_of(table),
            asked=asked,
            days=self.train.outcomes[recipe.days_listed],
            sold=self.known,
            price_of=recipe.centre(),
            forest=recipe.hazard(),
            grow=grow,
            worth=worth,
            seed=self.seed,
        )

    def _grow(self, boosting: Boosting, train: Rows, watched: Rows, *, rounds: int) -> Forest:
        return boosting.fit(train, watched, seed=self.seed, rounds=max(1, rounds))


def _telling(columns: FactColumns, centre: Forest, table: Single) -> tuple[str, ...]:
    """Facts by how much they tell of the price: what trees gain by their columns, and what the words' own worth explains of it."""
    gains = sum((each.feature_importance("gain") for each in centre.boosters.values()), np.zeros(columns.width + 1))
    of_words = slice(len(columns.numbers), columns.summed)
    gains[of_words] += len(table) * table[:, of_words].var(axis=0)
    told = {name: float(gains[columns.of(name)].sum()) for name in (*columns.names, fact_columns.TEXT)}
    return tuple(sorted(told, key=lambda name: (-told[name], name)))


def _usual(values: Floats, numbers: int) -> Single:
    """Columns of an item of which nothing special is known; sums of words stay multiples of 2^-12."""
    made: Single = np.asarray(values, dtype=np.float32)
    made[numbers:] = fact_columns.exact(made[numbers:])
    return made


def _inverse(share: Floats, known: NDArray[np.bool_]) -> Floats:
    return np.where(known, 1.0 / np.maximum(share, 1.0 / censoring.MOST), 0.0)


def _sold(examples: Examples) -> NDArray[np.bool_]:
    return np.ones(len(examples), dtype=np.bool_) if examples.censored is None else ~examples.censored


def _prices(logs: Floats) -> NDArray[np.float32]:
    return np.exp(np.minimum(logs, math.log(1e12))).astype(np.float32)
