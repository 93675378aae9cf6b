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
from hallmark.cli.options import declaration
from hallmark.errors import DeclarationError, NotFound

if TYPE_CHECKING:
    import pandas as pd

_BATCH = 1000


def labels(
    name: DomainName,
    file: Annotated[Path, typer.Argument(help="CSV, JSON lines or Parquet with columns request, label and at.")],
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Output = Format.table,
) -> None:
    """Join labels with answers: a rollout then weighs the cost of wrong predictions, and concept drift is seen.

    request: the id that the client sent with the request (its V2 `id`).  label: 1 or 0, or the right word.
    at: when it became known, RFC 3339; now where there is none. Labels of answers that are no longer kept are counted as unknown.
    """
    domain, settings = declaration(name)
    shadow = domain.rollout.shadow
    frame = _read(file, yes_or_no=shadow is not None and shadow.threshold is not None)
    writer = connected(settings, kubeconfig, context, changes=True)
    pods = writer.pods(name)
    if not pods:
        raise NotFound(f"no pod serves {name} on {writer.host}", fix=f"`hallmark status {name}`")
    joined, refused = 0, dict[str, None]()
    for batch in _batches(frame):
        # Only the pod that answered knows the request.
        for pod in pods:
            told = json.loads(writer.sidecar(pod, "labels", body=batch))
            joined += int(told["joined"])
            refused |= dict.fromkeys(told.get("errors") or ())
    emit([{"labels": len(frame), "joined": joined, "unknown": max(0, len(frame) - joined)}], output)
    for why in refused:
        say(f"some were refused: {why}")
    if not joined:
        raise NotFound(
            f"no label of {file} met an answer that is still kept",
            expected="ids that the client sent, of the newest 20,000 answers of each pod",
            got=f"{len(frame)} that are not known",
        )


def _read(file: Path, *, yes_or_no: bool) -> pd.DataFrame:
    """The labels in `file`, request and label as text; `DeclarationError` names every column and rule that is broken, with an example."""
    import pandera.pandas as pa

    from hallmark.data import contract, table

    if not file.is_file():
        raise NotFound(f"there is no file {file}", expected="a file of labels", got="none")
    frame = table.read(file, {})
    for name in frame.columns.intersection(["request", "label"]):
        frame[name] = frame[name].map(lambda value: str(value).removesuffix(".0"), na_action="ignore").astype(object)
    zoned = pa.Check(
        lambda times: times.map(_is_zoned).astype(bool), error="a time with its zone, as 2026-11-29T08:00:00Z"
    )
    columns = {
        "request": contract.identity(),
        "label": pa.Column("object", contract.one_of(["1", "0"]) if yes_or_no else None),
        "at": pa.Column(checks=zoned, nullable=True, required=False),
    }
    if found := contract.breaches(pa.DataFrameSchema(columns), frame):
        raise DeclarationError(
            f"{file}: {found[0]}",
            expected=f"{found[0].column}: {found[0].rule}",
            got="\n        ".join([f"{len(frame)} rows", *map(str, found)]),
            fix=f"mend {file.name}; none of it was sent",
        )
    return frame


def _is_zoned(value: Any) -> bool:
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return False
    return time.tzinfo is not None


def _batches(frame: pd.DataFrame) -> Iterator[list[dict[str, Any]]]:
    import pandas as pd

    now = pd.Timestamp.now("UTC")
    rows = []
    for row in frame.to_dict("records"):
        at = now if pd.isna(row.get("at")) else pd.Timestamp(row["at"])
        label = int(row["label"]) if row["label"] in ("0", "1") else row["label"]
        rows.append({"request": row["request"], "label": label, "at": at.isoformat()})
    for start in range(0, len(rows), _BATCH):
        yield rows[start : start + _BATCH]
