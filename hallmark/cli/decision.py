"""Release units of decisions: `hallmark decision`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from hallmark.cli.console import DomainName, Format, Output, emit, say
from hallmark.cli.options import Why, declaration, since_of
from hallmark.decision import terms
from hallmark.errors import DeclarationError, HallmarkError

if TYPE_CHECKING:
    from hallmark.decision.candidate import CandidateVerdict, CostComparison
    from hallmark.decision.unit import Unit
    from hallmark.declaration.domain import Domain
    from hallmark.settings import Settings

app = typer.Typer(
    name="decision",
    help="Release units of decisions: the graph, the thresholds and the version of each node, sealed under one digest.",
    no_args_is_help=True,
)


@app.command(epilog="Example: hallmark decision seal authentication --version 2")
def seal(
    domain: DomainName,
    version: Annotated[
        str, typer.Option("--version", help="Version of the domain's model, or an alias: its card has the thresholds.")
    ] = "champion",
    prompt: Annotated[
        str, typer.Option("--prompt", help="Version of the prompt that a reviewer is asked by, or an alias.")
    ] = "champion",
    pin: Annotated[
        list[str] | None,
        typer.Option(
            "--pin",
            metavar="NODE=VERSION",
            help="Version of a node that is no domain of this checkout; without it any version's answers count. Repeatable.",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="Folder to write; default: unit/ beside the domain's release.yaml.", show_default=False
        ),
    ] = None,
    candidate: Annotated[
        bool,
        typer.Option("--candidate", help="Seal it beside the unit that decides: it decides too, in shadow."),
    ] = False,
    why: Why = "",
    output: Output = Format.table,
) -> None:
    """Seal the release unit of a registered version, as `hallmark render` and `python -m inference_services.decision` look for it."""
    from hallmark.decision import unit
    from hallmark.registry import units

    declared, settings = declaration(domain)
    if candidate:
        if out is not None:
            raise DeclarationError(
                "--candidate has a folder of its own",
                expected="--candidate, or --out",
                got="both",
                fix="leave one out",
            )
        _seal_candidate(declared, settings, version=version, prompt=prompt, pins=_pins(pin), why=why, output=output)
        return
    to = out if out is not None else unit.place(domain, settings)
    made = units.seal(declared, settings, to, version=version, prompt=prompt, pins=_pins(pin))
    emit([{"domain": domain, "unit": made.digest, "folder": settings.shown(to), **_held(made)}], output)
    _tell(made)
    for line in units.behind(made, declared, settings):
        say(line)
    if out is None:
        say(f"next: hallmark render, and commit {settings.shown(to.parent)}")
    else:
        nodes = " ".join(f"--node {name}=http://…" for name in made.parts)
        say(f"next: python -m inference_services.decision --unit {out} --records records {nodes}")


def _seal_candidate(
    domain: Domain,
    settings: Settings,
    *,
    version: str,
    prompt: str,
    pins: dict[str, str],
    why: str,
    output: Format,
) -> None:
    from hallmark.decision import unit
    from hallmark.rollout import decision_units

    made, told = decision_units.seal(domain, settings, version=version, prompt=prompt, pins=pins, why=why)
    place = settings.shown(unit.place(domain.name, settings, unit.CANDIDATE))
    emit([{"domain": domain.name, "unit": made.digest, "folder": place, **_held(made)}], output)
    _tell(made)
    for line in told:
        say(line)
    say(
        f"next: start the service with --candidate {place}, or commit {place} with what was rendered;"
        f" then hallmark decision compare {domain.name}, and share or promote"
    )


Records = Annotated[
    Path | None,
    typer.Option(
        "--records",
        help="Folder of the service's records; default: decisions/ and the domain's name in the state folder.",
        show_default=False,
    ),
]
Since = Annotated[str, typer.Option("--since", metavar="DURATION", help="Records this long back, such as 12h or 3d.")]
Minimum = Annotated[int, typer.Option("--minimum", min=2, help="Items that both have to decide first.")]
Margin = Annotated[
    float,
    typer.Option("--margin", min=0, max=1, help="What a candidate may cost more, as a share of what stable costs."),
]
Confidence = Annotated[float, typer.Option("--confidence", min=0.5, max=0.9999, help="Of the interval of its cost.")]


class Judging(NamedTuple):
    """By what a candidate is judged, as `compare` and `promote` are told."""

    records: Path | None
    since: str
    minimum: int
    margin: float
    confidence: float


@app.command(epilog="Example: hallmark decision compare authentication --since 3d")
def compare(
    domain: DomainName,
    records: Records = None,
    since: Since = terms.SINCE,
    minimum: Minimum = terms.MINIMUM,
    margin: Margin = terms.MARGIN,
    confidence: Confidence = terms.CONFIDENCE,
    second_looks: Annotated[
        bool,
        typer.Option(
            "--second-looks",
            help="Have a second person look at the cases on whose labels most hangs, such as a counterfeit that one of both accepts.",
        ),
    ] = False,
    output: Output = Format.table,
) -> None:
    """Say what a candidate's final decisions cost against stable's, item by item; exit 3 where it is dearer, 4 while that is not known."""
    from hallmark.rollout import decision_units

    settings = declaration(domain)[1]
    by = Judging(records, since, minimum, margin, confidence)
    found, verdict = _judged(domain, settings, by, second_looks=second_looks)
    row = {"verdict": verdict.outcome, **found.model_dump(mode="json"), "difference": found.difference}
    if output is Format.table:
        shown = {name: f"{value:.4g}" if isinstance(value, float) else value for name, value in row.items()}
        row = {name: "unknown" if value is None else value for name, value in shown.items() if name != "wanting"}
    emit([row], output)
    if verdict.outcome == "promote":
        say(f"{verdict.why}; next: hallmark decision promote {domain}")
        return
    what = "is dearer" if verdict.outcome == "refuse" else "cannot be judged yet"
    raise decision_units.withheld(
        domain,
        verdict,
        f"the candidate of {domain} {what}",
        wait="let it decide on more items, and people answer their cases (hallmark reviews); --second-looks settles the labels on which most hangs",
    )


@app.command(epilog="Example: hallmark decision promote authentication --why 'fewer bags to people'")
def promote(
    domain: DomainName,
    records: Records = None,
    since: Since = terms.SINCE,
    minimum: Minimum = terms.MINIMUM,
    margin: Margin = terms.MARGIN,
    confidence: Confidence = terms.CONFIDENCE,
    unjudged: Annotated[
        bool, typer.Option("--unjudged", help="Without a comparison, such as where everything goes to people already.")
    ] = False,
    why: Why = "",
) -> None:
    """Let the candidate decide where its decisions cost no more; exit 3 where they do, 4 while that is not known, and nothing is changed."""
    from hallmark.rollout import decision_units

    settings = declaration(domain)[1]
    verdict = None
    if not unjudged:
        _, verdict = _judged(domain, settings, Judging(records, since, minimum, margin, confidence))
    for line in decision_units.promote(domain, settings, verdict, why=why):
        say(line)
    _next(domain, settings)


@app.command(epilog="Example: hallmark decision share authentication 10 --why 'two days in shadow'")
def share(
    domain: DomainName,
    percent: Annotated[
        float,
        typer.Argument(help="Percent of items that it decides, up to 50; 0: none, as before.", show_default=False),
    ],
    records: Records = None,
    since: Since = terms.SINCE,
    minimum: Minimum = terms.MINIMUM,
    margin: Margin = terms.MARGIN,
    confidence: Confidence = terms.CONFIDENCE,
    unjudged: Annotated[
        bool,
        typer.Option(
            "--unjudged",
            help="Though it has not decided on enough items in shadow; one that is dearer ends again by itself.",
        ),
    ] = False,
    why: Why = "",
) -> None:
    """Have the candidate decide on a share of items in earnest; exit 3 where it is dearer, 4 before it has decided on enough in shadow.

    A running service follows without a restart. It ends the share by itself where the candidate fails, breaks its guarantee, or is dearer.
    """
    from hallmark.decision.share import path
    from hallmark.rollout import decision_units

    settings = declaration(domain)[1]
    found, verdict = None, None
    if 0 < percent <= terms.MOST and not unjudged:
        found, verdict = _judged(domain, settings, Judging(records, since, minimum, margin, confidence))
    for line in decision_units.share(domain, settings, percent, found, verdict, minimum=minimum, why=why):
        say(line)
    say(
        f"the service that was started with --share {settings.shown(path(domain, settings))} follows by itself;"
        " on a cluster once it is committed"
    )


@app.command(epilog="Example: hallmark decision rollback authentication")
def rollback(domain: DomainName, why: Why = "") -> None:
    """Give the candidate up; where there is none, let the unit before decide again."""
    from hallmark.rollout import decision_units

    settings = declaration(domain)[1]
    for line in decision_units.rollback(domain, settings, why=why):
        say(line)
    _next(domain, settings)


def _judged(
    domain: str, settings: Settings, by: Judging, *, second_looks: bool = False
) -> tuple[CostComparison, CandidateVerdict]:
    import time

    from hallmark.rollout import decision_units

    back = since_of(by.since)
    return decision_units.judged(
        domain,
        settings,
        by.records or decision_units.records_of(domain, settings),
        since=time.time() - back.total_seconds() if back else 0.0,
        minimum=by.minimum,
        margin=by.margin,
        confidence=by.confidence,
        second_looks=second_looks,
    )


def _next(domain: str, settings: Settings) -> None:
    from hallmark.decision import unit
    from hallmark.registry import units

    found = unit.there(domain, settings)
    if found is not None:
        for line in units.behind(found, declaration(domain)[0], settings):
            say(line)
    say(
        f"next: start the service of {domain} again with what is in {settings.shown(unit.place(domain, settings))},"
        " or commit it with what was rendered"
    )


@app.command(epilog="Example: hallmark decision show authentication")
def show(
    unit_: Annotated[
        str,
        typer.Argument(metavar="UNIT", help="A domain, or the folder of a sealed unit.", show_default=False),
    ],
    thresholds: Annotated[
        bool, typer.Option("--thresholds", help="A row for each slice and not for each node.")
    ] = False,
    output: Output = Format.table,
) -> None:
    """Check every byte of a sealed unit, and show what it is and where the checkout says something else by now."""
    from hallmark.artifacts.thresholds import NO_THRESHOLD
    from hallmark.decision import unit
    from hallmark.declaration import domain as domains
    from hallmark.declaration import folders
    from hallmark.registry import units
    from hallmark.rollout import decision_units
    from hallmark.settings import Settings

    settings = Settings.load()
    declared = unit_ in folders.names(settings)
    place = unit.place(unit_, settings) if declared else Path(unit_)
    if not (place / unit.MANIFEST).is_file():
        named = unit_ if declared else "DOMAIN"
        raise DeclarationError(
            "no sealed unit is there",
            expected="a domain with one beside its release.yaml, or its folder",
            got=settings.shown(place),
            fix=f"hallmark decision seal {named}",
        )
    found = unit.read(place, expected=None)
    if thresholds:
        fields = found.thresholds.fields
        rows = [
            {
                **dict(zip(fields, each.values, strict=True)),
                "threshold": NO_THRESHOLD if each.threshold is None else each.threshold,
                **{key: getattr(each, key) for key in ("examples", "accepted", "counterfeits")},
            }
            for each in found.thresholds.slices
        ]
        emit(rows, output, empty=found.thresholds.line)
    else:
        emit(
            [
                {"node": name, "service": part.service, "version": part.version or "any", "digest": part.digest}
                for name, part in found.parts.items()
            ],
            output,
        )
    say(f"{found.digest} of {found.domain}")
    _tell(found)
    if declared:
        for folder in (unit.CANDIDATE, unit.PREVIOUS):
            if (other := unit.there(unit_, settings, folder)) is not None:
                say(f"{folder}: {other.digest}, {', '.join(decision_units.differences(found, other))}")
                if folder == unit.CANDIDATE and (model := units.folder_of(other, settings)) is not None:
                    say(f"its model, for one more --crops: {settings.shown(model)}")
        if share_told := _share(unit_, settings):
            say(share_told)
    if found.domain in folders.names(settings):
        for line in units.behind(found, domains.load(found.domain, settings), settings):
            say(line)
        if (model := units.folder_of(found, settings)) is not None:
            say(f"its model, whose folder --crops takes: {settings.shown(model)}")


def _share(name: str, settings: Settings) -> str:
    """How many items the candidate decides, in words; empty where it decides none."""
    from hallmark.rollout import decision_units

    told, ended = decision_units.share_of(name, settings)
    told = told or (ended.share if ended is not None else None)
    if told is None:
        return ""
    share = f"share: the candidate decides {told.percent:g}% of items since {told.since:%Y-%m-%d %H:%M} UTC"
    return share if ended is None else f"{share}, and none since {ended.at:%Y-%m-%d %H:%M} UTC: {ended.why}"


def _held(made: Unit) -> dict[str, int]:
    """Slices, and those among them that accept anything."""
    held = sum(each.threshold is not None for each in made.thresholds.slices)
    return {"slices": len(made.thresholds.slices), "with_threshold": held}


def _tell(made: Unit) -> None:
    from hallmark.registry import units

    say(made.thresholds.line)
    for line in units.elsewhere(made):
        say(line)


def remind(domain: Domain, settings: Settings) -> None:
    """Say where a domain that decides does so by parts that are stable no more, and what is to be done."""
    told = stale(domain, settings)
    for line in told:
        say(line)
    if told:
        say(f"next: {_following(domain.name, settings)}")


def stale(domain: Domain, settings: Settings) -> list[str]:
    """Where the unit that decides says something else than what is stable; nothing for a domain that decides nothing."""
    from hallmark.decision import unit
    from hallmark.registry import units

    if domain.decision is None:
        return []
    try:
        found = unit.there(domain.name, settings)
        return ["no unit is sealed"] if found is None else units.behind(found, domain, settings)
    except HallmarkError as error:
        return [f"{settings.shown(unit.place(domain.name, settings))}: {error.message}"]


def _following(name: str, settings: Settings) -> str:
    """The command that ends a stale unit."""
    from hallmark.decision import unit

    try:
        if unit.there(name, settings, unit.CANDIDATE) is not None:
            return f"hallmark decision compare {name}, then hallmark decision promote {name}"
        known = unit.there(name, settings) is not None
    except HallmarkError:
        known = False
    return f"hallmark decision seal {name}" + (" --candidate" if known else "")


def _pins(given: list[str] | None) -> dict[str, str]:
    found = {}
    for each in given or []:
        name, equals, version = each.partition("=")
        if not equals or not name or not version:
            raise DeclarationError(
                "--pin is not NODE=VERSION",
                expected="a node of the decision and the version that its answers name",
                got=repr(each),
                fix="write it as in --pin nearest=3",
            )
        found[name] = version
    return found
