"""Evidently's report, as the job that it is, on windows that Evidently alone would choke on."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from hallmark.declaration.drift import Drift
from hallmark.drift import profile
from hallmark.drift.verdict import judge

ROOT = Path(__file__).parents[3]


def frame(rows: int, *, seed: int) -> dict[str, Any]:
    random = np.random.default_rng(seed)
    words = random.choice(np.array(["a", "b", "c"], dtype=object), rows, p=[0.5, 0.3, 0.2])
    return {
        "amount": random.lognormal(size=rows),
        "express": random.random(rows) < 0.2,
        "tier": words,
        "gone": random.random(rows),
        "empty": random.random(rows),
        "score": random.random(rows).astype(np.float32),
    }


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    path = tmp_path / "reference.parquet"
    pd.DataFrame(frame(500, seed=1)).to_parquet(path)
    return path


def run(reference: Path, window: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    output = reference.with_name("report.html")
    command = [sys.executable, "-m", "hallmark.drift.report", "--reference", str(reference), "--output", str(output)]
    return subprocess.run(command, input=window, capture_output=True, text=True, cwd=ROOT), output


@pytest.mark.slow
def test_a_window_with_every_trouble_becomes_a_page_with_the_verdict_and_evidentlys_numbers(reference: Path) -> None:
    window = frame(400, seed=2)
    window["express"] = np.array(["true"] * 300 + ["false"] * 100, dtype=object)
    window["empty"] = np.full(400, None, dtype=object)
    window["amount"] = window["amount"].astype(object)
    window["amount"][:4] = [1e6, "x", None, float("inf")]
    del window["gone"]
    learned = profile.build(frame(5000, seed=1))
    verdict = judge(learned, window, Drift())
    columns = {
        name: [None if value == float("inf") else value for value in values.tolist()] for name, values in window.items()
    }
    columns["stranger"] = [1] * 400
    done, output = run(reference, json.dumps({"columns": columns, "verdict": verdict.model_dump()}))
    assert (done.returncode, done.stderr) == (0, "")
    text = output.read_text(encoding="utf-8")
    head = text[text.index("<section") : text.index("</section>")]
    assert "400 rows of the window against 500 of the reference" in head and ">DRIFT</b>" in head
    for words in ("gone: the column is missing", "gone: the window has no such column"):
        assert words in head
    assert "empty: the window has no value at all" in head and "stranger: not in the reference" in head
    express = next(column for column in verdict.columns if column.name == "express")
    assert f"{express.psi:.3f}" in head
    assert len(text) > 1_000_000 and re.search(r"Drift is detected for", text)
    assert not list(output.parent.glob(".*"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("window", "words"),
    [
        ('{"columns": {}}', "nothing to report on"),
        ('{"columns": {"amount": []}}', "nothing to report on"),
        ('{"columns": {"amount": [1, 2], "tier": ["a"]}}', "the window is ragged"),
        ("{", "expected a window with columns"),
        ("[]", "expected a window with columns"),
        ('{"rows": 1}', "expected a window with columns"),
    ],
)
def test_what_is_no_window_is_said_in_a_line(reference: Path, window: str, words: str) -> None:
    done, output = run(reference, window)
    assert done.returncode == 1 and words in done.stderr and "Traceback" not in done.stderr
    assert not output.exists()


def test_a_window_without_any_value_is_a_page_without_evidently(reference: Path) -> None:
    done, output = run(reference, json.dumps({"columns": {"amount": [None] * 30}}))
    assert done.returncode == 0 and "amount: the window has no value at all" in output.read_text(encoding="utf-8")
