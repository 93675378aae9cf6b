"""Pipeline step: its run is reported to the journal, kept by the cache, and its errors leave its process."""

from __future__ import annotations

import functools
import inspect
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, ParamSpec, TypeVar, cast

from hallmark.errors import HallmarkError, NotFound
from hallmark.settings import Settings
from hallmark.training import cache
from hallmark.training.cache import Cache
from hallmark.training.closure import Closure, Finder
from hallmark.training.journal import Failure, Journal, JournalEvent
from hallmark.training.signature import Addresses, Reads, StepSignature, Writes, signature

P = ParamSpec("P")
R = TypeVar("R")
SHOWN = ("metrics", "curves")
"""The artifacts that a component has besides, where its step shows what it found."""


def folder(settings: Settings) -> Path:
    """Folder of this machine's step cache."""
    return settings.runs / "cache"


def finder(domain: str, settings: Settings) -> Finder:
    """A finder of closures that shares what it reads with the other processes of this machine."""
    return Finder(domain, settings, kept=folder(settings) / cache.CODE)


@dataclass(frozen=True)
class Call:
    """One call of a step, taken apart into what it reads, what it writes and what it is told."""

    step: str
    domain: str
    parameters: dict[str, Any]
    reads: dict[str, Path]
    writes: dict[str, Path]


class Step(Generic[P, R]):
    """One step of the pipeline: a function of a domain's name and keywords, whose signature says what it reads and writes.

    prepare: finds out keywords when the step runs (the champion of now), given the domain's name and the keywords it names.
    kept:    whether the result is kept by content; a step with an effect elsewhere is not.
    summary: whether its return value is a line of text for people who follow the run.
    """

    def __init__(
        self, function: Callable[P, R], *, prepare: Callable[..., Mapping[str, Any]] | None, kept: bool, summary: bool
    ) -> None:
        self.name = function.__name__
        self.function, self.prepare, self.kept, self.summary = function, prepare, kept, summary
        functools.update_wrapper(self, function)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it: told to the journal and kept by the cache on this machine; in a cluster, where Kubeflow does that, plainly."""
        return self._run(str(args[0]), dict(kwargs))

    @functools.cached_property
    def signature(self) -> StepSignature:
        """Arguments of the step, and its results."""
        return signature(self.function, self.prepare)

    def closure(self, domain: str, settings: Settings, *, finder: Finder | None = None) -> Closure:
        """All that it can run and read for a domain, its inputs aside."""
        return (finder or Finder(domain, settings)).find(self.function, decorator=step)

    def code(self, domain: str, settings: Settings, *, finder: Finder | None = None) -> str:
        """One digest of its closure."""
        finder = finder or Finder(domain, settings)
        return self.closure(domain, settings, finder=finder).digest(finder.declared, finder.kept)

    def component(self, *, domain: str, **given: Any) -> Any:
        """Run it as Kubeflow calls it: artifacts for what is read and written, plain values for the rest."""
        shown = [given.pop(name) for name in SHOWN] if self.signature.shows else []
        uris: dict[str, str] = {}
        for keyword in self.signature.keywords:
            value = given.get(keyword.name)
            annotation = keyword.annotation(Reads) or keyword.annotation(Writes)
            if isinstance(annotation, Reads) and annotation.named:
                given[keyword.name] = annotation.named(value) if value else ""
            elif annotation and value is not None:
                given[keyword.name], uris[keyword.name] = Path(value.path), value.uri
        away = uris if all("://" in each for each in uris.values()) else {}
        given |= {each.name: away for each in self.signature.keywords if each.annotation(Addresses)}
        value = self._run(domain, given)
        return _show(cast("Mapping[str, Any]", value), *shown) if shown else value

    def _run(self, domain: str, kwargs: dict[str, Any]) -> R:
        journal = Journal.current()
        if journal is None:
            return self._work(domain, self._prepared(domain, kwargs))
        _redirect(journal.log(self.name))
        began = time.monotonic()
        journal.add(JournalEvent(step=self.name, state="started", pid=os.getpid()))
        try:
            kwargs = self._prepared(domain, kwargs)
            if self.kept:
                value, state, key = self._found(self._call(domain, kwargs), journal)
            else:
                value, state, key = self._work(domain, kwargs), "finished", ""
        except BaseException as error:  # whatever it is, the parent is told, and it goes on as it was
            _fail(journal, self.name, began, error)
            raise
        seconds = round(time.monotonic() - began, 3)
        event = {"step": self.name, "state": state, "seconds": seconds, "key": key, "value": value}
        journal.add(JournalEvent.model_validate(event | ({"note": value} if self.summary else {})))
        return value

    def _work(self, domain: str, kwargs: Mapping[str, Any]) -> R:
        function: Callable[..., R] = self.function
        return function(domain, **kwargs)

    def _prepared(self, domain: str, kwargs: dict[str, Any]) -> dict[str, Any]:
        if self.prepare is None:
            return kwargs
        asked = {name: kwargs[name] for name in inspect.signature(self.prepare).parameters if name in kwargs}
        return {name: value for name, value in kwargs.items() if name not in asked} | dict(
            self.prepare(domain, **asked)
        )

    def _call(self, domain: str, kwargs: Mapping[str, Any]) -> Call:
        reads, writes = self.signature.reads, self.signature.writes
        given = {read: Path(kwargs[read]) for read in reads if isinstance(kwargs.get(read), Path)}
        for read, path in given.items():
            if not path.exists():
                raise NotFound(f"{read} of step {self.name} is not there", expected="a file or folder", got=str(path))
        return Call(
            step=self.name,
            domain=domain,
            parameters={k: v for k, v in kwargs.items() if k not in given and k not in writes},
            reads=given,
            writes={write: Path(kwargs[write]) for write in writes},
        )

    def _found(self, call: Call, journal: Journal) -> tuple[R, str, str]:
        """Return value of the step, whether it was finished or reused, and the key of its result."""
        settings = Settings.load()
        store = Cache(folder(settings))
        code = self.code(call.domain, settings, finder=finder(call.domain, settings))
        inputs = {name: cache.digest(path) for name, path in call.reads.items()}
        parameters = {"domain": call.domain, **call.parameters}
        key = cache.key(call.step, code=code, parameters=parameters, inputs=inputs)
        waiting = JournalEvent(step=call.step, state="waiting", note="another run is at the same step")
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
                    work=lambda drafts: self._work(call.domain, {**call.parameters, **call.reads, **drafts}),
                )
            store.place(entry, call.writes)
        return entry.value, state, key


def step(
    *, prepare: Callable[..., Mapping[str, Any]] | None = None, kept: bool = True, summary: bool = False
) -> Callable[[Callable[P, R]], Step[P, R]]:
    """Make a function of a domain's name and keywords a step; the keywords are those of `Step`."""
    return functools.partial(Step, prepare=prepare, kept=kept, summary=summary)


