"""A training that became no version: one of an experiment, or one that the gate refused, with all that a model card says of data, code and quality."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from hallmark.artifacts.evaluation import Beside, GateDecision, Slice
from hallmark.artifacts.model_card import Champion, Code, DatasetFacts, TrainingRequest
from hallmark.errors import ModelRefused
from hallmark.section import Frozen

FILE = "trial.json"


class Point(Frozen):
    """One value of a learning curve."""

    step: int
    name: str
    value: float


class Fit(Frozen):
    """How long the fit of a model took, and its learning curve, as it was told on the way.   seconds: of wall time."""

    began: datetime
    seconds: float
    curve: tuple[Point, ...] = ()


class Trial(Frozen):
    """A training without a version.

    outcome:    "refused" by the gate, or "experiment": asked for with a name, so that it makes no challenger.
    experiment: its name; empty where nobody gave one.
    """

    domain: str
    outcome: Literal["refused", "experiment"]
    experiment: str = ""
    created: datetime
    request: TrainingRequest
    data: DatasetFacts
    code: Code
    features: str
    libraries: dict[str, str]
    test: str
    test_rows: int
    metric: str
    metrics: dict[str, float]
    errors: dict[str, float] = Field(default_factory=dict)
    slices: tuple[Slice, ...] = ()
    beside: tuple[Beside, ...] = ()
    decision: GateDecision
    champion: Champion | None = None
    fit: Fit | None = None


def read(folder: Path) -> Trial:
    """The trial whose artifacts lie in `folder`; `ModelRefused` where there is none that can be read."""
    try:
        return Trial.model_validate_json((folder / FILE).read_bytes())
    except (OSError, ValidationError) as error:
        raise ModelRefused("the trial cannot be read", expected=FILE, got=str(error).splitlines()[0]) from error
