"""Retrieval of a domain: which items its answers are taken from, by what, how well, and how fresh; `retrieval:`."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from hallmark.declaration import versioned
from hallmark.declaration.feature_view import Identifier
from hallmark.section import Duration, Section, Share

Selectivity = Literal["overall", "10%", "1%", "0.1%"]
"""Share of the corpus that a query's filters leave; overall: of queries as they come."""
SELECTIVITIES: dict[Selectivity, float] = {"overall": 1.0, "10%": 0.1, "1%": 0.01, "0.1%": 0.001}
Backend = Literal["folder", "opensearch", "qdrant"]
"""What finds the nearest vectors."""
OWN = "own"
ENCODER = re.compile(r"^([a-z]([a-z0-9-]{0,28}[a-z0-9])?)@([1-9][0-9]*)$")
"""The pattern of an encoder that is another domain's: domain@version."""
FLOOR = 0.95


class Golden(Section):
    """Queries whose exact neighbours are known, on which recall is measured before a version is registered."""

    queries: int = Field(default=500, ge=20, le=100_000, description="How many, at most.")
    file: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*\.(parquet|csv)$",
        description="File of the domain's folder with them; none takes them from the test part.",
    )


class Retrieval(Section):
    """Items that answers are taken from, and how: an index beside the encoder, in one version."""

    corpus: str = Field(
        pattern=versioned.REFERENCE,
        description="Contract of the items, name@version; its primary key is the id that is answered.",
    )
    encoder: str = Field(
        default=OWN, description="own: the model of this version; or domain@version, such as search@12."
    )
    words: tuple[Identifier, ...] = Field(
        default=(), description="Columns of texts that are searched by words beside the vectors, put together by rank."
    )
    filters: tuple[Identifier, ...] = Field(
        default=(),
        description="Columns that a request may filter by: texts and truths by value, numbers and times by range.",
    )
    k: int = Field(default=10, ge=1, le=1000, description="Items in an answer.")
    candidates: int = Field(
        default=200, ge=1, le=10_000, description="Items that are retrieved, and ranked where it ranks."
    )
    golden: Golden = Golden()
    floors: dict[Selectivity, Share] = Field(
        default={},
        description="Recall@10 that each has to reach, 0.95 where nothing else is said; below it a version is refused.",
    )
    fresh: Annotated[
        Duration | None,
        Field(description="An item that is put in is found within this; none: the index changes by versions only."),
    ] = None
    live: Share = Field(
        default=0.01, description="Share of live queries that are run again exactly, off the path of answers."
    )
    codes: Literal["float32", "int8", "pq", "auto"] = Field(
        default="float32",
        description="How vectors are kept; auto: the smallest that loses no recall that counts. Gain and loss are in the model card.",
    )
    backend: Backend = Field(
        default="folder",
        description="What finds the nearest vectors: the index in the model folder, or a collection that is named by domain and digest.",
    )

    @field_validator("encoder")
    @classmethod
    def _pinned(cls, value: str) -> str:
        if value != OWN and ENCODER.fullmatch(value) is None:
            raise ValueError(f"expected own, or domain@version such as search@12; got {value!r}")
        return value

    @field_validator("words", "filters")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"expected each column once; got {', '.join(value)}")
        return value

    @field_validator("fresh")
    @classmethod
    def _possible(cls, value: timedelta | None) -> timedelta | None:
        if value is not None and not timedelta(milliseconds=100) <= value <= timedelta(hours=1):
            raise ValueError("expected 100ms to 1h")
        return value

    @model_validator(mode="after")
    def _whole(self) -> Retrieval:
        if self.candidates < self.k:
            raise ValueError(f"candidates are {self.candidates} and k is {self.k}: retrieve at least what is answered")
        if not self.filters and (odd := [name for name in self.floors if name != "overall"]):
            raise ValueError(f"floors has {odd[0]} and nothing filters: name columns in filters, or take it away")
        return self

    @property
    def required(self) -> dict[Selectivity, float]:
        """Recall@10 that each selectivity has to reach; only overall where nothing filters."""
        kinds: tuple[Selectivity, ...] = tuple(SELECTIVITIES) if self.filters else ("overall",)
        return {each: self.floors.get(each, FLOOR) for each in kinds}

    @property
    def borrowed(self) -> tuple[str, int] | None:
        """Domain and version whose encoder it is; none where it is its own."""
        match = ENCODER.fullmatch(self.encoder)
        return (match[1], int(match[3])) if match else None
