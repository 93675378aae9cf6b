"""Columns of evidence as they travel in JSON: whole numbers in base64, as few bytes each as the largest needs."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Cell = int | str | None
"""A value of a watched column: the bin of a number, a word, or missing."""
_BITS = 10
"""Of a number's fraction that a bin holds: bins are a thousandth wide."""


def bins(values: Sequence[float] | NDArray[np.float64]) -> Ints:
    """The bin of each finite number: its sign, exponent and first bits, in the order of the numbers."""
    bits = np.asarray(values, dtype=np.float64).view(np.int64)
    size = (bits & np.int64(2**63 - 1)) >> np.int64(52 - _BITS)
    return np.where(bits < 0, -size, size)


def numbers(of: Ints, *, part: float = 0.0) -> NDArray[np.float64]:
    """The numbers that bins begin with, nearest to 0, or that lie this part of their width further."""
    sizes = (np.abs(of) << np.int64(52 - _BITS)) + np.int64(part * 2 ** (52 - _BITS))
    return np.copysign(sizes.view(np.float64), of)


@dataclass
class Coded:
    """A column of cells: its words, and (n,) for each row an odd number for a bin, an even one for a word, 0 for missing."""

    words: list[str]
    codes: Ints

    @classmethod
    def of(cls, values: Sequence[Any] | NDArray[Any]) -> Coded:
        """Of values as they come: a list or what is not finite is missing, true and false are words."""
        if isinstance(values, np.ndarray):
            if values.dtype.kind in "if":
                return cls([], _codes(values.astype(np.float64)))
            values = values.tolist()
        kinds = set(map(type, values))
        if not kinds <= {int, float, str, type(None)}:
            values = [value if isinstance(value, int | float | str) else None for value in values]
            values = [str(value) if isinstance(value, bool) else value for value in values]
        words = list(dict.fromkeys(value for value in values if isinstance(value, str))) if kinds & {str, bool} else []
        code = {word: 2 * at for at, word in enumerate(words, start=1)}
        if words and kinds <= {str, type(None)}:
            return cls(words, np.array([code.get(value, 0) for value in values], dtype=np.int64))
        codes = _codes(
            np.array([math.nan if isinstance(each, str) else each for each in values] if words else values, np.float64)
        )
        for at, value in enumerate(values) if words else ():
            if isinstance(value, str):
                codes[at] = code[value]
        return cls(words, codes)

    def cells(self) -> list[Cell]:
        """The values."""
        words = [None, *self.words]
        return [code >> 1 if code & 1 else words[code >> 1] for code in self.codes.tolist()]


def _codes(found: NDArray[np.float64]) -> Ints:
    return np.where(np.isfinite(found), 2 * bins(found) + 1, 0)


def packed(values: Ints) -> str:
    """Whole numbers: how many bytes each has, then the first bytes of all, then the second…, sign last."""
    if not len(values):
        return ""
    folded = ((values << 1) ^ (values >> 63)).view(np.uint64)
    width = max(1, (int(folded.max()).bit_length() + 7) // 8)
    planes = folded.astype("<u8").view(np.uint8).reshape(-1, 8)[:, :width].T
    return f"{width}{base64.b64encode(planes.tobytes()).decode()}"


def unpacked(text: str) -> Ints:
    """What `packed` made; `ValueError` where it is something else."""
    if not text:
        return np.empty(0, dtype=np.int64)
    width, raw = int(text[0]), np.frombuffer(base64.b64decode(text[1:], validate=True), dtype=np.uint8)
    if not 1 <= width <= 8 or len(raw) % width:
        raise ValueError("expected whole numbers of 1 to 8 bytes")
    whole = np.zeros((len(raw) // width, 8), dtype=np.uint8)
    whole[:, :width] = raw.reshape(width, -1).T
    folded = whole.view("<u8")[:, 0]
    return (folded >> np.uint64(1)).astype(np.int64) ^ -(folded & np.uint64(1)).astype(np.int64)


def told(said: Sequence[Any], order: Ints) -> list[Any]:
    """Values in this order as JSON: where none is a list by the number of each different one; lists of numbers by their bits."""
    kinds = set(map(type, said))
    if list not in kinds:
        places = {key: at for at, key in enumerate(dict.fromkeys(zip(map(type, said), said, strict=True)))}
        codes = np.array([places[key] for key in zip(map(type, said), said, strict=True)], dtype=np.int64)
        return ["few", [value for _, value in places], packed(codes[order])]
    if kinds == {list} and set(map(type, chain.from_iterable(said))) == {float} and len(set(map(len, said))) == 1:
        exact = np.array(said, dtype=np.float64)[order]
        with np.errstate(over="ignore"):
            short = exact.astype(np.float32)
        single = bool((short == exact).all())
        bits = short.view(np.int32).astype(np.int64) if single else exact.view(np.int64)
        return ["floats", 32 if single else 64, exact.shape[1], packed(bits.T.ravel())]
    return ["plain", [said[at] for at in order.tolist()]]


def read(given: Sequence[Any]) -> list[Any]:
    """What `told` gave."""
    form, *rest = given
    if form == "few":
        values = list(rest[0])
        return [values[code] for code in unpacked(rest[1]).tolist()]
    if form == "floats":
        bits = unpacked(rest[2]).reshape(rest[1], -1).T
        floats = (
            bits.astype(np.int32).view(np.float32) if rest[0] == 32 else np.ascontiguousarray(bits).view(np.float64)
        )
        found: list[Any] = floats.astype(np.float64).tolist()
        return found
    if form != "plain":
        raise ValueError("expected values in one of three forms")
    return list(rest[0])
