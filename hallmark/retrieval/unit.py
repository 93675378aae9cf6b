"""The unit of a model and its index: a folder that is written once, names who made it, and is opened with them or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ValidationError

from hallmark.errors import ContractBroken, DeclarationError, ModelRefused
from hallmark.files import digest_file
from hallmark.retrieval import index, sealed, vectors
from hallmark.retrieval.card import (
    ID,
    ITEMS,
    TEXT,
    UNIT,
    VECTORS,
    WORDS,
    IndexKind,
    IndexOptions,
    UnitCard,
)
from hallmark.retrieval.columns import Columns, Kind, arrow_type
from hallmark.retrieval.words import Words

if TYPE_CHECKING:
    import pyarrow as pa

LONGEST_ID = 512
"""Characters of an item's id."""
EXACT_BELOW, LISTS_ABOVE = 10_000, 500_000
"""kind: auto is exact below the first, inverted lists above the second and HNSW between: docs/decisions/0040."""


@dataclass(frozen=True)
class Items:
    """A block of items: ids (n,), vectors (n, d), values of filter columns by name, and the texts that words are looked up in."""

    ids: Sequence[str]
    vectors: ArrayLike
    values: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    texts: Sequence[str] | None = None


class Unit:
    """An open index: what it says of itself, and its parts in memory, which no search changes.

    digest: of unit.json, and so of every byte of the index.  ids: (n,) object.  words: None where the index has none.
    """

    def __init__(
        self,
        folder: Path,
        card: UnitCard,
        *,
        digest: str,
        ids: NDArray[Any],
        columns: Columns,
        near: index.VectorIndex,
        words: Words | None,
    ) -> None:
        self.folder, self.card, self.digest = folder, card, digest
        self.ids, self.columns, self.index, self.words = ids, columns, near, words

    def __len__(self) -> int:
        return self.card.items

    @cached_property
    def rows(self) -> dict[str, int]:
        """The row of each id."""
        return {name: row for row, name in enumerate(self.ids.tolist())}

    def vectors(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """(m, d) the vectors of rows, as the index keeps them."""
        return self.index.vectors(rows)

    def texts(self) -> list[str]:
        """The texts of all items, in the order of the rows; read from the disk, and none where the index has no words."""
        return _table(self.folder, self.card.files, [TEXT])[TEXT].to_pylist() if self.card.words else []


def build(
    folder: Path,
    blocks: Iterable[Items],
    *,
    encoder: str,
    preprocessing: str,
    dimension: int,
    normalised: bool = True,
    columns: Mapping[str, Kind] | None = None,
    words: bool = False,
    options: IndexOptions | None = None,
    queries: ArrayLike | None = None,
    corpus: str = "",
) -> UnitCard:
    """Write an index into `folder`, which is there whole or not at all, and give its card.

    No more is held in memory than the index itself and a block: 1.5 times the vectors at a million of them.

    encoder, preprocessing: digests of what made the vectors.  queries: (m, d) that recall is measured with, such as a golden
    set's; points between neighbours where there are none.  corpus: digest of the data; of ids, texts and values where empty.
    `ContractBroken` where a vector is not finite or is nothing, an id comes twice, or a value is not of its column's kind.
    """
    options, columns = options or IndexOptions(), dict(columns or {})
    if folder.exists():
        raise DeclarationError(
            "the index is not written over what is there", expected="a folder that is not there yet", got=str(folder)
        )
    reserved = sorted({ID, TEXT} & set(columns))
    if reserved or dimension < 1:
        raise DeclarationError(
            "an index cannot have that column" if reserved else "an index has a dimension",
            expected=f"other names than {ID} and {TEXT}" if reserved else "1 or more",
            got=reserved[0] if reserved else str(dimension),
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    draft.mkdir()
    try:
        described = _write_items(
            draft, blocks, dimension=dimension, normalised=normalised, columns=columns, words=words
        )
        card = UnitCard(
            encoder=encoder,
            preprocessing=preprocessing,
            dimension=dimension,
            normalised=normalised,
            corpus=corpus or described.digest,
            items=described.count,
            columns=columns,
            words=words,
            kind=_kind(options, described.count),
            codes="float32",
            parameters={},
            crossover=described.count,
            files={},
        )
        asked = None if queries is None else np.asarray(queries, dtype=np.float32)
        card = _write_index(draft, _coded(draft, card, options, asked), options)
        card = _measured(draft, card, options, asked)
        _write_card(draft, card)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return card


def open_unit(folder: Path, *, encoder: str, preprocessing: str, digest: str = "") -> Unit:
    """The index in `folder`, every byte of which is checked, for vectors of this encoder and this preprocessing.

    digest: of unit.json, where a manifest names it.
    `ModelRefused` where the index is of another encoder or preprocessing, whatever its dimension, or a file was changed.
    """
    card, found = read_card(folder)
    if digest and digest != found:
        raise ModelRefused(f"{UNIT} of the index was changed", expected=digest, got=found, fix=sealed.FIX)
    for what, expected, got in (
        ("encoder", card.encoder, encoder),
        ("preprocessing", card.preprocessing, preprocessing),
    ):
        if expected != got:
            raise ModelRefused(
                f"the index was made by another {what} than the one it would be asked with",
                expected=f"{what} {expected}",
                got=got,
                fix="serve both from one version, or train the domain again: it makes its index anew",
            )
    strangers = sorted({path.name for path in folder.iterdir()} - set(card.files) - {UNIT})
    if strangers:
        raise ModelRefused(
            f"{strangers[0]} is in the index and not in its {UNIT}", got=", ".join(strangers), fix="remove it"
        )
    return opened(folder, card, digest=found)


def read_card(folder: Path) -> tuple[UnitCard, str]:
    """What the index in `folder` says of itself, and the digest of that; its other files are not looked at."""
    data = sealed.regular(folder / UNIT)
    try:
        card = UnitCard.model_validate_json(data)
    except ValidationError as error:
        raise ModelRefused(
            f"{UNIT} of the index cannot be read",
            expected="a UnitCard",
            got=str(error).splitlines()[-1].strip(),
            fix=sealed.FIX,
        ) from error
    for name in card.files:
        if name != Path(name).name or name.startswith(".") or name == UNIT:
            raise ModelRefused(f"{name!r} of the index is never loaded", expected="a plain name")
    return card, f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass(frozen=True)
class _Described:
    count: int
    digest: str


def _write_items(
    draft: Path, given: Iterable[Items], *, dimension: int, normalised: bool, columns: dict[str, Kind], words: bool
) -> _Described:
    """Write vectors, ids, columns and texts of all blocks."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = [(ID, pa.string()), *((name, arrow_type(kind)) for name, kind in columns.items())]
    schema = pa.schema([*fields, *([(TEXT, pa.string())] if words else [])])
    seen: set[str] = set()
    sha = hashlib.sha256()
    with (
        vectors.Writer(draft / VECTORS, dimension) as written,
        pq.ParquetWriter(draft / ITEMS, schema, compression="zstd") as parquet,
    ):
        for block in given:
            ids = _new_ids(block.ids, seen)
            rows = vectors.checked(block.vectors, dimension, normalised=normalised)
            if len(rows) != len(ids):
                raise ContractBroken("items have not a vector each", expected=f"{len(ids)} vectors", got=str(len(rows)))
            texts = list(block.texts) if block.texts is not None else [""] * len(ids)
            if len(texts) != len(ids) or not all(isinstance(text, str) for text in texts):
                raise ContractBroken("items have not a text each", expected=f"{len(ids)} texts", got=str(len(texts)))
            checked = Columns(columns)
            checked.append(block.values, len(ids))
            data: dict[str, Any] = {ID: ids, **checked.lists()}
            if words:
                data[TEXT] = texts
            table = pa.table(
                {name: pa.array(data[name], type=kind) for name, kind in zip(schema.names, schema.types, strict=True)}
            )
            parquet.write_table(table)
            written.add(rows)
            sha.update(json.dumps(data, sort_keys=True).encode())
    return _Described(written.count, f"sha256:{sha.hexdigest()}")


def is_id(value: Any) -> bool:
    """May it be the id of an item?"""
    return isinstance(value, str) and 1 <= len(value) <= LONGEST_ID


def demand_id(value: Any) -> None:
    """`ContractBroken` where it may not."""
    if not is_id(value):
        raise ContractBroken("an id is no id", expected=f"a text of 1 to {LONGEST_ID} characters", got=f"{value!r:.80}")


def _new_ids(given: Sequence[str], seen: set[str]) -> list[str]:
    ids = [each.item() if isinstance(each, np.generic) else each for each in given]
    for each in ids:
        demand_id(each)
        if each in seen:
            raise ContractBroken(
                "an id comes twice", expected="each id once", got=each, fix="keep the newest row of each item"
            )
        seen.add(each)
    return ids


def _kind(options: IndexOptions, count: int) -> IndexKind:
    if options.kind != "auto":
        return options.kind
    if count < EXACT_BELOW:
        return "exact"
    return "ivf" if count > LISTS_ABOVE or options.codes == "pq" else "hnsw"


def _coded(draft: Path, card: UnitCard, options: IndexOptions, queries: NDArray[np.float32] | None) -> UnitCard:
    """The card with the kind of codes, and with what each kind costs and keeps where there is a choice or a loss."""
    from hallmark.retrieval import recall

    if options.codes == "float32" or not card.items:
        return card
    table = recall.compared(draft, card, options, queries)
    if options.codes != "auto":
        return card.model_copy(update={"codes": options.codes, "codes_table": table})
    good = [row for row in table if row.recall >= options.recall and not (row.codes == "pq" and card.kind == "hnsw")]
    smallest = min(good, key=lambda row: row.bytes_per_item)
    return card.model_copy(update={"codes": smallest.codes, "codes_table": table})


def _write_index(draft: Path, card: UnitCard, options: IndexOptions) -> UnitCard:
    builder = _builder(draft, card, options)
    parameters: dict[str, int] = {}
    if card.kind == "hnsw":
        builder.graph(neighbours=options.neighbours, construction=options.construction)
        parameters = {"neighbours": options.neighbours, "construction": options.construction}
    elif card.kind == "ivf":
        parameters = _write_lists(builder, card, options)
    if card.codes != "float32":
        builder.encode(builder.codec(card.codes))
    if card.words:
        texts = _table(draft, None, [TEXT])[TEXT].to_pylist()
        (draft / WORDS).write_bytes(Words.of(texts).save())
    return card.model_copy(update={"parameters": parameters})


def _builder(draft: Path, card: UnitCard, options: IndexOptions) -> index.Builder:
    return index.Builder(draft, items=card.items, dimension=card.dimension, seed=options.seed)


def _write_lists(builder: index.Builder, card: UnitCard, options: IndexOptions) -> dict[str, int]:
    lists = options.lists or round(2 * card.items**0.5)
    return {"lists": builder.lists(lists, spherical=card.normalised)}


def _measured(draft: Path, card: UnitCard, options: IndexOptions, queries: NDArray[np.float32] | None) -> UnitCard:
    """The card with files, breadth, crossover and recall, measured against the exact answer.

    Where `kind` is ours to choose and no breadth of the graph finds enough, it becomes lists, which find all where all are looked
    through: links between many vectors that are equal lead to each other alone.
    """
    from hallmark.retrieval import recall

    found = recall.tuned(draft, _named_files(draft, card), options, queries)
    if options.kind == "auto" and found.kind == "hnsw" and found.parameters["breadth"] == recall.WIDEST:
        card = card.model_copy(update={"kind": "ivf"})
        card = card.model_copy(update={"parameters": _write_lists(_builder(draft, card, options), card, options)})
        found = recall.tuned(draft, _named_files(draft, card), options, queries)
    if card.codes != "float32":
        (draft / VECTORS).unlink()
    return found


def _named_files(draft: Path, card: UnitCard) -> UnitCard:
    """The card with the digests of the files that it will have."""
    files = {path.name: digest_file(path) for path in sorted(draft.iterdir())}
    if card.codes != "float32":
        files.pop(VECTORS)
    return card.model_copy(update={"files": files})


def _write_card(draft: Path, card: UnitCard) -> None:
    (draft / UNIT).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")
    for path in draft.iterdir():
        with path.open("rb") as stream:
            os.fsync(stream.fileno())


def opened(folder: Path, card: UnitCard, *, digest: str = "") -> Unit:
    """The index in `folder` that has this card, every file of which is checked."""
    table = _table(folder, card.files, [ID, *card.columns])
    if table.num_rows != card.items:
        raise ModelRefused(f"{ITEMS} does not fit {UNIT}", expected=f"{card.items} rows", got=str(table.num_rows))
    columns = Columns(card.columns)
    columns.extend(table)
    ids = np.array(table[ID].to_pylist(), dtype=object)
    del table
    near = index.load(
        folder,
        kind=card.kind,
        codes=card.codes,
        dimension=card.dimension,
        items=card.items,
        breadth=card.parameters.get("breadth", 0),
        files=card.files,
    )
    words = Words.load(sealed.read(folder, WORDS, card.files)) if card.words else None
    return Unit(folder, card, digest=digest, ids=ids, columns=columns, near=near, words=words)


def _table(folder: Path, files: Mapping[str, str] | None, names: list[str]) -> pa.Table:
    """Columns of items.parquet, whose bytes are checked where their digests are given."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = (folder / ITEMS).read_bytes() if files is None else sealed.read(folder, ITEMS, files)
    try:
        return pq.read_table(io.BytesIO(data), columns=names)
    except (pa.ArrowInvalid, KeyError, OSError) as error:
        raise ModelRefused(f"{ITEMS} of the index cannot be read", expected=", ".join(names), got=str(error)) from error
