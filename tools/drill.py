"""Drill of the loop: inject a shift, and verify every stage by its correlation id, from the captured event to the decision."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from hallmark.cli.console import DomainName, Format, Output, show
from hallmark.cli.progress import TaskLine, TaskLines
from hallmark.errors import DeclarationError, HallmarkError, NotFound, TimedOut
from local_cluster.commands import Mode

if TYPE_CHECKING:
    from hallmark.rollout.evidence import VariantDrift
    from hallmark.rollout.writer import InferenceServiceWriter
    from tools.rehearsal import World
    from tools.stages import Stage, StageOutcome
    from tools.traffic import Requests, Tally, Traffic

_BODIES = 2000
_SECONDS: dict[Stage, float] = {
    "captured": 10,
    "verdict": 60,
    "run": 20,
    "version": 120,
    "canary": 60,
    "decision": 60,
    "items": 60,
}
"""Seconds that each stage may take; all of them within five minutes with what goes before."""
_IMPATIENT: dict[Stage, float] = {
    "captured": 6,
    "verdict": 15,
    "run": 8,
    "version": 90,
    "canary": 60,
    "decision": 8,
    "items": 30,
}
"""The same where a stage is broken on purpose: there is less to wait for."""
_SLOWER = 2.0
"""A training beside a cluster under traffic takes at most this many times as long as the same one before it."""


class Broken(StrEnum):
    """A stage to break on purpose."""

    captured = "captured"
    verdict = "verdict"
    run = "run"
    version = "version"
    canary = "canary"
    decision = "decision"
    items = "items"


def drill(
    name: DomainName,
    broken: Annotated[
        Broken | None,
        typer.Option("--break", help="Break this stage on purpose, to see that it is found.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the synthetic requests.")] = 11,
    keep: Annotated[bool, typer.Option("--keep", help="Leave cluster and watch running.")] = False,
    mode: Mode = None,
    output: Output = Format.table,
) -> None:
    """Prove the loop on this machine: drift, training, rollout, promotion, under one correlation id, in five minutes or less.

    Exit 1 where a stage fails, with its name. All of it happens in .hallmark/drill; nothing of yours is touched.
    """
    from hallmark.declaration import domain as declared
    from hallmark.settings import Settings
    from tools.item_changes import applies
    from tools.rehearsal import World
    from tools.scratch import scratch
    from tools.traffic import Tally

    base = Settings.load()
    if broken is Broken.items and not applies(declared.load(name, base)):
        raise DeclarationError(
            f"{name} has no stage items",
            expected="a domain that declares retrieval with fresh and filters",
            got=f"--break items for {name}",
        )
    state = base.root / ".hallmark" / "drill"
    began = time.monotonic()
    with scratch(state, base=base, keep=keep) as on, TaskLines() as lines:
        world = World.make(name, state, base=base, on=on, stays=keep)
        lines.say(Text(f"Hallmark, a drill for {name}: {world.drill.shift} is injected", style="bold"))
        stage: Stage | None = broken.value if broken else None
        with prepared(world, lines, seed=seed, broken=stage, keep=keep, mode=mode) as (writer, traffic, shifted):
            found = run(world, writer, traffic, shifted, lines, broken=stage)
            tally = Tally.of(traffic.since(0))
        _ending(lines, found, world, tally, seconds=time.monotonic() - began)
    if output is not Format.table:
        show([each.model_dump() for each in found], output)
    bad = next((each for each in found if each.state == "failed"), None)
    if bad is not None:
        raise HallmarkError(
            f"the loop failed at: {bad.stage}",
            got=bad.text,
            fix=f"read {world.log}, and `hallmark timeline {name}` with HALLMARK_STATE={world.settings.state}",
        )
    if tally.failed:
        why = "; ".join(str(each) for each in tally.reasons[:3])
        raise HallmarkError(f"{tally.failed} of {tally.requests} requests failed", expected="none", got=why)


@contextmanager
def prepared(
    world: World, lines: TaskLines, *, seed: int, broken: Stage | None = None, keep: bool = False, mode: Mode = None
) -> Iterator[tuple[InferenceServiceWriter, Traffic, Requests]]:
    """A cluster with version 1 of the world's domain under clean traffic, and the shifted requests to come."""
    from hallmark.cli.model import shown
    from tools.traffic import Traffic, near, synthetic

    name, drill = world.domain.name, world.drill
    with lines.task("draw requests") as line:
        clean, shifted = (
            synthetic(name, count=_BODIES, seed=seed, shift=shift, settings=world.settings)
            for shift in (None, drill.shift)
        )
        line.result = f"{len(clean.bodies)} as they come, {len(shifted.bodies)} with {drill.shift}"
    with lines.task("train version 1") as line:
        line.result = f"version {world.train(shown(line))}"
    try:
        with lines.task("start the local cluster") as line:
            writer = world.up(mode.adapter if mode else None)
            line.result = writer.host
        with lines.task("serve version 1"):
            first(world, writer, broken=broken)
        live = writer.live(name) or {}
        url = f"{near(live)}/v2/models/{name}/infer"
        clean.prepare()
        with Traffic(url, clean.bodies, rate=drill.rate) as traffic:
            yield writer, traffic, shifted
    finally:
        if not keep:
            with lines.task("stop it") as line:
                world.down()
                line.result = "no process left"


