"""Feature views: `hallmark features list|ingest|archive|apply|backfill|run|flink|read|join|export|parity|freshness|page`."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hallmark.cli import parity
from hallmark.cli.console import Format, Output, emit, say
from hallmark.cli.parity import filled
from hallmark.errors import DeclarationError, HallmarkError, NotFound
from hallmark.settings import Settings

if TYPE_CHECKING:
    from hallmark.declaration.feature_view import FeatureView
    from hallmark.feature_store.place import FeatureStore

app = typer.Typer(
    name="features",
    help="Feature views: take events in, keep what is known of each entity up to date, read it, and join it with labels.",
    no_args_is_help=True,
)
app.command()(parity.parity)
app.command()(parity.freshness)

Views = Annotated[
    list[str] | None,
    typer.Argument(metavar="VIEW", help="Views as NAME@N, such as buyer_orders@1; default: all.", show_default=False),
]
Store = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="HALLMARK_FEATURE_STORE",
        help="The online store: sqlite:///FILE, redis://HOST or dynamodb://TABLE; default: a file in the state folder.",
        show_default=False,
    ),
]


@app.command("list")
def list_(output: Output = Format.table) -> None:
    """List the declared views: whose they are, what they compute from, how fresh their source is, and who reads them."""
    from datetime import UTC

    from hallmark.declaration import feature_view
    from hallmark.registry.readers import readers

    settings = Settings.load()
    store, rows, now = _place(settings), [], datetime.now(UTC)
    read_by = readers(settings, tell=say)
    for reference in feature_view.references(settings):
        view = feature_view.load(reference, settings)
        found, stage = store.freshness(view, now=now), store.stage(reference)
        rows.append(
            {
                "view": reference,
                "entity": view.entity,
                "columns": ", ".join(view.columns) if output is Format.table else list(view.columns),
                "source": view.source,
                "owner": view.owner.team,
                "state": str(stage) if output is Format.table else stage.name,
                **filled(stage, output),
                "newest_event": found.newest.isoformat(timespec="seconds") if found.newest else None,
                "fresh": found.fresh,
                "read_by": ", ".join(map(str, read_by.get(reference, ())))
                if output is Format.table
                else [each._asdict() for each in read_by.get(reference, ())],
            }
        )
    emit(rows, output, empty="no view is declared: see docs/features.md")


@app.command()
def ingest(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="A source as NAME@N, such as orders@1.")],
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A Parquet, CSV or JSON lines file, or a folder of them.")
    ],
    output: Output = Format.table,
) -> None:
    """Take a batch of events in, whole and once; exit 3 where it breaks its contract, and nothing of it is taken."""
    taken = _place(Settings.load()).ingest(source, file)
    emit([{"source": source, "rows": taken.rows, "new": taken.new}], output)
    if not taken.new:
        say("this batch was taken in before; nothing has changed")
    for view, count in taken.refused.items():
        say(
            f"warning: {view} refuses {count} of these rows, which happened more than 5 minutes after they were known,"
            " or were known more than 5 minutes from now: mend their times in a new batch"
        )


@app.command()
def archive(
    sources: Annotated[
        list[str] | None,
        typer.Argument(metavar="SOURCE", help="Sources as NAME@N, such as orders@1; default: all.", show_default=False),
    ] = None,
    output: Output = Format.table,
) -> None:
    """Bring what others wrote to the sources' logs into the offline store, which training and parity read; each record once.

    `run`, `run --follow` and `hallmark up` do it by themselves. Stopped anywhere, it goes on from there.
    """
    from hallmark.declaration import source

    settings = Settings.load()
    place, found = _place(settings), []
    known = source.references(settings)
    for each in sources or known:
        found.append({"source": each, **place.archive(each)._asdict()})
    emit(found, output, empty="no source is declared: see docs/features.md")
    if refused := sum(each["refused"] for each in found):
        said = "1 record is no row" if refused == 1 else f"{refused} records are no rows"
        say(f"{said} of the contract's types: the dead letters of its streams have what they refused")


@app.command()
def apply(views: Views = None, store: Store = "", output: Output = Format.table) -> None:
    """Bring views into being: fill the online store with all that their sources hold. What was applied before is left as it is."""
    settings = Settings.load()
    place, found = _place(settings, store), []
    for reference in _chosen(views, settings):
        with _filling(reference) as tell:
            found += place.apply([reference], tell=tell)
    emit([each._asdict() for each in found], output, empty="no view is declared: see docs/features.md")


@app.command()
def backfill(
    views: Annotated[
        list[str], typer.Argument(metavar="VIEW", help="Views as NAME@N, such as buyer_orders@2.", show_default=False)
    ],
    since: Annotated[
        str, typer.Option("--from", help="Only rows that became known from this time on (UTC).", show_default=False)
    ] = "",
    until: Annotated[
        str, typer.Option("--to", help="Only rows that became known before this time (UTC).", show_default=False)
    ] = "",
    store: Store = "",
    output: Output = Format.table,
) -> None:
    """Fill views' streams from the offline store, a new version beside the one that is read; stopped anywhere, it goes on from there.

    A view that is applied takes what it lacks, of a period too; rows that it has count once.
    """
    place, found = _place(Settings.load(), store), []
    times = {name: _time(text, name) if text else None for name, text in (("--from", since), ("--to", until))}
    begin, end = times.values()
    if begin and end and begin >= end:
        raise DeclarationError(
            "this period holds no time",
            expected="--from before --to",
            got=f"{since} to {until}",
            fix="exchange the two",
        )
    for reference in views:
        with _filling(reference) as tell:
            found.append(place.backfill(reference, since=times["--from"], until=times["--to"], tell=tell))
    emit([each._asdict() for each in found], output)


@app.command()
def run(
    views: Views = None,
    store: Store = "",
    follow: Annotated[
        bool, typer.Option("--follow", help="Go on until ctrl-c, instead of to the end of the log.")
    ] = False,
    metrics_port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="With --follow: serve /metrics and /live for Prometheus here; 0: do not."),
    ] = 0,
    tiles: Annotated[
        bool, typer.Option("--tiles", help="From the tiles that Flink writes, instead of the events; name the views.")
    ] = False,
) -> None:
    """Bring applied views up to date with the events that came in since."""
    from hallmark.declaration import feature_view
    from hallmark.feature_store.following import Following
    from hallmark.metrics_port import serving

    settings = Settings.load()
    place = _place(settings, store)
    if tiles:
        _run_tiles(place, views or [], follow=follow, metrics_port=metrics_port)
        return
    chosen = _chosen(views, settings) if views else place.applied()
    if not chosen:
        raise DeclarationError(
            "no view is applied", expected="at least one", got="none", fix="`hallmark features apply`"
        )
    if not follow:
        count = place.catch_up(chosen)
        say(f"{count} {'record' if count == 1 else 'records'} read for {', '.join(chosen)}")
        for source in dict.fromkeys(feature_view.load(each, settings).source for each in chosen):
            try:
                brought = place.archive(source)
            except HallmarkError as error:  # training reads it, what is served does not
                say(f"the log of {source} does not come into the offline store from here: {error.message}")
            else:
                if brought.rows:
                    say(f"{source}: {brought.rows} rows brought into the offline store")
        return
    say(f"{', '.join(chosen)}: up to date from now on; ctrl-c ends it")
    streams = Following()
    with contextlib.ExitStack() as stack:
        if metrics_port:
            stack.enter_context(serving(streams, port=metrics_port))
        place.follow(lambda: chosen, threading.Event(), seen=streams, tell=say)


@app.command()
def flink(
    view: Annotated[str, typer.Argument(metavar="VIEW", help="A view as NAME@N.", show_default=False)],
    log: Annotated[
        str,
        typer.Option(
            envvar="HALLMARK_FEATURE_LOG",
            help="The events' logs: kafka://HOST/TOPIC-{source}, or kinesis://STREAM-{source}?region=REGION&account=NUMBER.",
        ),
    ],
) -> None:
    """Print the Flink SQL job that adds a view's events up in tiles, which `run --tiles` brings to the online store."""
    from hallmark.feature_store.flink import tables

    job = _place(Settings.load()).job(view)
    typer.echo(job.script(*tables(log, job.plan.view)), nl=False)


