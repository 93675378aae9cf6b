"""Records' values as the columns that `encode` reads, and back as they travel: one form in training, server and monitor."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.features.fields import Field
from hallmark.section import EXACT


class Misfit(ValueError):
    """A record whose value is not of its field's form; `row` is its place in the batch."""

    def __init__(self, row: int, reason: str) -> None:
        super().__init__(f"row {row}: {reason}")
        self.row = row
        self.reason = reason


def objects(values: Sequence[Any]) -> NDArray[Any]:
    """(n,) the values as they are, also where they are lists or arrays of one length."""
    return np.fromiter(values, dtype=np.object_, count=len(values))


def column(values: Sequence[Any], field: Field) -> NDArray[Any]:
    """The column of one value a record, nested lists or arrays where a record holds many; or `Misfit`.

    None, NaN and pandas.NA are missing; an empty string is too, where the field may miss one. Ranges, categories and lengths
    are not looked at here.
    """
    if field.varies:
        return objects([_varying(value, field, row) for row, value in enumerate(values)])
    if not field.shape and field.optional:
        return _scalars(values, field)
    out = empty(field, len(values))
    for row, value in enumerate(values):
        if not (field.optional and _is_nothing(value)):
            out[row] = _fixed(value, field, row)
    return out


def empty(field: Field, rows: int) -> NDArray[Any]:
    """A column in which everything is missing; of a field where nothing may be, one of zeros or None to be filled."""
    if field.varies:
        return objects([np.empty((0, *field.rest), dtype=field.dtype)] * rows)
    if field.datatype == "BYTES":
        return np.full((rows, *field.rest), None, dtype=np.object_)
    return np.full((rows, *field.rest), np.nan if field.optional else 0, dtype=field.dtype)


