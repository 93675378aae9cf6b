"""The index of a version: its items encoded by the version's own code and models, built, and measured before the gate."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from hallmark.artifacts import bundle
from hallmark.artifacts.folder import INDEX
from hallmark.artifacts.index_report import IndexReport
from hallmark.artifacts.retriever import OnnxPart, Retriever, RetrieverParts
from hallmark.data import dataset
from hallmark.declaration import corpus as corpora
from hallmark.declaration import domain as domains
from hallmark.errors import Conflict, ContractBroken, DeclarationError, ModelRefused
from hallmark.features import code
from hallmark.features.encoding import Features
from hallmark.files import digest_file
from hallmark.learners import onnx_model
from hallmark.learners.model import Trained, assets, requested, spec
from hallmark.retrieval import pairing
from hallmark.retrieval.card import IndexOptions, UnitCard
from hallmark.retrieval.columns import Kind
from hallmark.retrieval.pairing import Pair
from hallmark.retrieval.unit import Items, open_unit
from hallmark.retrieval.unit import build as build_unit

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.declaration.domain import Domain
    from hallmark.declaration.retrieval import Retrieval
    from hallmark.features.fields import Field
    from hallmark.learners.model import Progress
    from hallmark.settings import Settings

BLOCK = 4096
"""Items that are encoded and held as text at once."""
VECTORS, ROWS, QUERIES, PAIR = "vectors.npy", "rows.npy", "queries.npy", "pair.json"
"""Files that `embed` writes: vectors of items, which rows of the corpus these are, vectors of golden queries, and who made them."""
RECALL = 0.97
_MARGIN = 0.01


class Lent(NamedTuple):
    """The encoder of another domain's version: its parts, and their files by the name that a folder has them under."""

    encoder: OnnxPart
    items: OnnxPart
    normalised: bool
    files: dict[str, bytes]
    assets: tuple[str, ...]


def lent(folder: Path, shown: str) -> Lent:
    """The encoder in the model folder of another version; `DeclarationError` where that has none to lend."""
    model = bundle.read(folder, expected=None)
    theirs = model.signature.retriever
    if theirs is None or theirs.encoder.source != "features.py":
        raise DeclarationError(
            f"retrieval.encoder: {shown} has no encoder of its own",
            expected="a version of a domain that declares retrieval with encoder: own",
            got="one that answers with something else" if theirs is None else "one that borrows its encoder itself",
        )
    renamed = {"encoder.onnx": theirs.encoder, "items.onnx": theirs.put_in}
    files = {name: model.file(part.file) for name, part in renamed.items()} | {"encoder.py": model.file("features.py")}
    made = [
        part.model_copy(update={"file": name, "source": "encoder.py"})
        for name, part in cast("dict[Any, OnnxPart]", renamed).items()
    ]
    return Lent(made[0], made[1], theirs.normalised, files | model.assets, model.signature.assets)


def declared(domain: Domain, *, borrowed: Lent | None = None, settings: Settings | None = None) -> Retriever:
    """The retriever that domain.yaml, the contract of its items and SPEC make together."""
    from hallmark.artifacts import views

    retrieval, parts = _retrieval(domain), spec(domain, settings).retriever
    fields = domains.module(domain.name, "features", settings).FIELDS
    given = {name for use in views.uses(domain, fields, settings) for name in use.fields}
    told = {name: getattr(parts, name) for name in RetrieverParts.model_fields}
    if borrowed is not None:
        told |= {"encoder": borrowed.encoder, "items": borrowed.items, "normalised": borrowed.normalised}
    try:
        return Retriever(
            **told,
            corpus=corpora.load(retrieval, settings),
            looked_up=tuple(field for field in fields if field.name in given),
            k=retrieval.k,
            candidates=retrieval.candidates,
        )
    except ValidationError as error:
        raise DeclarationError(
            f"the retriever of domains/{domain.name}/model.py does not fit its domain.yaml",
            expected="fields, texts and parts that go together (docs/retrieval.md)",
            got=error.errors()[0]["msg"],
        ) from error


