"""`hallmark evaluate`: a policy judged by a log of another one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hallmark.cli.console import DomainName, Format, Output, emit, say, show
from hallmark.cli.options import declaration
from hallmark.errors import NotFound

if TYPE_CHECKING:
    from hallmark.policy.off_policy import PolicyValue


def evaluate(
    name: DomainName,
    log: Annotated[
        list[Path],
        typer.Option(
            "--log",
            help="What was done and what came of it, with the chance of it; a file or folder, repeatable.",
            show_default=False,
        ),
    ],
    policy: Annotated[
        str, typer.Option("--policy", help="A version, or an alias such as candidate or latest.")
    ] = "champion",
    output: Output = Format.table,
) -> None:
    """Tell what a version's choices would have been worth, from a log of other choices: by IPS, SNIPS and doubly robust, with 95% intervals.

    For example: hallmark evaluate marketing --policy latest --log campaigns.parquet. The log must say how likely each treatment was.
    """
    import pandas as pd

    from hallmark.batch.evaluate import evaluate as judged
    from hallmark.data import contract
    from hallmark.declaration import domain as domains
    from hallmark.registry.store import Registry

    domain, settings = declaration(name)
    registry, code = Registry(settings), domains.module(name, "data", settings)
    asked = registry.resolve(name, int(policy) if policy.isdigit() else policy)
    beside = {}
    try:
        beside["the champion"] = registry.resolve(name, "champion")
    except NotFound:
        say(f"no version of {name} is champion yet: the log's other policies are beside it")
    frame = pd.concat([code.read(each) for each in log], ignore_index=True)
    contract.check(code.contract(), frame, ", ".join(map(str, log)))
    found = judged(domain, frame, asked=asked, beside=beside)
    if output is not Format.table:
        show([each.model_dump(mode="json") for each in found], output)
        return
    rows: list[dict[str, Any]] = []
    for each in found:
        values = each.values
        rows.append(
            {
                "policy": each.policy,
                "treated": f"{each.treated:.1%}",
                "ips": _told(values.ips),
                "snips": _told(values.snips),
                "dr": _told(values.dr),
                "gain over it (dr)": "" if each.gain is None else _told(each.gain),
                "effective rows": round(values.effective),
            }
        )
    emit(rows, output)
    say("")
    say(
        f"{found[0].values.rows:,} rows of the log; {domain.data.label} a row, with the interval that holds the truth in 95 of 100 logs"
    )


def _told(value: PolicyValue) -> str:
    return f"{value.value:.4f} [{value.low:.4f}, {value.high:.4f}]"
