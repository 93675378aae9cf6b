"""How a step runs: told to the journal, kept by the cache, its errors carried out of its process."""

from __future__ import annotations

import functools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from pydantic import BaseModel

from hallmark import libraries
from hallmark.declaration import domain as domains
from hallmark.errors import HallmarkError, NotFound
from hallmark.settings import Settings
from hallmark.training import cache
from hallmark.training.cache import Cache
from hallmark.training.journal import Event, Failure, Journal

P = ParamSpec("P")
R = TypeVar("R")
_LOOK = 0.5
PARTS = frozenset({"data", "features", "model", "serving"})
"""The files of a domain that have a meaning; what else lies beside them may be imported by any, so it counts for all."""


@dataclass(frozen=True)
class Uses:
    """What decides a step's result besides its inputs.

    hallmark:  globs below hallmark/, less `without`.
    domain:    parts of the domain's code.
    sections:  of domain.yaml, or one key of a section, such as serving.precision.
    libraries: distributions, by version.
    """

    hallmark: tuple[str, ...]
    domain: tuple[str, ...] = ()
    sections: tuple[str, ...] = ()
    libraries: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def digest(self, domain: str, settings: Settings) -> str:
        """One digest of all of it, for one domain."""
        library, own = Path(__file__).parents[1], settings.domains / domain
        files = {file for pattern in self.hallmark for file in library.glob(pattern) if file.name not in self.without}
        files |= {file for file in own.glob("**/*.py") if file.stem in self.domain or file.stem not in PARTS}
        declared = domains.load(domain, settings)
        sections = [_json(attrgetter(name)(declared)) for name in self.sections]
        versions = [f"{name}=={libraries.version(name)}" for name in self.libraries]
        return cache.key(cache.code_digest(files), code="", parameters={"is": [*sections, *versions]}, inputs={})


def _json(part: Any) -> str:
    return part.model_dump_json() if isinstance(part, BaseModel) else json.dumps(part)


def folder(settings: Settings) -> Path:
    """Where the step cache of this machine lies."""
    return settings.runs / "cache"


@dataclass(frozen=True)
class Call:
    """One call of a step, taken apart into what it reads, what it writes and what it is told."""

    step: str
    domain: str
    parameters: dict[str, Any]
    reads: dict[str, Path]
    writes: dict[str, Path]


def step(
    *,
    uses: Uses,
    reads: tuple[str, ...] = (),
    writes: tuple[str, ...] = (),
    prepare: Callable[[str], Mapping[str, Any]] | None = None,
    kept: bool = True,
    says: bool = False,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function of a domain's name and keywords a step of the pipeline.

    reads, writes: the keywords that are paths.
    prepare:       keywords that are found out when the step runs (the champion of now), given the domain's name.
    kept:          whether its result is kept by content; a step with an effect elsewhere is not.
    says:          whether what it returns is a line for whoever watches.

    In a cluster, where there is no journal, it is the plain function: Kubeflow keeps logs, state and cache.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        name = function.__name__

        @functools.wraps(function)
        def run(*args: P.args, **kwargs: P.kwargs) -> R:
            domain = str(args[0])
            journal = Journal.current()
            if journal is None:
                kwargs.update(prepare(domain) if prepare else {})
                return function(*args, **kwargs)
            _redirect(journal.log(name))
            _end_with_leader()
            began = time.monotonic()
            journal.add(Event(step=name, state="started", pid=os.getpid()))
            try:
                kwargs.update(prepare(domain) if prepare else {})
                call = _call(name, domain, kwargs, reads, writes)
                if kept:
                    value, state, key = _kept(function, call, uses, journal)
                else:
                    value, state, key = function(*args, **kwargs), "finished", ""
            except BaseException as error:  # whatever it is, the parent is told, and it goes on as it was
                _fail(journal, name, began, error)
                raise
            seconds = round(time.monotonic() - began, 3)
            event = {"step": name, "state": state, "seconds": seconds, "key": key, "value": value}
            journal.add(Event.model_validate(event | ({"note": value} if says else {})))
            return value

        run.uses = uses  # type: ignore[attr-defined]
        return run

    return decorate


def _call(name: str, domain: str, kwargs: Mapping[str, Any], reads: tuple[str, ...], writes: tuple[str, ...]) -> Call:
    given = {read: Path(kwargs[read]) for read in reads if isinstance(kwargs.get(read), Path)}
    for read, path in given.items():
        if not path.exists():
            raise NotFound(f"{read} of step {name} is not there", expected="a file or folder", got=str(path))
    return Call(
        step=name,
        domain=domain,
        parameters={k: v for k, v in kwargs.items() if k not in given and k not in writes},
        reads=given,
        writes={write: Path(kwargs[write]) for write in writes},
    )


def _kept(function: Callable[..., R], call: Call, uses: Uses, journal: Journal) -> tuple[R, str, str]:
    settings = Settings.load()
    store = Cache(folder(settings))
    code = uses.digest(call.domain, settings)
    inputs = {name: cache.digest(path) for name, path in call.reads.items()}
    parameters = {"domain": call.domain, **call.parameters}
    key = cache.key(call.step, code=code, parameters=parameters, inputs=inputs)
    waiting = Event(step=call.step, state="waiting", note="another run is at the same step")
    with store.lock(call.step, key, waiting=lambda: journal.add(waiting)):
        entry, state = store.find(call.step, key), "reused"
        if entry is None:
            state = "finished"
            entry = store.write(
                call.step,
                key,
                code=code,
                parameters=parameters,
                inputs=inputs,
                names=call.writes,
                work=lambda drafts: function(call.domain, **call.parameters, **call.reads, **drafts),
            )
        store.place(entry, call.writes)
    return entry.value, state, key


def _end_with_leader() -> None:
    """End this process group once the run that leads it is gone: a step that nobody waits for is not left behind."""
    leader = os.getpgrp()
    if leader == os.getpid():
        return

    def watch() -> None:
        while True:
            time.sleep(_LOOK)
            try:
                os.kill(leader, 0)
            except ProcessLookupError:
                os.killpg(leader, signal.SIGKILL)

    threading.Thread(target=watch, name="leader", daemon=True).start()


def _fail(journal: Journal, name: str, began: float, error: BaseException) -> None:
    failure = Failure.of(error)
    if cache.is_full(error):
        failure = Failure.of(disk_full(name, str(journal.folder)))
    seconds = round(time.monotonic() - began, 3)
    try:
        journal.add(Event(step=name, state="failed", seconds=seconds, failure=failure))
    except OSError as full:  # no room for one line either: the parent sees the exit status and looks at the disk itself
        sys.stderr.write(f"{failure.message} ({full})\n")


def disk_full(name: str, where: str) -> HallmarkError:
    """What a step ends with when there is no room for its result."""
    return HallmarkError(
        f"the disk is full: step {name} could not write its result",
        expected="room for the results of a run",
        got=f"no space left at {where}",
        fix="make room and run it again; the steps that finished are reused",
    )


def _redirect(log: Path) -> None:
    """Send what this process says from here on, its traceback too, to the step's own log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    os.close(handle)


def progress(name: str) -> Callable[[int, int, str], None]:
    """What a step calls as its work goes on."""
    journal = Journal.current()
    if journal is None:
        return lambda done, total, note: None
    return functools.partial(journal.progress, name)


def all_uses(steps: Mapping[str, Any]) -> Iterator[Uses]:
    """What the steps among these functions use."""
    for function in steps.values():
        uses = getattr(function, "uses", None)
        if isinstance(uses, Uses):
            yield uses