def all_assets(domain: Domain, borrowed: Lent | None, settings: Settings | None = None) -> dict[str, bytes]:
    """The assets that travel with the model: its own, and those of an encoder that is another's."""
    own = assets(domain.name, spec(domain, settings), settings)
    if borrowed is None:
        return own
    if both := sorted(set(own) & set(borrowed.assets)):
        raise DeclarationError(
            "an asset of the model and one of the encoder that it borrows have one name",
            expected="names that differ",
            got=", ".join(both),
            fix="rename the domain's own",
        )
    return own | {name: borrowed.files[name] for name in borrowed.assets}


def embed(
    domain: Domain,
    trained: Trained,
    into: Path,
    *,
    items: pd.DataFrame,
    queries: pd.DataFrame,
    int8: Path | None = None,
    borrowed: Lent | None = None,
    progress: Progress = lambda done, total, note: None,
    settings: Settings | None = None,
) -> int:
    """Encode all items and the golden queries into the folder `into`; give how many items have a vector.

    items:   a row an item, with the columns of the corpus: its id, what `encode_item` reads, filters and words.
    queries: rows with the fields of requests.   int8: the form that serves instead of model.onnx.
    `ContractBroken` where a row is no item, or none has a vector. An item without words has none, and is left out.
    """
    from hallmark.retrieval import vectors

    retriever = declared(domain, borrowed=borrowed, settings=settings)
    held = all_assets(domain, borrowed, settings)
    _check_named(domains.module(domain.name, "features", settings), retriever)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        trained.export(folder / "model.onnx")
        onnx_model.tidy(folder / "model.onnx")
        if int8 is not None:
            shutil.copyfile(int8, folder / "model.onnx")
        source = Path(str(domains.module(domain.name, "features", settings).__file__))
        shutil.copyfile(source.with_name("features.py"), folder / "features.py")
        for name, content in (held | (borrowed.files if borrowed else {})).items():
            (folder / name).write_bytes(content)
        digests = {path.name: digest_file(path) for path in folder.iterdir() if path.is_file()}
        pair = Pair(*retriever.made_by(digests, assets=tuple(held)))
        inputs = spec(domain, settings).inputs
        into.mkdir(parents=True, exist_ok=True)
        asked = _Encoder(folder, retriever.encoder, inputs, held).vectors(queries, retriever.fields)
        np.save(into / QUERIES, asked[_there(asked)], allow_pickle=False)
        encode, kept = _Encoder(folder, retriever.put_in, inputs, held), []
        times = {
            each.column for each in retriever.corpus.filters if each.datatype == "TIME"
        }  # sent as texts, and here as times
        fields = tuple(field for field in retriever.put if field.name not in times)
        width = asked.shape[1]
        with vectors.Writer(into / VECTORS, width) as written:
            for begin in range(0, len(items), BLOCK):
                made = encode.vectors(items.iloc[begin : begin + BLOCK], fields)
                there = np.flatnonzero(_there(made))
                if len(there):
                    written.add(vectors.checked(made[there], width, normalised=retriever.normalised))
                kept.append(begin + there)
                progress(min(begin + BLOCK, len(items)), len(items), f"{len(items)} items")
    rows = np.concatenate(kept) if kept else np.empty(0, dtype=np.int64)
    if not len(rows):
        raise ContractBroken(
            "no item has a vector", expected="items that the encoder knows something of", got=f"{len(items)} without"
        )
    np.save(into / ROWS, rows, allow_pickle=False)
    (into / PAIR).write_text(json.dumps(pair._asdict(), indent=2) + "\n", encoding="utf-8")
    return len(rows)


