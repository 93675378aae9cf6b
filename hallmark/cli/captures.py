"""`hallmark captures`: what the servers answered, and what came of it, as a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from hallmark.cli.clusters import Context, Kubeconfig, connected
from hallmark.cli.console import DomainName, Format, Output, emit, say
from hallmark.cli.options import declaration
from hallmark.errors import DeclarationError, NotFound

_KINDS = (".parquet", ".csv")


def captures(
    name: DomainName,
    out: Annotated[Path, typer.Option("--out", help="Parquet or CSV file to write.", show_default=False)],
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Output = Format.table,
) -> None:
    """Write what the drift monitors keep of answers with a label: what was asked, answered and chosen with which chance, and what came of it.

    The newest 20,000 of each pod are kept; `hallmark labels` sends labels. For a domain that chooses it is a log to judge policies by:
    hallmark captures marketing --out captured.parquet; hallmark evaluate marketing --policy latest --log captured.parquet.
    """
    import pandas as pd

    from hallmark.rollout.captures import captured

    if out.suffix not in _KINDS:
        raise DeclarationError("--out is not a Parquet or CSV file", expected=" or ".join(_KINDS), got=out.name)
    domain, settings = declaration(name)
    found = captured(connected(settings, kubeconfig, context), domain)
    if not found.rows:
        raise NotFound(
            f"no answer of {name} that is kept has a label",
            expected="answers whose outcome is known",
            got=f"{found.unlabelled:,} without a label",
            fix=f"send labels: hallmark labels {name} labels.csv",
        )
    frame = pd.DataFrame(found.rows)
    out.parent.mkdir(parents=True, exist_ok=True)
    part = out.with_name(f".{out.name}.part")
    if out.suffix == ".parquet":
        frame.to_parquet(part, index=False)
    else:
        frame.to_csv(part, index=False)
    part.replace(out)
    emit([{"answers": len(frame), "without a label": found.unlabelled, "file": str(out)}], output)
    if output is Format.table and domain.policy is not None:
        say(f"hallmark evaluate {name} --policy latest --log {out}")
