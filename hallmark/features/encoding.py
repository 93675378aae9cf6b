"""A model's feature code at work: assets loaded once, raw columns in, the model's named inputs out."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from hallmark.errors import ModelRefused
from hallmark.features.fields import Columns

Tensor = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "FP32", "FP64", "BYTES"
]
_NUMPY: dict[str, Any] = {
    "BOOL": np.bool_,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
    **{
        name: np.dtype(name.lower())
        for name in ("UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64")
    },
}


class Input(BaseModel):
    """One input of the ONNX model, as `encode` gives it.

    shape: per record, without the batch, None for a side that varies from batch to batch; none where it is not checked.
    """

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")

    name: str = "input"
    datatype: Tensor = "FP32"
    shape: tuple[int | None, ...] | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy type that it takes; strings are objects."""
        dtype: np.dtype[Any] = np.dtype(_NUMPY[self.datatype])
        return dtype


class Features:
    """Functions of a features.py, with the result of its `load` on the model's assets, where it has one.

    load(assets: Mapping[str, bytes]) is called once; `encode`, `observe` and `embed` then take what it gives as second argument.
    """

    def __init__(
        self, module: ModuleType, *, inputs: Sequence[Input] = (Input(),), assets: Mapping[str, bytes] | None = None
    ) -> None:
        self._wanted = [(each, each.name, each.dtype) for each in inputs]
        self._module = module
        self._more = loaded(module, assets or {})
        self._encode = module.encode
        self.observe: Callable[[Columns], Columns] | None = self._with_assets(getattr(module, "observe", None))
        self.embed: Callable[[Columns], NDArray[np.float32]] | None = self._with_assets(getattr(module, "embed", None))

    def encode(self, columns: Columns, *, rows: int | None = None) -> dict[str, NDArray[Any]]:
        """The model's inputs by name, (rows, …) each; raises what `encode` raises, `ModelRefused` where it gives something else."""
        if rows is None:
            rows = len(next(iter(columns.values())))
        return _checked(self._encode(columns, *self._more), self._wanted, rows)

    def part(self, function: str, *, inputs: Sequence[Input]) -> Features:
        """The same code and assets, of which `function` encodes, for another model; `ModelRefused` where there is none of that name."""
        found = getattr(self._module, function, None)
        if not callable(found):
            raise ModelRefused(
                "the model's feature code lacks a function",
                expected=f"{function} in features.py",
                got="none of that name",
                fix="write it, or have the retriever name another",
            )
        made = copy.copy(self)
        made._wanted = [(each, each.name, each.dtype) for each in inputs]
        made._encode = found
        return made

    def _with_assets(self, function: Any) -> Any:
        if not callable(function) or not self._more:
            return function if callable(function) else None
        return lambda columns: function(columns, *self._more)


def loaded(module: ModuleType, assets: Mapping[str, bytes]) -> tuple[Any, ...]:
    """Result of the module's `load` on the assets, empty where it has no `load`. `ModelRefused` where `load` fails."""
    load = getattr(module, "load", None)
    if not callable(load):
        return ()
    try:
        return (load(dict(assets)),)
    except Exception as error:  # whatever the model's own code raises while it loads
        raise ModelRefused(
            "the model's code cannot load its assets",
            expected="what load makes of " + (", ".join(sorted(assets)) or "no assets"),
            got=f"{type(error).__name__}: {error}",
        ) from error


def _checked(given: Any, wanted: Sequence[tuple[Input, str, np.dtype[Any]]], rows: int) -> dict[str, NDArray[Any]]:
    if not isinstance(given, Mapping):
        if len(wanted) != 1:
            raise _wrong("encode", "a mapping of " + ", ".join(name for _, name, _ in wanted), type(given).__name__)
        given = {wanted[0][1]: given}
    elif given.keys() != {name for _, name, _ in wanted}:
        raise _wrong("encode", ", ".join(name for _, name, _ in wanted), ", ".join(map(str, given)))
    return {name: _fitting(given[name], each, dtype, rows) for each, name, dtype in wanted}


def _fitting(array: Any, wanted: Input, dtype: np.dtype[Any], rows: int) -> NDArray[Any]:
    """The array if it is what the input takes; a narrower number or a wider float is made to be."""
    if not isinstance(array, np.ndarray):
        raise _wrong(wanted.name, f"an array of {dtype}", type(array).__name__)
    if array.dtype != dtype:
        near = array.dtype.kind == dtype.kind == "f" or (array.dtype.kind == "U" and dtype.kind == "O")
        if not near and (dtype.kind == "O" or not np.can_cast(array.dtype, dtype, "safe")):
            raise _wrong(wanted.name, f"an array of {dtype}", f"one of {array.dtype}")
        array = array.astype(dtype)
    made: NDArray[Any] = array
    if not array.ndim or len(array) != rows:
        raise _wrong(wanted.name, f"{rows} rows", f"shape {array.shape}")
    if wanted.shape is not None and not _alike(array.shape[1:], wanted.shape):
        raise _wrong(wanted.name, f"shape {wanted.shape} a record", f"shape {array.shape[1:]}")
    return made


def _alike(got: tuple[int, ...], wanted: tuple[int | None, ...]) -> bool:
    return len(got) == len(wanted) and all(one in (None, other) for one, other in zip(wanted, got, strict=True))


def _wrong(name: str, expected: str, got: str) -> ModelRefused:
    where = "encode" if name == "encode" else f"encode's {name}"
    return ModelRefused(
        f"{where} is not what the model takes", expected=expected, got=got, fix="mend the domain's features.py"
    )
