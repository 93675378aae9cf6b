"""One training on this machine: the domain's own graph under kfp.local, followed live, nothing done twice.

The graph runs in a process of its own (kfp.local takes over logging and print), its steps in theirs. What all of them have in
common is the workspace (journal, logs, artifacts) and the step cache. Where every step of the same request is in the cache,
with its bytes checked, and the registry still has the version, there is nothing to start.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from hallmark import domain as domains
from hallmark.domain import Domain
from hallmark.errors import GateRefused, HallmarkError, NotFound, TimedOut
from hallmark.registry.passport import Champion, Judgement
from hallmark.settings import Settings
from hallmark.training import cache, steps
from hallmark.training.cache import Cache
from hallmark.training.evaluate import Evaluation
from hallmark.training.gate import Decision
from hallmark.training.journal import ENVIRONMENT, Event, Journal
from hallmark.training.step import all_uses, disk_full, folder

Report = Callable[[Event], None]
KEPT_RUNS = 10
PAUSE = 0.02
"""Seconds between two looks at the journal."""

_TAIL = 15
_ENDS = ("finished", "reused", "failed")


class Record(BaseModel):
    """A frozen result with no key that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Done(Record):
    """A step that came to its end: `state` is finished or reused; `key` names its result in the cache."""

    step: str
    state: str
    seconds: float
    key: str = ""


class Outcome(Record):
    """What a training came to.

    version, digest: of the registered model; none where the gate refused the candidate.
    plots:           a page to open.
    workspace:       logs and artifacts of the run; none where everything was reused.
    """

    domain: str
    as_of: str
    version: int | None
    digest: str | None
    decision: Decision
    champion: Champion | None
    evaluation: Evaluation
    steps: tuple[Done, ...]
    seconds: float
    plots: Path
    workspace: Path | None = None

    @property
    def refusal(self) -> GateRefused | None:
        """The gate's refusal as an error to raise; none where the candidate passed."""
        if self.decision.passed:
            return None
        return GateRefused(
            f"the candidate of {self.domain} did not pass its gate; nothing was registered",
            expected="every rule of gate: in domain.yaml kept",
            came="; ".join(self.decision.reasons),
            do=f"look at {self.plots}",
        )


class _Chain(Record):
    """The steps that answered a request once, in order, and what was registered."""

    steps: tuple[Done, ...]
    version: int | None


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
    report: Report = lambda event: None,
) -> Outcome:
    """Train `domain` as of a day (today), on the `window` before it (the declared one); `report` hears every event.

    options: keywords for the domain's `fit`.
    Raises what stopped it: `ContractBroken`, `ModelRefused`, `Unavailable`, …; a refusal of the gate is in the outcome.
    """
    began = time.monotonic()
    declared = domains.load(domain, settings)
    arguments = _arguments(declared, source, as_of, window, seed, shift, options)
    store = Cache(folder(settings))
    chain = settings.runs / "chains" / f"{_request_key(domain, arguments, settings)}.json"
    try:
        found = _reuse(domain, chain, store, settings, report)
        workspace = None
        if found is None:
            store.prune()
            workspace = _workspace(domain, settings)
            found = _run(declared, arguments, workspace, settings, report)
            _remember(chain, found)
    except OSError as error:
        if not cache.is_full(error):
            raise
        raise disk_full("of the run", str(settings.runs)) from error
    return _outcome(domain, arguments["as_of"], found, store, workspace, round(time.monotonic() - began, 3))


def _arguments(
    declared: Domain,
    source: str,
    as_of: str,
    window: str,
    seed: int | None,
    shift: str | None,
    options: Mapping[str, Any] | None,
) -> dict[str, Any]:
    where = steps.origin(source)
    if isinstance(where, Path) and not where.exists():
        raise NotFound(f"there is no data at {source}", expected='a file, a folder or "synthetic"', came=source)
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


