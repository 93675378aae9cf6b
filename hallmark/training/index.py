"""The index of a model folder: its items encoded by the folder's own code and models, before the folder is sealed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from hallmark.artifacts.folder import INDEX, Signature
from hallmark.artifacts.retriever import OnnxPart, Retriever, kinds
from hallmark.errors import DeclarationError
from hallmark.features import code
from hallmark.features.encoding import Features
from hallmark.learners import onnx_model
from hallmark.learners.model import columns
from hallmark.retrieval import pairing
from hallmark.retrieval.card import IndexOptions, UnitCard
from hallmark.retrieval.columns import Kind
from hallmark.retrieval.unit import Items, build

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.features.fields import Field

BLOCK = 4096
"""Items that are encoded and held as text at once."""


def put(
    folder: Path, items: pd.DataFrame, *, options: IndexOptions | None = None, queries: pd.DataFrame | None = None
) -> UnitCard:
    """Build the index of a model folder that is whole but for it, and give its card; the folder is sealed after it.

    items:   a row an item, with the columns of the corpus: its id, what `encode_item` reads, filters and words.
    queries: rows with the fields of requests, such as a golden set's, that recall is measured with.
    `DeclarationError` where signature.json names no retriever, `ContractBroken` where a row is no item.
    """
    signature = Signature.model_validate_json((folder / "signature.json").read_bytes())
    declared = signature.retriever
    if declared is None:
        raise DeclarationError(
            "the model has no retriever, so nothing says how an item is encoded",
            expected="a retriever in signature.json",
            got="none",
            fix="give the domain's SPEC one",
        )
    encode, ask = _encoder(folder, signature, declared.put_in), _encoder(folder, signature, declared.encoder)
    pair = pairing.of_folder(folder)
    first = encode.vectors(items.iloc[:1], declared.put)
    return build(
        folder / INDEX,
        _blocks(items, declared, encode),
        **pair._asdict(),
        dimension=first.shape[1],
        columns=cast("dict[str, Kind]", kinds(declared.corpus)),
        words=bool(declared.corpus.words),
        options=options,
        queries=None if queries is None else ask.vectors(queries, declared.fields),
    )


class _Encoder:
    """One ONNX model of a folder, with the function that gives its inputs."""

    def __init__(self, features: Features, session: Any, output: str) -> None:
        self._features, self._session, self._output = features, session, output

    def vectors(self, rows: pd.DataFrame, fields: tuple[Field, ...]) -> NDArray[np.float32]:
        """(n, d) vectors of these rows."""
        encoded = self._features.encode(columns(rows, fields), rows=len(rows))
        found = onnx_model.run(self._session, encoded, [self._output])[self._output]
        return np.asarray(found, dtype=np.float32)


def _encoder(folder: Path, signature: Signature, part: OnnxPart) -> _Encoder:
    assets = {name: (folder / name).read_bytes() for name in signature.assets}
    features = Features(code.load(folder, "features"), inputs=signature.inputs, assets=assets)
    return _Encoder(features.part(part.code, inputs=part.inputs), onnx_model.session(folder / part.file), part.output)


def _blocks(items: pd.DataFrame, declared: Retriever, encode: _Encoder) -> Iterator[Items]:
    corpus = declared.corpus
    for begin in range(0, len(items), BLOCK):
        rows = items.iloc[begin : begin + BLOCK]
        texts = [
            " ".join(str(text) for text in row if isinstance(text, str) and text) for row in _words(rows, corpus.words)
        ]
        yield Items(
            ids=[str(each) for each in rows[corpus.id].tolist()],
            vectors=encode.vectors(rows, declared.put),
            values={each.column: _values(rows[each.column], each.datatype) for each in corpus.filters},
            texts=texts if corpus.words else None,
        )


def _words(rows: pd.DataFrame, names: tuple[str, ...]) -> list[tuple[Any, ...]]:
    return list(zip(*(rows[name].tolist() for name in names), strict=True)) if names else [()] * len(rows)


def _values(column: pd.Series[Any], datatype: str) -> list[Any]:
    """Values of a filter as the index takes them; None where there is none, a time in ISO 8601."""
    missing = column.isna().tolist()
    if datatype == "TIME":
        import pandas as pd

        column = pd.to_datetime(column, utc=True, format="ISO8601" if column.dtype == object else None)
        return [None if gone else each.isoformat() for each, gone in zip(column, missing, strict=True)]
    kind: Any = {"INT64": int, "FP64": float, "BOOL": bool}.get(datatype, str)
    return [None if gone else kind(each) for each, gone in zip(column.tolist(), missing, strict=True)]