def first(world: World, writer: InferenceServiceWriter, *, broken: Stage | None = None) -> None:
    """Release version 1 as the first and stable one; to break the verdict, beside a monitor that waits for rows that never come."""
    from hallmark.artifacts.release import Target
    from hallmark.declaration import serving_config
    from hallmark.registry.store import Registry
    from hallmark.rollout import followers
    from hallmark.rollout import operations as rollout

    if broken == "verdict":
        world.change(["drift.window=100000", "drift.minimum=100000"])
    target = Target.of(
        Registry(world.settings).resolve(world.domain.name, 1), serving_config.of(world.domain).reference
    )
    rollout.release(writer, world.domain, target, percent=100, note=lambda _: None)
    followers.follow(writer, world.domain.name, world.settings)


def run(
    world: World,
    writer: InferenceServiceWriter,
    traffic: Traffic,
    shifted: Requests,
    lines: TaskLines,
    *,
    broken: Stage | None = None,
) -> list[StageOutcome]:
    """Start the watch, inject the shift, and follow it; `broken` is broken just before it is waited for."""
    from hallmark.registry.store import Registry
    from tools.item_changes import ItemChanges, applies
    from tools.stages import MEANING, LoopCheck

    name = world.domain.name
    correlation = secrets.token_hex(16)
    breaker = Breaker(world, writer, broken, correlation=correlation)
    breaker.before_the_watch()
    world.watch()
    changes: ItemChanges | None = None
    if applies(world.domain):
        base = traffic.url.removesuffix(f"/v2/models/{name}/infer")
        changes = ItemChanges(world, writer, base, traffic.bodies, spoiled=broken == "items")
    check = LoopCheck(
        name,
        correlation=correlation,
        writer=writer,
        registry=Registry(world.settings),
        beside={"items": changes.proof} if changes else {},
    )
    with lines.task("drift before it") as line:
        state = _quiet_verdict(world, writer, must=broken != "verdict")
        line.result = f"stable {state} on clean requests"
    breaker.before_the_shift()
    traceparent = f"00-{correlation}-{secrets.token_hex(8)}-01"
    shifted.prepare()
    traffic.use(shifted.bodies, headers={"traceparent": traceparent})
    lines.say(f"  injected {world.drill.shift} with correlation id {correlation}")
    running: list[TaskLine] = []

    def reached(stage: Stage) -> None:
        breaker.at(stage)
        running.append(lines.start(f"{stage}: {MEANING[stage]}"))

    def ended(found: StageOutcome) -> None:
        if running:
            running.pop().end()
        lines.done(found.stage, found.text, found.seconds, mark={"verified": "✓", "failed": "✗"}.get(found.state, "·"))

    try:
        with changes or contextlib.nullcontext():
            return check.follow(limits(world.trained, broken=broken is not None), ended=ended, reached=reached)
    finally:
        breaker.close()


def limits(trained: float, *, broken: bool = False) -> dict[Stage, float]:
    """Seconds that each stage may take where the first training took `trained`: on a slow or busy machine the second is slow as well."""
    found = dict(_IMPATIENT if broken else _SECONDS)
    found["version"] = max(found["version"], _SLOWER * trained)
    return found


