"""Commands about what is served: render, apply, status, release, promote, rollback, drift."""

from __future__ import annotations

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hallmark.cli import decision
from hallmark.cli.clusters import Context, DryRun, Kubeconfig, connected, planned, quiet
from hallmark.cli.console import DomainName, DomainNames, Format, Output, Seconds, emit, say
from hallmark.cli.options import Why, declaration
from hallmark.errors import DeclarationError, NotFound, Refused
from hallmark.rollout.status import live_rows, of_domains
from hallmark.settings import Settings

if TYPE_CHECKING:
    from hallmark.artifacts.release import Target
    from hallmark.declaration.traffic import Mode
    from hallmark.rollout.acts import Deed
    from hallmark.rollout.writer import InferenceServiceWriter


class ServingMode(StrEnum):
    """KServe's two ways of keeping pods."""

    knative = "Knative"
    standard = "Standard"

    @property
    def name_of(self) -> Mode:
        """As the renderer and KServe call it."""
        return "Standard" if self is ServingMode.standard else "Knative"


ModeOption = Annotated[
    ServingMode | None,
    typer.Option(
        "--mode",
        help="KServe's mode of a domain that is not live yet; default: the local cluster's own, elsewhere Knative. What is live keeps its own.",
        show_default=False,
    ),
]


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    for command in (render, apply, status, release, promote, rollback, settle, drift):
        app.command()(command)


def render(
    check: Annotated[
        bool,
        typer.Option("--check", help="Write nothing; exit 1 where a generated file is stale, missing or orphaned."),
    ] = False,
    graph: Annotated[
        str,
        typer.Option(
            "--graph",
            metavar="DOMAIN",
            help="Print its decision as KServe's InferenceGraph, and say what is lost.",
            show_default=False,
        ),
    ] = "",
    output: Output = Format.table,
) -> None:
    """Write the generated files: each released domain's inferenceservice.yaml, and the schemas of domain.yaml, views and contracts."""
    from hallmark.render import files

    if graph:
        _graph(graph)
        return
    settings = Settings.load()
    findings = files.check(settings) if check else files.write(settings)
    emit([finding.model_dump() for finding in findings], output, empty="every generated file is up to date")
    if check and findings:
        raise files.Stale(
            f"{len(findings)} generated file(s) are not what their sources say",
            got=", ".join(f"{finding.path} ({finding.state})" for finding in findings),
            fix="run `hallmark render` and commit what it writes"
            if any(finding.state != files.LEFT for finding in findings)
            else "declare the domain again, or `git rm` what is left of it",
        )


def _graph(name: str) -> None:
    from hallmark.render import graph as graphs
    from hallmark.render.manifest import text

    found = graphs.of(declaration(name)[0])
    typer.echo(text([found.object]), nl=False)
    for each in found.lost:
        say(f"lost: {each}")


def apply(
    names: DomainNames = None,
    force: Annotated[
        bool, typer.Option("--force", help="Take model and share back from a rollout that is running.")
    ] = False,
    mode: ModeOption = None,
    dry_run: DryRun = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Output = Format.table,
) -> None:
    """Apply runtime and InferenceServices to the cluster, as `kubectl apply` would.

    While a rollout runs, the live object keeps its model and its share of traffic; the rest is applied.
    """
    settings = Settings.load()
    done = partial(apply_all, settings=settings, names=names, force=force, mode=mode.name_of if mode else None)
    if dry_run:
        with planned(settings, kubeconfig, context) as plan:
            done(plan)
        return
    emit(done(connected(settings, kubeconfig, context, changes=True)), output, empty="nothing is released yet")


def apply_all(
    writer: InferenceServiceWriter,
    settings: Settings,
    *,
    names: list[str] | None = None,
    force: bool = False,
    mode: Mode | None = None,
) -> list[dict[str, Any]]:
    """Apply the runtime and the services of `names`, those that are live in the mode they have; a row an object."""
    import yaml

    from hallmark.artifacts import release as releases
    from hallmark.declaration import domain as declared
    from hallmark.render import files, inferenceservice
    from hallmark.rollout.writer import mode_of

    wanted = files.runtime(settings)
    for name in names or declared.names(settings):
        release = releases.read(name, settings)
        live = writer.live(name) if release.stable else None
        domain = declared.load(name, settings)
        served = mode_of(live) if live else mode or writer.adapter(None).mode
        objects = inferenceservice.objects(domain, release, served)
        if names and not objects:
            raise NotFound(
                f"nothing is released of {name} yet",
                fix=f"`hallmark train {name}`, then `hallmark release {name} --candidate 1`",
            )
        for text in inferenceservice.earlier_configs(domain, release, settings.releases / name).values():
            wanted += yaml.safe_load_all(text)
        wanted += objects
    return [
        {
            "kind": item["kind"],
            "namespace": item["metadata"].get("namespace", ""),
            "name": item["metadata"]["name"],
            "result": writer.apply(item, force=force),
        }
        for item in wanted
    ]


def status(
    names: DomainNames = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Output = Format.table,
) -> None:
    """Show what is live: each revision of each domain, its version, its share and whether it is ready."""
    writer = connected(Settings.load(), kubeconfig, context)
    foreign = of_domains(writer)[1]
    rows = live_rows(writer, names)
    empty = f"no InferenceService {' or '.join(names or [])}".rstrip() + f" on {writer.host}"
    emit(rows, output, empty=empty, wide=("revision", "restarts", "since"))
    if foreign and not names:
        say(f"of no domain, so not shown: {', '.join(foreign)}; `kubectl get isvc -A` shows them")
    _decisions({str(row["domain"]) for row in rows})


