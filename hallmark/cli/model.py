"""Training commands: data, train, versions, model card."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hallmark.artifacts.thresholds import NO_THRESHOLD
from hallmark.cli.console import DomainName, Format, Output, emit, say, show
from hallmark.cli.options import SYNTHETIC, DataSource, FitOptions, Seed, Shift, Until, Window, declaration, fit_options
from hallmark.errors import DeclarationError, HallmarkError, NotFound
from hallmark.section import LARGEST_SEED
from hallmark.settings import Settings

if TYPE_CHECKING:
    from hallmark.cli.progress import TaskLine, TaskLines
    from hallmark.registry.store import VersionLine
    from hallmark.settings import Settings
    from hallmark.training.journal import JournalEvent
    from hallmark.training.run import TrainingOutcome

EVER = (datetime(1900, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC))
_FIRST_YEAR = 1970
_SOON = 8.0
"""Seconds that a refusal may wait for those who are told of it."""


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    for command in (data, train, versions, model_card):
        app.command()(command)


def data(
    name: DomainName,
    source: DataSource = SYNTHETIC,
    until: Until = "",
    days: Annotated[
        int | None,
        typer.Option(
            min=1, max=3650, help="How many days before that; default: 30, or all of your own data.", show_default=False
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=LARGEST_SEED, help="Seed of synthetic data.")] = 7,
    shift: Shift = None,
    shifts: Annotated[bool, typer.Option("--shifts", help="List the shifts that can be injected.")] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write the examples to this Parquet file.", show_default=False)
    ] = None,
    output: Output = Format.table,
) -> None:
    """Draw or read a domain's examples, check them against its contract, and say what they are."""
    from hallmark.data import contract, dataset
    from hallmark.declaration import domain as declared
    from hallmark.training import source as sources
    from hallmark.training.source import shifts as shifts_of

    domain, settings = declaration(name)
    if shifts:
        emit(
            [{"shift": each.name, "description": each.description} for each in shifts_of(name, settings)],
            output,
            empty=f"{name} has no synthetic shift",
        )
        return
    if out is not None and out.suffix != ".parquet":
        raise DeclarationError("--out is not a Parquet file", expected="a name ending in .parquet", got=str(out))
    start, end = _span(source, until, days)
    frame = sources.load(name, source=source, start=start, end=end, seed=seed, shift=shift)
    contract.check(declared.module(name, "data", settings).contract(), frame, source)
    label, time = frame[domain.data.label], domain.data.event_time
    told = frame[label > 0] if domain.task.kind == "retrieval" else frame
    row: dict[str, Any] = {"examples": len(frame), domain.data.entity: told[domain.data.entity].nunique()}
    if domain.task.kind == "retrieval" and domain.data.item:
        row["items"] = frame[domain.data.item].nunique()  # rows of label 0 may tell of an item, and of nobody
    if time:
        row |= {"first": str(frame[time].min())[:19], "last": str(frame[time].max())[:19]}
    row["label"] = _label(label, domain.task.kind)
    row["contract"] = "kept"
    if out is not None:
        dataset.write(frame, out)
        row |= {"written": str(out), "digest": dataset.digest(out)}
    emit([row], output)


def _label(label: Any, kind: str) -> str:
    """What the label of these rows is, in a few words."""
    if kind == "multiclass":
        counts = label.value_counts()
        return f"{len(counts)} classes, most: {counts.index[0]}"
    if set(label.unique()) <= {0, 1}:
        return f"{label.mean():.2%} {label.name}"
    return f"{label.name} {label.min():g} to {label.max():g}, median {label.median():g}"


def train(
    name: DomainName,
    source: DataSource = SYNTHETIC,
    until: Until = "",
    window: Window = "",
    seed: Seed = None,
    shift: Shift = None,
    option: FitOptions = None,
    no_champion: Annotated[
        bool,
        typer.Option("--no-champion", help="Judge by the floors alone, whoever is champion: a new line of versions."),
    ] = False,
    experiment: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="Log it as a trial of this experiment: no version is made of it; see `hallmark experiments`.",
            show_default=False,
        ),
    ] = "",
    output: Output = Format.table,
) -> None:
    """Run the training pipeline here: the same graph as on Kubeflow. Exit 3 where contract or gate refuses.

    What an earlier run finished on the same content is reused, and said so.
    """
    from hallmark.cli.progress import TaskLines
    from hallmark.training import run

    settings = declaration(name)[1].prepared()
    until = as_of(name, source, until, settings)
    if source == SYNTHETIC and (own := _own(name, settings)):
        say(f"{own}, and this learns from made-up examples: --data FILE names yours")
    try:
        with TaskLines() as lines:
            outcome = run.train(
                name,
                settings=settings,
                source=source,
                as_of=until,
                window=window,
                seed=seed,
                shift=shift,
                options=fit_options(option),
                no_champion=no_champion,
                experiment=experiment,
                report=listed(lines),
            )
    except KeyboardInterrupt as stopped:
        stopped.add_note("the training was stopped; the same one again reuses the steps that it finished")
        raise
    _outcome(outcome, output)
    if outcome.refusal is not None:
        if not experiment:
            _notify(name, outcome, settings)
        raise outcome.refusal