def _check_named(features: ModuleType, retriever: Retriever) -> None:
    """`DeclarationError` where SPEC names a function that features.py does not have.

    It is handed the module as a whole, so that all of it counts for the step's key: its functions run in a copy, by their names.
    """
    named = {part.code for part in (retriever.encoder, retriever.put_in) if part.source == "features.py"}
    if missing := sorted(name for name in named if not hasattr(features, name)):
        raise DeclarationError(
            f"features.py has no function {missing[0]}",
            expected="the functions that SPEC's retriever names",
            got=", ".join(missing),
            fix="write it, or name another in model.py",
        )


def build(
    domain: Domain,
    vectors: Path,
    corpus: Path,
    folder: Path,
    *,
    borrowed: Lent | None = None,
    settings: Settings | None = None,
) -> UnitCard:
    """Write the index of the items in the file `corpus`, by what `embed` wrote into `vectors`, to `folder`; give its card.

    Its breadth and codes are chosen on every other golden query.
    """
    retrieval, retriever = _retrieval(domain), declared(domain, borrowed=borrowed, settings=settings)
    made = np.load(vectors / VECTORS, mmap_mode="r", allow_pickle=False)
    rows = np.load(vectors / ROWS, allow_pickle=False)
    items = dataset.read(corpus)
    tuning = np.load(vectors / QUERIES, allow_pickle=False)[::2]
    floor = retrieval.required["overall"]
    options = IndexOptions(codes=retrieval.codes, recall=max(RECALL, min(1.0, floor + _MARGIN)))
    return build_unit(
        folder,
        _blocks(items, rows, made, retriever),
        **_pair(vectors)._asdict(),
        dimension=made.shape[1],
        normalised=retriever.normalised,
        columns=cast("dict[str, Kind]", retriever.columns),
        words=bool(retriever.corpus.words),
        options=options,
        queries=tuning if len(tuning) else None,
        corpus=dataset.digest(corpus),
    )


def measure(domain: Domain, index: Path, vectors: Path, *, corpus_items: int) -> IndexReport:
    """Recall of the index on the golden queries that nothing was chosen on, against all items in float32.

    index, vectors: folders that `build` and `embed` wrote.   corpus_items: rows of the corpus.
    """
    from hallmark.retrieval import recall
    from hallmark.retrieval.search import Retriever as Searches

    unit = open_unit(index, **_pair(vectors)._asdict())
    asked = np.load(vectors / QUERIES, allow_pickle=False)
    asked = asked[1::2] if len(asked) > 1 else asked
    if not len(asked):
        raise ContractBroken(
            "there is no golden query to measure recall with",
            expected="queries in the test part, or in retrieval.golden.file",
            got="none that the encoder makes a vector of",
        )
    retrieval = _retrieval(domain)
    return IndexReport(
        contract=retrieval.corpus,
        corpus=unit.card.corpus,
        encoder=retrieval.encoder,
        items=len(unit),
        left_out=corpus_items - len(unit),
        dimension=unit.card.dimension,
        kind=unit.card.kind,
        codes=unit.card.codes,
        recall=recall.measure(Searches(unit), asked, source=vectors / VECTORS),
        codes_table=unit.card.codes_table,
    )


def put(folder: Path, index: Path) -> None:
    """Copy an index into a model folder that is whole but for it; `Conflict` where the folder's encoder is not the one that made it."""
    shutil.copytree(index, folder / INDEX)
    try:
        open_unit(folder / INDEX, **pairing.of_folder(folder)._asdict())
    except ModelRefused as error:
        raise Conflict(
            "the index was not made by the encoder that is exported",
            expected=f"{error.expected}, as the step embed exported it",
            got=error.got,
            fix="make the model's export give the same bytes each time, or run the training again",
        ) from error