def _request_key(domain: str, arguments: Mapping[str, Any], settings: Settings) -> str:
    """What a request asks for, with the content of its source and all the code that would answer it."""
    where = steps.origin(arguments["source"])
    inputs = {"source": cache.digest(where)} if isinstance(where, Path) else {}
    parameters = {"domain": domain, **arguments} | ({"source": where.name} if isinstance(where, Path) else {})
    uses = [uses.digest(domain, settings) for uses in all_uses(vars(steps))]
    here = _library()
    graph = cache.code_digest([*(here / "components").glob("*.py"), *(here / "pipelines").glob("*.py")])
    return cache.key("request", code=":".join([graph, *uses]), parameters=parameters, inputs=inputs)


def _reuse(domain: str, chain: Path, store: Cache, settings: Settings, report: Report) -> _Chain | None:
    """The whole run from the cache, every byte of it checked; none where any part is missing, damaged or out of date."""
    try:
        known = _Chain.model_validate_json(chain.read_bytes())
    except (OSError, ValidationError):
        return None
    found: list[Done] = []
    for done in known.steps:
        began = time.monotonic()
        if done.key and store.find(done.step, done.key) is None:
            return None
        if done.step == "register":
            continue
        found.append(Done(step=done.step, state="reused", seconds=_since(began), key=done.key))
    began = time.monotonic()
    if not _still(domain, known, store, settings):
        return None
    if known.version is not None:
        found.append(Done(step="register", state="reused", seconds=_since(began)))
    for done in found:
        report(Event(step=done.step, state="reused", seconds=done.seconds, key=done.key))
    return _Chain(steps=tuple(found), version=known.version)


def _still(domain: str, known: _Chain, store: Cache, settings: Settings) -> bool:
    """Whether the registry still says what it said: the same champion to compare with, the same version with its files."""
    from hallmark.registry.store import CHAMPION, Registry

    registry = Registry(settings)
    judged = _judgement(known, store)
    try:
        champion: str | None = registry.resolve(domain, CHAMPION).digest
    except NotFound:
        champion = None
    if champion != (judged.champion.digest if judged.champion else None):
        return False
    if known.version is None:
        return True
    try:
        released = registry.resolve(domain, known.version)
        released.fetch()
    except (NotFound, HallmarkError):  # gone or damaged: register says so, or puts it right
        return False
    return bool(released.digest == _value(known, store, "export"))


def _run(declared: Domain, arguments: dict[str, Any], workspace: Path, settings: Settings, report: Report) -> _Chain:
    request = workspace / "request.json"
    request.write_text(
        json.dumps({"domain": declared.name, "arguments": arguments, "workspace": str(workspace)}), encoding="utf-8"
    )
    own = (_library() / "pipelines" / f"{declared.name}.py").is_file()
    command = [sys.executable, "-m", f"pipelines.{declared.name if own else 'training'}", str(request)]
    journal = Journal(workspace)
    with (workspace / "logs" / "pipeline.log").open("wb") as log:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(workspace, settings),
            cwd=workspace,
            start_new_session=True,
        )
        try:
            ends = _follow(child, journal, report, declared)
        finally:
            _end(child)
            shutil.rmtree(workspace / "tmp", ignore_errors=True)
    if child.returncode != 0 or not ends or any(event.state == "failed" for event in ends.values()):
        raise _cause(journal, ends)
    found = [Done(step=e.step, state=e.state, seconds=e.seconds, key=e.key) for e in ends.values()]
    return _Chain(steps=tuple(found), version=ends["register"].value if "register" in ends else None)


def _follow(child: subprocess.Popen[bytes], journal: Journal, report: Report, declared: Domain) -> dict[str, Event]:
    """Pass on events until the run ends; give the last event of each step that came to an end or was in the middle."""
    limit = declared.training.timeout.total_seconds()
    until = time.monotonic() + limit
    last: dict[str, Event] = {}
    over = False
    for event in journal.follow():
        if event is not None:
            if event.state != "progress":
                last[event.step] = event
            report(event)
            continue
        if over:
            return last
        over = child.poll() is not None  # then read once more what it said last
        if time.monotonic() > until:
            raise TimedOut(
                f"training {declared.name} took too long",
                expected=f"an end within {limit:.0f} s (training.timeout in domain.yaml)",
                came=f"still in step {', '.join(name for name, e in last.items() if e.state not in _ENDS) or 'none'}",
                do="raise the timeout, or train on less; finished steps are reused",
            )
        if not over:
            time.sleep(PAUSE)
    return last