def as_of(name: str, source: str, until: str, settings: Settings) -> str:
    """Day that examples are as of: the one that is asked for, else the last one that a team's own data can be trained as of; "" is today."""
    if until:
        _day(until)
        return until
    return "" if source == SYNTHETIC else _last_day(name, source, settings)


def _own(name: str, settings: Settings) -> str:
    """Of which data the champion is, in words, where those are a team's own; empty where it is of synthetic ones, or there is none."""
    from hallmark.registry.store import CHAMPION, Registry

    try:
        card = Registry(settings).model_card(name, CHAMPION)
    except HallmarkError:
        return ""  # whatever is wrong, the training says it itself
    return "" if card.request.origin == SYNTHETIC else f"the champion has learnt from {card.request.origin}"


def _notify(name: str, outcome: TrainingOutcome, settings: Settings) -> None:
    """Tell those who want to know that a training was refused; what is not taken soon waits for the next command."""
    from hallmark.rollout import notices

    outbox = notices.Outbox(declaration(name)[0], settings, say=say)
    about = outcome.run or f"{outcome.as_of}/{outcome.evaluation.test}"
    outbox.put(notices.refused(name, reasons=outcome.decision.reasons, about=about, at=notices.now()))
    outbox.within(_SOON)


def listed(lines: TaskLines) -> Callable[[JournalEvent], None]:
    """A reporter of a run's events: a live line for each step under way, a line that stays for each one that ended."""
    running: dict[str, TaskLine] = {}

    def report(event: JournalEvent) -> None:
        if event.state in ("started", "waiting"):
            if event.step not in running:
                running[event.step] = lines.start(event.step)
            if event.state == "waiting":
                running[event.step].note("another run is at it")
        elif event.state == "progress" and event.step in running:
            running[event.step].advance(event.done, event.total, event.note)
        elif event.state in ("finished", "reused", "failed"):
            if event.step in running:
                running.pop(event.step).end()
            mark = {"finished": "✓", "reused": "=", "failed": "✗"}[event.state]
            lines.done(event.step, event.note or event.state, event.seconds, mark=mark)

    return report


def shown(line: TaskLine) -> Callable[[JournalEvent], None]:
    """A reporter of a run's events that keeps to one line."""

    def report(event: JournalEvent) -> None:
        if event.state == "progress":
            line.advance(event.done, event.total, f"{event.step} {event.note}")
        else:
            line.note(f"{event.step} {event.state}")

    return report


def _outcome(outcome: TrainingOutcome, output: Format) -> None:
    evaluation = outcome.evaluation
    if output is not Format.table:
        shown_outcome = outcome.model_dump(
            mode="json", exclude={"evaluation": {"charts", "estimates", "slices", "beside"}}
        )
        show(shown_outcome, output)
        return
    say("")
    emit(
        [
            {"metric": name, "value": value, "error": evaluation.errors.get(name)}
            for name, value in evaluation.metrics.items()
        ],
        output,
    )
    if evaluation.beside:
        say("")
        emit([{"beside": each.name, **each.metrics} for each in evaluation.beside], output)
    if evaluation.slices:
        theirs = {
            each.name: {(part.column, part.value): part.metric for part in each.slices} for each in evaluation.beside
        }
        say("")
        emit(
            [
                {
                    "slice": f"{each.column} = {each.value}",
                    "rows": each.rows,
                    evaluation.metric: each.metric,
                    "error": each.error,
                    **{name: told.value for name, told in each.others.items()},
                    **{name: metrics.get((each.column, each.value)) for name, metrics in theirs.items()},
                }
                for each in evaluation.slices
            ],
            output,
        )
    if outcome.thresholds is not None:
        say("")
        emit(
            [
                {
                    "slice": ", ".join(each.values) or "all",
                    "accepted up to": each.threshold if each.threshold is not None else NO_THRESHOLD,
                    "examples": each.examples,
                    "accepted": each.accepted,
                    "counterfeits": each.counterfeits,
                }
                for each in outcome.thresholds.slices
            ],
            output,
        )
    say("")
    for reason in outcome.decision.reasons:
        say(f"gate: {reason}")
    if outcome.thresholds is not None:
        say(f"accept: {outcome.thresholds.line}")
    for reason in outcome.precision.reasons:
        say(f"int8: {reason}")
    reused = sum(done.state == "reused" for done in outcome.steps)
    say(f"{len(outcome.steps)} steps, {reused} reused, {outcome.seconds:.1f} s; plots: {outcome.plots}")
    if outcome.run:
        what = f"trial of {outcome.experiment}" if outcome.experiment else "refused"
        say(f"{what}: run {outcome.run[:8]}; hallmark experiments {outcome.domain} lists such")
        if outcome.champion:
            say(f"next: hallmark compare {outcome.domain} champion {outcome.run[:8]}")
    if outcome.version is not None:
        say(f"version {outcome.version} of {outcome.domain} in {outcome.precision.kept}, {outcome.digest}")
        share = " --percent 10" if outcome.champion else ""
        say(f"next: hallmark release {outcome.domain} --candidate {outcome.version}{share}")


