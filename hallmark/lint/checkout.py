"""Files to judge, files that only inform, and their state before the change."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hallmark.errors import DeclarationError
from hallmark.lint.objects import KUSTOMIZATIONS, is_contract, objects
from hallmark.lint.reading import listing, text
from hallmark.lint.source import Document, Unreadable, documents, script, text_of

DEFAULT = ("inference_services", "manifests", "domains", "features", "contracts", "prompts", "components", "pipelines")
"""The folders of a checkout whose files a cluster would be given, or that say what is computed on it."""
_YAML = frozenset({".yaml", ".yml", ".json"})
_SKIPPED = frozenset({"__pycache__", "node_modules", ".git", ".venv", ".hallmark"})
_CONFIGURATION = frozenset({"domain.schema.json", "contract.schema.json", "view.schema.json"})
"""Files that no cluster is given."""
_LARGEST = 8 * 2**20


def files(paths: Sequence[Path], *, root: Path | None) -> list[Path]:
    """The files under `paths`, without what a kustomization uses as a patch; `Unreadable` where a path is not there."""
    found: dict[Path, None] = {}
    for path in paths:
        if not path.exists():
            raise Unreadable(f"{path} is not there", expected="a file or folder", got="nothing")
        if path.is_file():
            found[path.resolve()] = None
            continue
        inside = [each for each in sorted(_walk(path)) if each.suffix in _YAML or each.suffix == ".py"]
        if not inside:
            raise Unreadable(f"{path} holds nothing to judge", expected="YAML, JSON or Python files in it", got="none")
        found |= {each.resolve(): None for each in inside if each.name not in _CONFIGURATION}
    explicit = {path.resolve() for path in paths if path.is_file()}
    fragments = _fragments(found)
    return [path for path in found if path in explicit or path not in fragments]


def _walk(path: Path) -> Iterator[Path]:
    """The files under a folder; `Unreadable` where a part of it may not be looked into, which is not the same as empty."""

    def closed(error: OSError) -> None:
        raise Unreadable(
            f"{error.filename} cannot be looked into",
            expected="a folder that is ours to read",
            got=error.strerror or "",
        ) from error

    for folder, below, names in os.walk(path, onerror=closed):
        below[:] = [name for name in below if name not in _SKIPPED]
        yield from (Path(folder) / name for name in names)


def usual(root: Path) -> list[Path]:
    """The folders of the checkout that are judged when nothing is named."""
    return [root / name for name in DEFAULT if (root / name).is_dir()]


def _fragments(paths: Iterable[Path]) -> set[Path]:
    """Files that a kustomization lays over others: parts of objects, which say nothing by themselves."""
    found = set()
    for path in paths:
        if path.name not in KUSTOMIZATIONS:
            continue
        try:
            for document in documents(path.read_text(encoding="utf-8"), shown=str(path)):
                data = document.data
                patches = [text(item, "path") for item in listing(data, "patches")]
                patches += [item for item in listing(data, "patchesStrategicMerge") if isinstance(item, str)]
                patches += [text(item, "path") for item in listing(data, "replacements")]
                found |= {(path.parent / each).resolve() for each in patches if each and "\n" not in each}
        except (OSError, UnicodeDecodeError, Unreadable):
            continue
    return found


def read(path: Path, *, root: Path | None, background: bool = False) -> list[Document]:
    """The documents of one file, named relative to the checkout where it is inside."""
    shown = shown_as(path, root)
    if path.stat().st_size > _LARGEST:
        raise Unreadable(
            f"{shown} is too large", expected="8 MiB at most", got=f"{path.stat().st_size / 2**20:.0f} MiB"
        )
    body = text_of(path, shown=shown)
    if path.suffix == ".py":
        judged = "kfp" in body or (path.name == "features.py" and "FIELDS" in body)
        return [script(body, shown=shown, background=background)] if judged else []
    return list(documents(body, shown=shown, background=background))


def shown_as(path: Path, root: Path | None) -> str:
    """The file as findings name it: relative to the checkout, else to here, else whole; with / on every system."""
    for base in (root, Path.cwd()):
        if base is not None and path.is_relative_to(base.resolve()):
            return path.relative_to(base.resolve()).as_posix()
    return path.as_posix()


Before = dict[tuple[str, str, str], dict[str, Any]]


def before(against: str, paths: Sequence[Path], *, root: Path) -> Before:
    """The objects of these files as they were in a folder of the same layout, or at a revision of Git."""
    folder = Path(against)
    texts = _in_folder(folder, paths, root) if folder.is_dir() else _in_git(against, paths, root)
    found: Before = {}
    for shown, body in texts:
        for document in documents(body, shown=shown):
            found |= identified(document)
    return found


def identified(document: Document) -> Before:
    """The objects of a document, and the data contract that it is, by what they are found by again."""
    found = {(each.kind, each.namespace, each.name): each.data for each in objects(document)}
    if is_contract(document.data):
        major = text(document.data, "version").partition(".")[0]
        found[("DataContract", "", f"{text(document.data, 'name')}@{major}")] = document.data
    return found


def _in_folder(folder: Path, paths: Sequence[Path], root: Path) -> Iterator[tuple[str, str]]:
    for path in paths:
        names = [shown_as(path, root), path.name]
        old = next((folder / name for name in names if (folder / name).is_file()), None)
        if old is not None and path.suffix in _YAML:
            yield str(old), text_of(old, shown=str(old))


def _in_git(revision: str, paths: Sequence[Path], root: Path) -> Iterator[tuple[str, str]]:
    try:
        known = subprocess.run(
            ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"],
            check=False,
            **_quiet(root),
        )
    except OSError as error:
        raise DeclarationError("--against a revision needs git", got=str(error), fix="name a folder") from error
    if known.returncode:
        raise DeclarationError(
            f"--against {revision}", expected="a folder, or a revision of Git", got="neither", fix="check the spelling"
        )
    for path in paths:
        inside = shown_as(path, root)
        if path.suffix in _YAML and not Path(inside).is_absolute():
            old = subprocess.run(["git", "show", f"{known.stdout.strip()}:./{inside}"], check=False, **_quiet(root))
            if old.returncode == 0:
                yield f"{revision}:{inside}", old.stdout


def _quiet(root: Path) -> dict[str, Any]:
    return {"cwd": root, "capture_output": True, "text": True}
