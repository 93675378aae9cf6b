"""`hallmark tune`: a search for better options of a domain's training."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hallmark.cli.console import DomainName, Format, Output, emit, say, show
from hallmark.cli.model import as_of, listed
from hallmark.cli.options import (
    SYNTHETIC,
    DataSource,
    Jobs,
    Searched,
    Seed,
    Shift,
    Tries,
    Until,
    Window,
    declaration,
)
from hallmark.errors import HallmarkError

if TYPE_CHECKING:
    from hallmark.training.tuning import Try, Tuned


def tune(
    name: DomainName,
    option: Searched = None,
    tries: Tries = 20,
    jobs: Jobs = 1,
    source: DataSource = SYNTHETIC,
    until: Until = "",
    window: Window = "",
    seed: Seed = None,
    shift: Shift = None,
    page: Annotated[
        Path | None, typer.Option("--page", help="Write the page with the plots here.", show_default=False)
    ] = None,
    output: Output = Format.table,
) -> None:
    """Search for options of the domain's `fit` that answer the validation examples better than the declared ones.

    Nothing is registered, and no try sees the test examples: train with what was found, and the gate judges it on them.
    The same command goes on where it was ended; more --tries add to those that are there.
    """
    from hallmark.cli.progress import TaskLines
    from hallmark.files import replace
    from hallmark.training import run, search_space, tuning_page
    from hallmark.training.tuning import TuningRequest, tune

    searched, same = search_space.parse(option or [])
    domain, settings = declaration(name)
    settings = settings.prepared()
    day = as_of(name, source, until, settings)
    given = run.arguments(domain, source, day, window, seed, shift, same)
    request = TuningRequest(domain=name, searched=searched, tries=tries, **given)
    try:
        with TaskLines() as lines:
            found = tune(request, settings=settings, jobs=jobs, report=listed(lines))
    except KeyboardInterrupt as stopped:
        stopped.add_note("the search was stopped; the same command goes on with the tries that it finished")
        raise
    page = page or settings.runs / "plots" / f"{name}-tuning-{found.folder.name}.html"
    replace(page, tuning_page.html(found, searched))
    if output is not Format.table:
        show(_told(found, page), output)
    else:
        _table(found, page)
    if found.tries and all(each.state == "failed" for each in found.tries):
        raise HallmarkError(
            f"no try of {name} came to its end",
            expected="values that its `fit` takes",
            got=found.tries[-1].note,
            fix="mend --option",
        )
    if output is Format.table and found.best.number is not None:
        flags = {"--data": "" if source == SYNTHETIC else source, "--until": until, "--window": window}
        flags |= {"--seed": "" if seed is None else str(seed), "--shift": shift or ""}
        options = [f"--option={key}={value}" for key, value in {**same, **found.best.options}.items()]
        words = ["hallmark", "train", name, *(word for flag in flags.items() if flag[1] for word in flag)]
        say(f"next: {shlex.join([*words, *(part for each in options for part in each.split('=', 1))])}")


def _told(found: Tuned, page: Path) -> dict[str, Any]:
    without = {"estimate": {"replicates", "draws"}}
    told = found.model_dump(mode="json", exclude={"declared": without, "best": without, "tries": {"__all__": without}})
    return told | {"told_from_chance": found.told, "page": str(page)}


def _table(found: Tuned, page: Path) -> None:
    best_first = sorted(
        (each for each in found.tries if each.estimate),
        key=lambda each: (-1 if found.higher else 1) * (each.estimate.value if each.estimate else 0.0),
    )
    say("")
    emit([_row(each, found) for each in [found.declared, *best_first[:10]]], Format.table)
    others = {state: sum(each.state == state for each in found.tries) for state in ("given up", "failed")}
    counted = [f"{len(best_first)} finished", *(f"{count} {state}" for state, count in others.items() if count)]
    say(f"\n{len(found.tries)} tries on {found.rows:,} validation examples: {', '.join(counted)}")
    if found.important:
        say(
            "what the differences hang on: "
            + ", ".join(f"{name} {share:.0%}" for name, share in found.important.items())
        )
    say(f"plots: {page}")
    if found.best is found.declared or found.best.number is None:
        say("no try is better than the declared options")
        return
    chance = "" if found.told else "; chance alone moves it as far"
    say(
        f"try {found.best.number} gains {found.gain:.4f} ± {found.gain_error or float('nan'):.4f} on the declared options{chance}"
    )


def _row(each: Try, found: Tuned) -> dict[str, Any]:
    estimate = each.estimate
    return {
        "try": "declared" if each.number is None else each.number,
        found.metric: estimate.value if estimate else None,
        "error": estimate.error if estimate else None,
        "seconds": round(each.seconds, 1),
        **{key: f"{value:.4g}" if isinstance(value, float) else value for key, value in each.options.items()},
    }
