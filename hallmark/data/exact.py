"""Values of a column as a declared kind: exactly, or named one by one as what is not of it.

Nothing is rounded but a decimal fraction to the nearest double (to the nearest float32 where FP32 is declared), which is what
a number in a file means.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from hallmark.data.reading import ReadingOptions
from hallmark.section import EXACT

TIME = "TIME"
"""Beside the datatypes of `hallmark.features.fields`: a time with a zone, to the microsecond."""
UTC = "UTC"
"""The same, where a time without a zone, or a day, is one in UTC."""

RULES = {
    "BOOL": "true or false",
    "INT32": "a whole number (int32)",
    "INT64": "a whole number (int64)",
    "FP32": "a number (float32)",
    "FP64": "a number (float64)",
    "BYTES": "text",
    TIME: "a time with its zone, to the microsecond (2026-10-31T08:00:00Z)",
    UTC: "a time, to the microsecond (2026-10-31T08:00:00Z)",
}
STAMP = pa.timestamp("us", "UTC")
_FLOATS = {"FP32": pa.float32(), "FP64": pa.float64()}
_INTEGERS = {"INT32": pa.int32(), "INT64": pa.int64()}
_UNKNOWN = pa.scalar(datetime(2038, 1, 1), pa.timestamp("us"))
_ISO = r"^\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6}0*)?)?)?$"
_ZONED = r"^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,6}0*)?)?(?:Z|[+-]\d\d:?\d\d)$"


class Exact(NamedTuple):
    """A column of its kind, and a mask of the values that are not of it (null in `values`); no mask where all are."""

    values: pa.Array
    bad: pa.Array | None = None


def exact(values: pa.Array, kind: str, options: ReadingOptions, *, declared: bool = True) -> Exact:
    """`values` as `kind`.

    declared: a whole number written 39.0 or true is one, 0 and 1 are false and true, and a whole number is text where that is
        declared; not where the kind is only guessed.
    """
    values = plain(values)
    if options.nulls is not None and _is_text(values.type):
        values = pc.if_else(
            pc.is_in(values, pa.array(options.nulls, values.type)), pa.scalar(None, values.type), values
        )
    if pa.types.is_nested(values.type):
        return Exact(values)  # a field with a shape: the contract looks at its values
    if kind in _INTEGERS:
        made = _integers(values, _INTEGERS[kind], options, declared)
    elif kind in _FLOATS:
        made = _numbers(values, _FLOATS[kind], options)
    elif kind == "BOOL":
        made = _truths(values, options, declared)
    elif kind == "BYTES":
        made = _texts(values, declared)
    else:
        made = _times(values, options if kind == TIME or options.timezone else _in_utc(options))
    bad = pc.and_(pc.is_null(made), pc.is_valid(values))
    if pa.types.is_floating(values.type):
        bad = pc.and_(bad, pc.fill_null(pc.invert(pc.is_nan(values)), True))
    return Exact(made, bad if pc.any(bad).as_py() else None)


def plain(values: Any) -> pa.Array:
    """One array without dictionaries, views and extensions, texts as large_string."""
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks() if values.num_chunks != 1 else values.chunk(0)
    if isinstance(values, pa.ExtensionArray):
        values = values.storage
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    return values.cast(pa.large_string()) if _is_text(values.type) else values


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def _nothing(values: pa.Array, type_: pa.DataType) -> pa.Array:
    return pa.nulls(len(values), type_)


def _where(mask: pa.Array, values: pa.Array) -> pa.Array:
    """The values where the mask is true, null elsewhere."""
    return pc.if_else(pc.fill_null(mask, False), values, pa.scalar(None, values.type))


def _within(values: pa.Array, low: Any, high: Any) -> pa.Array:
    return _where(pc.and_(pc.greater_equal(values, low), pc.less_equal(values, high)), values)


def _integers(values: pa.Array, target: pa.DataType, options: ReadingOptions, declared: bool) -> pa.Array:
    type_, half = values.type, 2 ** (target.bit_width - 1)
    if pa.types.is_null(type_):
        return values.cast(target)
    if pa.types.is_integer(type_):
        low, high = (0 if pa.types.is_unsigned_integer(type_) else -half), half - 1
        least = max(low, -(2 ** (type_.bit_width - 1))) if low else 0
        most = min(high, 2 ** (type_.bit_width - (1 if low else 0)) - 1)
        return _within(values, pa.scalar(least, type_), pa.scalar(most, type_)).cast(target)
    if pa.types.is_decimal(type_):
        wide = values.cast(pa.decimal256(76, type_.scale))  # has room for a digit more, which rounding may need
        whole = _where(pc.equal(wide, pc.round(wide)), wide).cast(pa.decimal256(76, 0))
        return _integers(whole.cast(pa.large_string()), target, options, declared)
    if pa.types.is_floating(type_) and declared:
        values = values.cast(pa.float64())
        return _within(
            _where(pc.equal(values, pc.floor(values)), values), max(-EXACT, -half), min(EXACT, half - 1)
        ).cast(target)
    if pa.types.is_boolean(type_) and declared:
        return values.cast(target)
    if not _is_text(type_):
        return _nothing(values, target)
    if declared and (words := _words(values, options)).null_count == values.null_count < len(values):
        return words.cast(target)
    mark = "," if options.decimal == "," else r"\."
    fraction = rf"(?:{mark}0*)?" if declared else ""
    text = pc.utf8_trim_whitespace(values)
    text = _where(pc.match_substring_regex(text, rf"^[+-]?\d{{1,30}}{fraction}$"), text)
    text = pc.replace_substring_regex(text, rf"^\+|{mark}0*$", "")
    try:
        return text.cast(target)
    except pa.ArrowInvalid:
        wide = text.cast(pa.decimal128(38, 0))
        return _within(wide, pa.scalar(-half, wide.type), pa.scalar(half - 1, wide.type)).cast(target)


def _numbers(values: pa.Array, target: pa.DataType, options: ReadingOptions) -> pa.Array:
    type_ = values.type
    if pa.types.is_null(type_):
        return values.cast(target)
    if pa.types.is_integer(type_):
        low = 0 if pa.types.is_unsigned_integer(type_) else max(-EXACT, -(2 ** (type_.bit_width - 1)))
        most = min(EXACT, 2 ** (type_.bit_width - (1 if low else 0)) - 1)
        return (
            _within(values, pa.scalar(low, type_), pa.scalar(most, type_)).cast(pa.float64()).cast(target, safe=False)
        )
    if pa.types.is_floating(type_):
        narrow = values.cast(pa.float64()).cast(target, safe=False)
        return _where(pc.or_(pc.invert(pc.is_inf(narrow)), pc.is_inf(values.cast(pa.float64()))), narrow)
    if pa.types.is_decimal(type_):
        return values.cast(pa.large_string()).cast(pa.float64()).cast(target, safe=False)
    if not _is_text(type_):
        return _nothing(values, target)
    mark = "," if options.decimal == "," else r"\."
    text = pc.utf8_trim_whitespace(values)
    text = _where(pc.match_substring_regex(text, rf"^[+-]?(?:\d+(?:{mark}\d*)?|{mark}\d+)(?:[eE][+-]?\d+)?$"), text)
    if options.decimal == ",":
        text = pc.replace_substring(text, ",", ".")
    made = pc.replace_substring_regex(text, r"^\+", "").cast(pa.float64())
    far = pc.fill_null(pc.greater_equal(pc.abs(made), float(EXACT)), False)
    if pc.any(far).as_py():
        kept = [
            not (is_far and _is_rounded(each)) for is_far, each in zip(far.to_pylist(), text.to_pylist(), strict=True)
        ]
        made = _where(pa.array(kept), made)
    return _numbers(made, target, options) if target != made.type else made


def _is_rounded(text: str) -> bool:
    """True for a whole number that a double does not hold, and for one beyond all doubles."""
    number = float(text)
    return number in (float("inf"), float("-inf")) or (text.lstrip("+-").isdigit() and int(text) != int(number))


def _truths(values: pa.Array, options: ReadingOptions, declared: bool) -> pa.Array:
    type_ = values.type
    if pa.types.is_boolean(type_):
        return values
    if pa.types.is_null(type_):
        return values.cast(pa.bool_())
    if _is_text(type_):
        words = _words(values, options)
        if declared and words.null_count > values.null_count:
            digits = pc.if_else(
                pc.equal(values, "1"), True, _where(pc.equal(values, "0"), pa.repeat(False, len(values)))
            )
            return digits if digits.null_count == values.null_count else words
        return words
    if declared and (pa.types.is_integer(type_) or pa.types.is_floating(type_)):
        return pc.equal(_where(pc.is_in(values, pa.array([0, 1]).cast(type_)), values), pa.scalar(1).cast(type_))
    return _nothing(values, pa.bool_())


def _words(values: pa.Array, options: ReadingOptions) -> pa.Array:
    """True and false where a text is one of their words, null elsewhere."""
    known = pc.is_in(values, pa.array([*options.true_words, *options.false_words], values.type))
    return _where(known, pc.is_in(values, pa.array(options.true_words, values.type)))


def _texts(values: pa.Array, declared: bool) -> pa.Array:
    type_ = values.type
    if _is_text(type_) or pa.types.is_binary(type_) or pa.types.is_large_binary(type_):
        return values
    whole = pa.types.is_integer(type_) or (pa.types.is_decimal(type_) and type_.scale == 0)
    if pa.types.is_null(type_) or (whole and declared):
        return values.cast(pa.large_string())
    return _nothing(values, pa.large_string())


def _in_utc(options: ReadingOptions) -> ReadingOptions:
    return options.model_copy(update={"timezone": "UTC"})


def _times(values: pa.Array, options: ReadingOptions) -> pa.Array:
    type_ = values.type
    if pa.types.is_null(type_):
        return values.cast(STAMP)
    if pa.types.is_date(type_):
        return _local(values.cast(pa.timestamp("us")), options)
    if pa.types.is_timestamp(type_):
        micro = pa.timestamp("us", type_.tz)
        coarse = values.cast(micro, safe=False)
        coarse = coarse if type_.unit != "ns" else _where(pc.equal(coarse.cast(type_), values), coarse)
        return coarse.cast(STAMP) if type_.tz else _local(coarse, options)
    if not _is_text(type_):
        return _nothing(values, STAMP)
    if options.time_format is not None:
        return _local(_parsed(values, format=options.time_format).cast(pa.timestamp("us")), options)
    zoned = _where(pc.match_substring_regex(values, _ZONED), values)
    made = _iso(zoned, STAMP)
    if options.timezone is None or made.null_count == values.null_count:
        return made
    bare = _where(pc.match_substring_regex(values, _ISO), values)
    return pc.coalesce(made, _local(_iso(bare, pa.timestamp("us")), options))


def _iso(text: pa.Array, target: pa.DataType) -> pa.Array:
    text = pc.replace_substring_regex(text, r"(\.\d{6})0+", r"\1")
    try:
        return text.cast(target)
    except pa.ArrowInvalid:  # a thirteenth month, an hour 25
        return _parsed(text, format="ISO8601").cast(target)


def _parsed(text: pa.Array, *, format: str) -> pa.Array:  # noqa: A002  the name that pandas has for it
    """Times in UTC as pandas reads them, null for what is none; of a format, only what is written so in full."""
    import pandas as pd

    made = pd.to_datetime(text.to_pandas(), format=format, utc=True, errors="coerce")
    found = pa.Array.from_pandas(made).cast(STAMP)
    return found if format == "ISO8601" else found.cast(pa.timestamp("us", "UTC")).cast(pa.timestamp("us"))


def _local(times: pa.Array, options: ReadingOptions) -> pa.Array:
    """Times without a zone as those of the named zone; null where none is named, and where the clock was put forward or back.

    Null from 2038 on too, but in UTC: arrow knows no summer time there.
    """
    if options.timezone is None:
        return _nothing(times, STAMP)
    if options.timezone == "UTC":
        return times.cast(STAMP)
    times = _where(pc.less(times, _UNKNOWN), times)
    first, last = (
        pc.assume_timezone(times, options.timezone, ambiguous=which, nonexistent=which)
        for which in ("earliest", "latest")
    )
    return _where(pc.equal(first, last), first).cast(STAMP)
