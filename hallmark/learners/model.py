"""A domain's model.py: the spec that it declares, the examples that it is given, and the trained model that it gives."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hallmark.artifacts.references import References
from hallmark.artifacts.retriever import RetrieverParts
from hallmark.declaration import domain as domains
from hallmark.declaration.data import Data
from hallmark.errors import ContractBroken, DeclarationError, ModelRefused
from hallmark.features import arrays
from hallmark.features.encoding import Features, Input
from hallmark.features.fields import Columns, Field, Output
from hallmark.settings import Settings
from hallmark.tasks import targets as targets_of
from hallmark.tasks.kinds import Task
from hallmark.tasks.targets import Targets

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.declaration.domain import Domain

Progress = Callable[[int, int, str], None]
"""Called as work goes on: how much is done, of how much, and a short note."""


class Measured(str):
    """A note of progress that tells how good the model is on the validation examples so far: a point of the learner's curve."""

    value: float
    higher: bool

    def __new__(cls, text: str, *, value: float, higher: bool) -> Measured:
        """higher: whether a greater value is better."""
        made = super().__new__(cls, text)
        made.value, made.higher = value, higher
        return made


@dataclass(frozen=True, eq=False)
class Examples:
    """Encoded examples of one part.

    inputs: (n, …) as the domain's `features.encode` gives them, float32 but where the spec names another type; of a model with
            several inputs the first.
    named:  all inputs by name, where there are several.
    labels: (n,) as the task reads them: 0 or 1, index of a class, number, relevance or outcome.
    groups, weights, treatment, propensity, censored, items, values: (n,) as in `Targets`; None where the task has none.
    outcomes: (n,) numbers by column, those that `data.outcomes` names.
    """

    inputs: NDArray[Any]
    labels: NDArray[Any]
    groups: NDArray[np.int64] | None = None
    weights: NDArray[np.float64] | None = None
    treatment: NDArray[np.int64] | None = None
    propensity: NDArray[np.float64] | None = None
    censored: NDArray[np.bool_] | None = None
    items: NDArray[Any] | None = None
    values: NDArray[np.float64] | None = None
    completed: NDArray[np.float64] | None = None
    named: Mapping[str, NDArray[Any]] = dataclasses.field(default_factory=dict)
    outcomes: Mapping[str, NDArray[np.float64]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.inputs) != len(self.labels):
            raise ValueError(f"expected as many inputs as labels, got {len(self.inputs)} and {len(self.labels)}")

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def given(self) -> NDArray[Any] | Mapping[str, NDArray[Any]]:
        """Argument of `Trained.predict`: the one input, or all by name."""
        return self.named or self.inputs

    @property
    def targets(self) -> Targets:
        """Labels of the rows, with the columns that judge them."""
        return Targets(**{field.name: getattr(self, field.name) for field in dataclasses.fields(Targets)})


def refuse_weights(learner: str, *parts: Examples) -> None:
    """`DeclarationError` where examples have weights, of a learner that counts each row once."""
    if any(each.weights is not None for each in parts):
        raise DeclarationError(
            f"{learner} counts each row once, and the examples have weights",
            expected="no data.weight in domain.yaml",
            got="data.weight",
            fix="leave it out, or take another learner in model.py",
        )


class Trained(Protocol):
    """A trained model; none of its forms is a pickle."""

    def predict(self, inputs: Any) -> NDArray[Any]:
        """The first output, (n, …) as the task has it, of the one input or of all by name."""

    def save(self, folder: Path) -> None:
        """Write the model's own form into `folder`, weights only; the spec's `restore` reads it back."""

    def export(self, path: Path) -> None:
        """Write it as ONNX: the spec's inputs with a dynamic batch axis, its outputs out, no external data."""


@dataclass(frozen=True, eq=False)
class OtherAnswers:
    """Answers to the same inputs that are shown beside a model's, by whose they are.

    items: how many all of them choose from, where answers are items.
    A trained model that has some says so by a method `others` of the arguments of `predict`.
    """

    answers: Mapping[str, NDArray[Any]]
    items: int | None = None


