"""The fraud model: gradient-boosted trees; docs/decisions/0001-fraud-model.md says why not a network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hallmark.errors import DeclarationError
from hallmark.features.fields import Output
from hallmark.learners.model import Examples, ModelSpec, Progress

if TYPE_CHECKING:
    import lightgbm

OUTPUTS: tuple[Output, ...] = (Output(name="score", datatype="FP32", minimum=0, maximum=1),)
FILE = "booster.txt"

_OPTIONS: dict[str, Any] = {
    "objective": "binary",
    "metric": "average_precision",
    "learning_rate": 0.06,
    "num_leaves": 31,
    "min_data_in_leaf": 60,
    "feature_fraction": 0.7,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 5.0,
    "use_missing": False,
    "verbosity": -1,
    # The same trees in every process: one order of summation, whatever the machine has. One thread also because two
    # that wait for each other on a busy machine take ten times as long.
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
}


class Booster:
    """A trained forest. `predict` gives (n,) the chance that an order is charged back."""

    def __init__(self, booster: lightgbm.Booster) -> None:
        self._booster = booster

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(self._booster.predict(inputs, num_threads=1), dtype=np.float32)

    def save(self, folder: Path) -> None:
        (folder / FILE).write_text(self._booster.model_to_string(), encoding="utf-8")

    def dump(self) -> dict[str, Any]:
        """The forest as LightGBM tells it, node by node."""
        told: dict[str, Any] = self._booster.dump_model()
        return told

    def export(self, path: Path) -> None:
        from hallmark.learners import trees

        made = trees.binary_onnx(self.dump(), output=OUTPUTS[0].name)
        path.write_bytes(made.SerializeToString(deterministic=True))


def fit(
    train: Examples,
    validation: Examples,
    *,
    seed: int,
    progress: Progress | None = None,
    rounds: int = 400,
    patience: int = 40,
    **options: Any,
) -> Booster:
    """Grow trees until `validation` has not improved for `patience` rounds; same examples and seed, same forest."""
    import lightgbm

    _check(options, rounds=rounds, patience=patience)
    parameters = {**_OPTIONS, "seed": seed, **options}
    data = lightgbm.Dataset(train.inputs, train.labels, params=parameters, free_raw_data=True)
    watched = lightgbm.Dataset(validation.inputs, validation.labels, reference=data, params=parameters)
    callbacks = [lightgbm.early_stopping(patience, verbose=False)]
    if progress is not None:
        callbacks.append(_reporter(progress))
    booster = lightgbm.train(parameters, data, rounds, valid_sets=[watched], callbacks=callbacks)
    # What is kept is the best iteration and nothing after it, so that both forms hold the same trees.
    best = booster.model_to_string(num_iteration=booster.best_iteration or rounds)
    return Booster(lightgbm.Booster(model_str=best))


def _check(options: dict[str, Any], *, rounds: object, patience: object) -> None:
    strange = sorted(set(options) - set(_OPTIONS))
    wrong = [
        name for name, value in (("rounds", rounds), ("patience", patience)) if type(value) is not int or value < 1
    ]
    wrong += [name for name, value in options.items() if name in _OPTIONS and type(value) is not type(_OPTIONS[name])]
    if strange or wrong:
        raise DeclarationError(
            f"{(strange + wrong)[0]} is not an option of the fraud model"
            if strange
            else f"option {wrong[0]} has the wrong type",
            expected="rounds, patience (whole numbers), " + ", ".join(_OPTIONS),
            got=", ".join(strange + wrong),
        )


def restore(folder: Path) -> Booster:
    """The model that `save` wrote."""
    import lightgbm

    return Booster(lightgbm.Booster(model_str=(folder / FILE).read_text(encoding="utf-8")))


def _reporter(progress: Progress) -> Any:
    def report(environment: Any) -> None:
        _, _, score, _ = environment.evaluation_result_list[0]
        progress(environment.iteration + 1, environment.end_iteration, f"average precision {score:.4f}")

    return report


SPEC = ModelSpec(task="binary", outputs=OUTPUTS, fit=fit, restore=restore)