def _decisions(names: set[str]) -> None:
    """Say where a decision is stale, by this checkout."""
    from hallmark.declaration import folders

    settings = Settings.load()
    for name in sorted(names & set(folders.names(settings))):
        decision.remind(declaration(name)[0], settings)


def release(
    name: DomainName,
    candidate: Annotated[
        str, typer.Option(help="Version to release, or an alias such as challenger.", show_default=False)
    ],
    percent: Annotated[int, typer.Option(min=0, max=100, help="Its share of the traffic.")] = 10,
    shadow: Annotated[
        bool, typer.Option("--shadow", help="No traffic yet: mirror stable's requests to it, and compare.")
    ] = False,
    mode: ModeOption = None,
    why: Why = "",
    dry_run: DryRun = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    timeout: Seconds = 120.0,
) -> None:
    """Give a registered version, served as the declaration says, a share of the traffic; the first of a domain gets all of it."""
    from hallmark.rollout import acts

    domain, settings = declaration(name)
    deed = acts.release(
        domain,
        settings,
        candidate,
        percent=percent,
        shadow=shadow,
        mode=mode.name_of if mode else None,
        why=why,
        seconds=timeout,
    )
    stable = _do(deed, dry_run=dry_run, kubeconfig=kubeconfig, context=context)
    if dry_run:
        return
    following = "watch" if shadow else "promote" if percent == 100 and stable is None else "status"
    doing = "is in shadow" if shadow else "serves"
    say(f"version {deed.version} of {name} {doing}; next: hallmark {following} {name}")
    if stable is not None:
        decision.remind(domain, settings)


def promote(
    name: DomainName,
    why: Why = "",
    dry_run: DryRun = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    timeout: Seconds = 120.0,
) -> None:
    """Make the candidate the stable version: all traffic; then release.yaml and the registry say so too.

    Run again after a promotion that was cut off, it writes what is not written yet.
    """
    from hallmark.rollout import acts

    domain, settings = declaration(name)
    deed = acts.promote(domain, why=why, seconds=timeout)
    _do(deed, dry_run=dry_run, kubeconfig=kubeconfig, context=context)
    if not dry_run:
        decision.remind(domain, settings)


def rollback(
    name: DomainName,
    why: Why = "",
    dry_run: DryRun = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    timeout: Seconds = 120.0,
) -> None:
    """Send all traffic back to the version before, at once; then settle on it; release.yaml and the registry follow.

    It needs no domain.yaml that can be read: in an emergency the live object says enough.
    """
    from hallmark.rollout import acts

    try:
        declared = declaration(name)[0]
    except DeclarationError as error:
        declared = None
        say(f"{error.message}: rolling back by what is live")
    _do(
        acts.rollback(name, declared, why=why, seconds=timeout), dry_run=dry_run, kubeconfig=kubeconfig, context=context
    )
    if declared is not None and not dry_run:
        decision.remind(declared, Settings.load())


def settle(
    names: DomainNames = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
) -> None:
    """Let release.yaml, what is rendered from it and the registry's champion say what is stable on the cluster.

    The watch does it by itself where it can write. Run it in a checkout, and commit what it writes, where it cannot.
    """
    from hallmark.rollout.followers import follow

    settings = Settings.load()
    writer = connected(settings, kubeconfig, context)
    told = [
        line
        for name in names or [each["metadata"]["name"] for each in of_domains(writer)[0]]
        for line in follow(writer, name, settings)
    ]
    for line in told:
        say(line)
    if not told:
        say("release.yaml and the registry say what is stable already")


def drift(
    name: DomainName,
    html: Annotated[
        Path | None, typer.Option(help="Write Evidently's report on the window to this file.", show_default=False)
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Draw the history of all verdicts to this PNG.", show_default=False)
    ] = None,
    variant: Annotated[
        str, typer.Option(help="Which variant the report is about: stable, canary, or a revision.")
    ] = "stable",
    fail_on_drift: Annotated[
        bool, typer.Option("--fail-on-drift", help="Exit 3 where a variant's verdict is DRIFT.")
    ] = False,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Output = Format.table,
) -> None:
    """The drift monitor's verdict for each variant, column by column."""
    from hallmark.cli import verdict

    settings = Settings.load()
    writer = connected(settings, kubeconfig, context)
    found = verdict.collect(writer, name)
    verdict.choose(found, variant=variant, name=name)
    verdict.show(found, output)
    if html is not None:
        verdict.report(writer, found, variant=variant, name=name, path=html, settings=settings)
        say(f"report of {variant}: {html}")
    if plot is not None:
        verdict.plot(writer, found, name=name, path=plot)
        say(f"history: {plot}")
    drifted = [each.variant for each in found if each.state == "DRIFT"]
    if fail_on_drift and drifted:
        raise Refused(f"{name}: {', '.join(drifted)} drifted", fix=f"`hallmark drift {name} --html report.html`")


def _do(deed: Deed, *, dry_run: bool, kubeconfig: Path | None, context: str | None) -> Target | None:
    """Carry out what was asked for, or with `dry_run` only show it; gives the version that is stable by it, if any."""
    from hallmark.rollout import acts

    settings = Settings.load()
    if dry_run:
        with planned(settings, kubeconfig, context, name=deed.domain) as plan:
            return deed.do(plan, note=quiet, by=plan.person())
    return acts.carry_out(deed, connected(settings, kubeconfig, context, changes=True), settings, note=say)
