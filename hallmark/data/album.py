"""A team's own photos: `images.csv` (image, sender_id, label, kids) beside a folder `images/`, or one Parquet data set."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from hallmark.data import contract, dataset, table
from hallmark.data.contract import Breach
from hallmark.errors import ContractBroken, HallmarkError, NotFound
from hallmark.features import image

INDEX = "images.csv"
FOLDER = "images"
COLUMNS = ("image", "sender_id", "label", "kids")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
LARGEST = 10 * 1024 * 1024


def read(source: Path) -> pd.DataFrame:
    """The photos at `source`, one row each: image (the file's bytes), name, sender_id, label and kids.

    A row whose `image` is not a file of the folder (missing, outside, named twice) breaks the contract before anything is read.
    """
    if source.is_file() and source.suffix == ".parquet":
        return dataset.read(source)
    listed = _listed(source)
    found = tuple(_names(listed["image"]))
    if found:
        contract.broken(found, shown=str(source), rows=len(listed))
    names = listed["image"].tolist()
    paths = _paths(source / FOLDER, names)
    found = tuple(_files(source / FOLDER, names, paths))
    if found:
        contract.broken(found, shown=str(source), rows=len(listed))
    return pd.DataFrame(
        {
            "image": pd.Series([path.read_bytes() for path in paths if path], dtype=object),
            "name": pd.Series([path.name for path in paths if path], dtype=object),
            "sender_id": listed["sender_id"],
            "label": listed["label"],
            "kids": table.conformed(listed["kids"], "BOOL"),
        }
    )


def _listed(source: Path) -> pd.DataFrame:
    index = source / INDEX
    if not source.is_dir() or not index.is_file() or not (source / FOLDER).is_dir():
        missing = next((each for each in (source, index, source / FOLDER) if not each.exists()), None)
        raise NotFound(
            f"there are no photos at {source}",
            expected=f"a folder with {INDEX} and {FOLDER}/, or a .parquet data set",
            got=f"no {missing.name} there" if missing is not None else "something else",
            fix="check the path given with --data",
        )
    listed = table.read(index, {})
    absent = [name for name in COLUMNS if name not in listed.columns]
    if absent:
        raise ContractBroken(
            f"column {absent[0]} is not in {INDEX}",
            expected=", ".join(COLUMNS),
            got=", ".join(listed.columns),
            fix=f"add it to {INDEX}",
        )
    if listed.empty:
        raise HallmarkError(f"{INDEX} lists no photo", expected="a line a photo", got="a header alone")
    return listed


def _names(names: pd.Series) -> list[Breach]:
    """Names that are missing, are no plain file names (`..`, `/`), or are there twice."""
    missing = names.isna()
    wrong = ~missing & ~names.fillna("").map(_is_plain)
    twice = names.duplicated(keep=False) & ~missing
    found = []
    for rows, rule in ((missing, "filled"), (wrong, "a plain file name"), (twice, "different from all others")):
        if rows.any():
            first = names[rows].iloc[0]
            found.append(Breach(column="image", rule=rule, rows=int(rows.sum()), example=repr(first)[:60]))
    return found


def _is_plain(name: str) -> bool:
    """True for the name of a file in a folder: spaces, brackets and umlauts are fine; a path and what is hidden are not."""
    return 0 < len(name.encode()) < 256 and name[0] != "." and name.isprintable() and not {"/", "\\"} & set(name)


def _paths(folder: Path, names: Sequence[str]) -> list[Path | None]:
    """The file of each name: the one of exactly that name, else the only one but for its suffix, upper case or accents' form.

    None where there is none, and where there are several.
    """
    there: dict[str, list[Path]] = {}
    for path in sorted(Path(entry.path) for entry in os.scandir(folder) if entry.is_file()):
        alike = {_folded(path.name)} | ({_folded(path.stem)} if path.suffix.lower() in SUFFIXES else set())
        for key in alike:
            there.setdefault(key, []).append(path)
    found: list[Path | None] = []
    for name in names:
        near = there.get(_folded(name), [])
        same = [path for path in near if path.name == name] or near
        found.append(same[0] if len(same) == 1 else None)
    return found


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _files(folder: Path, names: Sequence[str], paths: Sequence[Path | None]) -> list[Breach]:
    """Names of no file in the folder; files that a link leads to elsewhere; files too large for a photo."""
    home = folder.resolve()
    missing = [name for name, path in zip(names, paths, strict=True) if path is None]
    outside = [path.name for path in paths if path and path.resolve().parent != home]
    foreign = [f"{path.name}: {kind}" for path in paths if path and (kind := _foreign(path))]
    large = [path.name for path in paths if path and path.stat().st_size > LARGEST]
    seen: set[Path] = set()
    twice = [path.name for path in paths if path and (path in seen or seen.add(path))]  # type: ignore[func-returns-value]
    rules = (
        (missing, f"the name of one file in {FOLDER}/"),
        (outside, f"a file that lies in {FOLDER}/ itself"),
        (foreign, "a JPEG, PNG or WebP photo"),
        (large, f"a file of at most {LARGEST >> 20} MiB"),
        (twice, "different from all others"),
    )
    return [Breach(column="image", rule=rule, rows=len(each), example=repr(each[0])) for each, rule in rules if each]


def _foreign(path: Path) -> str:
    """The name of the format of a file that is no photo read here; empty where it is one, or where no format is known."""
    with path.open("rb") as stream:
        kind = image.format_of(stream.read(256))
    return "" if kind in ("JPEG", "PNG", "WebP") else kind
