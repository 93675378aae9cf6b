"""The raw fields of a domain's request, declared once: the contract, the server's checks and the drift profile read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, model_validator

Columns = Mapping[str, NDArray[Any]]
"""A batch of raw records by column, the batch as first axis, alike in training, in the server and in the drift monitor.

A plain field is (n, *shape) of its declared type; strings and photos (bytes) are object arrays.
An optional field is (n, *shape) too, with what is missing marked: FP32 stays float32; FP64, INT32, INT64 and BOOL come as
    float64, true as 1.0 and false as 0.0, missing as NaN; strings and photos as objects, missing as None.
A field whose first axis varies is an object array (n,) of arrays (k, *rest) of the declared type, k of 0 where an optional
    one is missing; nothing within it is missing.
"""

Datatype = Literal["BOOL", "INT32", "INT64", "FP32", "FP64", "BYTES"]

_NUMPY: dict[str, Any] = {
    "BOOL": np.bool_,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}
_MOST = 4096


class Field(BaseModel):
    """One raw field of a record.

    datatype:    Open Inference Protocol name; BYTES holds a UTF-8 string, or a photo where `media` says so.
    shape:       per record, without the batch; () is a scalar. None as its first axis varies by record, up to `at_most`.
    optional:    a record may leave it out or send null, and so may any of its values; an empty string is missing too.
    minimum, maximum: what a number may be, both included.
    categories:  the closed set a string may be from; none leaves it open.
    longest:     characters a string may have; free text says so, since what tokenizes it has to end somewhere.
    media:       "image" for a JPEG, PNG or WebP file; "text" for free text.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    name: str
    datatype: Datatype
    shape: tuple[int | None, ...] = ()
    at_most: int | None = None
    optional: bool = False
    minimum: float | None = None
    maximum: float | None = None
    categories: tuple[str, ...] | None = None
    longest: int | None = None
    media: Literal["image", "text"] | None = None
    description: str = ""

    @property
    def varies(self) -> bool:
        """Does a record hold as many values as it likes, up to `at_most`?"""
        return bool(self.shape) and self.shape[0] is None

    @property
    def rest(self) -> tuple[int, ...]:
        """The sides that are fixed: all of the shape, or all after the axis that varies."""
        return tuple(side for side in self.shape if side is not None)

    @property
    def plain(self) -> bool:
        """Is a batch of it one rectangle in which nothing is missing?"""
        return not (self.optional or self.varies)

    @property
    def dtype(self) -> Any:
        """The numpy type of its values in `Columns`; of those within a record, where the first axis varies."""
        if self.optional and not self.varies and self.datatype not in ("FP32", "BYTES"):
            return np.float64
        return _NUMPY[self.datatype]

    @property
    def sent(self) -> Any:
        """The numpy type that its declared type names, in which it travels."""
        return _NUMPY[self.datatype]

    @model_validator(mode="before")
    @classmethod
    def _one_word(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and "nullable" in given:
            raise ValueError(
                f"field {given.get('name')}: nullable; did you mean optional=True: left out, null or empty is one thing here?"
            )
        return given

    @model_validator(mode="after")
    def _fits(self) -> Field:
        for wrong, reason in self._contradictions():
            if wrong:
                raise ValueError(f"field {self.name}: {reason}")
        return self

    def _contradictions(self) -> tuple[tuple[bool, str], ...]:
        text, categories = self.datatype == "BYTES", self.categories
        numeric = self.minimum is not None or self.maximum is not None
        low = -np.inf if self.minimum is None else self.minimum
        high = np.inf if self.maximum is None else self.maximum
        return (
            (None in self.shape[1:], f"expected None in shape as its first axis only, got {self.shape}"),
            (any(side < 1 for side in self.rest), f"expected sides of at least 1, got shape {self.shape}"),
            (self.varies and self.at_most is None, "expected at_most beside a first axis that varies"),
            (
                not self.varies and self.at_most is not None,
                "expected at_most only where the first axis of shape is None",
            ),
            (self.at_most is not None and not 1 <= self.at_most <= _MOST, f"expected at_most from 1 to {_MOST}"),
            (numeric and self.datatype in ("BYTES", "BOOL"), "expected minimum and maximum with numbers only"),
            (not low <= high, f"expected a minimum up to the maximum, got {low:g} and {high:g}"),
            (categories is not None and not text, f"expected categories with BYTES only, got {self.datatype}"),
            (categories is not None and self.media is not None, "expected either categories or media"),
            (categories is not None and not categories, "expected at least one of categories"),
            (categories is not None and len(set(categories)) < len(categories), "expected each of categories once"),
            (not self.plain and "" in (categories or ()), "expected no empty category where a value may be missing"),
            (self.media is not None and not text, f"expected media with BYTES only, got {self.datatype}"),
            (self.media == "text" and self.longest is None, "expected longest, in characters, with free text"),
            (self.longest is not None and (not text or self.media == "image"), "expected longest with strings only"),
            (self.longest is not None and self.longest < 1, "expected longest of at least 1"),
        )


class Output(BaseModel):
    """One output tensor; `shape` is per record, `minimum` and `maximum` are what a sane answer keeps to."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    name: str
    datatype: Datatype
    shape: tuple[int, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
