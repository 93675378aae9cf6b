"""Commands of the local cluster: up and down. The command line finds them by their entry points."""

from __future__ import annotations

import shlex
from enum import StrEnum
from typing import Annotated

import typer

from hallmark.cli.clusters import connected
from hallmark.cli.console import Seconds, say
from hallmark.cli.serve import apply_all
from hallmark.declaration.traffic import KNATIVE, LOCAL, TrafficAdapter
from hallmark.settings import Settings


class TrafficMode(StrEnum):
    """What the gateway can do with a candidate's traffic."""

    full = "full"
    knative = "knative"

    @property
    def adapter(self) -> TrafficAdapter:
        """The traffic adapter of that name."""
        return LOCAL if self is TrafficMode.full else KNATIVE


def up(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the gateway on 127.0.0.1; 0 takes a free one.")
    ] = 8080,
    api_port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="Port of the Kubernetes API; 0 keeps the last one, or takes a free one."),
    ] = 0,
    mode: Annotated[
        TrafficMode,
        typer.Option(
            help="full: with shadows, and stable answers what a candidate does not. knative: what KServe's Knative mode can do, no more."
        ),
    ] = TrafficMode.full,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay here and log, until ctrl-c.")] = False,
    timeout: Seconds = 60.0,
) -> None:
    """Start the local cluster: the Kubernetes API, KServe's behaviour and Envoy, with what is released."""
    from local_cluster import cluster

    settings = Settings.load().prepared()
    if foreground:
        cluster.run(settings, port=port, api_port=api_port, adapter=mode.adapter)
        return
    state = cluster.up(settings, port=port, api_port=api_port, timeout=timeout, adapter=mode.adapter)
    try:
        applied = apply_all(connected(settings, settings.kubeconfig), settings)
    except KeyboardInterrupt:
        cluster.down(settings, timeout=timeout)
        say("interrupted before all was applied: the cluster was stopped again")
        raise
    for row in applied:
        say(f"{row['kind']} {row['name']}: {row['result']}")
    say(f"gateway      http://127.0.0.1:{state.port}/serving/<namespace>/<name>/v2/models/<name>/infer")
    say(f"kubeconfig   export KUBECONFIG={shlex.quote(str(settings.kubeconfig))}")
    say("next         hallmark status, or kubectl get isvc -A")


def down(timeout: Seconds = 60.0) -> None:
    """Stop the local cluster; its objects come back with the next `hallmark up`."""
    from local_cluster import cluster

    say("stopped" if cluster.down(Settings.load(), timeout=timeout) else "nothing was running")
