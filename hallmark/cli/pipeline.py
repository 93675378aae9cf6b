"""Trainings on a cluster's Kubeflow Pipelines: `hallmark pipeline compile|submit|schedule`."""

from __future__ import annotations

import hashlib
import json
import shlex
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from hallmark.cli.console import DomainName, Format, Output, emit, say, show
from hallmark.cli.options import (
    SYNTHETIC,
    FitOptions,
    Jobs,
    Searched,
    Tries,
    Until,
    Window,
    declaration,
    fit_options,
)
from hallmark.errors import DeclarationError, GateRefused, HallmarkError, Refused, TimedOut, Unavailable

if TYPE_CHECKING:
    from hallmark.declaration.domain import Domain
    from hallmark.settings import Settings
    from hallmark.training.graph import Kind, Search
    from hallmark.training.kubeflow import Kubeflow
    from hallmark.training.submit import Run

app = typer.Typer(
    name="pipeline", help="Train on a cluster: compile, submit and schedule a domain's graph.", no_args_is_help=True
)

_LOOK = 5.0
_MOST_TRIES = 100

Image = Annotated[
    str,
    typer.Option(
        envvar="HALLMARK_TRAINING_IMAGE",
        help="The image of the steps, by digest; default: the name that each cluster replaces.",
        show_default=False,
    ),
]
Url = Annotated[
    str,
    typer.Option(
        envvar="HALLMARK_KUBEFLOW",
        help="Kubeflow Pipelines, such as https://HOST/pipeline or http://ml-pipeline.kubeflow:8888.",
        show_default=False,
    ),
]
Token = Annotated[
    Path | None,
    typer.Option(
        envvar="HALLMARK_KUBEFLOW_TOKEN",
        help="File with a bearer token, such as a projected service account's.",
        show_default=False,
    ),
]


@app.command("compile")
def compile_(
    name: DomainName,
    out: Annotated[
        Path | None, typer.Option(help="Write it to this file; default: stdout.", show_default=False)
    ] = None,
    image: Image = "",
    manifest: Annotated[
        bool, typer.Option("--manifest", help="As Pipeline and PipelineVersion objects, for GitOps.")
    ] = False,
    features: Annotated[
        bool, typer.Option("--features", help="The graph that fills its feature views from batches, not its training.")
    ] = False,
    batch: Annotated[
        bool, typer.Option("--batch", help="The graph that scores a file of records, not its training.")
    ] = False,
    tune: Annotated[
        bool, typer.Option("--tune", help="The graph that searches for better options, a pod a try, not its training.")
    ] = False,
    option: Searched = None,
    tries: Tries = 20,
    jobs: Jobs = 5,
) -> None:
    """Compile a domain's graph: for upload in Kubeflow's UI, or as objects that a cluster applies.

    The same graph is the same bytes, and its version has the same name.
    """
    import yaml

    from hallmark.files import replace
    from hallmark.training import search_space
    from hallmark.training.graph import Search, compiled

    domain, settings = declaration(name)
    kind, search = _kind(features=features, batch=batch, tuning=tune), None
    if tune:
        search_space.parse(option or [])
        search = Search(option=tuple(option or ()), tries=tries, at_once=jobs)
    elif option:
        raise DeclarationError("--option is of --tune", expected="--tune beside it", got=" ".join(option))
    graph = compiled(domain, settings, kind=kind, image=image, search=search)
    text = graph.text
    if manifest:
        text = (
            f"# Compiled from domains/{name}/domain.yaml by `hallmark pipeline compile {name}"
            f"{_flags(kind, search)} --manifest`; edit that.\n"
        )
        text += yaml.safe_dump_all(graph.manifest(), sort_keys=False, width=160, allow_unicode=True)
    if out is None:
        typer.echo(text, nl=False)
        return
    if out.suffix not in (".yaml", ".yml"):
        raise DeclarationError("--out is not a YAML file", expected="a name ending in .yaml", got=str(out))
    replace(out, text)
    say(f"{out}: {graph.name} in version {graph.version}")


def _kind(**asked: bool) -> Kind:
    chosen = [kind for kind, wanted in asked.items() if wanted]
    if len(chosen) > 1:
        raise DeclarationError(
            "each of --features, --batch and --tune is a graph of its own",
            expected="one of them",
            got=f"{len(chosen)}",
            fix="compile one after the other",
        )
    return cast("Kind", chosen[0]) if chosen else "training"


def _flags(kind: Kind, search: Search | None) -> str:
    if search is None:
        return "" if kind == "training" else f" --{kind}"
    options = "".join(f" --option {shlex.quote(each)}" for each in search.option)
    return f" --tune{options} --tries {search.tries} --jobs {search.at_once}"


