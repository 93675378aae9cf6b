"""Requests to what is live, synthetic or of a team's own rows, from the command line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from hallmark.cli.clusters import Context, Kubeconfig, connected
from hallmark.cli.console import DomainName, Format, Output, emit, say
from hallmark.errors import DeclarationError, HallmarkError, NotFound
from hallmark.settings import Settings

if TYPE_CHECKING:
    from tools.traffic import FailureReason

_SHOWN = 5
"""Reasons that an error names."""


def call(
    name: DomainName,
    requests: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many to send.")] = 100,
    rate: Annotated[float, typer.Option(min=1, max=2000, help="How many a second.")] = 100.0,
    shift: Annotated[str | None, typer.Option(help="A named shift in them, to see drift.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the synthetic examples.")] = 11,
    data: Annotated[
        Path | None, typer.Option(help="Send rows of this file or folder instead.", show_default=False)
    ] = None,
    among_real: Annotated[
        bool,
        typer.Option(
            "--among-real-events",
            help="Put the synthetic events of before the requests into the feature store even where it holds real ones, or is not the local cluster's own.",
        ),
    ] = False,
    to: Annotated[
        str,
        typer.Option(
            "--to",
            metavar="URL",
            help="A server of it instead, such as the one that decides: http://127.0.0.1:8090.",
            show_default=False,
        ),
    ] = "",
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Output = Format.table,
) -> None:
    """Send requests to what is live, and count who answered. Exit 1 where one failed, with the commonest reasons.

    Synthetic requests to a model that reads feature views need a past, which goes into the local cluster's own feature store alone.

    Exit 3 where that is another store, or holds events that are not synthetic: --among-real-events puts it there all the same.
    """
    from hallmark.rollout import clusters
    from hallmark.rollout.writer import condition
    from tools.traffic import Traffic, near, own, synthetic

    settings = Settings.load()
    if data is not None and shift:
        raise DeclarationError(
            "a shift can only be put into synthetic requests",
            expected="--data or --shift",
            got=f"--data {data} --shift {shift}",
        )
    most = min(requests, 2000)
    if data is None:
        asked = synthetic(name, count=most, seed=seed, shift=shift, settings=settings)
    else:
        asked = own(name, data, count=most, seed=seed, settings=settings)
    url = to.rstrip("/")
    if not url:
        live = connected(settings, kubeconfig, context).live(name)
        url = near(live or {})
        if not url:
            got = condition(live, "Ready") if live else "no InferenceService"
            fix = f"`hallmark release {name} --candidate 1`"
            raise NotFound(f"{name} is not live", expected="a URL", got=got, fix=fix)
    if not to and clusters.choose(settings, kubeconfig=kubeconfig, context=context).here:
        asked.prepare(among_real=among_real)
    elif asked.histories:
        say(
            "whom they are about is unknown to that cluster's feature store: only the local one is told what was before them"
        )
    with Traffic(f"{url}/v2/models/{name}/infer", asked.bodies, rate=rate, most=requests) as traffic:
        tally = traffic.done(seconds=60 + 3 * requests / rate)
    shares = {variant or "no variant": round(share, 1) for variant, share in tally.shares.items()}
    row = {
        "requests": tally.requests,
        "failed": tally.failed,
        **shares,
        "p50 ms": tally.p50_ms,
        "p99 ms": tally.p99_ms,
    }
    for_programs = {} if output is Format.table else {"reasons": [asdict(each) for each in tally.reasons]}
    emit([row | for_programs], output)
    if tally.failed:
        raise HallmarkError(
            f"{tally.failed} of {tally.requests} requests failed",
            expected="200 for each",
            got=_told(tally.reasons),
            fix=_fix(name, tally.reasons, data),
        )


def _told(reasons: Sequence[FailureReason]) -> str:
    """The commonest reasons, a line each, and how many there are besides."""
    more = sum(each.requests for each in reasons[_SHOWN:])
    return "\n".join([*map(str, reasons[:_SHOWN]), *([f"{more} times for other reasons: -o json"] if more else [])])


def _fix(name: str, reasons: Sequence[FailureReason], data: Path | None) -> str:
    """What to do about the commonest reason: a 4xx is about the request, all else about what serves."""
    if 400 <= reasons[0].status < 500 and data is not None:
        return f"mend those rows, or what domains/{name}/data.py reads of {data}: `hallmark data {name} --data {data}` checks them"
    return f"`hallmark status {name}`"