def _show(found: Mapping[str, Any], metrics: Any, curves: Any) -> None:
    """Hand what a step shows to Kubeflow's artifacts for it."""
    for name, value in found["metrics"].items():
        metrics.log_metric(name, value)
    if found["roc"]:
        curves.log_roc_curve(*found["roc"])
    if found["confusion"]:
        curves.log_confusion_matrix(*found["confusion"])


def _fail(journal: Journal, name: str, began: float, error: BaseException) -> None:
    failure = Failure.of(error)
    if cache.is_full(error):
        failure = Failure.of(disk_full(name, str(journal.folder)))
    seconds = round(time.monotonic() - began, 3)
    try:
        journal.add(JournalEvent(step=name, state="failed", seconds=seconds, failure=failure))
    except OSError as full:  # no room for one line either: the parent sees the exit status and looks at the disk itself
        sys.stderr.write(f"{failure.message} ({full})\n")


def disk_full(name: str, where: str) -> HallmarkError:
    """Error of a step that has no room for its result."""
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
    """Function that a step calls as its work goes on."""
    journal = Journal.current()
    if journal is None:
        return lambda done, total, note: None
    return functools.partial(journal.progress, name)


def of(names: Mapping[str, Any]) -> list[Step[Any, Any]]:
    """The steps among these names, in the order they were made."""
    return [each for each in names.values() if isinstance(each, Step)]
