"""Forests of LightGBM that tell what a treatment changes: a DR-learner, cross-fitted, whose parts are weighed by what they prove on rows they have not seen.

Each outcome is turned into an unbiased, noisy view of the row's uplift (doubly robust, Kennedy 2023): what outcome forests expect, corrected
by what came true over the known propensity. Four views of the uplift are then weighed against it by non-negative least squares (a
stack of learners, as in Lan and Syrgkanis 2023): one number for all; what is likely anyway (rare outcomes move by shares); the difference of two outcome
forests; and a forest of the corrected outcomes that reads the prognosis too (Hahn et al. 2020). Where the noise hides what differs between rows,
the weights of all but the first go to zero, and nothing is made up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.errors import ContractBroken
from hallmark.features.fields import Output
from hallmark.learners.boosting import Boosting, Forest, stored
from hallmark.learners.model import Examples, OtherAnswers, Progress, unrestorable
from hallmark.learners.options import whole

WEIGHTS = "weights.json"
VIEWS = ("constant", "prognosis", "difference", "effect")
LIKELIEST = "the likeliest first"
Floats = NDArray[np.float64]
Inputs = NDArray[np.float32]

OUTCOME: Mapping[str, Any] = {
    "learning_rate": 0.05,
    "num_leaves": 15,
    "min_data_in_leaf": 100,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
}
"""Of the forests that expect an outcome."""
EFFECT: Mapping[str, Any] = {
    "learning_rate": 0.04,
    "num_leaves": 8,
    "min_data_in_leaf": 300,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "lambda_l2": 100.0,
}
"""Of the forests of corrected outcomes, whose noise is many times what they are to find."""
_PART = Output(name="part", datatype="FP32")


@dataclass(frozen=True)
class UpliftForest:
    """A recipe, as a domain's model.py declares it.

    outputs: the uplift, () or (treatments,), and the outcome that is expected as things are done now.
    outcome, effect: LightGBM's parameters of both kinds of forests; `fit` takes others on top of both.
    folds:   parts of the training rows, of which each is told by forests of the others.
    """

    outputs: tuple[Output, Output]
    outcome: Mapping[str, Any] = field(default_factory=lambda: OUTCOME)
    effect: Mapping[str, Any] = field(default_factory=lambda: EFFECT)
    rounds: int = 400
    patience: int = 30
    folds: int = 3

    @property
    def treatments(self) -> int:
        """Treatments beside none."""
        return self.outputs[0].shape[0] if self.outputs[0].shape else 1

    def fit(
        self, train: Examples, validation: Examples, *, seed: int, progress: Progress | None = None, **options: Any
    ) -> TrainedUplift:
        """Learn all forests and their weights; the same examples and seed give the same model.

        Examples carry treatment and propensity. options: `folds`, `rounds`, `patience`, and LightGBM's parameters.
        """
        folds = whole("folds", options.pop("folds", self.folds))
        work = _Work(self, seed=seed, options=options, progress=progress, folds=max(2, folds))
        return work.done(train, validation)

    def restore(self, folder: Path) -> TrainedUplift:
        """The model that `save` wrote into `folder`."""
        try:
            weights = json.loads((folder / WEIGHTS).read_bytes())
            rows = np.array([[float(row[name]) for name in VIEWS] for row in weights])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise unrestorable(
                f"{WEIGHTS} does not hold the weights of an uplift", expected=", ".join(VIEWS), error=error
            ) from error
        outcomes = [f"outcome-{arm}" for arm in range(self.treatments + 1)]
        effects = [f"effect-{arm}" for arm in range(1, self.treatments + 1)]
        parts = {name: stored(folder, [name], output=_PART) for name in ("prognosis", *outcomes, *effects)}
        found = Parts(parts["prognosis"], [parts[name] for name in outcomes], [parts[name] for name in effects])
        return TrainedUplift(self, found, rows)


@dataclass(frozen=True)
class Parts:
    """Forests of the outcome whatever is done, of the outcome with each treatment (none first), and of what each of the others changes."""

    prognosis: Forest
    outcomes: Sequence[Forest]
    effects: Sequence[Forest] = ()

    def prognoses(self, inputs: Inputs) -> Inputs:
        """(n,) the outcome that is expected."""
        return self.prognosis.predict(inputs)

    def views(self, inputs: Inputs, prognosis: Inputs) -> Floats:
        """(treatments, n, 4) what each of `VIEWS` says."""
        read = np.column_stack((inputs, prognosis))
        none = self.outcomes[0].predict(inputs).astype(np.float64)
        found = [
            np.stack((np.ones(len(inputs)), prognosis, outcome.predict(inputs) - none, effect.predict(read)), axis=1)
            for outcome, effect in zip(self.outcomes[1:], self.effects, strict=True)
        ]
        return np.stack(found).astype(np.float64)


class TrainedUplift:
    """A trained one (hallmark.learners.model.Trained)."""

    def __init__(self, recipe: UpliftForest, parts: Parts, weights: Floats) -> None:
        self.recipe, self.parts, self.weights = recipe, parts, weights

    def predict(self, inputs: Inputs) -> NDArray[np.float32]:
        """(n,) or (n, treatments) the uplift."""
        views = self.parts.views(inputs, self.parts.prognoses(inputs))
        found = np.einsum("tnv,tv->nt", views, self.weights).astype(np.float32)
        return np.asarray(found.reshape(len(inputs), *self.recipe.outputs[0].shape))

    def others(self, inputs: Inputs) -> OtherAnswers:
        """Treating the likeliest first, as who has no uplift does."""
        expected = self.parts.prognoses(inputs)
        shape = self.recipe.outputs[0].shape
        answers = np.repeat(expected[:, None], shape[0], axis=1) if shape else expected
        return OtherAnswers({LIKELIEST: answers})

    def save(self, folder: Path) -> None:
        """Write booster-<part>.txt of each forest, and weights.json, into `folder`."""
        for name, forest in self._named():
            Forest({name: next(iter(forest.boosters.values()))}, output=_PART).save(folder)
        told = [dict(zip(VIEWS, row, strict=True)) for row in self.weights.tolist()]
        (folder / WEIGHTS).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")

    def export(self, path: Path) -> None:
        """Write one ONNX model: `input` (n, k) to both outputs, any n."""
        from hallmark.learners import uplift_onnx

        forests = {name: forest.dumps() for name, forest in self._named()}
        made = uplift_onnx.graph(forests, self.weights, outputs=self.recipe.outputs)
        path.write_bytes(made.SerializeToString(deterministic=True))

    def _named(self) -> list[tuple[str, Forest]]:
        named = [("prognosis", self.parts.prognosis)]
        named += [(f"outcome-{arm}", forest) for arm, forest in enumerate(self.parts.outcomes)]
        return named + [(f"effect-{arm}", forest) for arm, forest in enumerate(self.parts.effects, start=1)]


class _Work:
    """One training under way."""

    def __init__(
        self, recipe: UpliftForest, *, seed: int, options: Mapping[str, Any], progress: Progress | None, folds: int
    ) -> None:
        self.recipe, self.seed, self.folds, self.options = recipe, seed, folds, dict(options)
        self.progress = progress
        self.ended, self.fits = 0, (folds + 1) * (2 * recipe.treatments + 2)

    def done(self, train: Examples, validation: Examples) -> TrainedUplift:
        self._check(train)
        fold = _folds(train, self.folds, seed=self.seed)
        n, treatments = len(train), self.recipe.treatments
        prognosis, difference = np.empty(n, dtype=np.float32), np.empty((treatments, n))
        expected = np.empty((treatments + 1, n))
        for at in range(self.folds):
            parts = self._outcomes(_taken(train, fold != at), validation, name=f"part {at + 1} of {self.folds}: ")
            inside = fold == at
            prognosis[inside] = parts.prognoses(train.inputs[inside])
            expected[:, inside] = [each.predict(train.inputs[inside]) for each in parts.outcomes]
        whole_parts = self._outcomes(train, validation, name="")
        difference = expected[1:] - expected[0]
        seen = corrected(train, expected)
        watched = np.stack([each.predict(validation.inputs) for each in whole_parts.outcomes]).astype(np.float64)
        there = corrected(validation, watched) if len(validation) else np.zeros((treatments, 0))
        read = np.column_stack((train.inputs, prognosis))
        beside = np.column_stack((validation.inputs, whole_parts.prognoses(validation.inputs)))
        importance = _importance(train, treatments)
        effects, weights = [], []
        for arm in range(treatments):
            told = Examples(read, seen[arm], weights=importance)
            judge = Examples(beside, there[arm], weights=_importance(validation, treatments))
            unseen = np.empty(n)
            for at in range(self.folds):
                forest = self._grown("effect", _taken(told, fold != at), judge, name=f"effect {arm + 1}")
                unseen[fold == at] = forest.predict(read[fold == at])
            effects.append(self._grown("effect", told, judge, name=f"effect {arm + 1}"))
            views = np.stack((prognosis, difference[arm], unseen), axis=1)
            weights.append(weighed(views, seen[arm], importance))
        parts = Parts(whole_parts.prognosis, whole_parts.outcomes, effects)
        return TrainedUplift(self.recipe, parts, np.array(weights))

    def _check(self, train: Examples) -> None:
        if train.treatment is None or train.propensity is None:
            raise ContractBroken(
                "an uplift is learnt from rows that say how likely their treatment was",
                expected="data.treatment and data.propensity in domain.yaml",
                got="none",
            )

    def _outcomes(self, train: Examples, validation: Examples, *, name: str) -> Parts:
        """The forests of outcomes that some rows teach."""
        prognosis = self._grown("outcome", _plain(train), _plain(validation), name=f"{name}outcome")
        found = []
        for arm in range(self.recipe.treatments + 1):
            sides = (_taken(side, _treatment(side) == arm) for side in (train, validation))
            found.append(self._grown("outcome", *map(_plain, sides), name=f"{name}outcome of {arm}"))
        return Parts(prognosis, found)

    def _grown(self, kind: str, train: Examples, validation: Examples, *, name: str) -> Forest:
        binary = kind == "outcome" and bool(np.isin(train.labels, (0.0, 1.0)).all() and np.ptp(train.labels) > 0)
        objective = {"objective": "binary"} if binary else {"objective": "regression"}
        options = dict(self.recipe.outcome if kind == "outcome" else self.recipe.effect) | objective
        least = int(options["min_data_in_leaf"])
        # A leaf of a rare outcome is of enough rows to have seen some: its mean is else a coin that was tossed twice.
        if kind == "outcome" and binary:
            rare = min(float(np.mean(train.labels)), 1 - float(np.mean(train.labels)))
            least = min(max(least, int(_SEEN / max(rare, 1e-9))), max(1, len(train) // 8))
        if kind == "effect":
            least = min(max(least, len(train) // 200), max(1, len(train) // 8))
        options["min_data_in_leaf"] = least
        grown = Boosting(output=_PART, options=options, rounds=self.recipe.rounds, patience=self.recipe.patience)
        made = grown.fit(train, validation, seed=self.seed, **self.options)
        self.ended += 1
        if self.progress is not None:
            self.progress(self.ended, self.fits, name)
        return made


_SEEN = 20
"""Rows of the rarer outcome that a leaf holds on average, at least."""


def corrected(examples: Examples, expected: Floats) -> Floats:
    """(treatments, n) doubly robust views of each row's uplift, from (treatments + 1, n) expected outcomes of forests that have not seen it.

    mu_a - mu_0 + [w = a] (y - mu_a) / p - [w = 0] (y - mu_0) / p, p the chance of what the row got.
    """
    given, propensity = _treatment(examples), np.asarray(examples.propensity, dtype=np.float64)
    beyond = (examples.labels - expected[given, np.arange(len(examples))]) / propensity
    return np.stack(
        [
            expected[arm] - expected[0] + np.where(given == arm, beyond, np.where(given == 0, -beyond, 0.0))
            for arm in range(1, len(expected))
        ]
    )


def weighed(views: Floats, seen: Floats, importance: Floats) -> Floats:
    """(4,) weights of `VIEWS`: a free constant, and what is not below 0 for (n, 3) the others, by least squares of (n,) `seen`."""
    from scipy.optimize import nnls

    share = importance / importance.sum()
    centre, middle = share @ views, float(share @ seen)
    inner = (views - centre) * np.sqrt(share)[:, None]
    size = np.sqrt((inner**2).sum(axis=0))
    told = size > 1e-12
    found = np.zeros(views.shape[1])
    if told.any():
        found[told] = nnls(inner[:, told] / size[told], (seen - middle) * np.sqrt(share))[0] / size[told]
    return np.concatenate(([middle - found @ centre], found))


def _importance(examples: Examples, treatments: int) -> Floats:
    """(n,) how much a row's corrected outcome tells: of one treatment the inverse of its variance, p (1 - p); times its own weight."""
    propensity = np.asarray(examples.propensity, dtype=np.float64)
    found = 4 * propensity * (1 - propensity) if treatments == 1 else np.ones(len(examples))
    return found if examples.weights is None else found * examples.weights


def _folds(train: Examples, folds: int, *, seed: int) -> NDArray[np.int64]:
    """(n,) part of each row, by lot; rows of one entity are in one."""
    group, count = train.targets.grouped()
    drawn = np.random.default_rng(seed).permutation(count) % folds
    return np.asarray(drawn[group], dtype=np.int64)


def _treatment(examples: Examples) -> NDArray[np.int64]:
    return np.asarray(examples.treatment, dtype=np.int64)


def _plain(examples: Examples) -> Examples:
    return Examples(examples.inputs, examples.labels, weights=examples.weights)


def _taken(examples: Examples, rows: NDArray[np.bool_]) -> Examples:
    targets = examples.targets.take(rows)
    told = {name: getattr(targets, name) for name in ("groups", "weights", "treatment", "propensity")}
    return Examples(examples.inputs[rows], targets.labels, **told)
