"""Evidently's report of a window against its model's reference, under the monitor's own verdict.

Evidently costs seconds and hundreds of megabytes, so this is a job: `python -m hallmark.drift.report --reference
reference.parquet --output report.html < window.json`, where the window is what the monitor's /window answers.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hallmark.declaration.drift import Drift
from hallmark.drift import profile
from hallmark.drift.verdict import Verdict
from hallmark.errors import HallmarkError
from hallmark.features.arrays import objects
from hallmark.libraries import unwarned

if TYPE_CHECKING:
    import pandas as pd

_STYLE = (
    "font:15px/1.5 system-ui,sans-serif;max-width:1100px;margin:24px auto;padding:16px 24px;"
    "border:1px solid #ccc;border-radius:6px;color:#222;background:#fff"
)
_COLOURS = {"OK": "#1a7f37", "DRIFT": "#b42318", "INSUFFICIENT": "#9a6700"}


def html(
    reference: Path,
    current_rows: Mapping[str, Sequence[Any]],
    path: Path,
    *,
    verdict: Verdict | None = None,
    title: str = "Drift",
) -> Path:
    """Write the report on `current_rows` (columns of one length) to `path`; `HallmarkError` where there is nothing to show."""
    import pandas as pd

    # In this thread: one of the reader's own that is still there when a short run ends takes the process down with it.
    before = pd.read_parquet(reference, use_threads=False, pre_buffer=False)
    rows = max((len(values) for values in current_rows.values()), default=0)
    if not rows or before.empty:
        raise HallmarkError(
            "there is nothing to report on",
            expected="rows in the window and in the reference",
            got=f"{rows} and {len(before)}",
            fix="send requests first",
        )
    old, new, notes = _aligned(before, current_rows, rows)
    part = path.with_name(f".{path.name}.part")
    try:
        threshold = Drift().threshold if verdict is None else verdict.threshold
        body = _evidently(old, new, part, threshold=threshold) if len(old.columns) else "<html><body></body></html>"
        start = body.index("<body")
        at = body.index(">", start) + 1
        part.write_text(body[:at] + _head(title, rows, len(before), verdict, notes) + body[at:], encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def main(arguments: Sequence[str] | None = None) -> int:
    """Read a window from standard input and write its report; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m hallmark.drift.report")
    parser.add_argument("--reference", type=Path, required=True, help="reference.parquet of the model's folder")
    parser.add_argument("--output", type=Path, required=True, help="the HTML file to write")
    parser.add_argument("--title", default="Drift")
    given = parser.parse_args(arguments)
    try:
        window = json.load(sys.stdin)
        verdict = Verdict.model_validate(window["verdict"]) if window.get("verdict") else None
        html(given.reference, dict(window["columns"]), given.output, verdict=verdict, title=given.title)
    except HallmarkError as error:
        sys.stderr.write(f"{error.message}: expected {error.expected}; got {error.got}\n")
        return error.exit_code
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        sys.stderr.write(
            f"expected a window with columns, as /window answers it; got {type(error).__name__}: {error}\n"
        )
        return 1
    return 0


def _aligned(
    before: pd.DataFrame, rows: Mapping[str, Sequence[Any]], count: int
) -> tuple[pd.DataFrame, pd.DataFrame, list[str]]:
    """Both sides in the same columns and types, and what Evidently cannot be shown (it raises, or says no drift)."""
    import pandas as pd

    old, new, notes = {}, {}, []
    for name in before.columns:
        values = before[name].to_numpy()
        number = profile.build({name: values}).columns[0].kind == "number"
        if name not in rows:
            notes.append(f"{name}: the window has no such column")
            continue
        if len(rows[name]) != count:
            raise HallmarkError("the window is ragged", expected=f"{count} values of {name}", got=str(len(rows[name])))
        got = objects(list(rows[name]))
        read = profile.numbers if number else profile.words
        first, second = pd.Series(read(values)), pd.Series(read(got))
        if first.isna().all() or second.isna().all():
            side = "window" if second.isna().all() else "reference"
            notes.append(f"{name}: the {side} has no value at all")
            continue
        missing = (float(first.isna().mean()), float(second.isna().mean()))
        if abs(missing[1] - missing[0]) > 0.01:
            notes.append(f"{name}: {missing[1]:.0%} missing, {missing[0]:.0%} in the reference")
        old[name], new[name] = first, second
    notes += [f"{name}: not in the reference" for name in rows if name not in before.columns]
    return pd.DataFrame(old), pd.DataFrame(new), notes


def _evidently(old: pd.DataFrame, new: pd.DataFrame, path: Path, *, threshold: float) -> str:
    with unwarned("evidently"):
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        numbers = [name for name in old.columns if old[name].dtype.kind == "f"]
        shape = DataDefinition(
            numerical_columns=numbers, categorical_columns=[name for name in old.columns if name not in numbers]
        )
        sides = [Dataset.from_pandas(side, data_definition=shape) for side in (new, old)]
        # One drifted column is enough for its headline, as it is for the monitor; its own default is half of them.
        preset = DataDriftPreset(method="psi", threshold=threshold, drift_share=1 / len(old.columns))
        Report([preset]).run(*sides).save_html(str(path))
    return path.read_text(encoding="utf-8")


def _head(title: str, rows: int, reference: int, verdict: Verdict | None, notes: Sequence[str]) -> str:
    parts = [f"<section style='{_STYLE}'><h1 style='margin:0 0 8px'>{escape(title)}</h1>"]
    parts.append(f"<p>{rows} rows of the window against {reference} of the reference.</p>")
    if verdict is not None:
        colour = _COLOURS[verdict.state]
        parts.append(f"<p>The monitor's verdict: <b style='color:{colour}'>{verdict.state}</b></p>")
        parts.append(_list(verdict.reasons) + _table(verdict))
    if notes:
        parts.append(f"<h2>Not to be seen below</h2>{_list(notes)}")
    parts.append(
        "<p>What follows is Evidently's view of the same rows; its bins are others, and it knows no test of chance.</p></section>"
    )
    return "".join(parts)


def _list(items: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"


def _table(verdict: Verdict) -> str:
    rows = [
        f"<tr style='color:{_COLOURS['DRIFT'] if column.drifted else 'inherit'}'><td>{escape(column.name)}</td>"
        f"<td align=right>{column.psi:.3f}</td><td align=right>{column.p:.2g}</td>"
        f"<td align=right>{column.missing:.1%}</td><td>{escape(column.note)}</td></tr>"
        for column in sorted(verdict.columns, key=lambda column: -column.psi)
    ]
    head = "".join(
        f"<th align=left style='padding-right:24px'>{name}</th>" for name in ("column", "PSI", "p", "missing", "")
    )
    return f"<table style='border-spacing:12px 2px;margin-left:-12px'><tr>{head}</tr>{''.join(rows)}</table>"


if __name__ == "__main__":
    sys.exit(main())
