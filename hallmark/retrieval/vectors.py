"""Vectors as an index takes them: finite, of one dimension, never nothing; written and read in blocks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hallmark.errors import ContractBroken, ModelRefused

BLOCK = 8192
"""Rows that are read or written at a time."""


def checked(given: ArrayLike, dimension: int, *, normalised: bool, what: str = "vectors") -> NDArray[np.float32]:
    """(n, dimension) float32, each of length 1 where `normalised`; `ContractBroken` where one is not finite, or nothing."""
    vectors = np.ascontiguousarray(given, dtype=np.float32)
    if vectors.ndim == 1:
        vectors = vectors[None]
    if vectors.ndim != 2 or vectors.shape[1] != dimension:
        raise ContractBroken(
            f"{what} have another shape than the index", expected=f"(n, {dimension})", got=str(vectors.shape)
        )
    if len(vectors) == 1 and 1e-12 < (square := float(vectors[0] @ vectors[0])) < 1e30:
        return vectors / np.float32(square**0.5) if normalised else vectors
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64))
    wrong = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 1e-30)))
    if len(wrong):
        raise ContractBroken(
            f"{len(wrong)} of {len(vectors)} {what} cannot be compared",
            expected="finite numbers, not all of them 0",
            got=f"number {wrong[0]} has length {lengths[wrong[0]]}",
            fix="see what the encoder answers for that item",
        )
    return (vectors / lengths[:, None]).astype(np.float32) if normalised else vectors


class Writer:
    """A .npy file of rows that are added within a `with`, so that no more than a block is in memory."""

    def __init__(self, path: Path, width: int, dtype: Any = np.float32) -> None:
        self.count, self._width, self._dtype = 0, width, np.dtype(dtype)
        self._stream: BinaryIO = path.open("wb")
        self._header()

    def add(self, rows: NDArray[Any]) -> None:
        """Write rows (n, width)."""
        self._stream.write(np.ascontiguousarray(rows, dtype=self._dtype).data)
        self.count += len(rows)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Write how many rows there are."""
        with self._stream:
            self._stream.seek(0)
            self._header()

    def _header(self) -> None:
        shape = (self.count, self._width)
        described = {"descr": np.lib.format.dtype_to_descr(self._dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(self._stream, described)


def blocks(path: Path, *, expected: str | None = None, rows: int = BLOCK) -> Iterator[NDArray[Any]]:
    """The rows of a .npy file, a block at a time; each block is good until the next.

    expected: the digest of the file's bytes: `ModelRefused` after the last block where it is another.
    """
    with path.open("rb") as stream:
        sha = hashlib.sha256()
        shape, dtype = header(stream, path)
        at = stream.tell()
        stream.seek(0)
        sha.update(stream.read(at))
        buffer = np.empty((rows, *shape[1:]), dtype=dtype)
        width = buffer[:1].nbytes
        for first in range(0, shape[0], rows):
            count = min(rows, shape[0] - first)
            view = buffer.reshape(-1).view(np.uint8).data[: count * width]
            if stream.readinto(view) != count * width:
                raise ModelRefused(f"{path.name} of the index is cut off", expected=f"{shape[0]} rows", got=f"{first}")
            sha.update(view)
            yield buffer[:count]
        sha.update(stream.read())
    if expected is not None and f"sha256:{sha.hexdigest()}" != expected:
        raise ModelRefused(f"{path.name} of the index was changed", expected=expected, got=f"sha256:{sha.hexdigest()}")


def header(stream: BinaryIO, path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of the rows of a .npy file, whose bytes of values come next."""
    try:
        version = np.lib.format.read_magic(stream)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, fortran, dtype = read(stream)
    except ValueError as error:
        raise ModelRefused(
            f"{path.name} of the index cannot be read", expected="a .npy file", got=str(error)
        ) from error
    if fortran or dtype.hasobject or not shape:
        raise ModelRefused(f"{path.name} of the index is never loaded", expected="rows of numbers", got=f"{dtype}")
    return shape, dtype
