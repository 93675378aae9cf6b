"""What a domain has left on this machine and may go: `hallmark reset` and `hallmark gc`. What a release names stays, whoever asks."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hallmark import files
from hallmark.artifacts import release as releases
from hallmark.errors import HallmarkError, Unavailable
from hallmark.section import Frozen

if TYPE_CHECKING:
    from hallmark.registry.store import Registry, VersionLine
    from hallmark.settings import Settings

_FRESH = timedelta(days=1)
"""A model folder without a version is left alone for this long: its registration may be under way."""


_STEP = "finished steps that nobody asked for in {days:g} days"
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class Piece(Frozen):
    """One thing on the disk or in the registry.

    kind:    version, trial (a refused training, or one of an experiment), folder or file.
    name:    its number, run id or path.
    why:     it goes, or stays.
    size:    bytes on this machine.
    """

    domain: str
    kind: str
    name: str
    why: str
    size: int = 0
    path: Path | None = None


class Clearing(Frozen):
    """What would go, and what would stay though it was asked for."""

    goes: tuple[Piece, ...] = ()
    stays: tuple[Piece, ...] = ()

    @property
    def size(self) -> int:
        """Bytes that it frees on this machine."""
        return sum(piece.size for piece in self.goes)


def named(domain: str, settings: Settings) -> dict[str, str]:
    """Digests of the versions that are released, with who names each: release.yaml, and the objects of this machine's cluster, running or not."""
    found: dict[str, str] = {}
    released = releases.read(domain, settings)
    for role in ("stable", "candidate", "previous"):
        if (target := getattr(released, role)) is not None:
            found.setdefault(target.digest, f"release.yaml names it as {role}")
    for text in _objects(settings):
        for digest in _DIGEST.findall(text):
            found.setdefault(digest, "the local cluster serves it, or goes back to it")
    return found


def _objects(settings: Settings) -> Iterator[str]:
    """The InferenceServices and ConfigMaps that the local cluster brings back."""
    path = settings.cluster / "objects.db"
    if not path.is_file():
        return
    try:
        with tempfile.TemporaryDirectory() as folder, contextlib.closing(_copied(path, Path(folder))) as link:
            names = [row[1] for row in link.execute("PRAGMA table_info(objects)")]
            for row in link.execute("SELECT * FROM objects"):
                yield from (str(value) for name, value in zip(names, row, strict=True) if name == names[-1])
    except (OSError, sqlite3.Error) as error:
        raise Unavailable(
            "what the local cluster serves cannot be read, so nothing of it may go",
            expected=f"a SQLite file of ours at {path}",
            got=str(error),
            fix="`hallmark down`, then again; where the file is broken, remove it",
        ) from error


def _copied(path: Path, folder: Path) -> sqlite3.Connection:
    """A copy of a database that a running cluster holds for itself alone, taken while nothing was written to it."""
    parts = [path, path.with_name(f"{path.name}-wal")]
    for _ in range(100):
        before = _written(parts)
        for part in parts:
            (folder / part.name).unlink(missing_ok=True)
            with contextlib.suppress(FileNotFoundError):  # there is no log before the first change
                shutil.copyfile(part, folder / part.name)
        if _written(parts) == before:
            return sqlite3.connect(folder / path.name)
        time.sleep(0.05)
    raise OSError("it is written to all the time")


def _written(parts: list[Path]) -> list[tuple[int, int] | None]:
    return [(found.st_mtime_ns, found.st_size) if (found := _stat(part)) else None for part in parts]


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def reset(domain: str, registry: Registry, *, live: dict[str, str] | None = None) -> Clearing:
    """All that trainings of a domain have left: versions, trials, plots and workspaces; what is released stays.

    live: digests that a cluster names besides, with who says so.
    """
    settings, held = registry.settings, {**named(domain, registry.settings), **(live or {})}
    goes, stays = [], []
    for line in registry.versions(domain):
        piece = _version(registry, domain, line, why=", ".join(line.aliases) or "no alias")
        if reason := held.get(line.digest):
            stays.append(piece.model_copy(update={"why": reason}))
        else:
            goes.append(piece)
    for trial in registry.trials(domain):
        goes.append(Piece(domain=domain, kind="trial", name=trial.run, why=trial.outcome))
    left = (settings.runs / "workspaces" / domain, *sorted((settings.runs / "plots").glob(f"{domain}-*.html")))
    for path in (*left, *_searches(domain, settings)):
        if path.exists():
            goes.append(_on_disk(domain, path, why="of its trainings"))
    return Clearing(goes=tuple(goes), stays=tuple(stays))


