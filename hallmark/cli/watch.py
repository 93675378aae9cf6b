"""The loop: `hallmark watch` runs it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from hallmark import interrupts, leash
from hallmark.cli.clusters import Context, Kubeconfig, connected
from hallmark.cli.console import say
from hallmark.cli.options import SYNTHETIC, DataSource, FitOptions, Shift, Window, fit_options
from hallmark.errors import HallmarkError, NotFound
from hallmark.libraries import additions
from hallmark.settings import Settings

if TYPE_CHECKING:
    from hallmark.registry.store import Registry
    from hallmark.rollout.liveness import Liveness
    from hallmark.rollout.notices import Outbox
    from hallmark.rollout.observer import SampleSource
    from hallmark.rollout.timeline import TimelineEntry
    from hallmark.rollout.writer import InferenceServiceWriter
    from hallmark.training.submit import Runner

_REGISTRY_SECONDS = 600.0


def watch(
    names: Annotated[
        list[str] | None, typer.Argument(help="Domains; default: every declared one.", show_default=False)
    ] = None,
    every: Annotated[float, typer.Option(min=0.2, max=600, help="Seconds between two checks of a domain.")] = 2.0,
    change: Annotated[
        list[str] | None,
        typer.Option("--set", help="KEY=VALUE of domain.yaml for this watch, such as rollout.dwell=3s; repeatable."),
    ] = None,
    data: DataSource = SYNTHETIC,
    until: Annotated[
        str, typer.Option(help="Retrain as of this day; default: the end of today, UTC.", show_default=False)
    ] = "",
    window: Window = "",
    shift: Shift = None,
    option: FitOptions = None,
    lease: Annotated[
        int,
        typer.Option(
            min=1,
            max=3600,
            help="Seconds that a domain is this watch's if it is killed; another one takes over then. One that is ended gives it back at once.",
        ),
    ] = 15,
    prometheus: Annotated[
        str,
        typer.Option(
            help="Read metrics from this Prometheus; default: from the parts of the local cluster.", show_default=False
        ),
    ] = "",
    kubeflow: Annotated[
        str, typer.Option(help="Train on the Kubeflow Pipelines at this address; default: here.", show_default=False)
    ] = "",
    token: Annotated[
        Path | None,
        typer.Option(help="File with the token for both, such as a projected service account's.", show_default=False),
    ] = None,
    metrics_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Serve /metrics and /live for Prometheus here; 0: do not.")
    ] = 0,
    commit_to: Annotated[
        str,
        typer.Option(
            help="Push release.yaml to this Git repository (https://…) whenever another version is stable; default: do not.",
            show_default=False,
        ),
    ] = "",
    commit_branch: Annotated[str, typer.Option(help="The branch of --commit-to, which is there already.")] = "main",
    commit_token: Annotated[
        Path | None,
        typer.Option(help="File with the token that may push to --commit-to; read anew each time.", show_default=False),
    ] = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Watch domains until ctrl-c: drift or the schedule starts a training, its version a rollout, evidence moves it forward or back.

    Of a domain that serves, what training.schedule wanted while nobody watched is made once. With --kubeflow its recurring runs keep the schedule.

    A rollout that a person began, with `hallmark release` or kubectl, is taken over where it stands.
    """
    from hallmark.declaration import domain as declared
    from hallmark.metrics_port import serving
    from hallmark.registry.store import Registry
    from hallmark.rollout.commits import ReleaseCommit, Repository
    from hallmark.rollout.decision_units import CandidateUnit, EndedShare
    from hallmark.rollout.followers import ChampionAlias, Follower, ReleaseFile
    from hallmark.rollout.guarantee import DecisionGuarantee
    from hallmark.rollout.lease import Fence, Lease
    from hallmark.rollout.liveness import Liveness
    from hallmark.rollout.memory import MemoryStore
    from hallmark.rollout.notices import Outbox
    from hallmark.rollout.operator import Operator
    from hallmark.rollout.watch import LEASE, Watch, allowed_of

    settings = Settings.load().prepared()
    repository = (
        Repository.at(commit_to, branch=commit_branch, token=commit_token) if commit_to or commit_token else None
    )
    wanted = {name: declared.load(name, settings) for name in names or declared.names(settings)}
    domains = {name: declared.overridden(each, change or []) for name, each in wanted.items()}
    writer = connected(settings, kubeconfig, context, changes=True)
    given = {"source": data, "as_of": until, "window": window, "shift": shift, "options": fit_options(option)}
    training = {key: value for key, value in given.items() if value}
    liveness = Liveness()
    followers: list[Follower] = [ChampionAlias(Registry(settings))]
    if repository:
        followers.append(ReleaseCommit(settings, writer, repository))
    if ReleaseFile.writable(settings):
        followers += [ReleaseFile(settings, writer), CandidateUnit(settings)]
    elif not repository:
        say(
            f"{settings.releases} cannot be written to: release.yaml follows where `hallmark settle` is run in a checkout"
        )

    outboxes = {name: Outbox(each, settings, say=say) for name, each in domains.items()}

    def make(name: str, fence: Fence) -> Operator:
        return Operator(
            domains[name],
            writer=writer,
            source=_source(writer, settings, prometheus, token),
            registry=Registry(settings),
            runner=_runner(settings, kubeflow, token),
            tell=_teller(name, liveness, outboxes[name]),
            followers=followers,
            training=training,
            scheduled=not (kubeflow or until),
            guarantee=DecisionGuarantee.at(domains[name], settings) if domains[name].decision else None,
            share_ended=EndedShare(name, settings)
            if domains[name].decision and ReleaseFile.writable(settings)
            else lambda: "",
            fence=fence.token,
        )

    watched = allowed_of(domains, writer, note=say)
    watching = Watch(
        watched,
        lease=lambda name: Lease(writer, namespace=name, name=LEASE),
        above=lambda name: MemoryStore(writer, name).read().fence,
        make=make,
        every=every,
        note=say,
        liveness=liveness,
        seconds=lease,
    )
    with contextlib.ExitStack() as stack:
        signals = stack.enter_context(interrupts.noted())
        if metrics_port:
            stack.enter_context(serving(liveness, port=metrics_port))
            asking = threading.Thread(
                target=_ask_registry, args=(Registry(settings), watched, liveness, watching.stop), daemon=True
            )
            asking.start()
        for outbox in outboxes.values():
            outbox.following(watching.stop)
        watching.run(signals)
        watching.stop.set()
    if signals:
        raise _stopped(signals)


