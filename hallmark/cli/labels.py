"""Labels of answered requests: sent to the drift monitors that kept the answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hallmark.cli.clusters import Context, Kubeconfig, connected
from hallmark.cli.console import DomainName, Format, Output, emit, say
from hallmark.cli.options import Why, declaration
from hallmark.errors import DeclarationError, NotFound

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.tasks.task import BaseTask

_BESIDE = ("treatment", "propensity", "censored")


def labels(
    name: DomainName,
    file: Annotated[Path, typer.Argument(help="CSV, JSON lines or Parquet with columns request, label, row and at.")],
    why: Why = "",
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Output = Format.table,
) -> None:
    """Join labels with answers: a rollout then weighs the cost of wrong predictions, and concept drift is seen.

    request: the id that the client sent with the request (its V2 `id`); row: which of its records, from 0, where it had several.
    label: what the task asks for: 1 or 0, a word, a number, a relevance, or in JSON the ids that were relevant. A regression's
    bound says so in a column censored, an uplift's outcome has columns treatment and propensity beside it.
    at: when it became known, RFC 3339; now where there is none. Labels of answers that are no longer kept are counted as unknown.
    """
    domain, settings = declaration(name)
    shadow = domain.rollout.shadow
    frame = _read(file, task=domain.task, words=shadow is not None and shadow.threshold is None)
    writer = connected(settings, kubeconfig, context, changes=True)

    from hallmark.files import digest_file
    from hallmark.rollout.label_sender import LabelSender

    sender = LabelSender(writer, name, settings)
    sent = sender.send(list(_events(frame)), f"{len(frame)} labels of {file.name}, {digest_file(file)[:19]}", why=why)
    emit([{"labels": sent.labels, "joined": sent.joined, "unknown": sent.unknown}], output)
    for problem in sent.refused:
        say(f"some were refused: {problem}")
    if not sent.joined:
        raise NotFound(
            f"no label of {file} met an answer that is still kept",
            expected="ids that the client sent, of the newest 20,000 answers of each pod",
            got=f"{len(frame)} that are not known",
        )


def _read(file: Path, *, task: BaseTask, words: bool = False) -> pd.DataFrame:
    """The rows of the file, labels as they are sent; `DeclarationError` names every column and rule that is broken, with an example.

    words: a binary answer may be one.
    """
    import pandera.pandas as pa

    from hallmark.data import contract, table

    if not file.is_file():
        raise NotFound(f"there is no file {file}", expected="a file of labels", got="none")
    frame = table.read(file, {"request": "BYTES", "row": "INT64"})
    zoned = pa.Check(
        lambda times: times.map(_is_zoned).astype(bool), error="a time with its zone, as 2026-11-29T08:00:00Z"
    )
    columns = {
        "request": contract.identity(),
        "label": pa.Column(nullable=False),
        "at": pa.Column(checks=zoned, nullable=True, required=False),
    }
    if found := contract.breaches(pa.DataFrameSchema(columns), frame):
        raise DeclarationError(
            f"{file}: {found[0]}",
            expected=found[0].expected,
            got="\n        ".join([f"{len(frame)} rows", *map(str, found)]),
            fix=f"mend {file.name}; none of it was sent; `hallmark labels --help` says which columns there are",
        )
    frame["label"] = _labels(file, frame, task, words=words)
    return frame


def _is_zoned(value: Any) -> bool:
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    return time.tzinfo is not None


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
        wordless = task.kind == "binary" and not words
        problem = task.label_problem(value)
        if wordless and (problem or isinstance(value, str)):
            problem = "1 or 0"
        if problem:
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


def _events(frame: pd.DataFrame) -> Iterator[dict[str, Any]]:
    import pandas as pd

    now = pd.Timestamp.now("UTC")
    for row in frame.to_dict("records"):
        at = now if pd.isna(row.get("at")) else pd.Timestamp(row["at"])
        which = {} if pd.isna(row.get("row")) else {"row": int(row["row"])}
        yield {"request": row["request"], "label": row["label"], "at": at.isoformat(), **which}