def collect(
    domains: tuple[str, ...], registry: Registry, *, days: float, keep: int, live: dict[str, str] | None = None
) -> Clearing:
    """What nobody has asked for in `days`: versions with no alias beyond the newest `keep` of a domain, folders of models without a version,
    plots and workspaces, finished steps. What is released stays."""
    settings = registry.settings
    oldest = datetime.now(UTC) - timedelta(days=days)
    goes: list[Piece] = []
    stays: list[Piece] = []
    for domain in domains:
        held = {**named(domain, settings), **(live or {})}
        lines = registry.versions(domain)
        for line in lines[keep:]:
            if line.created > oldest or line.aliases:
                continue
            piece = _version(
                registry, domain, line, why=f"beyond the newest {keep}, of {line.created:%Y-%m-%d}, and no alias"
            )
            if reason := held.get(line.digest):
                stays.append(piece.model_copy(update={"why": reason}))
            else:
                goes.append(piece)
        goes += _orphans(domain, registry, lines)
        old = [*(settings.runs / "workspaces" / domain).glob("*"), *(settings.runs / "plots").glob(f"{domain}-*.html")]
        old += _searches(domain, settings)
        goes += [
            _on_disk(domain, path, why=f"nobody asked for it in {days:g} days")
            for path in sorted(old)
            if datetime.fromtimestamp(path.stat().st_mtime, UTC) < oldest
        ]
    steps = [
        path.parent
        for path in sorted((settings.runs / "cache" / "entries").glob("*/entry.json"))
        if datetime.fromtimestamp(path.stat().st_mtime, UTC) < oldest
    ]
    goes += [_on_disk("", path, why=_STEP.format(days=days)) for path in steps]
    return Clearing(goes=tuple(goes), stays=tuple(stays))


def _searches(domain: str, settings: Settings) -> list[Path]:
    """Folders of `hallmark tune`, each a search, but of those under way."""
    folders = sorted((settings.state / "tuning" / domain).glob("*"))
    return [each for each in folders if not ((each / "running").exists() and files.held(each / "running"))]


def carry_out(found: Clearing, registry: Registry) -> None:
    """Remove what goes; a version that was released since it was looked at stays."""
    versions: dict[str, list[int]] = {}
    for piece in found.goes:
        if piece.kind == "version":
            versions.setdefault(piece.domain, []).append(int(piece.name))
        elif piece.kind == "trial":
            registry.forget_trial(piece.domain, piece.name)
        elif piece.path is not None:
            if piece.path.is_dir():
                shutil.rmtree(piece.path, ignore_errors=True)
            else:
                piece.path.unlink(missing_ok=True)
    for domain, numbers in versions.items():
        held = named(domain, registry.settings)
        known = {line.version: line for line in registry.versions(domain)}
        registry.forget(domain, [each for each in numbers if each in known and known[each].digest not in held])


def _version(registry: Registry, domain: str, line: VersionLine, *, why: str) -> Piece:
    path: Path | None = None
    with contextlib.suppress(HallmarkError):
        path = registry.resolve(domain, line.version).path
    size = _size(path) if path is not None else 0
    return Piece(domain=domain, kind="version", name=str(line.version), why=why, size=size, path=path)


def _orphans(domain: str, registry: Registry, lines: list[VersionLine]) -> list[Piece]:
    """Folders of models that no version names: a registration was cut off, or its version was deleted elsewhere."""
    folder = registry.settings.models / domain / "models"
    known = set()
    for line in lines:
        with contextlib.suppress(HallmarkError):
            path = registry.resolve(domain, line.version).path
            known.add(path.parent if path is not None else None)
    fresh = time.time() - _FRESH.total_seconds()
    return [
        _on_disk(domain, path, why="a model's folder that no version names")
        for path in sorted(folder.glob("m-*"))
        if path not in known and path.stat().st_mtime < fresh
    ]


def _on_disk(domain: str, path: Path, *, why: str) -> Piece:
    kind = "folder" if path.is_dir() else "file"
    return Piece(domain=domain, kind=kind, name=path.name, why=why, size=_size(path), path=path)


def _size(path: Path) -> int:
    if path.is_file():
        return path.stat().st_size
    return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())


def rows(pieces: tuple[Piece, ...]) -> list[dict[str, Any]]:
    """A row a piece, for people; the finished steps, which have no names that say anything, in one."""
    steps = [each for each in pieces if not each.domain]
    found = [
        {"domain": each.domain, "what": each.kind, "name": each.name, "MB": round(each.size / 1e6, 1), "why": each.why}
        for each in pieces
        if each.domain
    ]
    if steps:
        size = round(sum(each.size for each in steps) / 1e6, 1)
        found.append({"domain": "", "what": "steps", "name": str(len(steps)), "MB": size, "why": steps[0].why})
    return found