class Breaker:
    """Breaks one stage, and that one only, by what breaks it in production; `items` is broken by who changes them (ItemChanges)."""

    def __init__(self, world: World, writer: InferenceServiceWriter, stage: Stage | None, *, correlation: str) -> None:
        self._world = world
        self._writer = writer
        self._stage = stage
        self._correlation = correlation
        self._spoiled: Path | None = None
        self._stopped: list[int] = []
        self._done = threading.Event()
        self._spoiling: threading.Thread | None = None

    def before_the_watch(self) -> None:
        """run: a disk that takes nothing. version: a gate that nothing passes."""
        if self._stage == "version":
            self._world.change(["gate.minimum_gain=1000000"])
        if self._stage == "run":
            place = self._world.settings.runs / "submitted"
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(b"")

    def before_the_shift(self) -> None:
        """captured: the drift monitor hangs, so no event comes in."""
        if self._stage == "captured":
            self._stop_monitor("stable")

    def at(self, stage: Stage) -> None:
        """canary: the candidate's model is spoiled on disk once it is there. decision: its drift monitor hangs."""
        if stage == "decision" == self._stage:
            self._stop_monitor("canary")
        if stage == "version" and self._stage == "canary":
            self._spoiling = threading.Thread(target=self._spoil, name="spoil", daemon=True)
            self._spoiling.start()

    def close(self) -> None:
        """Stop waiting for something to break, and mend what is broken."""
        self._done.set()
        for process in self._stopped:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGCONT)
        if self._spoiling is not None:
            self._spoiling.join()
        if self._spoiled is not None:
            _flip(self._spoiled)

    def _spoil(self) -> None:
        """Flip a byte of the model as soon as it is registered, before anything loads it."""
        from hallmark.registry.store import Registry

        registry = Registry(self._world.settings)
        while not self._done.wait(0.05):
            version = registry.correlated(self._world.domain.name, self._correlation)
            if version is not None:
                self._spoiled = registry.resolve(self._world.domain.name, version).fetch() / "model.onnx"
                _flip(self._spoiled)
                return

    def _stop_monitor(self, variant: str) -> None:
        for pod in self._writer.pods(self._world.domain.name):
            labels = pod["metadata"].get("labels") or {}
            if labels.get("endpoint") == variant:
                process = self._world.process(pod["metadata"]["name"], "inference_services.drift_monitor")
                os.kill(process, signal.SIGSTOP)
                self._stopped.append(process)
                return
        raise NotFound(f"no {variant} pod of {self._world.domain.name} to break")


def _flip(path: Path) -> None:
    """Flip the bits of the byte in the middle of a file; once more gives the file as it was."""
    mode = path.stat().st_mode
    path.chmod(0o644)
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 0xFF
    path.write_bytes(bytes(body))
    path.chmod(mode)


def _quiet_verdict(world: World, writer: InferenceServiceWriter, *, must: bool) -> str:
    """The state of stable on clean requests, once it is OK; with `must` false the first that is there."""
    from hallmark import object_labels
    from hallmark.rollout.monitors import Monitors

    monitors = Monitors(writer, world.domain.name)
    last: VariantDrift | None = None

    def settled() -> bool:
        nonlocal last
        for pod in writer.pods(world.domain.name):
            found = monitors.verdict(object_labels.revision_of(pod), [pod])
            last = found.seen if found else None
        return last is not None and (last.state == "OK" or not must)

    try:
        world.wait("a verdict OK on clean requests", settled, seconds=60)
    except TimedOut as error:
        raise TimedOut(
            error.message, got=f"{last.state}: {'; '.join(last.reasons)}" if last else "no verdict"
        ) from error
    return last.state if last else ""


def _ending(lines: TaskLines, found: list[StageOutcome], world: World, tally: Tally, *, seconds: float) -> None:
    verified = sum(each.state == "verified" for each in found)
    lines.say()
    lines.say(
        f"{verified} of {len(found)} stages verified; {tally.failed} of {tally.requests:,} requests failed; "
        f"{seconds:.0f} s in all."
    )
    where = world.settings.state
    shown = where.relative_to(Path.cwd()) if where.is_relative_to(Path.cwd()) else where
    lines.say(f"read  {shown / 'watch.log'}   log of the watch")