@app.command()
def read(
    view: Annotated[str, typer.Argument(metavar="VIEW", help="A view as NAME@N.", show_default=False)],
    entities: Annotated[list[str], typer.Argument(metavar="ENTITY", help="Whose features.", show_default=False)],
    at: Annotated[
        str,
        typer.Option(
            help="At this time (UTC), after the newest event that is known; default: now.", show_default=False
        ),
    ] = "",
    store: Store = "",
    output: Output = Format.table,
) -> None:
    """Read what a request would get, with the time of each entity's newest event."""
    from hallmark.declaration import feature_view, source
    from hallmark.feature_store.place import entity_of

    settings = Settings.load()
    declared = feature_view.load(view, settings)
    contract = source.load(declared.source, settings)
    asked = [entity_of(declared, contract, each) for each in entities]
    place, rows = _place(settings, store), []
    answers = place.read(view, asked, at=_time(at, "--at") if at else None)
    stage = place.stage(view)
    if stage.name == "declared" and all(each.newest is None for each in answers) and not place.holds(view):
        raise NotFound(
            f"{view} was never applied",
            expected="a stream of it here, or rows in the online store",
            got="neither",
            fix=f"`hallmark features apply {view}`",
        )
    for entity, answer in zip(asked, answers, strict=True):
        values = {name: _shown(value, output) for name, value in answer.values.items()}
        newest = answer.newest.isoformat() if answer.newest else None
        rows.append({declared.entity: entity, **values, "newest_event": newest})
    emit(rows, output)
    if stage.name == "filling":
        say(f"not all of {view} is in this online store yet, it is {stage}: `hallmark features apply {view}` goes on")


