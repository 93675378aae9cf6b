"""Uplift: what does a treatment change? One difference of outcomes a record and treatment, against what happened."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from hallmark.errors import ContractBroken, DeclarationError
from hallmark.section import Share
from hallmark.tasks import answers as late
from hallmark.tasks import metric as figures
from hallmark.tasks import targets as columns_of
from hallmark.tasks import telltale, uplift_metrics
from hallmark.tasks.answers import Agreement, Label, Losses, Value
from hallmark.tasks.charts import Chart, ChartLine, Confusion, line, thinned
from hallmark.tasks.metric import Metric
from hallmark.tasks.targets import Floats, TargetColumns, Targets
from hallmark.tasks.task import RELATIVE, BaseTask, ModelGap, both, worst

if TYPE_CHECKING:
    import pandas as pd

_OFF = 6.0
_FAR = 0.1
"""Share of rows that inverse propensities may miss whatever their number."""


class Uplift(BaseTask):
    """The outcome with each treatment less that without; in a shadow, answers agree on whom to treat.

    propensity is the chance of the treatment that the row got, none included: a column, or declared shares of one lot. A log
    without either is refused: what was done to whom for a reason would be taken for what it did.
    """

    kind: Literal["uplift"] = "uplift"
    rule: ClassVar[Literal["threshold"]] = "threshold"
    needs: ClassVar[tuple[str, ...]] = ("treatment",)
    reads: ClassVar[tuple[str, ...]] = ("propensity", "value")
    treatments: int = Field(default=1, ge=1, description="Treatments beside none, which is 0.")
    worth: float = Field(default=0.0, description="Smallest uplift that is worth a treatment: what it costs.")
    cost: tuple[Annotated[float, Field(ge=0)], ...] = Field(
        default=(), description="What each treatment costs, in money: what a policy spends, and the charts tell."
    )
    treat: Share = Field(
        default=1.0, description="Share of records, the best, that a policy is judged to treat at most."
    )

    @property
    def shape(self) -> tuple[int, ...]:
        """() for one treatment, (treatments,) for several."""
        return () if self.treatments == 1 else (self.treatments,)

    @property
    def gated(self) -> str:
        """Qini coefficient."""
        return "qini"

    def targets(self, frame: pd.DataFrame, columns: TargetColumns) -> Targets:
        """Labels are outcomes, with the treatment that led to them and how likely it was."""
        labels = columns_of.numbers(frame, columns.label, role="label")
        treatment = columns_of.numbers(frame, columns.treatment, role="treatment")
        wrong = ~np.isin(treatment, np.arange(self.treatments + 1))
        expected = f"a whole number in 0..{self.treatments}, 0 for none"
        columns_of.refuse_where(wrong, frame[columns.treatment], role="treatment", expected=expected)
        given = treatment.astype(np.int64)
        propensity = self._propensity(frame, columns, given)
        return Targets(
            labels=labels,
            groups=columns_of.entities(frame, columns),
            weights=columns_of.weights(frame, columns),
            treatment=given,
            propensity=propensity,
            values=columns_of.numbers(frame, columns.value, role="value") if columns.value in frame.columns else None,
        )

    def _propensity(self, frame: pd.DataFrame, columns: TargetColumns, given: NDArray[np.int64]) -> Floats:
        """(n,) chance of the treatment that each row got."""
        if columns.shares:
            shares = np.array([1 - sum(columns.shares), *columns.shares])
            seen, n = np.bincount(given, minlength=len(shares)) / max(1, len(given)), max(1, len(given))
            off = np.abs(seen - shares) > _OFF * np.sqrt(shares * (1 - shares) / n) + _OFF / n
            if off.any():
                arm = int(np.argmax(off))
                raise ContractBroken(
                    f"treatment {arm} was not drawn by the lot that data.propensity declares",
                    expected=f"{shares[arm]:.1%} of {n:,} rows, as declared, give or take {_OFF:g} standard errors",
                    got=f"{seen[arm]:.1%}",
                    fix="declare the chances that the lot had, or name a column that holds each row's",
                )
            return np.asarray(shares[given])
        if columns.propensity is None or columns.propensity not in frame.columns:
            raise DeclarationError(
                "the data does not say how likely each treatment was, so no uplift can be learnt or judged: whom somebody chose, and why,"
                " would be taken for what the treatment did",
                expected=f"a column {columns.propensity or 'that data.propensity names'}: the chance of what the row got",
                got="none",
                fix="add it; or where all were drawn by one lot declare its chances, such as data.propensity: [0.5]",
            )
        propensity = columns_of.numbers(frame, columns.propensity, role="propensity")
        columns_of.refuse_where(
            (propensity <= 0) | (propensity >= 1),
            frame[columns.propensity],
            role="propensity",
            expected="above 0 and below 1: the chance of the treatment that the row got",
            fix="leave out rows that could have got one treatment only",
        )
        self._refuse_unlikely(columns.propensity, given, propensity)
        return propensity

    def _refuse_unlikely(self, name: str, given: NDArray[np.int64], propensity: Floats) -> None:
        """`ContractBroken` where inverse propensities of a treatment's rows do not add up to all rows, as they do on average (Horvitz and Thompson, 1952)."""
        for arm in range(self.treatments + 1):
            counted = (given == arm) / propensity
            off = abs(counted.mean() - 1) if counted.any() else 0.0
            if off > max(_FAR, _OFF * math.sqrt(float(np.mean(counted**2)) / len(counted))):
                raise ContractBroken(
                    f"propensity column {name} is not the chance of what each row got: treatment {arm} was given to other shares than it says",
                    expected=f"1 / {name} of rows with treatment {arm} adds up to about all {len(given):,} rows",
                    got=f"{counted.sum():,.0f}",
                    fix="write the chance of what the row got: of a row without the treatment that is 1 less the chance of the treatment",
                )

    def metrics(self) -> Mapping[str, Metric]:
        """The ranking of whom to treat, and the value of treating those."""
        return figures.named(uplift_metrics.of(self.worth, self.treat))

    def enough(self, targets: Targets) -> str | None:
        """Rows of every treatment, and outcomes that differ."""
        treatment = targets.treatment if targets.treatment is not None else np.zeros(0, dtype=np.int64)
        counts = np.bincount(treatment, minlength=self.treatments + 1)
        if not counts.all():
            return f"none of {len(targets)} rows has treatment {int(np.argmin(counts))}"
        return (
            f"the outcome is {targets.labels[0]:g} in all {len(targets)} rows" if np.ptp(targets.labels) == 0 else None
        )

    def parity(self, expected: NDArray[Any], exported: NDArray[Any], targets: Targets | None = None) -> ModelGap:
        """Largest difference by the largest uplift: single ones are often next to 0."""
        first, second = both(expected, exported)
        size = max(float(np.max(np.abs(first), initial=0.0)), 1e-9)
        return ModelGap(value=worst(np.abs(first - second)) / size, tolerance=RELATIVE, kind="relative")

    def telltale(
        self, targets: Targets, values: NDArray[Any], *, train: tuple[Targets, NDArray[Any]] | None = None
    ) -> float | None:
        """Size of the rank correlation with the outcome: of 0 and 1, the area under the ROC curve."""
        binary = bool(np.isin(targets.labels, (0.0, 1.0)).all())
        measured = telltale.area if binary else telltale.correlation
        return telltale.best(measured, self.truths(targets), values, self._known(train))

    def truths(self, targets: Targets) -> Floats:
        """(n, 1) the outcome."""
        return np.asarray(targets.labels, dtype=np.float64)[:, None]

    def compared(self, answers: Sequence[Value], rule: Agreement) -> list[Any]:
        """The treatment or none, by the threshold, or by what a treatment is worth."""
        least = self.worth if rule.threshold is None else rule.threshold
        return [self._chosen(value, least) for value in answers]

    def disagreement_problem(self, rule: Agreement, *, words: bool = False) -> str | None:
        """Words have no threshold."""
        if words:
            return "the output holds words; name the output that holds the uplift"
        return super().disagreement_problem(rule, words=words)

    def losses(self, answers: Sequence[Value], labels: Sequence[Label], requests: Sequence[str]) -> Losses:
        """(z - u)² and bias z - u, z the transformed outcome (Athey and Imbens, 2015), whose mean is the true uplift.

        The noise of z is in it, so it compares variants; it says nothing by its size.
        """
        return late.by_record(answers, labels, self._judged)

    def late_labels(self, frame: pd.DataFrame, columns: TargetColumns) -> Sequence[Label]:
        """Outcome, treatment and propensity of each row."""
        found = self.targets(frame, columns)
        if found.treatment is None or found.propensity is None:
            raise ValueError("expected targets with treatment and propensity, as Uplift.targets gives them")
        rows = zip(found.labels.tolist(), found.treatment.tolist(), found.propensity.tolist(), strict=True)
        return [{"label": label, "treatment": treatment, "propensity": chance} for label, treatment, chance in rows]

    def label_problem(self, label: object) -> str | None:
        """The outcome, the treatment that led to it, and how likely that was."""
        if self._read(label) is not None:
            return None
        return (
            f'expected label: {{"label": number, "treatment": 0..{self.treatments}, "propensity": chance of that treatment, '
            "above 0 and below 1}"
        )

    def charts(self, targets: Targets, predictions: Floats) -> tuple[Chart | Confusion, ...]:
        """Qini curve and uplift curve of each treatment, sales by spending, and what came true by what was said, by tenths."""
        curves: dict[str, list[ChartLine]] = {"qini": [], "uplift": [], "sales": [], "calibration": []}
        for number, (arm, uplift) in enumerate(uplift_metrics.arms(targets, predictions), start=1):
            if not len(arm):
                continue
            weights = arm.weighed()[None, :]
            share, gain = (side[0] for side in uplift_metrics.qini_curve(arm, uplift, weights))
            size = max(float(share[-1]), 1e-12)
            name = "model" if self.treatments == 1 else f"treatment {number}"
            by_lot = "by lot" if self.treatments == 1 else f"{name} by lot"
            lot = np.array([0.0, 1.0])
            curves["qini"].append(thinned(name, share / size, gain / size))
            curves["qini"].append(line(by_lot, lot, np.array([0.0, gain[-1] / size])))
            tenths = uplift_metrics.by_tenth(arm, uplift)
            curves["uplift"].append(line(name, tenths.share, tenths.among_best))
            curves["uplift"].append(line(by_lot, lot, np.repeat(tenths.among_best[-1], 2)))
            curves["calibration"].append(line(name, tenths.said, tenths.seen))
            cost = self.cost[number - 1] if self.cost else 1.0
            curves["sales"].append(line(name, 1000 * cost * tenths.share, 1000 * tenths.sales))
            curves["sales"].append(line(by_lot, 1000 * cost * lot, 1000 * tenths.sales[-1] * lot))
        spend = "spent, per 1,000 records" if self.cost else "treated, of 1,000 records"
        sales = (
            "sales gained, per 1,000 records" if targets.values is not None else "outcomes gained, per 1,000 records"
        )
        return (
            Chart(
                title="outcomes gained by share treated",
                across="share treated",
                up="gain a record",
                lines=tuple(curves["qini"]),
                metric="qini",
            ),
            Chart(
                title="uplift among the best by share treated",
                across="share treated",
                up="uplift",
                lines=tuple(curves["uplift"]),
                metric="uplift_at_30pct",
            ),
            Chart(
                title="sales by spending", across=spend, up=sales, lines=tuple(curves["sales"]), metric="policy_gain_dr"
            ),
            Chart(
                title="calibration by tenths",
                across="uplift that was said",
                up="uplift that came true",
                lines=tuple(curves["calibration"]),
                diagonal=True,
            ),
        )

    def _chosen(self, value: Value, least: float) -> object:
        if self.treatments == 1 and math.isfinite(alone := late.number(value)):
            return int(alone >= least)
        found = self._uplifts(value)
        if found is None:
            return value
        best = max(found)
        return found.index(best) + 1 if best >= least else 0

    def _uplifts(self, value: Value) -> list[float] | None:
        alone = late.number(value)
        if self.treatments == 1 and math.isfinite(alone):
            return [alone]
        found = late.numbers(value, count=self.treatments)
        return None if found is None else found.tolist()

    def _read(self, label: object) -> tuple[float, int, float] | None:
        if not isinstance(label, Mapping):
            return None
        outcome, treatment, propensity = (late.number(label.get(key)) for key in ("label", "treatment", "propensity"))
        right = math.isfinite(outcome) and treatment in range(self.treatments + 1) and 0 < propensity < 1
        return (outcome, int(treatment), propensity) if right else None

    def _judged(self, answer: Value, label: Label) -> tuple[float, float]:
        found, uplifts = self._read(label), self._uplifts(answer)
        if found is None or uplifts is None:
            return math.nan, math.nan
        outcome, treatment, propensity = found
        seen = outcome / propensity
        off = [
            (seen if arm == treatment else -seen if treatment == 0 else 0.0) - uplift
            for arm, uplift in enumerate(uplifts, start=1)
        ]
        return math.fsum(each * each for each in off) / len(off), math.fsum(off) / len(off)
