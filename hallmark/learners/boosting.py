"""Boosted forests of LightGBM: options in, examples in, a model out that serves as ONNX with the answers it was judged by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hallmark.errors import DeclarationError
from hallmark.features.fields import Output
from hallmark.learners.model import Examples, Measured, Progress, unrestorable
from hallmark.learners.options import CLASSES, OBJECTIVES, checked, whole

if TYPE_CHECKING:
    import lightgbm

FILE = "booster.txt"
ALONE = ""
_SETTINGS: dict[str, Any] = {
    "verbosity": -1,
    # The same trees in every process: one order of summation, whatever the machine has. One thread also because two
    # that wait for each other on a busy machine take ten times as long.
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
}

_SINGLY: dict[str, Any] = {"num_leaves": 4, "learning_rate": 0.2, "feature_fraction": 1.0}
RENEWED = frozenset({"quantile", "regression_l1", "mape", "fair", "huber"})


@dataclass(frozen=True, eq=False)
class Rows:
    """Examples with an offset: what is added to the answer before the link, and is no part of the forest.

    inputs: (n, k).  labels, weights, offsets: (n,).
    """

    inputs: NDArray[np.float32]
    labels: NDArray[Any]
    weights: NDArray[np.float64] | None = None
    offsets: NDArray[np.float64] | None = None
    groups: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[Any]) -> Rows:
        """Some of them."""
        parts = (self.inputs, self.labels, self.weights, self.offsets, self.groups)
        return Rows(*(None if part is None else part[rows] for part in parts))  # type: ignore[arg-type]


@dataclass(frozen=True)
class Boosting:
    """A recipe for a forest, as a domain's model.py declares it; a recipe that cannot be served is refused where it stands.

    output:     what it answers: one number, or one for each class or quantile.
    options:    LightGBM's parameters under their own names (hallmark/learners/options.py); `fit` takes others on top.
    rounds:     how many trees at most, for each class.
    patience:   after how many rounds without a better metric on the validation examples it stops.
    categories: columns of the inputs that hold codes of categories, from 0.
    quantiles:  levels between 0 and 1, rising: a booster each, whose answers are sorted so that none crosses the next.
    rising:     columns of which more never lowers the answer. Quantiles and absolute errors set their leaves after the trees have
                grown, and keep to no such rule.
    singly:     up to `rounds` small trees that read one column each come before the others. Otherwise growth stops where the
                strongest columns are learnt, and what a weaker one adds stays drawn to none: rows of a rare value are off by that.
    """

    output: Output
    options: Mapping[str, Any] = field(default_factory=dict)
    rounds: int = 400
    patience: int = 40
    categories: tuple[int, ...] = ()
    quantiles: tuple[float, ...] = ()
    rising: tuple[int, ...] = ()
    singly: bool = False

    def __post_init__(self) -> None:
        self._parameters({}, seed=0)

    def fit(
        self,
        train: Examples | Rows,
        validation: Examples | Rows,
        *,
        seed: int,
        progress: Progress | None = None,
        **options: Any,
    ) -> Forest:
        """Grow trees until `validation` has not improved for `patience` rounds; same examples and seed, same forest.

        Examples may carry weights (n,), and for a ranking objective must carry groups (n,): the query of each row.
        options: `rounds`, `patience`, and LightGBM's parameters.
        """
        most = whole("rounds", options.pop("rounds", self.rounds))
        still = whole("patience", options.pop("patience", self.patience))
        asked = self._parameters(options, seed=seed)
        boosters = {}
        for place, (name, parameters) in enumerate(asked.items()):
            tell = None if progress is None else _reporter(progress, before=place * most, total=len(asked) * most)
            boosters[name] = _grow(parameters, train, validation, rounds=most, patience=still, tell=tell, of=self)
        return Forest(boosters, output=self.output)

    def restore(self, folder: Path, *, prefix: str = "") -> Forest:
        """The forest that `save` wrote into `folder`, its files under the same prefix."""
        return stored(folder, self._names(), output=self.output, prefix=prefix)

    def _names(self) -> list[str]:
        """One name for each booster: of its quantile, or none for one alone."""
        return [f"q{100 * level:g}" for level in self.quantiles] or [ALONE]

    def _parameters(self, options: Mapping[str, Any], *, seed: int) -> dict[str, dict[str, Any]]:
        """Parameters of LightGBM for each booster."""
        found = checked({**self.options, **options})
        if self.quantiles:
            found = {"objective": "quantile", **found}
        objective = found.setdefault("objective", "regression")
        found.setdefault("metric", OBJECTIVES[objective].metric)
        answers = self.output.shape or (1,)
        self._fits(objective, answers)
        if objective in CLASSES:
            found["num_class"] = answers[0]
        if OBJECTIVES[objective].grouped:
            found["eval_at"] = [found.get("eval_at", 10)]
        base = {**_SETTINGS, "seed": seed}
        if not self.quantiles:
            return {ALONE: {**base, **found}}
        return {
            name: {**base, **found, "alpha": level} for name, level in zip(self._names(), self.quantiles, strict=True)
        }

    def _fits(self, objective: str, answers: tuple[int, ...]) -> None:
        """Refuse an objective whose answers are not those of the declared output, or do not keep to what rises."""
        if self.rising and objective in RENEWED:
            raise DeclarationError(
                f"objective={objective} does not keep to columns that rise: its leaves are set after the trees have grown",
                expected="an objective such as regression or poisson beside `rising`",
                got=objective,
            )
        rising = all(0 < level < 1 for level in self.quantiles) and list(self.quantiles) == sorted(set(self.quantiles))
        if not rising or (self.quantiles and objective != "quantile"):
            raise DeclarationError(
                "the quantiles are not levels of the objective quantile",
                expected="levels between 0 and 1, rising",
                got=f"{self.quantiles} with {objective}",
            )
        single = answers == (max(1, len(self.quantiles)),)
        if len(answers) != 1 or (answers[0] < 2 if objective in CLASSES else not single):
            raise DeclarationError(
                f"objective={objective} does not give what the output {self.output.name} declares",
                expected="a shape of () for one number, of (k,) for k classes or quantiles",
                got=str(self.output.shape),
            )


class Forest:
    """A trained forest (hallmark.learners.model.Trained)."""

    def __init__(self, boosters: Mapping[str, lightgbm.Booster], *, output: Output) -> None:
        self.boosters, self.output = dict(boosters), output

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n, *shape of the output): chances, expected values, scores or rising quantiles, as the objective says."""
        parts = [np.asarray(each.predict(inputs, num_threads=1)) for each in self.boosters.values()]
        answers = parts[0] if len(parts) == 1 else np.sort(np.stack(parts, axis=1), axis=1)
        return np.asarray(answers, dtype=np.float32).reshape(len(inputs), *self.output.shape)

    def save(self, folder: Path, *, prefix: str = "") -> None:
        """Write booster.txt, or booster-<quantile>.txt for each, into `folder`, their names after `prefix`."""
        for name, booster in self.boosters.items():
            (folder / f"{prefix}{file(name)}").write_text(booster.model_to_string(), encoding="utf-8")

    def dumps(self) -> list[dict[str, Any]]:
        """The boosters as LightGBM tells them, node by node."""
        return [booster.dump_model() for booster in self.boosters.values()]

    def export(self, path: Path) -> None:
        """Write the ONNX model: `input` (n, k) to the output, any n."""
        from hallmark.learners import trees

        made = trees.forest_onnx(self.dumps(), output=self.output.name, shape=self.output.shape)
        path.write_bytes(made.SerializeToString(deterministic=True))


