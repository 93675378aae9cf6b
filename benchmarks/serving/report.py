"""Report of a run: figures, and the targets of issue 3 held against them; as a table, as JSON and in the doc."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

QUANTITIES = {
    "rate": ("req/s", "{:,.0f}"),
    "p50": ("p50 ms", "{:.2f}"),
    "p99": ("p99 ms", "{:.2f}"),
    "cpu": ("CPU µs", "{:,.0f}"),
    "cores": ("cores", "{:.2f}"),
    "client": ("client's", "{:.2f}"),
    "errors": ("errors", "{:.0f}"),
    "peak": ("peak req/s", "{:,.0f}"),
    "offered": ("offered", "{:,.0f}"),
    "share": ("of peak", "{:.2f}"),
    "refused": ("refused/s", "{:,.0f}"),
    "late": ("late/s", "{:,.0f}"),
    "unanswered": ("unanswered", "{:.0f}"),
    "refusal_p50": ("503 p50 ms", "{:.2f}"),
    "refusal_p99": ("503 p99 ms", "{:.2f}"),
    "lag_p99": ("sent late p99", "{:.2f}"),
    "growth": ("grew MiB", "{:+.1f}"),
    "lost": ("lost", "{:.0f}"),
    "answered": ("answered", "{:,.0f}"),
    "turned_away": ("turned away", "{:.0f}"),
    "exit": ("exit code", "{:.0f}"),
    "ready": ("ready s", "{:.2f}"),
    "memory": ("MiB ready", "{:.0f}"),
    "loaded": ("MiB loaded", "{:.0f}"),
}
"""Heading and form of each quantity, in the order of the columns; what is not here is in the JSON only."""
EARLIER = ", earlier"
"""What the name of this server from another checkout ends with."""
_COMPARED = {
    "rate": "more",
    "p50": "less",
    "p99": "less",
    "cpu": "less",
    "ready": "less",
    "memory": "less",
    "loaded": "less",
}
_WORSE = 1.05
BEGIN, END = "<!-- written by python -m benchmarks.serving: begin -->", "<!-- written: end -->"


class Frozen(BaseModel):
    """Data."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Figure(Frozen):
    """One contender at one work: each quantity, a value a round."""

    work: str
    contender: str
    values: dict[str, tuple[float, ...]]

    def median(self, quantity: str) -> float:
        """Over the rounds."""
        return statistics.median(self.values[quantity])


class Target(Frozen):
    """One thing that is asked for: `of`'s quantity, over `against`'s where there is one, against a bound.

    shared: `against` and its load generator already use part of the cores, so the ratio has a ceiling (see `ceiling`).
    """

    work: str
    text: str
    of: str
    quantity: str
    bound: float
    at: Literal["least", "most"] = "least"
    against: str = ""
    unit: str = ""
    shared: bool = False


class TargetResult(Frozen):
    """A target, what was measured (median, lowest and highest round), and whether it is met; None is not measured."""

    target: Target
    values: tuple[float, ...] = ()
    met: bool | None = None


class Machine(Frozen):
    """Machine and time of a run; `busy` is the share of the CPU that others had just before."""

    cpu: str
    cores: int
    kernel: str
    python: str
    versions: dict[str, str]
    commit: str
    busy: float
    date: str


class Report(Frozen):
    """A whole run; `failed` names works that could not be measured."""

    machine: Machine
    rounds: int
    seconds: int
    took: float
    figures: tuple[Figure, ...]
    verdicts: tuple[TargetResult, ...]
    failed: tuple[str, ...] = ()
    against: str = ""
    """The commit of the earlier checkout that was measured beside this one."""


def judge(target: Target, figures: tuple[Figure, ...]) -> TargetResult:
    """The target against the figures: ratios are taken round by round, since a machine's speed wanders."""
    found = {each.contender: each.values.get(target.quantity, ()) for each in figures if each.work == target.work}
    values, base = found.get(target.of, ()), found.get(target.against, ())
    if target.against:
        values = tuple(value / other for value, other in zip(values, base, strict=False) if other)
    if not values:
        return TargetResult(target=target)
    middle = statistics.median(values)
    met = middle >= target.bound if target.at == "least" else middle <= target.bound
    return TargetResult(target=target, values=values, met=met)


def ceiling(target: Target, report: Report) -> float | None:
    """The most that this machine allows of a ratio: all its cores over what `against` and its load generator use."""
    base = [each for each in report.figures if (each.work, each.contender) == (target.work, target.against)]
    if not target.shared or not base or not {"cores", "client"} <= base[0].values.keys():
        return None
    return report.machine.cores / (base[0].median("cores") + base[0].median("client"))


