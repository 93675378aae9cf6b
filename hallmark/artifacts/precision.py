"""In which precision a model ships, and what was measured for it."""

from __future__ import annotations

from typing import Literal

from hallmark.section import Frozen


class Speed(Frozen):
    """Milliseconds for one row on one thread, the best of many runs in turn, and the processor they ran on."""

    fp32: float
    int8: float
    processor: str

    @property
    def gain(self) -> float:
        """Speed of int8 as a multiple of float32's."""
        return self.fp32 / self.int8


class Int8Measurement(Frozen):
    """An int8 form beside the fp32 form of the same run.

    layers:      how many of each operator with weights run on integers.
    calibration: digest of the encoded training examples, `rows` of them, that the scales were taken from.
    fp32, int8:  the gate's metric on the test examples; `loss` is how much worse int8 is.
    difference:  the greatest between two scores.
    """

    layers: dict[str, int]
    rows: int
    calibration: str
    metric: str
    fp32: float
    int8: float
    loss: float
    difference: float
    milliseconds: Speed
    speed_up: float


class Precision(Frozen):
    """In which precision a version answers, and why: what spoke against int8 comes first.

    measured: none where int8 was not asked for, or could not be made.
    """

    kept: Literal["fp32", "int8"] = "fp32"
    reasons: tuple[str, ...] = ()
    measured: Int8Measurement | None = None

    @property
    def line(self) -> str:
        """It in one line."""
        if self.kept == "fp32" or self.measured is None:
            return "fp32" + (f"; int8: {self.reasons[0]}" if self.reasons else ", as declared")
        found = self.measured
        return f"int8: {found.speed_up:.2f} times as fast, {found.metric} {found.int8:.4f} (fp32 {found.fp32:.4f})"