@app.command()
def submit(
    name: DomainName,
    until: Until = "",
    window: Window = "",
    data: Annotated[str, typer.Option(help="`synthetic`, or a path as the steps' pods see it.")] = SYNTHETIC,
    option: FitOptions = None,
    url: Url = "",
    token: Token = None,
    image: Image = "",
    tune: Annotated[
        bool, typer.Option("--tune", help="Search for better options, a pod a try; --option says what is searched.")
    ] = False,
    tries: Tries = 20,
    jobs: Jobs = 5,
    again: Annotated[bool, typer.Option("--again", help="Start anew where this very run has ended.")] = False,
    wait: Annotated[
        bool,
        typer.Option("--wait", help="Follow it to its end: exit 1 failed, 3 refused by contract or gate, 4 timed out."),
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(min=0.1, help="Seconds to wait; default: three times training.timeout.", show_default=False),
    ] = None,
    output: Output = Format.table,
) -> None:
    """Train a domain on the cluster, or search for better options: upload its graph if that content is not there yet, and start one run of it.

    The same graph with the same parameters is the same run, however often it is submitted.
    """
    from hallmark.registry.store import Registry
    from hallmark.training import kubeflow_graph, search_space
    from hallmark.training.graph import Search, compiled
    from hallmark.training.kubeflow import Kubeflow

    domain, settings = declaration(name)
    if wait and not tune and not settings.tracking.startswith("http"):
        raise DeclarationError(
            "how the run ends could not be told from here",
            expected="MLFLOW_TRACKING_URI to be the cluster's MLflow: a run that ended well and left no version was refused",
            got=settings.tracking,
            fix="set it, or leave --wait and look at the UI",
        )
    search = None
    if tune:
        search_space.parse(option or [])
        search = Search(option=tuple(option or ()), tries=tries, at_once=jobs)
    given = {} if tune else fit_options(option)
    request = _request(domain, settings, until=until, window=window, data=data, given=given)
    kubeflow = Kubeflow.at(_address(url), registry=Registry(settings), token=token)
    graph = compiled(domain, settings, kind="tuning" if tune else "training", image=image, search=search)
    reference = kubeflow_graph.uploaded(kubeflow.api, graph)
    key = f"{name}-{'tuning-' if tune else ''}{hashlib.sha256(json.dumps([graph.version, request], sort_keys=True).encode()).hexdigest()[:12]}"
    run = _started(kubeflow, name, key, request, reference, again=again, registers=not tune)
    row = {
        "run": run.id,
        "name": run.key,
        "graph": graph.version,
        "state": run.state,
        "ui": f"{url.rstrip('/')}/#/runs/details/{run.id}",
    }
    emit([row], output) if output is Format.table else show(row, output)
    if wait:
        _follow(kubeflow, run, timeout or 3 * domain.training.timeout.total_seconds())


@app.command()
def schedule(
    name: DomainName,
    url: Url = "",
    token: Token = None,
    image: Image = "",
    off: Annotated[bool, typer.Option("--off", help="Put the domain's schedule to sleep.")] = False,
    shown: Annotated[
        bool, typer.Option("--show", help="Change nothing; show what is there and when it is due.")
    ] = False,
    batch: Annotated[
        bool, typer.Option("--batch", help="Score a file by the clock, as batch.schedule says, instead of training.")
    ] = False,
    records: Annotated[
        str,
        typer.Option(
            "--records",
            help="With --batch: address of the Parquet file, such as s3://team-members/today.parquet.",
            show_default=False,
        ),
    ] = "",
    output: Output = Format.table,
) -> None:
    """Train a domain by the clock, as training.schedule says, or score a file: one recurring run of this very graph, whatever was there before.

    A second time changes nothing. Without --url, --show tells the times that are declared.
    """
    from hallmark.training import graph, kubeflow_graph
    from hallmark.training import schedule as schedules
    from hallmark.training.kubeflow_api import KubeflowApi

    domain, settings = declaration(name)
    kind: graph.Kind = "batch" if batch else "training"
    cron = schedules.clock(domain, kind)
    times = [f"{when:%Y-%m-%d %H:%M:%S}" for when in schedules.times(domain, after=datetime.now(UTC), kind=kind)]
    if shown and not url:
        _tell([{"cron": cron, "state": "declared", "version": "", "id": ""}], times, output)
        return
    _records(records, batch=batch, needed=not (shown or off))
    api = KubeflowApi.at(_address(url), token=token)
    clock = schedules.Schedules(api, say=say)
    if not (shown or off):
        graph.runnable(domain, settings)
        uploaded = kubeflow_graph.uploaded(api, graph.compiled(domain, settings, kind=kind, image=image))
        clock.on(domain, uploaded, records=records)
    elif off:
        say(f"{clock.off(name, kind=kind)} put to sleep")
    rows = [
        {"cron": each.cron, "state": "on" if each.awake else "off", "version": each.version, "id": each.id}
        for each in clock.found(name, kind=kind)
    ]
    _tell(rows, times if any(row["state"] == "on" for row in rows) else [], output)