def _cause(journal: Journal, ends: Mapping[str, Event]) -> HallmarkError:
    """Why the run failed, as the step said it; where a step said nothing, what is known of its end."""
    for event in ends.values():
        if event.state == "failed" and event.failure is not None:
            known = event.failure.error()
            if known is not None:
                return known
            return _broken(journal, event.step, event.failure.message)
    step = next((name for name, event in ends.items() if event.state not in _ENDS), "")
    if shutil.disk_usage(journal.folder).free < 1 << 20:
        return disk_full(step or "of the run", str(journal.folder))
    return _broken(journal, step, "it was killed" if step else "no step was running")


def _broken(journal: Journal, step: str, came: str) -> HallmarkError:
    log = journal.log(step or "pipeline")
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-_TAIL:] if log.is_file() else []
    return HallmarkError(
        f"step {step} broke" if step else "the run broke",
        expected="a result, or an error that says what is wrong",
        came="\n    ".join([came, *lines]),
        do=f"the whole log is {log}; run it again once it is mended, finished steps are reused",
    )


def _end(child: subprocess.Popen[bytes]) -> None:
    """Leave no process behind, whatever ended the wait."""
    for sign, patience in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=patience)


def _environment(workspace: Path, settings: Settings) -> dict[str, str]:
    path = os.pathsep.join(dict.fromkeys([str(settings.root), str(_library())]))
    return {
        **os.environ,
        **settings.environment(),
        ENVIRONMENT: str(workspace),
        "PYTHONPATH": path,
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(workspace / "tmp"),
    }


def _workspace(domain: str, settings: Settings) -> Path:
    """A fresh folder for one run; the oldest go."""
    root = settings.runs / domain
    root.mkdir(parents=True, exist_ok=True)
    for old in sorted(root.iterdir(), key=lambda path: path.name)[: -(KEPT_RUNS - 1)]:
        shutil.rmtree(old, ignore_errors=True)
    made = root / f"{time.strftime('%Y%m%dT%H%M%S')}-{uuid.uuid4().hex[:6]}"
    for part in ("logs", "artifacts", "tmp"):
        (made / part).mkdir(parents=True)
    return made


def _remember(chain: Path, found: _Chain) -> None:
    chain.parent.mkdir(parents=True, exist_ok=True)
    draft = chain.with_name(f".{chain.name}.{os.getpid()}")
    draft.write_text(found.model_dump_json(), encoding="utf-8")
    draft.replace(chain)


def _outcome(domain: str, as_of: str, found: _Chain, store: Cache, workspace: Path | None, seconds: float) -> Outcome:
    judged = _judgement(found, store)
    return Outcome(
        domain=domain,
        as_of=as_of,
        version=found.version,
        digest=_value(found, store, "export") if found.version is not None else None,
        decision=judged.decision,
        champion=judged.champion,
        evaluation=Evaluation.model_validate_json(_output(found, store, "evaluate", "evaluation").read_bytes()),
        steps=found.steps,
        seconds=seconds,
        plots=_output(found, store, "evaluate", "plots"),
        workspace=workspace,
    )


def _judgement(found: _Chain, store: Cache) -> Judgement:
    return Judgement.model_validate_json(_output(found, store, "compare", "decision").read_bytes())


def _output(found: _Chain, store: Cache, step: str, name: str) -> Path:
    key = next(done.key for done in found.steps if done.step == step)
    return store.folder(step, key) / cache.OUTPUTS / name


def _value(found: _Chain, store: Cache, step: str) -> Any:
    key = next((done.key for done in found.steps if done.step == step), "")
    entry = store.find(step, key)
    return entry.value if entry else None


def _library() -> Path:
    """Where hallmark, components and pipelines are imported from."""
    return Path(__file__).parents[2]


def _since(began: float) -> float:
    return round(time.monotonic() - began, 3)


def events(workspace: Path) -> Iterator[Event]:
    """What a run said of itself, from its workspace."""
    for event in Journal(workspace).follow():
        if event is None:
            return
        yield event
