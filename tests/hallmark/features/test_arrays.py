"""Records' values as columns: what is missing, what varies, and what does not fit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hallmark.features import arrays, image
from hallmark.features.fields import Field


def field(datatype: Any, **more: Any) -> Field:
    return Field(name="it", datatype=datatype, **more)


def test_numbers_that_are_missing_are_nan() -> None:
    for kind, values in (("INT64", [3, None, 2**53]), ("BOOL", [True, pd.NA, False]), ("FP64", [1.5, math.nan, -1.0])):
        found = arrays.column(values, field(kind, optional=True))
        assert found.dtype == np.float64
        assert np.isnan(found).tolist() == [False, True, False]
        assert [found[0], found[2]] == [values[0], values[2]]


def test_strings_that_are_missing_are_none() -> None:
    assert arrays.column(["a", None, "", math.nan], field("BYTES", optional=True)).tolist() == ["a", None, None, None]
    assert arrays.column(["a", ""], field("BYTES")).tolist() == ["a", ""]


def test_a_fixed_shape_may_miss_a_record_or_a_value() -> None:
    found = arrays.column([[1, 2], None, [None, 4]], field("INT32", shape=(2,), optional=True))
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, [[1, 2], [math.nan, math.nan], [math.nan, 4]])
    sides = arrays.column([[b"x", b""], None], field("BYTES", media="image", shape=(2,), optional=True))
    assert sides.tolist() == [[b"x", None], [None, None]]


def test_a_varying_axis_is_an_array_a_record() -> None:
    sizes = field("INT32", shape=(None, 2), at_most=3)
    nested = np.empty(1, dtype=object)
    nested[0] = np.array([5, 6])
    found = arrays.column([[[1, 2]], np.array([[1, 2], [3, 4]]), nested, ((7, 8), (None, None))], sizes)
    assert [one.tolist() for one in found] == [[[1, 2]], [[1, 2], [3, 4]], [[5, 6]], [[7, 8]]]
    assert {one.dtype for one in found} == {np.dtype(np.int32)}
    tags = arrays.column([None, [], ["a", ""], ["a", "b"]], field("BYTES", shape=(None,), at_most=2, optional=True))
    assert [one.tolist() for one in tags] == [[], [], ["a"], ["a", "b"]]
    ids = arrays.column([[2**60 + 1]], field("INT64", shape=(None,), at_most=1))
    assert ids[0].tolist() == [2**60 + 1]


@pytest.mark.parametrize(
    ("declared", "values", "reason"),
    [
        (field("INT64", optional=True), [1, 1.5], "row 1: expected INT64, got another number"),
        (field("INT64", optional=True), [1, 2**53 + 2], "row 1: expected a whole number within"),
        (field("INT32", optional=True), [2**40], "row 0: expected INT32"),
        (field("INT64", optional=True), [None, "7"], "row 1: expected INT64, got str"),
        (field("BOOL", optional=True), [2], "row 0: expected BOOL, got int"),
        (field("BYTES", optional=True), [b"x"], "row 0: expected text, got bytes"),
        (field("FP32", shape=(2,)), [[1, None]], "row 0: a value is missing"),
        (field("FP32", shape=(2,)), [None], r"row 0: expected shape \[2\], got a single value"),
        (field("FP32", shape=(2, 2)), [[[1, 2], [3]]], "row 0: lists of unequal length"),
        (field("FP32", shape=(None,), at_most=2), [[1], []], "row 1: expected 1 to 2 values"),
        (field("FP32", shape=(None,), at_most=2), [[1, 2, 3]], r"row 0: expected shape \[up to 2\], got shape \[3\]"),
        (field("FP32", shape=(None,), at_most=2), [[None, 2]], "row 0: padding before a value"),
        (field("FP32", shape=(None, 2), at_most=2), [[[None, 2]]], "row 0: a value is there in part"),
        (field("BYTES", media="image", shape=(None,), at_most=2), [["x"]], "expected the bytes of a photo, got str"),
    ],
)
def test_what_does_not_fit_names_the_row(declared: Field, values: list[Any], reason: str) -> None:
    with pytest.raises(arrays.Misfit, match=reason):
        arrays.column(values, declared)


def test_an_empty_column_is_all_missing() -> None:
    assert np.isnan(arrays.empty(field("BOOL", optional=True), 2)).all()
    assert [one.shape for one in arrays.empty(field("FP32", shape=(None, 3), at_most=2, optional=True), 2)] == [
        (0, 3)
    ] * 2


def test_a_photo_that_is_not_there_is_the_mean_colour_and_has_no_statistics() -> None:
    assert not image.batch([None], size=(8, 8)).any()
    assert all(np.isnan(values).all() for values in image.statistics([None]).values())
    assert np.isnan(image.descriptors([None])).all()


@pytest.mark.parametrize(
    "values", [[], [None, "a", b"x", 1.5], [[1], [2]], [[1, 2], [3, 4]], [np.zeros(2), np.ones(2)], [np.zeros(())]]
)
def test_objects_are_the_values_themselves_also_lists_of_one_length(values: list[Any]) -> None:
    found = arrays.objects(values)
    assert (found.dtype, found.shape) == (np.object_, (len(values),))
    assert all(each is value for each, value in zip(found, values, strict=True))