def stored(folder: Path, names: Sequence[str], *, output: Output, prefix: str = "") -> Forest:
    """The forest of these boosters that `Forest.save` wrote into `folder`, their files' names after `prefix`."""
    import lightgbm

    boosters = {}
    for name in names:
        try:
            text = (folder / f"{prefix}{file(name)}").read_text(encoding="utf-8")
            boosters[name] = lightgbm.Booster(model_str=text)
        except (OSError, UnicodeDecodeError, lightgbm.basic.LightGBMError) as error:
            raise unrestorable(
                f"{prefix}{file(name)} is not a forest", expected="the text of a LightGBM model", error=error
            ) from error
    return Forest(boosters, output=output)


def file(name: str) -> str:
    """The name of a booster's file."""
    return f"booster-{name}.txt" if name else FILE


def _grow(
    parameters: dict[str, Any],
    train: Examples | Rows,
    validation: Examples | Rows,
    *,
    rounds: int,
    patience: int,
    tell: Any,
    of: Boosting,
) -> lightgbm.Booster:
    """One booster, cut after its best iteration, so that both of its forms hold the same trees."""
    if of.rising and train.inputs.ndim == 2:
        rises = [int(column in of.rising) for column in range(train.inputs.shape[1])]
        parameters = {**parameters, "monotone_constraints": rises}
    first = None
    if of.singly and train.inputs.ndim == 2:
        alone = {**parameters, **_SINGLY, "interaction_constraints": [[each] for each in range(train.inputs.shape[1])]}
        first = _trees(alone, train, validation, rounds=rounds, patience=patience, tell=None, of=of)
    return _trees(parameters, train, validation, rounds=rounds, patience=patience, tell=tell, of=of, after=first)


