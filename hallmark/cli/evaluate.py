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
    join: Annotated[
        list[Path] | None,
        typer.Option(
            "--join",
            help="File with more columns of the log, by the entity: what was known of it, what came of it; repeatable.",
            show_default=False,
        ),
    ] = None,
    rows: Annotated[
        int | None,
        typer.Option(
            "--rows",
            min=1,
            help="Rows that a run of the policy decides on: the log gets its share of budget and caps. Default: as many as the log has.",
            show_default=False,
        ),
    ] = None,
    output: Output = Format.table,
) -> None:
    """Tell what a version's choices would have been worth, from a log of other choices: by IPS, SNIPS and doubly robust, with 95% intervals.

    For example: hallmark evaluate marketing --policy latest --log targets.parquet --join members.parquet --join outcomes.csv. The log must say
    how likely each treatment was, as the output of `hallmark predict` does. Of a domain with a policy it is judged within budget and caps, in money.
    """
    from hallmark.batch import served_log
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
    frame, left = served_log.read(domain, code.read, log=log, more=join or ())
    contract.check(code.contract(), frame, ", ".join(map(str, log)))
    if left:
        say(f"{left:,} rows could have got one treatment only, and are left out")
    if learnt := served_log.learnt(domain, asked, frame):
        say(
            f"warning: version {asked.version} has learnt from {learnt:,} of the {len(frame):,} rows, so it looks better on them than it is"
        )
    found = judged(domain, frame, asked=asked, beside=beside, rows=rows)
    if output is not Format.table:
        show([each.model_dump(mode="json") for each in found], output)
        return
    lines: list[dict[str, Any]] = []
    for each in found:
        values = each.values
        lines.append(
            {
                "policy": each.policy,
                "treated": f"{each.treated:.1%}",
                **({} if domain.policy is None else {"spent": f"{each.spent * len(frame):,.2f}"}),
                "ips": _told(values.ips),
                "snips": _told(values.snips),
                "dr": _told(values.dr),
                "gain over it (dr)": "" if each.gain is None else _told(each.gain),
                "effective rows": round(values.effective),
            }
        )
    emit(lines, output)
    say("")
    what = f"{domain.data.label} a row"
    if domain.policy is not None:
        budget = domain.policy.budget * len(frame) / (rows or len(frame))
        what = f"money a row, {domain.policy.value:g} for each {domain.data.label} less what treatments cost, within a budget of {budget:,.2f}"
    say(f"{found[0].values.rows:,} rows of the log; {what}, with the interval that holds the truth in 95 of 100 logs")


def _told(value: PolicyValue) -> str:
    return f"{value.value:.4f} [{value.low:.4f}, {value.high:.4f}]"
