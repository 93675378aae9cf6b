"""One training on this machine: the domain's own graph under kfp.local, followed live, nothing done twice."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hallmark.artifacts.evaluation import Evaluation, GateDecision
from hallmark.artifacts.model_card import Champion
from hallmark.artifacts.precision import Precision
from hallmark.artifacts.thresholds import Thresholds
from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.errors import GateRefused, NotFound
from hallmark.files import replace
from hallmark.registry.store import Registry
from hallmark.section import Frozen
from hallmark.settings import Settings
from hallmark.training import cache, cached_run, check, process, steps
from hallmark.training.cache import Cache
from hallmark.training.cached_run import CachedRun, FinishedStep, Report
from hallmark.training.step import disk_full, folder


class TrainingOutcome(Frozen):
    """Outcome of a training.

    version, digest: of the registered model; none where the gate refused the candidate.
    plots:           a page to open.
    workspace:       logs and artifacts of the run; none where everything was reused.
    thresholds:      of the decision, where the domain declares one.
    experiment:      its name, of a trial.   run: in MLflow, of a training that became no version; empty where it was reused.
    """

    domain: str
    as_of: str
    version: int | None
    digest: str | None
    decision: GateDecision
    champion: Champion | None
    evaluation: Evaluation
    precision: Precision
    steps: tuple[FinishedStep, ...]
    seconds: float
    plots: Path
    workspace: Path | None = None
    thresholds: Thresholds | None = None
    experiment: str = ""
    run: str = ""

    @property
    def refusal(self) -> GateRefused | None:
        """The gate's refusal as an error to raise; none where the candidate passed."""
        if self.decision.passed:
            return None
        return GateRefused(
            f"the candidate of {self.domain} did not pass its gate; nothing was registered",
            expected="every rule of gate: in domain.yaml kept",
            got="; ".join(self.decision.reasons),
            fix=f"look at {self.plots}",
        )


def train(
    domain: str,
    *,
    settings: Settings,
    source: str = steps.SYNTHETIC,
    as_of: str = "",
    window: str = "",
    seed: int | None = None,
    shift: str | None = None,
    options: Mapping[str, Any] | None = None,
    correlation: str = "",
    no_champion: bool = False,
    experiment: str = "",
    report: Report = lambda event: None,
) -> TrainingOutcome:
    """Train `domain` as of a day (today), on the `window` before it (the declared one); `report` hears every event.

    options:     keywords for the domain's `fit`.
    correlation: what this is an answer to; the version carries it, and nothing is done again for it.
    no_champion: judge by the floors alone, whoever is champion.
    experiment:  a name by which the training is logged as a trial; it makes no version then.
    Raises what stopped it: `DeclarationError` where `check` finds an error, `ContractBroken`, `ModelRefused`, `Unavailable`, …; a refusal of the gate is in the outcome.
    """
    began = time.monotonic()
    declared = domains.load(domain, settings)
    given = arguments(declared, source, as_of, window, seed, shift, options)
    given |= {"no_champion": no_champion, "experiment": experiment}
    store = Cache(folder(settings))
    try:
        remembered = cached_run.file(domain, given, settings)
        found, workspace = cached_run.reuse(domain, remembered, store, settings, report), None
        if found is not None and found.version is not None and correlation:
            Registry(settings).correlate(domain, found.version, correlation)
        if found is None:
            check.demand(declared, settings)
            store.prune()
            Registry(settings).check(domain)
            workspace = process.workspace(domain, settings)
            asked = given | {"correlation": correlation}
            found = process.run(declared, asked, workspace, settings, report)
            cached_run.remember(remembered, found)
        return _outcome(declared, given["as_of"], found, store, workspace, began, settings, experiment)
    except OSError as error:
        if not cache.is_full(error):
            raise
        raise disk_full("of the run", str(settings.runs)) from error


def arguments(
    declared: Domain,
    source: str,
    as_of: str,
    window: str,
    seed: int | None,
    shift: str | None,
    options: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """Parameters of the graph, each with its value, so that the same request is the same on another day; `NotFound` where there is no such data."""
    where = steps.origin(source)
    if isinstance(where, Path) and not where.exists():
        raise NotFound(f"there is no data at {source}", expected='a file, a folder or "synthetic"', got=source)
    window = window or declared.model_dump(mode="json")["training"]["window"]
    day = steps.day(as_of, "" if declared.data.event_time else steps.UNDATED)
    steps.span(declared, day, window)
    return {
        "source": str(where.resolve()) if isinstance(where, Path) else where,
        "as_of": day,
        "window": window,
        "seed": declared.training.seed if seed is None else seed,
        "shift": shift or "",
        "options": dict(options or {}),
    }


def _outcome(
    declared: Domain,
    as_of: str,
    found: CachedRun,
    store: Cache,
    workspace: Path | None,
    began: float,
    settings: Settings,
    experiment: str,
) -> TrainingOutcome:
    judged = found.judgement(store)
    # Kubeflow names files by their output; a browser wants to see what they are.
    page = settings.runs / "plots" / f"{declared.name}-{found.key('evaluate')[:12]}.html"
    replace(page, found.output(store, "evaluate", "plots").read_text(encoding="utf-8"))
    return TrainingOutcome(
        domain=declared.name,
        as_of=as_of,
        version=found.version,
        digest=found.digest(store) if found.version is not None else None,
        decision=judged.decision,
        champion=judged.champion,
        evaluation=Evaluation.model_validate_json(found.output(store, "evaluate", "evaluation").read_bytes()),
        precision=found.precision(store),
        thresholds=found.thresholds(store),
        steps=found.steps,
        seconds=cached_run.since(began),
        plots=page,
        workspace=workspace,
        experiment=experiment,
        run=found.run,
    )
