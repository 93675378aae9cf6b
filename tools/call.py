"""Synthetic requests to what is live, from the command line."""

from __future__ import annotations

from typing import Annotated

import typer

from hallmark.cli.clusters import Context, Kubeconfig, connected
from hallmark.cli.console import DomainName, Format, Output, emit
from hallmark.errors import HallmarkError, NotFound
from hallmark.settings import Settings


def call(
    name: DomainName,
    requests: Annotated[int, typer.Option(min=1, max=1_000_000, help="How many to send.")] = 100,
    rate: Annotated[float, typer.Option(min=1, max=2000, help="How many a second.")] = 100.0,
    shift: Annotated[str | None, typer.Option(help="A named shift in them, to see drift.", show_default=False)] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the synthetic examples.")] = 11,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Output = Format.table,
) -> None:
    """Send synthetic requests to what is live, and count who answered. Exit 1 where one failed."""
    from hallmark.rollout.writer import condition
    from tools.traffic import Traffic, synthetic

    settings = Settings.load()
    bodies = synthetic(name, count=min(requests, 2000), seed=seed, shift=shift, settings=settings)
    live = connected(settings, kubeconfig, context).live(name)
    url = ((live or {}).get("status") or {}).get("url")
    if not url:
        got = condition(live, "Ready") if live else "no InferenceService"
        raise NotFound(f"{name} is not live", expected="a URL", got=got, fix=f"`hallmark release {name} --candidate 1`")
    with Traffic(f"{url}/v2/models/{name}/infer", bodies, rate=rate) as traffic:
        tally = traffic.next(requests, seconds=60 + 3 * requests / rate)
    shares = {variant: round(share, 1) for variant, share in tally.shares.items()}
    emit(
        [
            {
                "requests": tally.requests,
                "failed": tally.failed,
                **shares,
                "p50 ms": tally.p50_ms,
                "p99 ms": tally.p99_ms,
            }
        ],
        output,
    )
    if tally.failed:
        raise HallmarkError(f"{tally.failed} of {tally.requests} requests failed", fix=f"`hallmark status {name}`")