def unrestorable(what: str, *, expected: str, error: Exception) -> ModelRefused:
    """What a spec's `restore` raises where the folder does not hold what `save` wrote, and `error` came of it."""
    return ModelRefused(
        what,
        expected=expected,
        got=(str(error).splitlines() or [type(error).__name__])[0],
        fix="restore the folder from the registry",
    )


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Declaration of a domain's model: SPEC of its model.py.

    task:    kind of task that it solves; domain.yaml declares the same.
    outputs: of the exported model, the one that is judged first.
    fit:     (train, validation, *, seed, progress, **options) -> Trained; options are those of `hallmark train --option`.
    restore: the trained model from the folder that its `save` wrote.
    labels:  names of the classes of a multiclass task, in the order of the probabilities.
    inputs:  of the exported model, which `encode` gives by name; one float32 "input" where it says nothing.
    assets:  files beside model.py that travel in the model folder and that features.py's `load` reads: tokenizer, thresholds.
    retriever: of a domain that declares retrieval, the parts that find items and rank them; `export` writes their files beside its path.
    references: items of its training whose nearest it answers too; of a domain that declares a decision.
    """

    task: str
    outputs: tuple[Output, ...]
    fit: Callable[..., Trained]
    restore: Callable[[Path], Trained]
    labels: tuple[str, ...] = ()
    inputs: tuple[Input, ...] = (Input(),)
    assets: tuple[str, ...] = ()
    retriever: RetrieverParts | None = None
    references: References | None = None


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
    _of_items(domain, found.retriever, where)
    _of_references(domain, found, where)
    return found


def _of_items(domain: Domain, parts: RetrieverParts | None, where: str) -> None:
    """`DeclarationError` where one of domain.yaml and model.py answers with items and the other does not."""
    if (parts is None) != (domain.retrieval is None):
        raise DeclarationError(
            f"{where} and domain.yaml do not agree on whether answers are items",
            expected="retrieval: in domain.yaml and retriever=RetrieverParts(…) in SPEC, or neither",
            got="only " + ("retrieval:" if parts is None else "retriever="),
            fix="write the other one, as domains/search has it (docs/retrieval.md)",
        )
    if (
        parts is not None
        and domain.retrieval is not None
        and (parts.encoder is None) == (domain.retrieval.borrowed is None)
    ):
        raise DeclarationError(
            f"{where} and domain.yaml name different encoders",
            expected="an encoder in SPEC's retriever with encoder: own, and none with domain@version",
            got=f"encoder: {domain.retrieval.encoder}, and {'none' if parts.encoder is None else 'one'} in SPEC",
        )


def _of_references(domain: Domain, spec: ModelSpec, where: str) -> None:
    """`DeclarationError` where a model's references are of nobody's use, or not of this model."""
    found = spec.references
    if found is None:
        return
    vectors = [each.name for each in spec.outputs if each.datatype == "FP32" and len(each.shape) == 1]
    if found.vector not in vectors or found.items in {each.name for each in spec.outputs}:
        raise DeclarationError(
            f"the references of {where} do not fit its outputs",
            expected=f"vector among {', '.join(vectors) or 'outputs of one axis, of which there is none'}, and items of a name that no output has",
            got=f"vector {found.vector}, items {found.items}",
        )
    if domain.decision is None:
        raise DeclarationError(
            f"{where} has references, and {domain.name} decides nothing",
            expected="decision: in its domain.yaml, which shows them to a reviewer or an expert",
            got="none",
            fix="declare one (docs/decision.md), or take references= out of SPEC",
        )


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
    return {field.name: _column(frame[field.name], field) for field in fields}


def requested(frame: pd.DataFrame, fields: Sequence[Field]) -> Columns:
    """The fields of requests in these rows; an optional one that the data does not have was not sent."""
    there = [field for field in fields if field.name in frame or not field.optional]
    left_out = {field.name: arrays.empty(field, len(frame)) for field in fields if field not in there}
    return {**columns(frame, there), **left_out}


def _column(values: pd.Series, field: Field) -> NDArray[Any]:
    if field.plain and not field.shape:
        return values.to_numpy(dtype=field.dtype)
    try:
        return arrays.column(values.tolist(), field)
    except arrays.Misfit as error:
        raise ContractBroken(
            f"column {field.name} is not what FIELDS declares",
            expected=f"{field.datatype} of shape {list(field.shape)}" + (" or nothing" if field.optional else ""),
            got=str(error),
            fix="mend the domain's data.py",
        ) from error


def examples(name: str, frame: pd.DataFrame, *, settings: Settings | None = None) -> Examples:
    """`frame` as the domain called `name` encodes it: the same `features.encode` that serving calls."""
    declared = domains.load(name, settings)
    features = domains.module(name, "features", settings)
    _no_answers(features.FIELDS, declared.data)
    made = spec(declared, settings)
    code = Features(features, inputs=made.inputs, assets=assets(name, made, settings))
    named = {name: np.ascontiguousarray(each) for name, each in code.encode(columns(frame, features.FIELDS)).items()}
    targets = task_of(declared, made).targets(frame, declared.data.target_columns)
    told = {field.name: getattr(targets, field.name) for field in dataclasses.fields(Targets)}
    first = next(iter(named.values()))
    outcomes = {each: targets_of.numbers(frame, each, role="outcomes") for each in declared.data.outcomes}
    return Examples(inputs=first, named=named if len(named) > 1 else {}, outcomes=outcomes, **told)


def assets(name: str, made: ModelSpec, settings: Settings | None = None) -> dict[str, bytes]:
    """The files that the model of domain `name` takes along, as they lie beside its model.py."""
    folder = (settings or Settings.load()).domains / name
    missing = [each for each in made.assets if not (folder / each).is_file()]
    if missing:
        raise DeclarationError(
            f"SPEC of domains/{name}/model.py names an asset that is not there",
            expected=f"domains/{name}/{missing[0]}",
            got="no such file",
        )
    return {each: (folder / each).read_bytes() for each in made.assets}


def _no_answers(fields: Sequence[Field], data: Data) -> None:
    for field in fields:
        if field.name in data.answers:
            raise DeclarationError(
                f"{field.name} is declared as a request field and tells the answer, who it is about, or when",
                expected="only what is known before the answer",
                got=field.name,
                fix="take it out of FIELDS in the domain's features.py",
            )
