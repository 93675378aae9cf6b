"""Cached run: the finished steps of an earlier request, in order, reused whole or not at all.

A request is named by what was asked, the content of its source and all the code that would answer it. Where every step of such
a request is in the cache, each byte checked, and the registry still says the same, there is nothing to start.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hallmark.artifacts.model_card import GateJudgement
from hallmark.artifacts.precision import Precision
from hallmark.artifacts.thresholds import Thresholds
from hallmark.declaration import domain as domains
from hallmark.errors import HallmarkError, NotFound
from hallmark.files import replace
from hallmark.section import Frozen
from hallmark.settings import Settings
from hallmark.training import cache, step, steps, view_join
from hallmark.training.cache import Cache
from hallmark.training.journal import JournalEvent

Report = Callable[[JournalEvent], None]

LIBRARY = Path(__file__).parents[2]
"""Folder from which hallmark, components and pipelines are imported."""


class FinishedStep(Frozen):
    """A finished step: `state` is finished or reused; `key` names its result in the cache."""

    step: str
    state: str
    seconds: float
    key: str = ""


class CachedRun(Frozen):
    """Finished steps in order, and the version that was registered; none where the gate refused, and then `run` is the one in MLflow."""

    steps: tuple[FinishedStep, ...]
    version: int | None
    run: str = ""

    def key(self, step: str) -> str:
        """Key of the result of `step` in the cache."""
        return next((done.key for done in self.steps if done.step == step), "")

    def output(self, store: Cache, step: str, name: str) -> Path:
        """One output of a step."""
        return store.folder(step, self.key(step)) / cache.OUTPUTS / name

    def judgement(self, store: Cache) -> GateJudgement:
        """Decision of the gate, with the champion it compared to."""
        return GateJudgement.model_validate_json(self.output(store, "compare", "decision").read_bytes())

    def precision(self, store: Cache) -> Precision:
        """In which precision the model ships, and why."""
        if not self.key("quantize"):
            return Precision()
        return Precision.model_validate_json(self.output(store, "quantize", "precision").read_bytes())

    def thresholds(self, store: Cache) -> Thresholds | None:
        """Thresholds of the decision, where the domain declares one."""
        if not self.key("calibrate"):
            return None
        return Thresholds.model_validate_json(self.output(store, "calibrate", "thresholds").read_bytes())

    def digest(self, store: Cache) -> str | None:
        """The digest of the exported model."""
        entry = store.find("export", self.key("export"))
        return str(entry.value) if entry else None


def file(domain: str, arguments: Mapping[str, Any], settings: Settings) -> Path:
    """Path of the cached run for this request."""
    where = steps.origin(arguments["source"])
    own = isinstance(where, Path)
    inputs = {"source": cache.digest(where)} if isinstance(where, Path) else {}
    declared = domains.load(domain, settings)
    held = view_join.held(declared, str(where), settings)
    parameters = {"domain": domain, "held": held, **arguments} | ({"source": Path(where).name} if own else {})
    finder = step.finder(domain, settings)
    left_out = (*(() if declared.retrieval else steps.INDEXED), *(() if declared.decision else steps.DECIDED))
    kept = [each for each in step.of(vars(steps)) if each.kept and each.name not in left_out]
    code = [each.code(domain, settings, finder=finder) for each in kept]
    graph = cache.code_digest([*(LIBRARY / "components").glob("*.py"), *(LIBRARY / "pipelines").glob("*.py")])
    key = cache.key("request", code=":".join([graph, *code]), parameters=parameters, inputs=inputs)
    return settings.runs / "chains" / f"{key}.json"


def remember(path: Path, run: CachedRun) -> None:
    """Keep a run for the next time that the same is asked for."""
    replace(path, run.model_dump_json())


def reuse(domain: str, path: Path, store: Cache, settings: Settings, report: Report) -> CachedRun | None:
    """The whole run from the cache; none where any part is missing, damaged or out of date."""
    try:
        known = CachedRun.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    found: list[FinishedStep] = []
    for done in known.steps:
        began = time.monotonic()
        if done.step in ("register", "log"):
            continue
        if store.find(done.step, done.key) is None:
            return None
        found.append(FinishedStep(step=done.step, state="reused", seconds=since(began), key=done.key))
    began = time.monotonic()
    if not _still(domain, known, store, settings):
        return None
    if known.version is not None:
        found.append(FinishedStep(step="register", state="reused", seconds=since(began)))
    for done in found:
        report(JournalEvent(step=done.step, state="reused", seconds=done.seconds, key=done.key))
    return CachedRun(steps=tuple(found), version=known.version, run=known.run)


def _still(domain: str, known: CachedRun, store: Cache, settings: Settings) -> bool:
    """True if the registry is unchanged: the same champion to compare with, the same version with its files."""
    from hallmark.registry.store import CHAMPION, Registry

    registry = Registry(settings)
    beside = known.judgement(store).champion
    try:
        champion: str | None = registry.resolve(domain, CHAMPION).digest
    except NotFound:
        champion = None
    if champion != (beside.digest if beside else None):
        return False
    if known.version is None:
        return not known.run or any(each.run == known.run for each in registry.trials(domain))
    try:
        released = registry.resolve(domain, known.version)
        released.fetch()
    except HallmarkError:  # gone or damaged: a run registers it again, or says what is wrong
        return False
    return released.digest == known.digest(store)


def since(began: float) -> float:
    """Seconds from `began`, on the monotonic clock, to the millisecond."""
    return round(time.monotonic() - began, 3)