def _trees(
    parameters: dict[str, Any],
    train: Examples | Rows,
    validation: Examples | Rows,
    *,
    rounds: int,
    patience: int,
    tell: Any,
    of: Boosting,
    after: lightgbm.Booster | None = None,
) -> lightgbm.Booster:
    """Trees, behind those of `after`."""
    import lightgbm

    callbacks = [] if tell is None else [tell]
    stops = len(validation) > 0 and parameters.get("boosting") != "dart"  # dart goes on changing trees that it has
    if stops:
        callbacks.insert(0, lightgbm.early_stopping(patience, verbose=False))
    try:
        data = _dataset(train, parameters, of)
        watched = [_dataset(validation, parameters, of, reference=data)] if len(validation) else []
        booster = lightgbm.train(parameters, data, rounds, valid_sets=watched, callbacks=callbacks, init_model=after)
    except lightgbm.basic.LightGBMError as error:
        raise DeclarationError(
            "LightGBM refuses these options, or these examples with them",
            expected=f"what {parameters['objective']} learns from",
            got=(str(error).splitlines() or ["no reason"])[0],
        ) from error
    best = booster.model_to_string(num_iteration=(booster.best_iteration if stops else 0) or booster.num_trees())
    return lightgbm.Booster(model_str=best)


def _dataset(examples: Examples | Rows, parameters: Mapping[str, Any], of: Boosting, *, reference: Any = None) -> Any:
    import lightgbm

    inputs, labels = examples.inputs, examples.labels
    weights, groups, offsets = (getattr(examples, name, None) for name in ("weights", "groups", "offsets"))
    if inputs.ndim != 2 or any(not 0 <= column < inputs.shape[1] for column in of.categories):
        raise DeclarationError(
            "a forest does not read these inputs",
            expected=f"(n, k) float32{', with the columns ' + str(of.categories) if of.categories else ''}",
            got=str(inputs.shape),
        )
    sizes = None
    if OBJECTIVES[str(parameters["objective"])].grouped:
        if groups is None:
            raise DeclarationError(
                f"objective={parameters['objective']} ranks within a query, and the examples name none",
                expected="data.query in domain.yaml",
                got="none",
            )
        _, codes = np.unique(groups, return_inverse=True)
        # Rows of a query come in any order: LightGBM leaves equal scores in theirs, and a log has what was clicked first.
        order = np.argsort(codes, kind="stable")
        shuffled = np.random.default_rng(int(parameters["seed"])).random(len(order))
        order = order[np.lexsort((shuffled, codes[order]))]
        inputs, labels, sizes = inputs[order], labels[order], np.bincount(codes)
        weights = None if weights is None else np.asarray(weights)[order]
    return lightgbm.Dataset(
        inputs,
        labels,
        weight=weights,
        group=sizes,
        init_score=offsets,
        reference=reference,
        categorical_feature=list(of.categories) if of.categories else "auto",
        params=dict(parameters),
        free_raw_data=True,
    )


def _reporter(progress: Progress, *, before: int, total: int) -> Any:
    def report(environment: Any) -> None:
        note = ""
        if environment.evaluation_result_list:
            _, name, score, higher = environment.evaluation_result_list[0]
            note = Measured(f"{name.replace('_', ' ')} {score:.4f}", value=float(score), higher=bool(higher))
        progress(before + environment.iteration + 1, total, note)

    return report