def golden(domain: Domain, test: pd.DataFrame, *, settings: Settings | None = None) -> pd.DataFrame:
    """Golden queries: those of the declared file, or one row of each query of the test part, at most as many as are declared."""
    from hallmark.settings import Settings as Loaded
    from hallmark.training.export import sample

    declared, seed = _retrieval(domain).golden, domain.training.seed
    if declared.file is None:
        column = domain.data.query or domain.data.entity
        return sample(test.drop_duplicates(column).reset_index(drop=True), declared.queries, seed=seed)
    from hallmark.data import table

    parts = spec(domain, settings).retriever
    kinds = {field.name: str(field.datatype) for field in (parts.fields if parts else ()) if not field.shape}
    path = (settings or Loaded.load()).domains / domain.name / declared.file
    return sample(table.read(path, kinds), declared.queries, seed=seed)


class _Encoder:
    """One ONNX model of a folder, with the function that gives its inputs."""

    def __init__(self, folder: Path, part: OnnxPart, inputs: Sequence[Any], assets: dict[str, bytes]) -> None:
        features = Features(code.load(folder, part.source.removesuffix(".py")), inputs=inputs, assets=assets)
        self._features, self._output = features.part(part.code, inputs=part.inputs), part.output
        self._session = onnx_model.session(folder / part.file)
        self._code = part.code

    def vectors(self, rows: pd.DataFrame, fields: tuple[Field, ...]) -> NDArray[np.float32]:
        """(n, d) vectors of these rows."""
        given = requested(rows, fields)
        try:
            encoded = self._features.encode(given, rows=len(rows))
        except KeyError as error:
            raise DeclarationError(
                f"{self._code} of features.py reads what a record does not have",
                expected=", ".join(given),
                got=str(error),
                fix="name that field in SPEC's retriever, or mend features.py",
            ) from error
        found = onnx_model.run(self._session, encoded, [self._output])[self._output]
        return np.asarray(found, dtype=np.float32)


def _retrieval(domain: Domain) -> Retrieval:
    if domain.retrieval is None:
        raise DeclarationError(
            f"{domain.name} does not answer with items", expected="retrieval: in its domain.yaml", got="none"
        )
    return domain.retrieval


def _pair(vectors: Path) -> Pair:
    return Pair(**json.loads((vectors / PAIR).read_bytes()))


def _there(made: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(n,) whether each is a vector: finite, and not nothing."""
    lengths = np.einsum("ij,ij->i", made, made, dtype=np.float64)
    return np.asarray(np.isfinite(lengths) & (lengths > 1e-30), dtype=np.bool_)


def _blocks(
    items: pd.DataFrame, rows: NDArray[np.int64], made: NDArray[np.float32], retriever: Retriever
) -> Iterator[Items]:
    corpus = retriever.corpus
    kinds = {each.column: str(each.datatype) for each in corpus.filters}
    kinds |= {field.name: field.datatype for field in retriever.kept}
    for begin in range(0, len(rows), BLOCK):
        some = items.iloc[rows[begin : begin + BLOCK]]
        texts = [
            " ".join(str(text) for text in row if isinstance(text, str) and text) for row in _words(some, corpus.words)
        ]
        yield Items(
            ids=[str(each) for each in some[corpus.id].tolist()],
            vectors=made[begin : begin + BLOCK],
            values={name: _values(some[name], datatype) for name, datatype in kinds.items()},
            texts=texts if corpus.words else None,
        )


def _words(rows: pd.DataFrame, names: tuple[str, ...]) -> list[tuple[Any, ...]]:
    return list(zip(*(rows[name].tolist() for name in names), strict=True)) if names else [()] * len(rows)


def _values(column: pd.Series[Any], datatype: str) -> list[Any]:
    """Values of a column as the index takes them; None where there is none, a time in ISO 8601."""
    missing = column.isna().tolist()
    if datatype == "TIME":
        import pandas as pd

        column = pd.to_datetime(column, utc=True, format="ISO8601" if column.dtype == object else None)
        return [None if gone else each.isoformat() for each, gone in zip(column, missing, strict=True)]
    kind: Any = {"INT32": int, "INT64": int, "FP32": float, "FP64": float, "BOOL": bool}.get(datatype, str)
    return [None if gone else kind(each) for each, gone in zip(column.tolist(), missing, strict=True)]
