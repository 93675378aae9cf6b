"""Index of a version as it was measured before the gate: how many of the nearest it finds behind which filters, and what its codes save and lose."""

from __future__ import annotations

from typing import Literal

from hallmark.section import Frozen

IndexKind = Literal["exact", "hnsw", "ivf"]
CodeKind = Literal["float32", "int8", "pq"]


class RecallRow(Frozen):
    """Recall@k against the exact answer, with a 95% interval over queries.

    selectivity: share of the items that the filter left; 1 without a filter.  path: which way the index took.
    """

    selectivity: float
    k: int
    recall: float
    low: float
    high: float
    queries: int
    path: Literal["exact", "approximate"]


class CodesRow(Frozen):
    """What one kind of codes costs and saves: bytes an item, recall@10 of a whole scan against float32."""

    codes: CodeKind
    bytes_per_item: int
    recall: float


class IndexReport(Frozen):
    """What is known of an index.

    contract, corpus: name@version of its items, and the digest of their data.   encoder: own, or domain@version.
    left_out: items of which the encoder makes no vector.   codes_table: of each kind of codes that was tried.
    recall:   on golden queries that nothing was tuned on, against a comparison with every item in float32.
    """

    contract: str
    corpus: str
    encoder: str
    items: int
    left_out: int = 0
    dimension: int
    kind: IndexKind
    codes: CodeKind
    recall: tuple[RecallRow, ...]
    codes_table: tuple[CodesRow, ...] = ()

    def at(self, selectivity: float) -> RecallRow | None:
        """The row of a selectivity."""
        return next((row for row in self.recall if row.selectivity == selectivity), None)

    @property
    def line(self) -> str:
        """The index in a line."""
        left = f", {self.left_out} left out" if self.left_out else ""
        return (
            f"{self.items} items of {self.contract}{left}: {self.kind}, {self.codes}, {self.dimension} numbers a vector"
        )
