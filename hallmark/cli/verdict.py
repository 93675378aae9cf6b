"""The drift verdicts of a domain's variants, each on what its pods' monitors tell through the API server's pod proxy."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hallmark.cli.console import Format, emit, say
from hallmark.cli.console import show as show_value
from hallmark.errors import DeclarationError, HallmarkError, NotFound
from hallmark.leash import Leash
from hallmark.rollout.verdicts import VariantVerdict as VariantVerdict
from hallmark.rollout.verdicts import collect as collect

if TYPE_CHECKING:
    from hallmark.rollout.writer import InferenceServiceWriter
    from hallmark.settings import Settings


def show(found: list[VariantVerdict], output: Format) -> None:
    """A line a variant, then a line a column of each, the farthest first."""
    if output is not Format.table:
        show_value([each.model_dump(exclude={"pods"}) for each in found], output)
        return
    emit(
        [
            {
                "variant": each.variant,
                "version": each.version,
                "verdict": each.state,
                "pods": len(each.pods),
                "rows": each.verdict.get("rows", 0),
                **_summary(each.verdict),
                "why": "; ".join(each.verdict.get("reasons") or []),
            }
            for each in found
        ],
        output,
    )
    for each in found:
        labels = each.verdict.get("labels") or {}
        if labels.get("state") == "NOT_ENOUGH_LABELS" and labels.get("reason"):
            say(f"labels of {each.variant} (version {each.version}): {labels['reason']}")
    for each in found:
        columns = sorted(each.verdict.get("columns") or [], key=lambda column: -(column.get("effect") or 0))
        if columns and each.state != "INSUFFICIENT":
            say("")
            emit([_line(column) for column in columns], output, title=f"{each.variant} (version {each.version})")


def _summary(verdict: dict[str, Any]) -> dict[str, Any]:
    """Summary of a variant beside its columns: a share, seconds, and the state of its labels."""
    lag, labels = verdict.get("lag") or {}, verdict.get("labels") or {}
    captured, stale, error = verdict.get("captured"), lag.get("stale"), labels.get("error")
    final = str(labels.get("state", "")).replace(
        "NOT_ENOUGH_LABELS", f"{labels.get('rows', 0)} of {labels.get('minimum')}"
    )
    return {
        "captured": "" if captured is None else f"{captured:.0%}",
        "lag": "" if lag.get("median") is None else f"{lag['median']:.3g} s, {stale:.0%} stale",
        "labels": final if error is None else f"{final}, error {error:.3g} ({labels['reference']:.3g})",
        "trace": verdict.get("trace") or "",
    }


def _line(column: dict[str, Any]) -> dict[str, Any]:
    source = column.get("source")
    note = column.get("note") or (f"as from {column['season']} of last year" if column.get("season") else "")
    return {
        "column": column["name"],
        "source": source,
        "effect": column.get("effect"),
        "psi": column.get("psi") if source in ("input", "output") else None,
        "shift": column.get("shift") if column.get("kind") != "category" else None,
        "p": min(column.get("p", 1.0), column.get("shift_p", 1.0)),
        "missing": column.get("missing") if source in ("input", "output") else None,
        "verdict": "DRIFT" if column.get("drifted") else "",
        "why": note,
    }


def plot(writer: InferenceServiceWriter, found: list[VariantVerdict], *, name: str, path: Path) -> None:
    """The history of every variant's verdicts as a picture."""
    from hallmark.drift import plot as plots

    if path.suffix.lower() != ".png" or path.is_dir():
        raise DeclarationError("the plot needs a file's name", expected="such as drift.png", got=str(path))
    histories: dict[str, list[dict[str, Any]]] = {}
    for each in found:
        for pod in each.pods:
            points = json.loads(writer.sidecar(pod, f"history?variant={each.revision}"))["points"]
            histories.setdefault(f"{each.variant} (version {each.version})", []).extend(points)
    plots.draw(histories, path, title=f"{name}: effect of each column over time, 1 is where drift begins")


def choose(found: list[VariantVerdict], *, variant: str, name: str) -> VariantVerdict:
    """The variant that a person named: stable, canary, or a revision."""
    chosen = next((each for each in found if variant in (each.variant, each.revision)), None)
    if chosen is None:
        raise NotFound(
            f"{name} has no variant {variant!r}", expected=", ".join(each.variant for each in found), got=variant
        )
    return chosen


def _rows(writer: InferenceServiceWriter, chosen: VariantVerdict) -> bytes:
    """All rows that the variant's pods keep, under the verdict on them, as one monitor tells its window."""
    columns: dict[str, list[Any]] = {}
    for pod in chosen.pods:
        try:
            told = json.loads(writer.sidecar(pod, f"window?variant={chosen.revision}"))
        except NotFound:  # no request of it came there yet
            continue
        for name, values in told["columns"].items():
            columns.setdefault(name, []).extend(values)
    verdict = {key: value for key, value in chosen.verdict.items() if key not in ("requests", "since", "until", "pods")}
    return json.dumps({"variant": chosen.variant, "columns": columns, "verdict": verdict}).encode()


def report(
    writer: InferenceServiceWriter,
    found: list[VariantVerdict],
    *,
    variant: str,
    name: str,
    path: Path,
    settings: Settings,
) -> None:
    """Evidently's report of the rows in the windows of one variant's pods against its model's reference, written by a process of its own."""
    from hallmark.registry.store import Registry

    chosen = choose(found, variant=variant, name=name)
    if not chosen.verdict.get("rows"):
        raise NotFound(
            f"no request of {variant} was captured yet",
            expected="a window with requests",
            got="an empty one",
            fix=f"send some: `hallmark call {name} --requests 500`",
        )
    if path.is_dir():
        raise DeclarationError(
            "the report needs a file's name", expected="such as report.html", got=f"{path}, a folder"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    window = _rows(writer, chosen)
    reference = Registry(settings).resolve(name, chosen.version).fetch() / "reference.parquet"
    done = subprocess.run(
        [sys.executable, "-m", "hallmark.drift.report", "--reference", str(reference), "--output", str(path.resolve())],
        input=window,
        env=Leash(settings.state).environment(os.environ),
        capture_output=True,
        check=False,
    )
    if done.returncode:
        last = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no message"]
        raise HallmarkError("the report could not be made", got=last[0], fix="run it with --debug")
