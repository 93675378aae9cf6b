"""Summary of a local registry's database, read without MLflow: versions, and trainings that became none.

MLflow's own client is what all else uses. Importing it takes 2 s on two cores (2.0 to 2.6 s in three runs), its first answer from
a database as long again; `hallmark versions` on 500 of them took 4.9 s of CPU; a training that reuses every step, which asks two such questions, took 0.6 s in all by this
way and 10 to 12 s by MLflow's (three runs each, in turn, on a busy machine). So it is only ever a short cut: it reads the
tables of MLflow 3.17, to which `SCHEMA` holds it, and where anything in them is not as expected, MLflow is asked.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from hallmark.section import Frozen

SCHEMA = "dc11669786a5"
"""The revision of MLflow's tables (`alembic_version`) that this was written for."""


class VersionSummary(Frozen):
    """A version as the database has it."""

    version: int
    source: str
    digest: str


class Tagged(NamedTuple):
    """A version, or a run, with its tags as the database has them.   created, ended: ms since 1970."""

    name: str
    tags: dict[str, str]
    created: int
    ended: int | None = None
    folder: str = ""
    run: str = ""
    aliases: tuple[str, ...] = ()


class Elsewhere(Exception):
    """The database is not one that this can read: ask MLflow."""


def version(database: Path, domain: str, wanted: int | str) -> VersionSummary | None:
    """The version with this number or alias; none where there is no such; `Elsewhere` where MLflow has to say."""
    with _opened(database) as link:
        if str(wanted).isdigit():
            number = int(wanted)
        else:
            sql = "SELECT version FROM registered_model_aliases WHERE workspace='default' AND name=? AND alias=?"
            row = link.execute(sql, (domain, str(wanted))).fetchone()
            if row is None:
                return None
            number = int(row[0])
        sql = (
            "SELECT v.source, v.status, v.current_stage, t.value FROM model_versions v JOIN model_version_tags t"
            " USING (workspace, name, version)"
            " WHERE v.workspace='default' AND v.name=? AND v.version=? AND t.key='digest'"
        )
        row = link.execute(sql, (domain, number)).fetchone()
        if row is None:
            return None
        source, status, stage, digest = row
        if status != "READY" or stage != "None":
            raise Elsewhere
        return VersionSummary(version=number, source=source, digest=digest)


def versions(database: Path, domain: str) -> list[Tagged]:
    """All versions of a domain; `Elsewhere` where MLflow has to say."""
    with _opened(database) as link:
        tags: dict[str, dict[str, str]] = {}
        sql = "SELECT version, key, value FROM model_version_tags WHERE workspace='default' AND name=?"
        for number, key, value in link.execute(sql, (domain,)):
            tags.setdefault(str(number), {})[key] = value
        aliases: dict[str, list[str]] = {}
        sql = "SELECT version, alias FROM registered_model_aliases WHERE workspace='default' AND name=? ORDER BY alias"
        for number, alias in link.execute(sql, (domain,)):
            aliases.setdefault(str(number), []).append(alias)
        sql = (
            "SELECT version, creation_time, source, run_id, status FROM model_versions"
            " WHERE workspace='default' AND name=? AND current_stage != 'Deleted_Internal'"
        )
        rows = link.execute(sql, (domain,)).fetchall()
    if any(status != "READY" for *_, status in rows):
        raise Elsewhere
    return [
        Tagged(
            name=str(number),
            tags=tags.get(str(number), {}),
            created=created,
            folder=source,
            run=run or "",
            aliases=tuple(aliases.get(str(number), ())),
        )
        for number, created, source, run, _ in rows
    ]


def artifacts_of(database: Path, domain: str, number: int) -> str | None:
    """Where the artifacts of a version's run lie; None where there is no such; `Elsewhere` where MLflow has to say."""
    with _opened(database) as link:
        sql = (
            "SELECT r.artifact_uri FROM model_versions v JOIN runs r ON r.run_uuid = v.run_id"
            " WHERE v.workspace='default' AND v.name=? AND v.version=?"
        )
        row = link.execute(sql, (domain, number)).fetchone()
        return None if row is None else str(row[0])


def runs(database: Path, domain: str, tag: str) -> list[Tagged]:
    """The runs of a domain's experiment that carry this tag, the newest first; `Elsewhere` where MLflow has to say."""
    with _opened(database) as link:
        sql = (
            "SELECT r.run_uuid, r.start_time, r.end_time, r.artifact_uri FROM runs r JOIN experiments e USING (experiment_id)"
            " JOIN tags t ON t.run_uuid = r.run_uuid AND t.key = ?"
            " WHERE e.workspace='default' AND e.name=? AND r.lifecycle_stage='active' ORDER BY r.start_time DESC"
        )
        rows = link.execute(sql, (tag, domain)).fetchall()
        return [
            Tagged(
                name=run,
                tags=dict(link.execute("SELECT key, value FROM tags WHERE run_uuid=?", (run,))),
                created=started,
                ended=ended,
                folder=folder,
            )
            for run, started, ended, folder in rows
        ]


def deleted_experiment(database: Path, name: str) -> str | None:
    """The id of the experiment of this name where it is deleted; `Elsewhere` where MLflow has to say."""
    with _opened(database) as link:
        sql = "SELECT experiment_id FROM experiments WHERE workspace='default' AND name=? AND lifecycle_stage='deleted'"
        row = link.execute(sql, (name,)).fetchone()
        return None if row is None else str(row[0])


@contextlib.contextmanager
def _opened(database: Path) -> Iterator[sqlite3.Connection]:
    try:
        with contextlib.closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=1)) as link:
            if link.execute("SELECT version_num FROM alembic_version").fetchall() != [(SCHEMA,)]:
                raise Elsewhere
            yield link
    except sqlite3.Error as error:
        raise Elsewhere from error
