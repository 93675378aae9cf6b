"""What an index says of itself: unit.json, beside the files that it names by digest."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from hallmark.artifacts.index_report import CodeKind as CodeKind
from hallmark.artifacts.index_report import CodesRow as CodesRow
from hallmark.artifacts.index_report import IndexKind as IndexKind
from hallmark.artifacts.index_report import RecallRow as RecallRow
from hallmark.retrieval.columns import Kind
from hallmark.section import Frozen

UNIT = "unit.json"
VECTORS, CODES, GRAPH, LISTS, CODEC, ITEMS, WORDS = (
    "vectors.npy",
    "codes.npy",
    "graph.faiss",
    "lists.npy",
    "codec.faiss",
    "items.parquet",
    "words.npz",
)
ID, TEXT = "_id", "_text"
"""Columns of items.parquet beside those of the filters."""


class IndexOptions(Frozen):
    """How vectors are indexed.

    kind:   auto is exact, hnsw or ivf by the count of items (docs/decisions/0040).
    codes:  how vectors are kept: float32, int8 (a quarter) or pq (a sixteenth); auto is the smallest whose scan has `recall`.
    recall: recall@10 that `breadth` is widened for, where it is not given.
    breadth: efSearch of hnsw, nprobe of ivf.
    neighbours, construction: M and efConstruction of hnsw.
    lists:  of ivf; 0 for about 2 sqrt(items).
    """

    kind: Literal["auto", "exact", "hnsw", "ivf"] = "auto"
    codes: Literal["auto", "float32", "int8", "pq"] = "float32"
    recall: float = Field(default=0.97, gt=0, le=1)
    breadth: int = Field(default=0, ge=0)
    neighbours: int = Field(default=16, ge=4, le=128)
    construction: int = Field(default=120, ge=8)
    lists: int = Field(default=0, ge=0)
    seed: int = 0

    @model_validator(mode="after")
    def _works(self) -> IndexOptions:
        if self.kind == "hnsw" and self.codes == "pq":
            raise ValueError("expected codes of float32 or int8 beside kind: hnsw; pq goes with exact and ivf")
        return self


class UnitCard(Frozen):
    """unit.json: what an index was made of, how, and the digest of each of its files.

    encoder, preprocessing: digests of what made the vectors; only the same two may ask.
    crossover: a filter that leaves at most so many items is answered by an exact scan of them.
    """

    format: Literal[1] = 1
    encoder: str
    preprocessing: str
    dimension: int
    metric: Literal["inner_product"] = "inner_product"
    normalised: bool
    corpus: str
    items: int
    columns: dict[str, Kind]
    words: bool
    kind: IndexKind
    codes: CodeKind
    parameters: dict[str, int]
    crossover: int
    recall: tuple[RecallRow, ...] = ()
    codes_table: tuple[CodesRow, ...] = ()
    files: dict[str, str]
