"""Commands of the local cluster: up, down, and decide beside it. The command line finds them by their entry points."""

from __future__ import annotations

import shlex
import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hallmark.cli.clusters import connected
from hallmark.cli.console import DomainName, Seconds, say
from hallmark.cli.options import declaration
from hallmark.cli.serve import apply_all
from hallmark.declaration.traffic import ADAPTERS, TrafficAdapter
from hallmark.interrupts import Interrupted
from hallmark.leash import Leash
from hallmark.settings import Settings

DECIDE_PORT = 8430
_STOPPED = "the local cluster was stopped; its objects come back with the next `hallmark up`"


class TrafficMode(StrEnum):
    """What the local cluster can do with a candidate's traffic, and KServe's mode that it is in."""

    full = "full"
    knative = "knative"
    standard = "standard"

    @property
    def adapter(self) -> TrafficAdapter:
        """The traffic adapter of that name."""
        return next(each for each in ADAPTERS if each.option == self.value)


Mode = Annotated[
    TrafficMode | None,
    typer.Option(
        help="knative, standard: what KServe can do in that mode, and no more. full: Knative mode with shadows, and stable answers what "
        "a candidate does not. Default: what this cluster had last, full for a new one.",
        show_default=False,
    ),
]


def up(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the gateway on 127.0.0.1; 0 takes a free one.")
    ] = 8080,
    api_port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="Port of the Kubernetes API; 0 keeps the last one, or takes a free one."),
    ] = 0,
    mode: Mode = None,
    foreground: Annotated[bool, typer.Option("--foreground", help="Stay here and log, until ctrl-c.")] = False,
    timeout: Seconds = 60.0,
) -> None:
    """Start the local cluster: the Kubernetes API, KServe's behaviour and Envoy, with what is released."""
    from local_cluster import cluster

    settings = Settings.load().prepared()
    adapter = mode.adapter if mode else None
    if foreground:
        stopped = Interrupted(cluster.run(settings, port=port, api_port=api_port, adapter=adapter))
        stopped.add_note(_STOPPED)
        raise stopped
    on, whole = Leash(settings.cluster), False
    try:
        state = cluster.up(settings, port=port, api_port=api_port, timeout=timeout, adapter=adapter, on=on)
        applied = apply_all(connected(settings, settings.kubeconfig), settings)
        whole = True
        for row in applied:
            say(f"{row['kind']} {row['name']}: {row['result']}")
        say(f"gateway      http://127.0.0.1:{state.port}/serving/<namespace>/<name>/v2/models/<name>/infer")
        say(f"kubeconfig   export KUBECONFIG={shlex.quote(str(settings.kubeconfig))}")
        say(f"mode         {state.adapter.option}: InferenceServices in KServe's {state.adapter.mode} mode")
        say("next         hallmark status, or kubectl get isvc -A")
    except KeyboardInterrupt as stopped:
        if not whole:
            on.end(grace=timeout)
        stopped.add_note("the local cluster goes on, `hallmark down` stops it" if whole else _STOPPED)
        raise


def down(timeout: Seconds = 60.0) -> None:
    """Stop the local cluster and what was left by runs that were killed; the objects come back with the next `hallmark up`.

    Left over is what works in this state folder, a demo's or drill's in it too, once whoever started it has ended: a demo that was
    kept, a training of a watch. What you run in another terminal goes on.
    """
    from local_cluster import cluster

    stopped = cluster.down(Settings.load(), timeout=timeout)
    for each in stopped.left:
        say(f"ended what was left over: {each}")
    if stopped.cluster or not stopped.left:
        say("stopped" if stopped.cluster else "nothing was running")


def decide(
    domain: DomainName,
    llm: Annotated[
        str,
        typer.Option(
            "--llm",
            metavar="URL",
            help="Where the reviewer's language model answers, an OpenAI-compatible server such as http://127.0.0.1:8000. stand-in: one that"
            " looks at no picture and says the first word that its schema has, to see that all around it works.",
            show_default=False,
        ),
    ] = "",
    node: Annotated[
        list[str] | None,
        typer.Option(
            "--node",
            metavar="NODE=URL",
            help="Where a node is asked; default: the local cluster's gateway. Repeatable.",
            show_default=False,
        ),
    ] = None,
    crops: Annotated[
        list[Path] | None,
        typer.Option(
            "--crops",
            metavar="FOLDER",
            help="Pictures of references, a model's folder or one with crops.json; default: of the versions in the registry. Repeatable.",
            show_default=False,
        ),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1 of the service that decides; 0 takes a free one.")
    ] = DECIDE_PORT,
    timeout: Seconds = 60.0,
) -> None:
    """Have a domain's sealed unit decide on this machine, and its candidate beside it, until ctrl-c.

    It asks the models that `hallmark up` serves, and gives people's cases to the queue that `hallmark reviews page` shows.
    """
    from local_cluster import containers
    from local_cluster import decide as deciding

    settings = declaration(domain)[1].prepared()
    ports = containers.free_ports(range(3), taken={port})
    asked = {
        "llm": llm,
        "nodes": deciding.named(node or []),
        "crops": crops or [],
        "ports": (port or ports[0], ports[1], ports[2]),
    }
    running = deciding.Running(domain, settings, asked)
    try:
        running.start(timeout=timeout)
        while True:
            time.sleep(deciding.LOOK)
            running.look(timeout=timeout)
    except Interrupted as stopped:
        stopped.add_note(f"nothing decides in {domain} here any more")
        raise
    finally:
        running.end()
