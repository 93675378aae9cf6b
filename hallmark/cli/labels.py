"""What turned out to be true: labels of answered requests, handed to the drift monitors that kept the answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hallmark.cli.clusters import Context, Kubeconfig, connected
from hallmark.cli.console import DomainName, Format, Output, emit
from hallmark.errors import DeclarationError, NotFound

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.tasks.task import BaseTask

COLUMNS = ("request", "label")
_BESIDE = ("treatment", "propensity", "censored")
_BATCH = 1000


def labels(
    name: DomainName,
    file: Annotated[Path, typer.Argument(help="CSV, JSON lines or Parquet with columns request, label, row and at.")],
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Output = Format.table,
) -> None:
    """Join labels with answers: a rollout then weighs what wrong verdicts cost, and drift of the concept is seen.

    request: the id that the client sent with the request (its V2 `id`); row: which of its records, from 0, where it had several.
    label: what the task asks for: 1 or 0, a word, a number, a relevance, or in JSON the ids that were relevant. A regression's
    bound says so in a column censored, an uplift's outcome has columns treatment and propensity beside it.
    at: when it became known, RFC 3339; now where there is none. Labels of answers that are no longer kept are counted as unknown.
    """
    from hallmark.declaration import domain as declared
    from hallmark.settings import Settings

    settings = Settings.load()
    domain = declared.load(name, settings)
    shadow = domain.rollout.shadow
    frame = _read(file, task=domain.task, words=shadow is not None and shadow.threshold is None)
    writer = connected(settings, kubeconfig, context, changes=True)
    pods = writer.pods(name)
    if not pods:
        raise NotFound(f"no pod serves {name} on {writer.host}", fix=f"`hallmark status {name}`")
    joined = 0
    for batch in _batches(frame):
        # Only the pod that answered knows the request.
        for pod in pods:
            joined += int(json.loads(writer.sidecar(pod, "labels", body=batch))["joined"])
    emit([{"labels": len(frame), "joined": joined, "unknown": max(0, len(frame) - joined)}], output)
    if not joined:
        raise NotFound(
            f"no label of {file} met an answer that is still kept",
            expected="ids that the client sent, of the newest 20,000 answers of each pod",
            got=f"{len(frame)} that are not known",
        )


def _read(file: Path, *, task: BaseTask, words: bool = False) -> pd.DataFrame:
    """The rows of the file, labels as they are sent; with `words` a binary answer may be one."""
    import pandas as pd

    if not file.is_file():
        raise NotFound(f"there is no file {file}", expected="a file of labels", got="none")
    readers: dict[str, Any] = {
        ".csv": lambda: pd.read_csv(file, dtype={"request": str}),
        ".parquet": lambda: pd.read_parquet(file),
        ".jsonl": lambda: pd.read_json(file, lines=True, dtype={"request": str}),
    }
    if file.suffix not in readers:
        raise DeclarationError(
            f"{file} is no file of labels", expected="a name that ends in " + ", ".join(readers), got=file.suffix
        )
    try:
        frame: pd.DataFrame = readers[file.suffix]()
    except (ValueError, OSError) as error:
        raise DeclarationError(f"{file} cannot be read", expected="a table", got=str(error)) from error
    missing = [column for column in COLUMNS if column not in frame.columns]
    if missing:
        raise DeclarationError(
            f"{file} lacks {', '.join(missing)}",
            expected="columns request, label and, where known, at",
            got=", ".join(map(str, frame.columns)),
        )
    empty = int(frame["request"].isna().sum() + frame["label"].isna().sum())
    if empty:
        raise DeclarationError(f"{file} has {empty} empty cells", expected="a request and a label in each row")
    if frame.empty:
        raise DeclarationError(f"{file} has no rows", expected="a request and a label in each row", got="none")
    frame["label"] = _labels(file, frame, task, words=words)
    if "at" in frame.columns:
        known = pd.to_datetime(frame["at"], utc=True, errors="coerce", format="ISO8601")
        wrong = frame[known.isna() & frame["at"].notna()]
        if len(wrong):
            got = f"{wrong['at'].iloc[0]!r} in row {wrong.index[0] + 1}"
            raise DeclarationError(f"{file} has times that are none", expected="RFC 3339 in at", got=got)
    return frame


def _labels(file: Path, frame: pd.DataFrame, task: BaseTask, *, words: bool) -> pd.Series[Any]:
    """The labels in the form that the monitors take, each one that the task understands; `DeclarationError` names the first that is not."""
    import pandas as pd

    beside = [name for name in _BESIDE if name in frame.columns]
    made = []
    for row, (label, *others) in enumerate(
        zip(*(frame[name].tolist() for name in ("label", *beside)), strict=True), start=1
    ):
        value = _value(label, words=task.kind in ("multiclass", "retrieval"))
        told = {name: _value(each, words=False) for name, each in zip(beside, others, strict=True) if not pd.isna(each)}
        if told and not isinstance(value, dict):
            value = {"label": value, **told}
        if task.kind == "binary" and isinstance(value, float) and value.is_integer():
            value = int(value)
        word = task.kind == "binary" and isinstance(value, str) and not words
        if problem := "1 or 0" if word else task.label_problem(value):
            raise DeclarationError(
                f"{file} has labels that say nothing about a {task.kind} answer",
                expected=problem.removeprefix("expected label: "),
                got=f"{label!r} in row {row}",
                fix="mend the file; `hallmark labels --help` says which columns there are",
            )
        made.append(value)
    return pd.Series(made, index=frame.index, dtype=object)


def _value(given: Any, *, words: bool) -> Any:
    """A cell as JSON has it; text that is no JSON, and with `words` what is no list or mapping, is the text itself."""
    if hasattr(given, "tolist"):  # a number or a list of Parquet
        given = given.tolist()
    if not isinstance(given, str):
        return str(given).removesuffix(".0") if words and isinstance(given, int | float) else given
    try:
        found = json.loads(given.lower() if given in ("True", "False") else given)
    except ValueError:
        return given
    return given if words and not isinstance(found, list | dict) else found


def _batches(frame: pd.DataFrame) -> Iterator[list[dict[str, Any]]]:
    import pandas as pd

    now = pd.Timestamp.now("UTC").isoformat()
    rows = []
    for row in frame.to_dict("records"):
        at = row.get("at")
        known = now if at is None or pd.isna(at) else pd.Timestamp(at).isoformat()
        which = {} if row.get("row") is None or pd.isna(row["row"]) else {"row": int(row["row"])}
        rows.append({"request": str(row["request"]), "label": row["label"], "at": known, **which})
    for at in range(0, len(rows), _BATCH):
        yield rows[at : at + _BATCH]
