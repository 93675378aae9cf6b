"""A domain's model.py: the spec that it declares, the examples that it is given, and the trained model that it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hallmark.declaration import domain as domains
from hallmark.declaration.data import Data
from hallmark.errors import ContractBroken, DeclarationError
from hallmark.features.fields import Columns, Field, Output
from hallmark.tasks.kinds import Task
from hallmark.tasks.targets import Targets

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.declaration.domain import Domain
    from hallmark.settings import Settings

Progress = Callable[[int, int, str], None]
"""Called as work goes on: how much is done, of how much, and a short note."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Encoded examples of one part.

    inputs: (n, …) float32, as the domain's `features.encode` gives them.
    labels: (n,) as the task reads them: 0 or 1, index of a class, number, relevance or outcome.
    groups, weights, treatment, propensity, censored, items: (n,) as in `Targets`; None where the task has none.
    """

    inputs: NDArray[np.float32]
    labels: NDArray[Any]
    groups: NDArray[np.int64] | None = None
    weights: NDArray[np.float64] | None = None
    treatment: NDArray[np.int64] | None = None
    propensity: NDArray[np.float64] | None = None
    censored: NDArray[np.bool_] | None = None
    items: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.labels):
            raise ValueError(f"expected as many inputs as labels, got {len(self.inputs)} and {len(self.labels)}")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def targets(self) -> Targets:
        """What is true of the rows."""
        return Targets(**{field.name: getattr(self, field.name) for field in fields(Targets)})


class Trained(Protocol):
    """A trained model; none of its forms is a pickle."""

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[Any]:
        """The first output, (n, …) as the task has it."""

    def save(self, folder: Path) -> None:
        """Write the model's own form into `folder`, weights only; the spec's `restore` reads it back."""

    def export(self, path: Path) -> None:
        """Write it as ONNX: one input "input" with a dynamic batch axis, the spec's outputs out, no external data."""


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """What a domain's model.py declares as SPEC.

    task:    kind of task that it solves; domain.yaml declares the same.
    outputs: of the exported model, the one that is judged first.
    fit:     (train, validation, *, seed, progress, **options) -> Trained; options are those of `hallmark train --option`.
    restore: the trained model from the folder that its `save` wrote.
    labels:  names of the classes of a multiclass task, in the order of the probabilities.
    """

    task: str
    outputs: tuple[Output, ...]
    fit: Callable[..., Trained]
    restore: Callable[[Path], Trained]
    labels: tuple[str, ...] = ()


def spec(domain: Domain, settings: Settings | None = None) -> ModelSpec:
    """The SPEC of a domain's model.py; `DeclarationError` where it has none, or one of another task."""
    found = getattr(domains.module(domain.name, "model", settings), "SPEC", None)
    where = f"domains/{domain.name}/model.py"
    if not isinstance(found, ModelSpec):
        raise DeclarationError(
            f"{where} declares no SPEC",
            expected="SPEC = ModelSpec(task=…, outputs=…, fit=…, restore=…)",
            got=type(found).__name__,
            fix="write one, as domains/fraud/model.py has it",
        )
    if found.task != domain.task.kind:
        raise DeclarationError(
            f"{where} and domain.yaml name different tasks",
            expected=f"task: {{kind: {found.task}}}, or a SPEC for {domain.task.kind}",
            got=f"{domain.task.kind} in domain.yaml and {found.task} in SPEC",
        )
    if found.labels and domain.task.kind != "multiclass":
        raise DeclarationError(
            f"{where} names classes, which a {found.task} task does not have",
            expected="no labels",
            got=str(found.labels),
        )
    task, first = task_of(domain, found), found.outputs[0]
    if first.shape != task.shape:
        raise DeclarationError(
            f"the first output of {where} is not what its task answers",
            expected=f"{first.name} of shape {task.shape} per record",
            got=str(first.shape),
        )
    return found


def task_of(domain: Domain, spec: ModelSpec) -> Task:
    """The domain's task, with the classes that its model has."""
    return domain.task.model_copy(update={"labels": spec.labels}) if spec.labels else domain.task


def columns(frame: pd.DataFrame, fields: Sequence[Field]) -> Columns:
    """The raw fields of `frame` and nothing else, in their declared types.

    What is not declared in the request (label, ids, times, what became known later) never reaches `encode`.
    """
    missing = [field.name for field in fields if field.name not in frame.columns]
    if missing:
        raise ContractBroken(
            f"column {missing[0]} is not in the data",
            expected=", ".join(field.name for field in fields),
            got=", ".join(map(str, frame.columns)),
            fix="mend the domain's data.py",
        )
    return {field.name: frame[field.name].to_numpy(dtype=field.dtype) for field in fields}


def examples(name: str, frame: pd.DataFrame, *, settings: Settings | None = None) -> Examples:
    """`frame` as the domain called `name` encodes it: the same `features.encode` that serving calls."""
    declared = domains.load(name, settings)
    features = domains.module(name, "features", settings)
    _no_answers(features.FIELDS, declared.data)
    inputs: Any = features.encode(columns(frame, features.FIELDS))
    targets = task_of(declared, spec(declared, settings)).targets(frame, declared.data.target_columns)
    told = {field.name: getattr(targets, field.name) for field in fields(Targets)}
    return Examples(inputs=np.ascontiguousarray(inputs, dtype=np.float32), **told)


def _no_answers(fields: Sequence[Field], data: Data) -> None:
    for field in fields:
        if field.name in data.answers:
            raise DeclarationError(
                f"{field.name} is declared as a request field and tells the answer, who it is about, or when",
                expected="only what is known before the answer",
                got=field.name,
                fix="take it out of FIELDS in the domain's features.py",
            )