@app.command()
def join(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="Parquet with a time and the views' entities, a question a row.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write the rows with their features to; made by this.")],
    time: Annotated[str, typer.Option(help="The column with each question's time.")],
    views: Annotated[
        list[str] | None,
        typer.Option(
            "--view", help="A view as NAME@N; repeatable; default: the newest version of each.", show_default=False
        ),
    ] = None,
    memory: Annotated[str, typer.Option(help="Memory that the join may take; the rest goes to disk.")] = "2GB",
    output: Output = Format.table,
) -> None:
    """Join questions with what was known at their time: a training set that saw nothing of the future."""
    from hallmark.declaration import feature_view
    from hallmark.feature_store import offline, sources

    settings = Settings.load()
    place = _place(settings)
    wanted = dict.fromkeys(views) if views else feature_view.newest(settings)
    found: list[FeatureView] = [feature_view.load(each, settings) for each in wanted]
    files = {view.source: sources.snapshot(place.offline(view.source)).files() for view in found}
    parts = offline.training_frame(
        file, found, files, out, time=time, limits=offline.Limits(memory=memory), progress=say
    )
    emit([{"file": str(part)} for part in parts], output)


@app.command()
def export(
    feast: Annotated[
        Path,
        typer.Option(
            "--feast",
            metavar="DIR",
            help="Folder of a Feast repository, made by this; an earlier export in it is replaced.",
            show_default=False,
        ),
    ],
    memory: Annotated[str, typer.Option(help="Memory that this may take; the rest goes to disk.")] = "2GB",
    output: Output = Format.table,
) -> None:
    """Write all views with their values over time, and the domains that read them, for the registry and the pages of Feast 0.67."""
    from hallmark.feature_store import feast as repository
    from hallmark.feature_store.offline import Limits

    settings = Settings.load()
    place = _place(settings)
    found = repository.export(feast, place.files, settings, limits=Limits(memory=memory), tell=say)
    emit([each._asdict() for each in found], output)
    say(f"next: cd {feast}; feast apply (pip install '{repository.REQUIREMENT}', in an environment of its own)")


@app.command()
def page(
    out: Annotated[Path, typer.Option(help="The file to write; it needs no network to be read.")] = Path(
        "features.html"
    ),
    store: Store = "",
) -> None:
    """Write a page of all views: owners, readers, freshness, versions, columns, and how their values are distributed now."""
    from datetime import UTC

    from hallmark import page as static_page
    from hallmark.feature_store.page import page as made
    from hallmark.registry.readers import readers

    settings = Settings.load()
    place = _place(settings, store)
    text = made(place, settings, read_by=readers(settings, tell=say), now=datetime.now(UTC), tell=say)
    static_page.write(out, text)
    say(f"feature views: {out}")


def _run_tiles(place: FeatureStore, views: list[str], *, follow: bool, metrics_port: int) -> None:
    from hallmark.feature_store import tile_stream
    from hallmark.feature_store.following import Following
    from hallmark.metrics_port import serving

    if not views:
        raise DeclarationError("no view is named", expected="the views whose tiles Flink writes", got="none")
    with contextlib.ExitStack() as stack:
        streams = [stack.enter_context(place.tiles(each)) for each in views]
        if not follow:
            say(f"{sum(map(tile_stream.caught_up, streams))} tiles read for {', '.join(views)}")
            return
        say(f"{', '.join(views)}: up to date with Flink's tiles from now on; ctrl-c ends it")
        seen = Following()
        for each in streams:
            seen.take(each)
        if metrics_port:
            stack.enter_context(serving(seen, port=metrics_port))
        tile_stream.follow(streams, threading.Event())


def _place(settings: Settings, store: str = "") -> FeatureStore:
    from hallmark.feature_store.place import FeatureStore

    return FeatureStore(settings.prepared(), url=store or None)


def _chosen(views: list[str] | None, settings: Settings) -> list[str]:
    from hallmark.declaration import feature_view

    return list(views) if views else feature_view.references(settings)


@contextlib.contextmanager
def _filling(reference: str) -> Iterator[Callable[[str, int, int], None]]:
    """A line of progress for as long as a view is filled."""
    from hallmark.cli.progress import TaskLines

    with TaskLines() as lines:
        line = lines.start(f"fill {reference}")
        try:
            yield lambda _, done, total: line.advance(done, total, "rows")
        finally:
            line.end()


def _time(text: str, option: str) -> datetime:
    from datetime import UTC

    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise DeclarationError(
            f"{option} is no time", expected="such as 2026-10-01T12:00:00", got=repr(text)
        ) from error
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def _shown(value: Any, output: Format) -> Any:
    return "-" if value is None and output is Format.table else value