def _records(address: str, *, batch: bool, needed: bool) -> None:
    """`DeclarationError` where a batch has nothing to score that its pods could read, or a training is given something to score."""
    if address and not batch:
        raise DeclarationError(
            "--records is what a batch scores", expected="--batch beside it", got="a training's schedule"
        )
    if batch and needed and "://" not in address:
        raise DeclarationError(
            "what the batch scores was not said",
            expected="--records ADDRESS, that the cluster's pods can read, such as s3://team-members/today.parquet",
            got=address or "none",
            fix="name it; what lies there is read anew each time",
        )


def _tell(rows: list[dict[str, Any]], times: list[str], output: Format) -> None:
    if output is not Format.table:
        show({"recurring": rows, "next": times}, output)
        return
    emit(rows, output, empty="no recurring run")
    if times:
        say("next, UTC: " + ", ".join(times))


def _address(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise DeclarationError(
            "where Kubeflow Pipelines is was not said",
            expected="--url or HALLMARK_KUBEFLOW, such as https://HOST/pipeline or http://ml-pipeline.kubeflow:8888",
            got=url or "neither",
            fix="name it; from outside the cluster with --token too",
        )
    return url


def _request(
    domain: Domain, settings: Settings, *, until: str, window: str, data: str, given: dict[str, Any]
) -> dict[str, Any]:
    """Request for the run, each value written out, so that the same request is the same on another day."""
    from hallmark.training import graph, steps

    graph.runnable(domain, settings)
    if "://" in data or (data != SYNTHETIC and not Path(data).is_absolute()):
        raise DeclarationError(
            "the steps' pods cannot read --data",
            expected=f"{SYNTHETIC}, or a path that begins with / on a volume that they mount",
            got=data,
            fix="give the domain's data.py a source of its own, or train here: hallmark train",
        )
    day = steps.day(until, "" if domain.data.event_time else steps.UNDATED)
    steps.span(domain, day, window or domain.model_dump(mode="json")["training"]["window"])
    return {"source": data, "as_of": day, "window": window, "options": given}


def _started(
    kubeflow: Kubeflow,
    name: str,
    key: str,
    request: dict[str, Any],
    reference: dict[str, str],
    *,
    again: bool,
    registers: bool,
) -> Run:
    """The run of this key; with `again`, of the first one after it that has not ended.   registers: whether a version comes of it."""
    from hallmark.training.submit import RunRequest

    tried = key
    for number in range(2, _MOST_TRIES):
        found = kubeflow.find(tried, name) if again else None
        if found is None or found.state == "running":
            correlation = hashlib.sha256(tried.encode()).hexdigest()[:32] if registers else ""
            asked = RunRequest(
                key=tried, domain=name, reason="hallmark pipeline submit", correlation=correlation, **request
            )
            return kubeflow.submit(asked, graph=reference)
        tried = f"{key}-{number}"
    raise HallmarkError(f"{key} was tried {_MOST_TRIES} times", fix="look at why it fails, in the UI")


def _follow(kubeflow: Kubeflow, run: Run, seconds: float) -> None:
    """Say what happens until the run has ended; raises what it ended with."""
    until, told = time.monotonic() + seconds, ""
    while True:
        found = _looked(kubeflow, run, until)
        line = f"{found.state}: {found.message}" if found.message else found.state
        if line != told:
            say(f"{found.key} {line}")
            told = line
        if found.state != "running":
            break
        if time.monotonic() > until:
            raise TimedOut(
                f"{run.key} has not ended",
                expected=f"an end within {seconds:g} s",
                got=line,
                fix="it goes on; the same command with --wait follows it again",
            )
        time.sleep(min(_LOOK, max(0.05, until - time.monotonic())))
    if found.state == "succeeded" and found.version is None:
        say(f"the search for {found.domain} has ended: the step `choose` of the run has its table and its best options")
        return
    if found.state == "succeeded":
        say(
            f"version {found.version} of {found.domain}; next: hallmark release {found.domain} --candidate {found.version}"
        )
        return
    raise _ended(found)


def _looked(kubeflow: Kubeflow, run: Run, until: float) -> Run:
    """The run as it stands; silence is borne until the time is up."""
    while True:
        try:
            return kubeflow.find(run.key, run.domain) or run
        except Unavailable:
            if time.monotonic() > until:
                raise
            time.sleep(min(_LOOK, max(0.05, until - time.monotonic())))


def _ended(found: Run) -> HallmarkError:
    """Error that describes a run which did not succeed."""
    if found.state == "refused":
        return GateRefused(
            f"the candidate of {found.domain} did not pass its gate; nothing was registered",
            expected="every rule of gate: in domain.yaml kept",
            got=found.message,
            fix="look at the step `compare` of the run",
        )
    if found.message.startswith("step validate failed"):
        return Refused(
            f"{found.key} ended at the contract of {found.domain}'s data",
            expected="examples that keep it",
            got=found.message,
            fix="the log of the step `validate` names column, rule and count of rows",
        )
    return HallmarkError(
        f"{found.key} failed",
        expected="every step to end well",
        got=found.message,
        fix="look at its steps in the UI; --again starts it anew",
    )
