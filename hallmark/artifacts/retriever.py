"""Retriever of a model folder: what a request holds, which ONNX models encode and rank, and what an answer says of each item.

encoder.onnx   query -> vector, where model.onnx is not that itself
items.onnx     item -> vector, where an item is encoded otherwise than a query
ranker.onnx    query and item -> score, where model.onnx is not that itself
encoder.py     the feature code of another domain's version, whose encoder it is
index/         the sealed unit: vectors, index, ids, columns (hallmark.retrieval)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import Literal

from pydantic import Field as Key
from pydantic import model_validator

from hallmark.declaration.corpus import Corpus, Filter
from hallmark.declaration.source import Datatype
from hallmark.features.encoding import Input
from hallmark.features.fields import Field, Output
from hallmark.section import Frozen

OnnxFile = Literal["model.onnx", "encoder.onnx", "items.onnx", "ranker.onnx"]
WANTED = "k"
"""The field of a request that says how many items it wants."""
MOST_VALUES = 32
"""Values that one filter may name."""
KINDS: Mapping[Datatype, str] = {
    "BYTES": "keyword",
    "INT64": "integer",
    "FP64": "number",
    "BOOL": "boolean",
    "TIME": "time",
}
"""What the index calls the types of columns."""
_KEPT: Mapping[str, str] = {
    "BYTES": "keyword",
    "INT32": "integer",
    "INT64": "integer",
    "FP32": "number",
    "FP64": "number",
    "BOOL": "boolean",
}
_SENT: Mapping[Datatype, Literal["BYTES", "INT64", "FP64", "BOOL"]] = {
    "BYTES": "BYTES",
    "INT64": "INT64",
    "FP64": "FP64",
    "BOOL": "BOOL",
    "TIME": "BYTES",
}
_LONGEST = 100_000
RETRIEVED = ("vector_rank", "vector_score", "word_rank", "word_score", "fused_score")
"""Columns of a candidate that the retrieval itself gives, (n,) each: ranks from 1, 0 where it did not come by that way."""


class OnnxPart(Frozen):
    """An ONNX model of the folder.

    code:   the function of `source` that gives its inputs.   output: the one that is read.
    source: features.py, or encoder.py: the feature code of the version whose encoder it is, where that is another domain's.
    """

    file: OnnxFile
    source: Literal["features.py", "encoder.py"] = "features.py"
    code: Literal["encode", "encode_query", "encode_item", "encode_candidate"]
    output: str
    inputs: tuple[Input, ...] = (Input(),)


class RetrieverParts(Frozen):
    """What a domain's model.py says of its way from a request's record to items; domain.yaml says the rest.

    fields:  those of a record, beside filters and `k`: a text, a vector, a member and a context.
    text:    the field that is searched by words; none without words.
    encoder: record -> (n, dimension) vector; none where it is another domain's.
    items:   item -> the same, for what is put in; none: the encoder.
    item:    fields of an item that is put in which `items` or the ranker reads; its id and the columns of filters and words come too.
    ranker:  candidate -> (n,) score; a candidate's columns are the record's, the item's, `RETRIEVED` and what views give of both.
             None: the fused score.
    normalised: vectors are compared by their direction alone; False: by their inner product, so that length counts.
    """

    fields: tuple[Field, ...]
    text: str | None = None
    encoder: OnnxPart | None = None
    items: OnnxPart | None = None
    item: tuple[Field, ...] = ()
    ranker: OnnxPart | None = None
    normalised: bool = True


class Retriever(RetrieverParts):
    """Way from a request's record to an ordered list of items.

    looked_up: fields that feature views give, of an entity in the request or, by the corpus's id, of each candidate.
    """

    corpus: Corpus
    encoder: OnnxPart
    looked_up: tuple[Field, ...] = ()
    k: int = Key(ge=1)
    candidates: int = Key(ge=1)

    @model_validator(mode="after")
    def _whole(self) -> Retriever:
        names = [each.name for each in self.asked]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"expected each field once; got {', '.join(twice)} twice, which a filter or k is called")
        text = next((each for each in self.fields if each.name == self.text), None)
        if self.text is not None and (text is None or text.datatype != "BYTES" or text.varies or text.media == "image"):
            raise ValueError(f"expected text to be a field with one text a record; got {self.text!r}")
        if bool(self.corpus.words) != (self.text is not None):
            raise ValueError("expected words in the corpus and a text in the request, or neither")
        if self.candidates < self.k:
            raise ValueError(f"expected at least k candidates; got {self.candidates} for k of {self.k}")
        return self

    @property
    def asked(self) -> tuple[Field, ...]:
        """All fields of a request: its own, one or two of each filter, and `k`."""
        filters = tuple(field for each in self.corpus.filters for field in fields_of(each))
        wanted = Field(
            name=WANTED, datatype="INT32", optional=True, minimum=1, maximum=self.k, description="Items wanted at most."
        )
        return (*self.fields, *filters, wanted)

    @cached_property
    def put(self) -> tuple[Field, ...]:
        """All fields of an item that is put in: its id, those that are encoded, and the columns of filters and words."""
        corpus = self.corpus
        found = {corpus.id: Field(name=corpus.id, datatype="INT64" if corpus.datatype == "INT64" else "BYTES")}
        found |= {field.name: field for field in self.item}
        for each in corpus.filters:
            values = tuple(map(str, each.values)) if each.datatype == "BYTES" and each.values else None
            kind = _SENT[each.datatype]
            found.setdefault(each.column, Field(name=each.column, datatype=kind, optional=True, categories=values))
        for name in corpus.words:
            found.setdefault(name, Field(name=name, datatype="BYTES", optional=True, media="text", longest=_LONGEST))
        return tuple(found.values())

    @cached_property
    def kept(self) -> tuple[Field, ...]:
        """Fields of an item that its index keeps beside id and filters, so that whoever ranks has them: one value each, no photos."""
        known = {self.corpus.id, *(each.column for each in self.corpus.filters)}
        return tuple(
            field for field in self.put if field.name not in known and not field.shape and field.media != "image"
        )

    @property
    def columns(self) -> dict[str, str]:
        """Columns of its index, each with what the index calls its type: filters, then what is kept."""
        filters = {each.column: KINDS[each.datatype] for each in self.corpus.filters}
        return filters | {field.name: _KEPT[field.datatype] for field in self.kept}

    @property
    def outputs(self) -> tuple[Output, ...]:
        """Outputs of an answer."""
        return outputs_of(self.corpus, self.k)

    @property
    def put_in(self) -> OnnxPart:
        """The model that encodes an item."""
        return self.items or self.encoder.model_copy(update={"code": "encode_item"})

    def made_by(self, digests: Mapping[str, str], *, assets: Sequence[str] = ()) -> tuple[str, str]:
        """Digests of what makes vectors, as unit.json names them: of the encoders' files, and of the code before them.

        digests: of the model folder's files, by name.   assets: names of those that features.py reads.
        """
        encoders = {str(name): digests[name] for name in (self.encoder.file, self.put_in.file)}
        sources = dict.fromkeys(("features.py", self.encoder.source, self.put_in.source))
        preprocessing = {str(name): digests[name] for name in (*sources, *assets)}
        return _digest(encoders), _digest(preprocessing)


def outputs_of(corpus: Corpus, most: int) -> tuple[Output, ...]:
    """Outputs of an answer of at most so many items, (n, k) each: the items in order, their scores, and by which way each came."""
    k = (most,)
    return (
        Output(name="items", datatype="INT64" if corpus.datatype == "INT64" else "BYTES", shape=k),
        Output(name="scores", datatype="FP32", shape=k),
        Output(name="vector_rank", datatype="INT32", shape=k, minimum=0),
        Output(name="vector_score", datatype="FP32", shape=k),
        Output(name="word_rank", datatype="INT32", shape=k, minimum=0),
        Output(name="word_score", datatype="FP32", shape=k),
        Output(name="found", datatype="INT32", minimum=0, maximum=most),
    )


def _digest(files: Mapping[str, str]) -> str:
    return f"sha256:{hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()}"


def fields_of(by: Filter) -> Iterator[Field]:
    """Fields of a request by which a column filters: `filter_<column>`, or `filter_<column>_min` and `_max`, all optional."""
    if by.by == "range":
        for end, word in (("min", "least"), ("max", "most")):
            yield Field(
                name=f"filter_{by.column}_{end}",
                datatype="FP64",
                optional=True,
                description=f"The {word} {by.column} of an item"
                + ("; seconds since 1970" if by.datatype == "TIME" else ""),
            )
        return
    if by.datatype == "BOOL":
        yield Field(
            name=f"filter_{by.column}", datatype="BOOL", optional=True, description=f"The {by.column} of an item."
        )
        return
    yield Field(
        name=f"filter_{by.column}",
        datatype="BYTES",
        shape=(None,),
        at_most=MOST_VALUES,
        optional=True,
        categories=tuple(map(str, by.values)) or None,
        description=f"The {by.column} of an item is one of these.",
    )