def targets_table(report: Report) -> list[list[str]]:
    """Work, target, measured, met."""
    rows = [["work", "target", "measured", "rounds", "met"]]
    for verdict in report.verdicts:
        target = verdict.target
        sign = "≥" if target.at == "least" else "≤"
        wanted = f"{sign} {_short(target.bound)}{target.unit} {target.text}"
        if verdict.met is None:
            rows.append([target.work, wanted, "–", "", "not measured"])
            continue
        middle, low, high = statistics.median(verdict.values), min(verdict.values), max(verdict.values)
        spread = f"{_short(low)} – {_short(high)}"
        most = ceiling(target, report)
        missed = "NOT met" if most is None else f"NOT met; these cores allow {_short(most)}"
        rows.append([target.work, wanted, f"{_short(middle)}{target.unit}", spread, "met" if verdict.met else missed])
    return rows


def figure_tables(report: Report) -> dict[str, list[list[str]]]:
    """By work: one row per contender, one column per quantity that any of them has."""
    tables: dict[str, list[list[str]]] = {}
    for work in dict.fromkeys(each.work for each in report.figures):
        figures = [each for each in report.figures if each.work == work]
        names = [name for name in QUANTITIES if any(name in each.values for each in figures)]
        rows = [["", *(QUANTITIES[name][0] for name in names)]]
        rows += [[each.contender, *(_cell(each, name) for name in names)] for each in figures]
        tables[work] = rows
    return tables


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _cell(figure: Figure, name: str) -> str:
    if name not in figure.values:
        return ""
    form, values = QUANTITIES[name][1], figure.values[name]
    middle = form.format(figure.median(name))
    if name != "rate" or len(values) == 1:
        return middle
    return f"{middle} ({form.format(min(values))} – {form.format(max(values))})"


def pairs_table(report: Report) -> list[list[str]]:
    """This checkout over the earlier one, round by round: the median of the ratios, and the range of the rounds.

    Worse is said where every round is worse, by more than 5% in the middle.
    """
    known = {(each.work, each.contender): each for each in report.figures}
    rows = [["work", "server", "quantity", "ratio", "rounds", "judgement"]]
    for (work, name), figure in known.items():
        earlier = known.get((work, name + EARLIER))
        for quantity, better in _COMPARED.items():
            if earlier is None or not (figure.values.get(quantity) and earlier.values.get(quantity)):
                continue
            pairs = zip(figure.values[quantity], earlier.values[quantity], strict=False)
            ratios = [now / before for now, before in pairs if before]
            if not ratios:
                continue
            losses = [1 / each if better == "more" else each for each in ratios if each]
            worse = min(losses) > 1 and statistics.median(losses) > _WORSE
            spread = f"{_short(min(ratios))} – {_short(max(ratios))}"
            judgement = "WORSE" if worse else "level or better"
            rows.append([work, name, QUANTITIES[quantity][0], _short(statistics.median(ratios)), spread, judgement])
    return rows


def text(report: Report) -> str:
    """For a terminal."""
    parts = []
    for work, rows in figure_tables(report).items():
        parts += [f"\n{work}", _aligned(rows)]
    if report.against:
        parts += [f"\nthis checkout over {report.against}", _aligned(pairs_table(report))]
    return "\n".join([*parts, "\nthe targets of issue 3", _aligned(targets_table(report)), _where(report)])


def markdown(report: Report) -> str:
    """For the doc."""
    parts = [_where(report), "", "### The targets", "", _piped(targets_table(report))]
    for work, rows in figure_tables(report).items():
        parts += ["", f"### {work}", "", _piped(rows)]
    return "\n".join(parts)


def write_doc(path: Path, report: Report) -> None:
    """Put the tables between the doc's markers."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"expected the lines {BEGIN!r} and {END!r} in {path}")
    path.write_text(f"{before}{BEGIN}\n\n{markdown(report)}\n\n{END}{after}", encoding="utf-8")


def _where(report: Report) -> str:
    machine = report.machine
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return (
        f"{machine.date}, commit {machine.commit}: {machine.cores} cores of {machine.cpu}, Linux {machine.kernel}, "
        f"Python {machine.python}; {versions}. Medians of {report.rounds} rounds of {report.seconds} s, in turn; "
        f"{report.took / 60:.1f} minutes. Just before, others had {machine.busy:.0%} of the CPU."
        + (f" NOT measured, since they failed: {', '.join(report.failed)}." if report.failed else "")
    )


def _aligned(rows: list[list[str]]) -> str:
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        cells[0] = row[0].ljust(widths[0])
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _piped(rows: list[list[str]]) -> str:
    head, *body = rows
    rule = ["---", *["---:" for _ in head[1:]]]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *body))
