"""Places of artifacts in a local registry: MLflow writes whole paths into its database, which a state folder that is moved leaves behind."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlparse

from hallmark.section import Frozen

MODELS = "models"
"""The folder of a state below which each domain's experiment keeps its artifacts."""

_COLUMNS = {
    ("experiments", "artifact_location"): 1,  # models/<domain>
    ("runs", "artifact_uri"): 3,  # models/<domain>/<run>/artifacts
    ("logged_models", "artifact_location"): 4,  # models/<domain>/models/<id>/artifacts
    ("model_versions", "source"): 4,
    ("model_versions", "storage_location"): 4,
}
_DEFAULT = ("mlruns", "0")
"""MLflow's experiment 0 lies in the folder in which a process first asked for it: a workspace, which is removed one day."""


class Move(Frozen):
    """A folder of artifacts and the one that took its place, with the count of values in the database that name it."""

    old: Path
    new: Path
    values: int


class Places(Frozen):
    """Result of a repair: what was told anew, and the paths of versions that lie nowhere."""

    moves: tuple[Move, ...] = ()
    lost: tuple[Path, ...] = ()


def local(uri: str) -> Path | None:
    """The path that a URI names; none where it is not on this machine."""
    parsed = urlparse(uri)
    return Path(unquote(parsed.path)) if parsed.scheme in ("", "file") else None


def here(path: Path, models: Path) -> Path:
    """The folder of a version, by the path that was written down: that of the same name below `models` where it is there."""
    return _moved(path, 4, models) or path


def below(path: Path, depth: int, models: Path) -> Path:
    """The folder that lies `depth` parts below the models, wherever those were when it was written down."""
    return _moved(path, depth, models) or path


def stale(database: Path, models: Path) -> bool:
    """Does an experiment of this database name another folder than `models`, though what it held is there, or nowhere else?"""
    with _opened(database) as link:
        return any(_target(*row, models) for row in _values(link, "experiments", "artifact_location"))


def repair(database: Path, models: Path, *, patience: float, dry: bool = False) -> Places:
    """Name the artifacts below `models` in all of the database, in one transaction; what lies at its old place alone stays there.

    dry: change nothing, and give what would be. Raises `sqlite3.Error` where the database is locked or cannot be written.
    """
    counts: dict[tuple[Path, Path], int] = {}
    lost: dict[Path, None] = {}
    with _opened(database, patience=patience, writing=not dry) as link:
        link.execute("BEGIN" if dry else "BEGIN IMMEDIATE")
        for (table, column), depth in _COLUMNS.items():
            for value, parts in _values(link, table, column):
                target = _target(value, parts, models)
                if target is not None:
                    homes = _home(local(value), depth), _home(target, depth)
                    counts[homes] = counts.get(homes, 0) + 1
                    if not dry:
                        link.execute(f"UPDATE {table} SET {column}=? WHERE {column}=?", (target.as_uri(), value))  # noqa: S608
                found = target or local(value)
                if table == "model_versions" and found is not None and found.is_absolute() and not found.exists():
                    lost[found] = None
        link.execute("ROLLBACK" if dry else "COMMIT")
    return Places(
        moves=tuple(Move(old=old, new=new, values=count) for (old, new), count in counts.items()), lost=tuple(lost)
    )


def _values(link: sqlite3.Connection, table: str, column: str) -> list[tuple[str, int]]:
    """The different values of a column, with the count of parts that lie below the models; none where MLflow has no such column."""
    if column not in {row[1] for row in link.execute(f"PRAGMA table_info({table})")}:
        return []
    there = " AND current_stage != 'Deleted_Internal'" if table == "model_versions" else ""  # MLflow keeps their rows
    rows = link.execute(f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL{there}")  # noqa: S608
    return [(str(value), _COLUMNS[table, column]) for (value,) in rows]


def _target(value: str, depth: int, models: Path) -> Path | None:
    """Where that artifact lies today, if it is not where it was written down to be."""
    path = local(value)
    if path is None or not path.is_absolute() or path.is_relative_to(models):
        return None
    if depth == 1 and path.parts[-2:] == _DEFAULT and not path.exists():
        return models / "Default"
    return _moved(path, depth, models) if path.exists() else _below(path, depth, models)


def _moved(path: Path, depth: int, models: Path) -> Path | None:
    target = _below(path, depth, models)
    return target if target is not None and target.exists() else None


def _below(path: Path, depth: int, models: Path) -> Path | None:
    parts = path.parts
    return models.joinpath(*parts[-depth:]) if len(parts) > depth and parts[-depth - 1] == MODELS else None


def _home(path: Path | None, depth: int) -> Path:
    return (path or Path()).parents[depth - 1]


@contextlib.contextmanager
def _opened(database: Path, *, patience: float = 1, writing: bool = False) -> Iterator[sqlite3.Connection]:
    uri = f"{database.absolute().as_uri()}?mode={'rw' if writing else 'ro'}"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=patience, isolation_level=None)) as link:
        yield link