def _stopped(signals: list[tuple[int, float]]) -> interrupts.Interrupted:
    """The interruption that ended a watch, with what it leaves behind."""
    stopped = interrupts.Interrupted(signals[0][0])
    stopped.add_note("every lease was given back, rollouts wait where they stand for the next watch")
    if leash.let_go():
        stopped.add_note("a training that it began goes on, `hallmark down` ends it")
    return stopped


def _ask_registry(registry: Registry, names: Sequence[str], liveness: Liveness, stop: threading.Event) -> None:
    """Keep the age of each domain's newest version; apart from the checks, which a registry that is slow may not hold up."""
    while True:
        for name in names:
            # One that is down says so where it is needed; here the last known age goes on growing.
            with contextlib.suppress(HallmarkError):
                if known := registry.versions(name):
                    liveness.registered(name, max(version.created for version in known))
        if stop.wait(_REGISTRY_SECONDS):
            return


def _source(writer: InferenceServiceWriter, settings: Settings, prometheus: str, token: Path | None) -> SampleSource:
    if prometheus:
        from hallmark.rollout.prometheus import Prometheus

        return Prometheus.at(prometheus, token=token)
    for found in additions("hallmark.sources"):  # the local cluster's own
        return cast("SampleSource", found.load()(writer, settings))
    raise NotFound(
        "nothing here reads metrics from a cluster's own parts",
        expected="the local cluster, which is installed with a checkout",
        got="no entry point hallmark.sources",
        fix="name a Prometheus: --prometheus URL; or `make install` in a checkout",
    )


def _runner(settings: Settings, kubeflow: str, token: Path | None) -> Runner:
    if kubeflow:
        from hallmark.registry.store import Registry
        from hallmark.training.kubeflow import Kubeflow

        return Kubeflow.at(kubeflow, registry=Registry(settings), token=token)
    from hallmark.training.runs_here import RunsHere

    return RunsHere(settings)


def _teller(name: str, liveness: Liveness, outbox: Outbox) -> Callable[[TimelineEntry], None]:
    from hallmark.rollout import notices

    def tell(entry: TimelineEntry) -> None:
        liveness.told(name, entry)
        if (notice := notices.of_entry(name, entry)) is not None:
            outbox.put(notice)
        say(f"{entry.at:%H:%M:%S}  {name:<10} {entry.kind:<9} {entry.text}")

    return tell
