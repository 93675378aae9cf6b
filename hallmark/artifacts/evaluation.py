"""What was measured of a model and what the gate made of it, as the records that steps hand on and the model card keeps."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from hallmark.errors import GateRefused


class Record(BaseModel):
    """A frozen result with no key that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Slice(Record):
    """One group of test examples; `metric` is the gate's, None where the group cannot tell it."""

    column: str
    value: str
    rows: int
    metric: float | None


class Point(Record):
    """One point of a curve."""

    x: float
    y: float


class Curves(Record):
    """Precision over recall, and the receiver's operating characteristic, thinned to at most 200 points each."""

    precision_recall: tuple[Point, ...]
    roc: tuple[Point, ...]


class Confusion(Record):
    """counts[i][j]: examples of class `labels[i]` that the model took for `labels[j]`."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]


class Evaluation(Record):
    """What one model made of one test set.

    test:    digest of the test examples, so that two evaluations can be told to be of the same ones.
    metrics: by name; one that the examples cannot tell is left out.
    """

    rows: int
    test: str
    metric: str
    metrics: dict[str, float]
    slices: tuple[Slice, ...] = ()
    curves: Curves | None = None
    confusion: Confusion | None = None


class Decision(BaseModel):
    """Passed or not, and one line a rule that says why; what failed comes first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    passed: bool
    reasons: tuple[str, ...]

    def enforce(self) -> None:
        """Do nothing where it passed; `GateRefused` with the reasons otherwise."""
        if not self.passed:
            raise GateRefused(
                "the candidate did not pass its gate: " + self.reasons[0],
                got="\n        ".join(self.reasons),
                fix="the champion stays; look at the evaluation by slice",
            )


class Parity(BaseModel):
    """How far the ONNX model is from the trained one over the test rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: int
    max_abs_difference: float
    tolerance: float
