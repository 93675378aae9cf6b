"""Labels from a file, in the form that each task understands, or an error that names the row."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pydantic import TypeAdapter

from hallmark.cli import labels
from hallmark.errors import DeclarationError
from hallmark.tasks.kinds import Task


def sent(file: Path, **task: Any) -> list[Any]:
    """The labels of a file, as they are sent."""
    made: Any = TypeAdapter(Task).validate_python(task)
    return [row["label"] for row in labels._events(labels._read(file, task=made))]


def written(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "labels.csv"
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("binary", "request,label\na,1\nb,0\n", [1, 0]),
        ("binary", "request,label\na,1.0\nb,0.0\n", [1, 0]),
        ("multiclass", "request,label\na,coats\nb,17\n", ["coats", "17"]),
        ("multiclass", "request,label\na,1\nb,2\n", ["1", "2"]),
        ("regression", "request,label\na,12.5\nb,-3\n", [12.5, -3.0]),
        ("regression", "request,label,censored\na,12.5,true\nb,3,\n", [{"label": 12.5, "censored": True}, 3.0]),
        ("ranking", "request,row,label\na,0,2\na,1,0\n", [2, 0]),
        ("retrieval", 'request,label\na,"[""i1"", ""i2""]"\nb,i7\nc,7\n', [["i1", "i2"], "i7", "7"]),
        (
            "uplift",
            "request,label,treatment,propensity\na,1,0,0.5\n",
            [{"label": 1, "treatment": 0, "propensity": 0.5}],
        ),
    ],
)
def test_a_csv_says_what_each_task_asks_for(tmp_path: Path, kind: str, text: str, expected: list[Any]) -> None:
    assert sent(written(tmp_path, text), kind=kind) == expected


@pytest.mark.parametrize(
    ("kind", "text", "named"),
    [
        ("binary", "request,label\na,1\nb,maybe\n", "'maybe' in row 2"),
        ("regression", "request,label\na,dear\n", "expected: a number"),
        ("ranking", "request,label\na,-1\n", "a relevance of 0 or more"),
        ("uplift", "request,label\na,1\n", "treatment"),
    ],
)
def test_what_says_nothing_to_a_task_is_named_with_its_row(tmp_path: Path, kind: str, text: str, named: str) -> None:
    with pytest.raises(DeclarationError) as caught:
        sent(written(tmp_path, text), kind=kind)
    assert named in str(caught.value)


def test_a_label_of_one_record_of_several_says_which(tmp_path: Path) -> None:
    task: Any = TypeAdapter(Task).validate_python({"kind": "ranking"})
    frame = labels._read(written(tmp_path, "request,row,label\na,0,2\na,1,0\n"), task=task)
    assert [(row["request"], row["row"]) for row in labels._events(frame)] == [("a", 0), ("a", 1)]


def test_parquet_keeps_lists_and_numbers(tmp_path: Path) -> None:
    file = tmp_path / "labels.parquet"
    pd.DataFrame({"request": ["a", "b"], "label": [["i1", "i2"], ["i3"]]}).to_parquet(file)
    assert sent(file, kind="retrieval") == [["i1", "i2"], ["i3"]]