def versions(name: DomainName, output: Output = Format.table) -> None:
    """The registered versions of a domain, newest first."""
    from hallmark.registry.store import Registry

    registry = Registry(Settings.load())
    rows = [_row(each) for each in registry.versions(name)]
    wide = ("data", "precision", "commit")
    emit(rows, output, empty=f"no version of {name} yet: `hallmark train {name}`", wide=wide)
    if output is not Format.table:
        return
    refused = [each for each in registry.trials(name) if each.outcome == "refused"]
    if refused:
        last = refused[0]
        say(f"{len(refused)} refused, last {last.created:%Y-%m-%d %H:%M}: {last.reason}; `hallmark experiments {name}`")


def model_card(
    name: DomainName,
    version: Annotated[str, typer.Argument(help="A version, or an alias such as champion.")] = "champion",
    output: Output = Format.yaml,
) -> None:
    """Print the model card of a version: its data, code, seed, metrics by slice, digests."""
    from hallmark.registry.store import Registry

    registry = Registry(Settings.load())
    if version == "champion" and not any("champion" in each.aliases for each in registry.versions(name)):
        raise NotFound(
            f"no version of {name} is champion yet",
            expected="a version",
            got="none",
            fix=f"name one: `hallmark versions {name}`",
        )
    show(registry.model_card(name, version).model_dump(mode="json"), output)


def _row(version: VersionLine) -> dict[str, Any]:
    return {
        "version": version.version,
        "aliases": ", ".join(version.aliases),
        version.metric: version.value,
        "precision": version.precision,
        "digest": version.digest[:19],
        "data": version.data[:19],
        "commit": version.commit[:9],
        "created": f"{version.created:%Y-%m-%d %H:%M}",
    }


def _span(source: str, until: str, days: int | None) -> tuple[datetime, datetime]:
    if source != SYNTHETIC and not until and days is None:
        return EVER
    end = _day(until)
    if end.year < _FIRST_YEAR:
        raise DeclarationError("--until is too early", expected=f"a day from {_FIRST_YEAR} on", got=until)
    return end - timedelta(days=days or 30), end


def _last_day(name: str, source: str, settings: Settings) -> str:
    """The day that a team's own file can be trained as of: its labels final, and not after today."""
    from hallmark.declaration import domain as declared
    from hallmark.training import source as sources

    domain = declared.load(name, settings)
    time = domain.data.event_time
    if time is None or not Path(source).exists():
        return ""
    frame = sources.rows(name, source=source, start=EVER[0], end=EVER[1], seed=0, settings=settings)
    last: Any = frame[time].max() if time in frame.columns and len(frame) else None
    if not hasattr(last, "tzinfo") or last.tzinfo is None:
        return ""
    known = (last + domain.data.label_delay).to_pydatetime().astimezone(UTC)
    day = min(known.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1), _day(""))
    say(
        f"as of {day:%Y-%m-%d}: the last row is of {last:%Y-%m-%d}, and labels take {domain.data.label_delay.days} days (--until names another day)"
    )
    return str(day.isoformat())


def _day(text: str) -> datetime:
    if not text:
        return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    try:
        day = datetime.fromisoformat(text)
    except ValueError as error:
        raise DeclarationError(
            "--until is not a day", expected="a day such as 2026-10-01", got=repr(text), fix="write it as YYYY-MM-DD"
        ) from error
    return day if day.tzinfo else day.replace(tzinfo=UTC)
