"""History of a domain's models with reasons: `hallmark timeline`, for a person on call."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hallmark.cli.clusters import Context, Kubeconfig, connected
from hallmark.cli.console import DomainName, Format, Output, emit, say, show, width, wrapped
from hallmark.cli.options import declaration, since_of
from hallmark.errors import DeclarationError, Unavailable

if TYPE_CHECKING:
    from hallmark.rollout.timeline import Timeline, TimelineEntry
    from hallmark.settings import Settings

_PAUSE = 2.0
_SHORT = 8
"""Digits of a correlation id that a table shows; `--correlation` takes as many as tell it apart."""


def timeline(
    name: DomainName,
    correlation: Annotated[
        str,
        typer.Option(
            metavar="ID", help="Only what belongs to this correlation id, or begins with it.", show_default=False
        ),
    ] = "",
    since: Annotated[
        str, typer.Option(metavar="DURATION", help="Only this long back, such as 2h or 3d.", show_default=False)
    ] = "",
    html: Annotated[
        Path | None, typer.Option(help="Write it to this file as one page that needs no network.", show_default=False)
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on and print what comes, until ctrl-c.")] = False,
    utc: Annotated[bool, typer.Option("--utc", help="Times in UTC; default: this machine's zone.")] = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Output = Format.table,
) -> None:
    """Show the history of a domain's models: drift, trainings and refusals, rollouts and every decision with its reasons, and what people did.

    What was done from this machine, and trainings, are shown where no cluster answers too.
    """
    from hallmark.rollout import record as records
    from hallmark.rollout.history import History
    from hallmark.rollout.memory import MemoryStore, WatchMemory
    from hallmark.rollout.timeline import Timeline

    if follow and output is Format.yaml:
        raise DeclarationError("--follow has no YAML", expected="-o table or -o json", got="-o yaml")
    domain, settings = declaration(name)
    zone: tzinfo | None = UTC if utc else None
    history, back = History(settings, name), since_of(since)

    def known(timeline: Timeline) -> Timeline:
        return chosen(
            _trained(history.into(timeline), name, settings),
            correlation=correlation,
            since=back,
            now=datetime.now(UTC),
        )

    def read() -> Timeline:
        writer = connected(settings, kubeconfig, context)
        live = writer.live(name)
        record = (records.written(live) if live else None) or records.RolloutRecord()
        return known(MemoryStore(writer, domain.namespace).read().with_changes(record).timeline)

    try:
        found = read()
    except Unavailable as error:
        if follow or not (history.lines() or _trained(Timeline(), name, settings).entries):
            raise
        say(f"{error.message}: what follows was done from this machine")
        found = known(WatchMemory().timeline)
    if html is not None:
        _write(html, found, name=name, zone=zone)
    elif not follow:
        _print(found, output, zone=zone, empty=_nothing(name, correlation, since))
    if follow:
        if not found.entries:
            say(_nothing(name, correlation, since))
        try:
            for entry in news(read, pause=time.sleep):
                typer.echo(_followed(entry, output, zone))
        except KeyboardInterrupt:
            return


def _trained(timeline: Timeline, name: str, settings: Settings) -> Timeline:
    """The timeline with the trainings that the registry knows; without them where it does not answer, and said so."""
    from hallmark.registry.store import Registry
    from hallmark.rollout import trainings

    try:
        for entry in trainings.entries(Registry(settings), name):
            timeline = timeline.with_entry(entry)
    except Unavailable as error:
        say(f"{error.message}: trainings are missing here")
    return timeline


def chosen(whole: Timeline, *, correlation: str, since: timedelta | None, now: datetime) -> Timeline:
    """The part of a timeline that was asked for; the points are those between the entries of a correlation id."""
    entries, points = whole.entries, whole.points
    if since is not None:
        entries = tuple(entry for entry in entries if entry.at >= now - since)
        points = tuple(point for point in points if point.at >= now - since)
    if correlation:
        entries = tuple(entry for entry in entries if entry.correlation.startswith(correlation.lower()))
        edges = [entry.at for entry in entries]
        points = tuple(point for point in points if edges and edges[0] <= point.at <= edges[-1])
    return whole.model_copy(update={"entries": entries, "points": points})


def rows(entries: Sequence[TimelineEntry], *, zone: tzinfo | None) -> list[dict[str, Any]]:
    """A row an entry, the newest last; the head of the first column names the zone, or each time its own where a clock was changed between."""
    zones = {_zone(entry.at, zone) for entry in entries}
    clock = f"time ({zones.pop()})" if len(zones) == 1 else "time"
    return [
        {
            clock: _time(entry.at, zone) if clock != "time" else f"{_time(entry.at, zone)} {_zone(entry.at, zone)}",
            "what": entry.kind,
            "version": "" if entry.version is None else str(entry.version),
            "share": "" if entry.percent is None else f"{entry.percent}%",
            "id": entry.correlation[:_SHORT],
            "why": _plain(entry.told),
        }
        for entry in entries
    ]


def line(entry: TimelineEntry, *, zone: tzinfo | None) -> str:
    """An entry as one line of a log."""
    version = "" if entry.version is None else f"v{entry.version}"
    share = "" if entry.percent is None else f"{entry.percent}%"
    at = f"{_time(entry.at, zone)} {_zone(entry.at, zone)}"
    return f"{at}  {entry.kind:<9}  {version:>5}  {share:>4}  {entry.correlation[:_SHORT]:<8}  {_plain(entry.told)}"


def news(read: Callable[[], Timeline], *, pause: Callable[[float], None]) -> Iterator[TimelineEntry]:
    """Every entry once, as it comes, for ever; while the cluster does not answer it says so once and goes on."""
    known: list[TimelineEntry] = []
    silent = False
    while True:
        try:
            entries = read().entries
        except Unavailable as error:
            if not silent:
                say(f"{error.message}; trying again")
            silent = True
        else:
            silent = False
            yield from (entry for entry in entries if entry not in known)
            known = list(entries) or known
        pause(_PAUSE)


def _followed(entry: TimelineEntry, output: Format, zone: tzinfo | None) -> str:
    return entry.model_dump_json() if output is Format.json else wrapped(line(entry, zone=zone), columns=width())


def _print(found: Timeline, output: Format, *, zone: tzinfo | None, empty: str) -> None:
    if output is not Format.table:
        show(json.loads(found.model_dump_json()), output)
        return
    emit(rows(found.entries, zone=zone), output, empty=empty)


def _write(path: Path, found: Timeline, *, name: str, zone: tzinfo | None) -> None:
    from hallmark import page as static_page
    from hallmark.rollout.page import page

    made = datetime.now(UTC)
    static_page.write(path, page(found, domain=name, made=made, zone=zone or _local(made)))
    say(f"timeline of {name}: {path}")


def _nothing(name: str, correlation: str, since: str) -> str:
    asked = [
        f"with a correlation id that begins with {correlation}" if correlation else "",
        since and f"within {since}",
    ]
    if any(asked):
        return f"nothing was recorded of {name} " + " ".join(filter(None, asked))
    return (
        f"nothing was recorded of {name} yet: `hallmark watch {name}` records, and drift or a release begins something"
    )


def _plain(text: str) -> str:
    """On one line and without control characters, which a terminal would obey."""
    return " ".join("".join(sign if sign.isprintable() else " " for sign in text).split())


def _time(at: datetime, zone: tzinfo | None) -> str:
    return at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S")


def _zone(at: datetime, zone: tzinfo | None) -> str:
    """The name that the zone has at that time: summer's is another than winter's."""
    return at.astimezone(zone).tzname() or "local"


def _local(at: datetime) -> tzinfo:
    return at.astimezone().tzinfo or UTC
