"""Summary of one version in a local registry's database, read without MLflow.

MLflow's own client is what all else uses. Importing it takes 2 s on two cores (2.0 to 2.6 s in three runs), its first answer from
a database as long again; a training that reuses every step, which asks two such questions, took 0.6 s in all by this
way and 10 to 12 s by MLflow's (three runs each, in turn, on a busy machine). So it is only ever a short cut: it reads the
tables of MLflow 3.17, to which `SCHEMA` holds it, and where anything in them is not as expected, MLflow is asked.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from hallmark.section import Frozen

SCHEMA = "dc11669786a5"
"""The revision of MLflow's tables (`alembic_version`) that this was written for."""


class VersionSummary(Frozen):
    """A version as the database has it."""

    version: int
    source: str
    digest: str


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