def absent(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Mask of missing values in the shape of `values`: NaN of numbers; None, NaN and the empty of strings and photos."""
    if values.dtype.kind == "f":
        return np.asarray(np.isnan(values), dtype=np.bool_)
    if values.dtype.kind != "O":
        return np.zeros(values.shape, dtype=np.bool_)
    found = [_is_nothing(value) or value == "" or value == b"" for value in values.ravel().tolist()]
    return np.array(found, dtype=np.bool_).reshape(values.shape)


def trimmed(padded: NDArray[Any], field: Field) -> NDArray[Any]:
    """The column of a field whose first axis varies, of `padded` (n, k, *rest); what is missing at a record's end is padding.

    `Misfit` for padding before a value, for half a value, and for a record of nothing where the field is not optional.
    """
    rows, most = padded.shape[:2]
    gone = absent(padded).reshape(rows, most, math.prod(field.rest))
    all_gone = gone.all(axis=2)
    lengths = (~all_gone).sum(axis=1)
    for wrong, reason in (
        ((all_gone != gone.any(axis=2)).any(axis=1), "a value is there in part"),
        ((all_gone != (np.arange(most) >= lengths[:, None])).any(axis=1), "padding before a value"),
        ((lengths == 0) & (not field.optional), f"expected 1 to {field.at_most} values"),
    ):
        if wrong.any():
            raise Misfit(int(wrong.argmax()), reason)
    return objects([_cast(padded[row, :length], field, row) for row, length in enumerate(lengths.tolist())])


def flat(values: NDArray[Any], field: Field) -> tuple[list[int], list[Any]]:
    """Shape and flat values of a column as they travel in JSON: numbers of the declared type, None where there is nothing.

    A field whose first axis varies is as long as its longest record; the others are filled up with None, BYTES with "".
    """
    if not field.varies:
        found = values.ravel().tolist()
        return list(values.shape), [_declared(value, field) for value in found] if field.optional else found
    most = max((len(value) for value in values), default=0)
    padding = ["" if field.datatype == "BYTES" else None] * math.prod(field.rest)
    out: list[Any] = []
    for value in values:
        out += value.ravel().tolist()
        out += padding * (most - len(value))
    return [len(values), most, *field.rest], out


def photos(values: NDArray[Any]) -> list[tuple[int, int, Any]]:
    """Every photo of a column, after its row and its place there; those that are missing are left out."""
    found = []
    for row, value in enumerate(values):
        inner = value.ravel().tolist() if isinstance(value, np.ndarray) else (value,)
        found += [(row, place, photo) for place, photo in enumerate(inner) if photo is not None]
    return found


def _scalars(values: Sequence[Any], field: Field) -> NDArray[Any]:
    """(n,) of an optional field with one value a record, in one go."""
    found = [None if _is_nothing(value) else value for value in values]
    for row, value in enumerate(found):
        if value is not None and not _suits(value, field):
            raise Misfit(row, f"expected {_kind(field)}, got {type(value).__name__}")
    if field.datatype == "BYTES":
        return objects([value or None for value in found])
    out = np.full(len(found), np.nan, dtype=field.dtype)
    there = np.array([value is not None for value in found], dtype=np.bool_)
    try:
        out[there] = _cast(objects([value for value in found if value is not None]), field, 0)
    except Misfit:
        return np.array([np.nan if value is None else _fixed(value, field, row) for row, value in enumerate(found)])
    return out


def _varying(value: Any, field: Field, row: int) -> NDArray[Any]:
    """(k, *rest) of one record, without the padding at its end."""
    if value is None and field.optional:
        return np.empty((0, *field.rest), dtype=field.sent)
    plain = _plain(value, field)
    if plain is not None:
        return plain
    given = _array([] if _is_nothing(value) else value, field, row)
    if given.ndim and not given.size:
        given = given.reshape(0, *field.rest)
    if given.ndim != 1 + len(field.rest) or given.shape[1:] != field.rest or len(given) > (field.at_most or 0):
        sides = ", ".join(map(str, (f"up to {field.at_most}", *field.rest)))
        raise Misfit(row, f"expected shape [{sides}], got {_got(given)}")
    try:
        return np.asarray(trimmed(given[None], field)[0])
    except Misfit as error:
        raise Misfit(row, error.reason) from None


def _plain(value: Any, field: Field) -> NDArray[Any] | None:
    """A record's words, or numbers in their declared type, where they need no looking at one by one: nothing is missing or padding."""
    if (
        field.rest
        or field.media == "image"
        or not isinstance(value, list | np.ndarray)
        or not 0 < len(value) <= (field.at_most or 0)
    ):
        return None
    if field.datatype == "BYTES":
        found = value if isinstance(value, list) else value.tolist()
        return objects(found) if all(type(each) is str and each for each in found) else None
    if not isinstance(value, np.ndarray) or value.dtype != field.sent or value.ndim != 1:
        return None
    return None if value.dtype.kind == "f" and np.isnan(value).any() else value


def _fixed(value: Any, field: Field, row: int) -> Any:
    """One record's value, of shape `rest`."""
    given = _array(value, field, row)
    if given.shape != field.rest:
        raise Misfit(row, f"expected shape {list(field.rest)}, got {_got(given)}")
    if not field.optional:
        if any(map(_is_nothing, given.ravel().tolist())):
            raise Misfit(row, "a value is missing")
        return _cast(given, field, row)[()]
    gone = absent(given)
    out = np.full(field.rest, None if field.datatype == "BYTES" else np.nan, dtype=field.dtype)
    out[~gone] = _cast(given[~gone], field, row)
    return out[()]


def _array(value: Any, field: Field, row: int) -> NDArray[Any]:
    """The value of one record as an array: of objects, unless it came as an array of numbers."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and field.datatype != "BYTES":
        return value
    nested = _lists(value)
    shape, leaves = _shape(nested), list(_leaves(nested))
    if len(leaves) != math.prod(shape):
        raise Misfit(row, "lists of unequal length")
    for leaf in leaves:
        if not (_is_nothing(leaf) or _suits(leaf, field)):
            raise Misfit(row, f"expected {_kind(field)}, got {type(leaf).__name__}")
    return objects([None if _is_nothing(leaf) else leaf for leaf in leaves]).reshape(shape)


def _cast(values: NDArray[Any], field: Field, row: int) -> NDArray[Any]:
    """Values of which none is missing, in the type that the field declares; or `Misfit` where that would change them."""
    if values.dtype == field.sent:
        return values
    try:
        with np.errstate(invalid="ignore", over="ignore"):
            made: NDArray[Any] = values.astype(field.sent)
    except OverflowError:
        raise Misfit(row, f"expected {_kind(field)}, got a larger number") from None
    if field.datatype.startswith("INT"):
        if (made.astype(np.float64) != values.astype(np.float64)).any():
            raise Misfit(row, f"expected {_kind(field)}, got another number")
        if field.dtype == np.float64 and (np.abs(made.astype(np.float64)) > EXACT).any():
            raise Misfit(row, "expected a whole number within 2**53, since it may be missing")
    return made


def _declared(value: Any, field: Field) -> Any:
    if _is_nothing(value):
        return None
    if field.datatype == "BOOL":
        return bool(value)
    return int(value) if field.datatype.startswith("INT") else value


def _lists(value: Any) -> Any:
    """Arrays and tuples within as lists; a single value as it is."""
    if isinstance(value, np.ndarray) and not value.ndim:
        return value.item()
    return [_lists(each) for each in value] if isinstance(value, list | tuple | np.ndarray) else value


def _shape(nested: Any) -> tuple[int, ...]:
    if not isinstance(nested, list):
        return ()
    return (len(nested), *(_shape(nested[0]) if nested else ()))


def _leaves(nested: Any) -> Iterator[Any]:
    if not isinstance(nested, list):
        yield nested
        return
    for each in nested:
        yield from _leaves(each)


def _is_nothing(value: Any) -> bool:
    if isinstance(value, float | np.floating):
        return math.isnan(value)
    return value is None or type(value).__name__ == "NAType"


def _suits(value: Any, field: Field) -> bool:
    if field.datatype == "BYTES":
        return isinstance(value, bytes if field.media == "image" else str)
    if field.datatype == "BOOL":
        return isinstance(value, bool | int | float | np.bool_ | np.number) and value in (0, 1)
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def _kind(field: Field) -> str:
    return "the bytes of a photo" if field.media == "image" else "text" if field.datatype == "BYTES" else field.datatype


def _got(given: NDArray[Any]) -> str:
    return f"shape {list(given.shape)}" if given.ndim else "a single value"
