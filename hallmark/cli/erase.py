"""Erasure of persons from the feature store, and what their data is called now: `hallmark features erase|erasures`."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hallmark.cli.clusters import Context, Kubeconfig, connected
from hallmark.cli.console import Format, Output, emit, say, show
from hallmark.cli.features import Store
from hallmark.errors import DeclarationError, Refused
from hallmark.settings import Settings

if TYPE_CHECKING:
    from hallmark.feature_store.erasure import Count


def add_to(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(erase)
    app.command()(erasures)


def erase(
    person: Annotated[
        list[str],
        typer.Argument(
            metavar="COLUMN=VALUE",
            help="Who is erased: columns that contracts call personal, such as buyer_id=m123 seller_id=m123.",
            show_default=False,
        ),
    ],
    by: Annotated[
        str, typer.Option(help="Who erases, for the record; default: this account.", show_default=False)
    ] = "",
    training: Annotated[
        list[Path] | None,
        typer.Option(help="A folder of training sets to erase from too; repeatable.", show_default=False),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is held, and change nothing.")] = False,
    store: Store = "",
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Output = Format.table,
) -> None:
    """Erase a person from offline stores, logs, streams, the online store, training sets, and captures of the servers of a cluster.

    The cluster is the local one where it is up, or the one that is named. New digests go into a record.

    Streams that follow their views give way meanwhile, and go on afterwards. Stopped anywhere, run it again: it goes on.
    Exit 3 where training sets in Iceberg (HALLMARK_TRAINING_SETS) have rows of them: all else is erased then, and what removes these is said.
    """
    import getpass

    from hallmark.declaration import source
    from hallmark.feature_store.place import FeatureStore

    settings = Settings.load()
    features = FeatureStore(settings.prepared(), url=store or None)
    eraser = features.eraser(_pairs(person), training=training or ())
    record = None
    if settings.feature_log and not dry_run:  # nothing goes from there: what came in later would bring them back
        for each in source.references(settings):
            features.archive(each)
    if dry_run:
        found = eraser.look(tell=say)
    else:
        captures = partial(_captures, settings, _pairs(person), kubeconfig, context)
        found, record = eraser.run(by=by or getpass.getuser(), tell=say, captures=captures)
    held = [each for each in (record.counts if record else found.counts) if each.count]
    rows = [each.model_dump() for each in held]
    if output is Format.table:
        emit(rows, output, empty=f"nothing is held of who has this {' or '.join(_pairs(person))}")
    else:
        shown = None if record is None else record.model_dump(mode="json", exclude={"counts"})
        show({"erased": record is not None, "counts": rows, "also": found.also, "record": shown}, output)
    for place, count in found.also.items():
        say(f"{place} has the same value in {count} rows, which stay: name that column too where it is the same person")
    for where in record.left if record else ():
        say(
            f"{where} was in use before: what it holds of them goes when it is taken up again; remove it where it never is"
        )
    if record is not None:
        say("the new digests are in `hallmark features erasures`")
    _demand_none_kept(settings, _pairs(person))


def _demand_none_kept(settings: Settings, person: dict[str, str]) -> None:
    """`Refused` where training sets in Iceberg have rows of the person, which nothing here takes out: with the statements that do."""
    from hallmark.feature_store import erasure, iceberg

    if not settings.training_sets.startswith(iceberg.SCHEME):
        return
    say("training sets in Iceberg")
    where = iceberg.Place.at(settings.training_sets, settings.state / "features" / "iceberg")
    kept = where.holding(lambda table: erasure.counted(table, person))
    if kept:
        raise Refused(
            f"{len(kept)} training {'set' if len(kept) == 1 else 'sets'} in Iceberg still have rows of them; all else is done",
            expected="none",
            got="; ".join(f"{each.table}, snapshot {each.snapshot}: {each.rows} rows" for each in kept),
            fix=f"in Spark, whose catalog {where.catalog} is this one: {'; '.join(each.removal for each in kept)}. Then run this again",
        )


def _captures(settings: Settings, person: dict[str, str], kubeconfig: Path | None, context: str | None) -> list[Count]:
    """Have the monitors of every domain that reads views forget a person; how much they held."""
    from hallmark.feature_store.erasure import Count
    from hallmark.registry.readers import readers
    from hallmark.rollout import monitors

    domains = sorted({each.domain for found in readers(settings).values() for each in found})
    if not (kubeconfig or context or settings.cluster_state.is_file()):
        if domains:
            say("no cluster is named, so what servers captured stays until newer requests take its place: --context")
        return []
    writer = connected(settings, kubeconfig, context, changes=True)
    return [
        Count(where=f"captures of {name}", what="values", count=monitors.erase(writer, name, person))
        for name in domains
    ]


def erasures(
    digest: Annotated[
        str,
        typer.Argument(
            metavar="[DIGEST]",
            help="Of a source's snapshot or a training set, as a model card names it: follow it to what came in its place.",
            show_default=False,
        ),
    ] = "",
    output: Output = Format.table,
) -> None:
    """List erasures: when, by whom, and how much. With a digest: what it is called now."""
    from hallmark.feature_store import erasure
    from hallmark.feature_store.place import FeatureStore

    folder = FeatureStore(Settings.load()).erasures
    if digest:
        kind, _, number = digest.partition(":")
        if kind != "sha256" or not re.fullmatch("[0-9a-f]{64}", number):
            raise DeclarationError("this is no digest", expected="sha256: and 64 hex digits", got=repr(digest))
        found = erasure.followed(folder, digest)
        if len(found) == 1:
            say("no erasure here changed what it names")
        emit([{"digest": each, "is": "now" if each == found[-1] else "erased"} for each in found], output)
        return
    rows = [
        {
            "begun": each.begun.isoformat(timespec="seconds"),
            "state": "done" if each.ended else "stopped: run it again",
            "by": each.by,
            "columns": ", ".join(each.person) if output is Format.table else dict(each.person),
            "rows": sum(count.count for count in each.counts if count.what in ("rows", "records")),
            "snapshots": len(list(each.successors())),
        }
        for each in erasure.records(folder)
    ]
    emit(rows, output, empty="nobody was erased here")


def _pairs(given: list[str]) -> dict[str, str]:
    """COLUMN=VALUE as a mapping."""
    found: dict[str, str] = {}
    for item in given:
        name, equals, value = item.partition("=")
        if name in found:
            raise DeclarationError(
                f"{name} is given twice",
                expected="one person, each column once",
                got=f"{found[name]!r} and {value!r}",
                fix="erase one after the other",
            )
        if not (name and equals and value):
            raise DeclarationError(
                "this names no person",
                expected="COLUMN=VALUE",
                got=repr(item),
                fix="write it as in buyer_id=m123",
            )
        found[name] = value
    return found
