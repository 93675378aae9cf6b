"""Optional, free-text and varying fields in a data set: what the contract allows, and what Parquet gives back."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hallmark.data import contract, dataset, table
from hallmark.drift import profile
from hallmark.errors import ContractBroken
from hallmark.features.fields import Field
from hallmark.learners.model import columns

FIELDS = (
    Field(name="price", datatype="FP64", minimum=0, optional=True),
    Field(name="stock", datatype="INT64", minimum=0, optional=True),
    Field(name="gift", datatype="BOOL", optional=True),
    Field(name="brand", datatype="BYTES", categories=("acme", "zeta"), optional=True),
    Field(name="title", datatype="BYTES", media="text", longest=10),
    Field(name="views", datatype="BYTES", media="image", shape=(None,), at_most=2),
    Field(name="sizes", datatype="INT32", shape=(None, 2), at_most=3, minimum=1, optional=True),
    Field(name="vector", datatype="FP32", shape=(2,)),
)


def photo() -> bytes:
    stream = BytesIO()
    Image.new("RGB", (8, 8)).save(stream, "PNG")
    return stream.getvalue()


def frame(**changes: list[Any]) -> pd.DataFrame:
    view = photo()
    values: dict[str, list[Any]] = {
        "price": [1.5, None, 3.0],
        "stock": [3, None, 5],
        "gift": [True, None, False],
        "brand": ["acme", None, "zeta"],
        "title": ["coat", "", "hat"],
        "views": [[view], [view, view], [view]],
        "sizes": [[[1, 2]], None, np.array([[1, 2], [3, 4]])],
        "vector": [[0.5, 1], np.array([1.5, 2]), [2.5, 3]],
    }
    return pd.DataFrame({**values, **changes})


def test_what_may_be_missing_may_be_missing_in_every_way(tmp_path: Path) -> None:
    schema = contract.frame_schema(FIELDS)
    given = frame()
    assert contract.breaches(schema, given) == ()
    dataset.write(given, tmp_path / "data.parquet")
    read = dataset.read(tmp_path / "data.parquet")
    assert contract.breaches(schema, read) == ()
    for one in (given, read, given.convert_dtypes()):
        found = columns(one, FIELDS)
        np.testing.assert_array_equal(found["stock"], [3, np.nan, 5])
        np.testing.assert_array_equal(found["gift"], [1, np.nan, 0])
        assert found["brand"].tolist() == ["acme", None, "zeta"]
        assert [len(each) for each in found["views"]] == [1, 2, 1]
        assert [each.tolist() for each in found["sizes"]] == [[[1, 2]], [], [[1, 2], [3, 4]]]
        assert found["vector"].dtype == np.float32 and found["vector"].shape == (3, 2)


@pytest.mark.parametrize(
    ("name", "values", "rule"),
    [
        ("price", [1.5, -1.0, None], "at least 0"),
        ("stock", [3, 2.5, None], "INT64, at least 0"),
        ("stock", [3, "x", None], "INT64, at least 0"),
        ("gift", [True, "yes", None], "BOOL"),
        ("brand", ["acme", "other", None], "one of acme, zeta"),
        ("title", ["coat", None, "hat"], "filled"),
        ("title", ["a coat that is long", "b", "c"], "at most 10 characters"),
        ("views", [[photo()], [], [photo()]], "BYTES of shape [up to 2], photos"),
        ("views", [[photo()], [b"GIF"], [photo()]], "BYTES of shape [up to 2], photos"),
        ("sizes", [[[1, 2]], [[1, 0]], None], "INT32 of shape [up to 3, 2], at least 1"),
        ("vector", [[1, 2], None, [1, 2]], "filled"),
        ("vector", [[1, 2], [1, float("inf")], [1, 2]], "FP32 of shape [2]"),
    ],
)
def test_a_breach_says_column_rule_and_rows(name: str, values: list[Any], rule: str) -> None:
    found = contract.breaches(contract.frame_schema(FIELDS), frame(**{name: values}))
    assert [(breach.column, breach.rows) for breach in found] == [(name, 1)]
    assert found[0].rule.startswith(rule)


def test_columns_name_what_does_not_fit() -> None:
    with pytest.raises(ContractBroken, match=r"(?s)column vector is not what FIELDS declares.*row 1"):
        columns(frame(vector=[[1, 2], [1], [1, 2]]), FIELDS)


def test_a_csv_may_leave_values_out(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    path.write_text("price,stock,gift,brand\n1.5,3,true,acme\n,,,\n", encoding="utf-8")
    fields = FIELDS[:4]
    read = table.read(path, {field.name: field.datatype for field in fields})
    assert contract.breaches(contract.frame_schema(fields), read) == ()
    found = columns(read, fields)
    assert [found[name][0] for name in ("price", "stock", "gift", "brand")] == [1.5, 3, 1, "acme"]
    assert [pd.isna(found[name][1]) for name in ("price", "stock", "gift", "brand")] == [True] * 4


def test_the_profile_counts_what_is_missing() -> None:
    found = columns(frame(), FIELDS)
    made = profile.build({name: found[name] for name in ("price", "stock", "gift", "brand")})
    assert [round(column.missing, 2) for column in made.columns] == [0.33] * 4
