"""The main job, end to end, on this machine: train, serve, roll out under load, and see a shift in the incoming orders."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from hallmark.cli.progress import TaskLines
from hallmark.errors import HallmarkError, TimedOut
from local_cluster.commands import Mode

if TYPE_CHECKING:
    from hallmark.declaration.domain import Domain
    from hallmark.leash import Leash
    from hallmark.rollout.writer import InferenceServiceWriter
    from hallmark.settings import Settings
    from tools.traffic import Requests, ServedAnswer, Tally, Traffic

DOMAIN = "fraud"
FIRST = datetime(2026, 9, 1, tzinfo=UTC)
SECOND = datetime(2026, 10, 1, tzinfo=UTC)
MONTH = "30d"
SHIFT = "new_fraud_pattern"
_ORDERS = {"clean": 2000, "shifted": 1500}
"""Different orders of each kind; they are sent in turn, each by a buyer with a history of his own."""
_SHIFTED = 1500
_VIEW, _COLUMN = "buyer_orders@1", "buyer_orders_30d"


@dataclass
class Story:
    """Record of the run, for the last lines and the plot."""

    asked: list[tuple[str, int]] = field(default_factory=list)
    tallies: list[Tally] = field(default_factory=list)
    annotations: list[tuple[float, str]] = field(default_factory=list)
    verdicts: dict[str, str] = field(default_factory=dict)
    column: str = ""
    more: str = ""


def demo(
    seed: Annotated[int, typer.Option(help="Seed of the marketplace.")] = 7,
    requests: Annotated[
        int, typer.Option(min=500, help="Requests counted at the 50% stage; the others take their part of it.")
    ] = 4000,
    rate: Annotated[float, typer.Option(min=10, help="Requests a second of the client.")] = 500.0,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the local cluster running.")] = False,
    mode: Mode = None,
) -> None:
    """The main job for fraud, end to end: train, serve, canary, promote, drift. Leaves nothing running."""
    started = time.monotonic()
    from tools.scratch import scratch

    settings = _settings()
    with scratch(settings.state, base=settings, keep=keep) as on, TaskLines() as lines:
        lines.say(Text("Hallmark, the main job for fraud: from orders to a promoted canary", style="bold"))
        story = _run(settings, lines, on, seed=seed, requests=requests, rate=rate, keep=keep, mode=mode)
        _ending(lines, story, settings, time.monotonic() - started, keep=keep)


def _run(
    settings: Settings, lines: TaskLines, on: Leash, *, seed: int, requests: int, rate: float, keep: bool, mode: Mode
) -> Story:
    from hallmark.declaration import domain as declared
    from hallmark.registry.store import Registry

    domain = declared.load(DOMAIN, settings)
    registry = Registry(settings)
    story = Story()
    orders = _orders(domain, settings, lines, seed=seed)
    _train(domain, settings, lines, as_of=FIRST, seed=seed)
    with _cluster(settings, lines, on, keep=keep, mode=mode) as (port, writer):
        _release(writer, domain, registry, 1, 100, settings, lines)
        _train(domain, settings, lines, as_of=SECOND, seed=seed)
        from tools.traffic import Traffic

        url = f"http://127.0.0.1:{port}/serving/{DOMAIN}/{DOMAIN}/v2/models/{DOMAIN}/infer"
        _tell(orders["clean"], lines)
        with Traffic(url, orders["clean"].bodies, rate=rate) as traffic:
            _roll_out(writer, domain, registry, traffic, story, settings, lines, requests=requests)
            found = _drift(writer, traffic, orders["shifted"], story, lines)
            answers = traffic.since(0)
        _one_more(writer, url, orders["clean"], story, settings, lines)
        _report(writer, found, settings, lines)
        _plot(answers, story, settings.state / "rollout.png")
    return story


def _orders(domain: Domain, settings: Settings, lines: TaskLines, *, seed: int) -> dict[str, Requests]:
    """Requests of the days after the second training: as they come, and with the shift in them."""
    from hallmark.declaration import domain as declared
    from tools.traffic import synthetic

    with lines.task("draw a month of orders") as line:
        data = declared.module(domain.name, "data", settings)
        month = data.draw(start=FIRST - timedelta(days=30), end=FIRST, seed=seed)
        line.result = f"{len(month):,} orders, {month[domain.data.label].mean():.1%} {domain.data.label}"
        bodies = {}
        for name, shift in (("clean", None), ("shifted", SHIFT)):
            bodies[name] = synthetic(domain.name, count=_ORDERS[name], seed=seed, shift=shift, settings=settings)
    return bodies


def _train(domain: Domain, settings: Settings, lines: TaskLines, *, as_of: datetime, seed: int) -> None:
    from hallmark.cli.model import shown
    from hallmark.training.run import train

    with lines.task(f"train on data until {as_of:%d %B}") as line:
        outcome = train(
            domain.name, settings=settings, as_of=as_of.isoformat(), window=MONTH, seed=seed, report=shown(line)
        )
        if outcome.refusal is not None:
            raise outcome.refusal
        metric = outcome.evaluation.metrics[domain.gate.metric]
        line.result = f"version {outcome.version}, {domain.gate.metric} {metric:.3f}, {str(outcome.digest)[:19]}"


@contextmanager
def _cluster(
    settings: Settings, lines: TaskLines, on: Leash, *, keep: bool, mode: Mode
) -> Iterator[tuple[int, InferenceServiceWriter]]:
    from hallmark.cli.serve import apply_all
    from hallmark.rollout.writer import InferenceServiceWriter
    from local_cluster import cluster

    with lines.task("start the local cluster") as line:
        state = cluster.up(settings, port=0, on=on, stays=keep, adapter=mode.adapter if mode else None)
        writer = InferenceServiceWriter.connect(settings, kubeconfig=settings.kubeconfig)
        apply_all(writer, settings)
        line.result = f"Kubernetes API {writer.host}, gateway http://127.0.0.1:{state.port}"
    try:
        yield state.port, writer
    finally:
        if not keep:
            with lines.task("stop it") as line:
                cluster.down(settings)
                line.result = "no process left"


def _release(
    writer: InferenceServiceWriter,
    domain: Domain,
    registry: Any,
    version: int,
    percent: int,
    settings: Settings,
    lines: TaskLines,
) -> None:
    from hallmark.artifacts.release import Target
    from hallmark.declaration import serving_config
    from hallmark.rollout import followers
    from hallmark.rollout import operations as rollout
    from hallmark.rollout.writer import predictor_status, share

    found = registry.resolve(domain.name, version)
    target = Target.of(found, serving_config.of(domain).reference)
    title = f"serve version {version}" if percent == 100 else f"version {version} at {percent}%"
    with lines.task(title) as line:
        live = rollout.release(writer, domain, target, percent=percent, note=line.note)
        if share(live) is None:
            followers.follow(writer, domain.name, settings)
        line.result = f"revision {predictor_status(live)['latestReadyRevision']} is ready"


def _roll_out(
    writer: InferenceServiceWriter,
    domain: Domain,
    registry: Any,
    traffic: Traffic,
    story: Story,
    settings: Settings,
    lines: TaskLines,
    *,
    requests: int,
) -> None:
    from hallmark.rollout import followers
    from hallmark.rollout import operations as rollout

    for percent, number in ((10, requests // 2), (50, requests)):
        _release(writer, domain, registry, 2, percent, settings, lines)
        _count(traffic, story, lines, percent=percent, variant="canary", number=number)
    with lines.task("promote version 2") as line:
        rollout.promote(writer, domain, note=line.note)
        followers.follow(writer, domain.name, settings)
        line.result = "stable, champion in the registry, release.yaml written"
    _count(traffic, story, lines, percent=100, variant="stable", number=requests // 4)


def _count(traffic: Traffic, story: Story, lines: TaskLines, *, percent: int, variant: str, number: int) -> None:
    with lines.task(f"measure {percent}%") as line:
        story.annotations.append((traffic.now(), f"{percent}%"))
        tally = traffic.next(number, seconds=120)
        story.asked.append((variant, percent))
        story.tallies.append(tally)
        line.result = f"{tally.shares.get(variant, 0.0):.1f}% of {tally.requests:,} requests, {tally.failed} failed, p99 {tally.p99_ms:.0f} ms"


def _drift(writer: InferenceServiceWriter, traffic: Traffic, shifted: Requests, story: Story, lines: TaskLines) -> Any:
    with lines.task("drift on clean orders") as line:
        story.verdicts["before"] = line.result = _verdict(writer, {"OK", "DRIFT"}, seconds=30).state
    _tell(shifted, lines)
    traffic.use(shifted.bodies)
    story.annotations.append((traffic.now(), SHIFT))
    began = time.monotonic()
    with lines.task(f"inject {SHIFT}") as line:
        _verdict(writer, {"DRIFT"}, seconds=60)
        seconds = time.monotonic() - began
        line.note("letting the window fill with it")
        traffic.next(_SHIFTED, seconds=60)
        found = _verdict(writer, {"DRIFT"}, seconds=30)
        columns = sorted(found.verdict["columns"], key=lambda column: -(column.get("psi") or 0))
        story.verdicts["after"] = found.state
        story.column = ", ".join([column["name"] for column in columns if column.get("drifted")][:3])
        line.result = f"{found.state} after {seconds:.0f} s: {story.column}"
    return found


def _tell(requests: Requests, lines: TaskLines) -> None:
    with lines.task("tell what was before them") as line:
        line.result = f"{requests.prepare():,} events of their buyers, devices and addresses, through log and stream"


def _one_more(
    writer: InferenceServiceWriter, url: str, requests: Requests, story: Story, settings: Settings, lines: TaskLines
) -> None:
    """A buyer orders once more, and the next answer knows: the event goes through log and stream into the online store."""
    from hallmark.feature_store.place import FeatureStore

    assert requests.histories is not None  # noqa: S101  fraud reads views
    with lines.task("a buyer orders once more") as line:
        store, past = FeatureStore(settings), requests.histories.events["orders@1"]
        found = store.read(_VIEW, [_value(each, "buyer_id") for each in requests.bodies[:500]])
        body = next(body for body, each in zip(requests.bodies, found, strict=False) if each.values[_COLUMN] == 3)
        buyer = _value(body, "buyer_id")
        before, score = _asked(writer, url, body)
        now = datetime.now(UTC)
        event = past[past["buyer_id"] == buyer].tail(1).assign(order_id="one-more", ordered_at=now, known_at=now)
        path = settings.state / "one_more.parquet"
        event.astype({name: past[name].dtype for name in ("ordered_at", "known_at")}).to_parquet(path)
        began = time.monotonic()
        store.ingest("orders@1", path)
        while store.read(_VIEW, [buyer])[0].values[_COLUMN] == before:
            if time.monotonic() - began > 30:
                raise TimedOut("the stream did not bring one more order in 30 s", fix="read streams.log of the cluster")
            time.sleep(0.005)
        took = time.monotonic() - began
        after, later = _asked(writer, url, body, stale=before)
        line.result = f"{before} orders in 30 days in one answer, {after} in the next; {1000 * took:.0f} ms from event to value, score {score:.3f} -> {later:.3f}"
        story.more = f"A buyer with {before} orders in 30 days had {after} in the next answer, {1000 * took:.0f} ms after one more order came in."


def _asked(writer: InferenceServiceWriter, url: str, body: bytes, *, stale: int | None = None) -> tuple[int, float]:
    """How many orders in 30 days an answer was given with, as the server captured it, and its score; `stale` is of an earlier one."""
    import httpx

    from hallmark import object_labels

    answer = httpx.post(url, content=body, headers={"Content-Type": "application/json"}, trust_env=False)
    amount, deadline = _value(body, "amount"), time.monotonic() + 10
    while time.monotonic() < deadline:
        for pod in writer.pods(DOMAIN):
            window = f"window?limit=1&variant={object_labels.revision_of(pod)}"
            columns = json.loads(writer.sidecar(pod, window))["columns"]
            if columns["amount"] == [amount] and columns[_COLUMN] != [stale]:
                return int(columns[_COLUMN][-1]), float(answer.json()["outputs"][0]["data"][0])
        time.sleep(0.1)
    raise TimedOut("the drift monitor did not get the answer in 10 s", got=str(answer.status_code))


def _value(body: bytes, name: str) -> Any:
    return next(each["data"][0] for each in json.loads(body)["inputs"] if each["name"] == name)


def _report(writer: InferenceServiceWriter, found: Any, settings: Settings, lines: TaskLines) -> None:
    from hallmark.cli import verdict

    with lines.task("report of the window") as line:
        path = settings.state / "drift.html"
        verdict.report(writer, [found], variant=found.variant, name=DOMAIN, path=path, settings=settings)
        line.result = str(_short(path))


def _verdict(writer: InferenceServiceWriter, states: set[str], *, seconds: float) -> Any:
    from hallmark.cli import verdict

    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = next((each for each in verdict.collect(writer, DOMAIN) if each.variant == "stable"), None)
        if found is not None and found.state in states:
            return found
        time.sleep(0.5)
    raise TimedOut(
        f"the drift monitor did not report {' or '.join(sorted(states))} in {seconds:g} s",
        got=found.state if found else "no stable variant",
    )


def _plot(answers: list[ServedAnswer], story: Story, path: Path) -> None:
    """Requests a second by who answered, over the rollout."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np

    end = int(max(each.at for each in answers)) + 1
    figure, axis = plt.subplots(figsize=(10, 4), layout="constrained")
    groups = {"version 1": "#2a6f97", "version 2": "#e09f3e", "failed": "#9e2a2b"}

    def group(answer: ServedAnswer) -> str:
        return f"version {answer.version}" if answer.status == 200 else "failed"

    series = [
        np.bincount([int(each.at) for each in answers if group(each) == name], minlength=end)[:end] for name in groups
    ]
    axis.stackplot(range(end), *series, labels=groups, colors=list(groups.values()), step="post")
    for at, label in story.annotations:
        axis.axvline(at, color="black", linewidth=0.8, linestyle=":")
        axis.annotate(label, (at, 1.01), xycoords=("data", "axes fraction"), fontsize=9)
    axis.set(xlabel="seconds", ylabel="requests a second", xlim=(0, max(1, end - 1)))
    axis.legend(loc="lower right")
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _ending(lines: TaskLines, story: Story, settings: Settings, seconds: float, *, keep: bool) -> None:
    table = Table(box=None, header_style="bold", pad_edge=False)
    for heading in ("stage", "asked", "measured", "requests", "failed", "p50 ms", "p99 ms"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for (variant, percent), tally in zip(story.asked, story.tallies, strict=True):
        name = "version 2, promoted" if percent == 100 else "version 2, canary"
        table.add_row(
            name,
            f"{percent}%",
            f"{tally.shares.get(variant, 0.0):.1f}%",
            f"{tally.requests:,}",
            str(tally.failed),
            f"{tally.p50_ms:.1f}",
            f"{tally.p99_ms:.1f}",
        )
    requests, failed = sum(tally.requests for tally in story.tallies), sum(tally.failed for tally in story.tallies)
    home = f"HALLMARK_STATE={_short(settings.state)} HALLMARK_RELEASES={_short(settings.releases)}"
    lines.say()
    lines.console.print(table)
    lines.say()
    lines.say(
        f"{failed} of {requests:,} requests failed while version 2 took over from version 1; drift {story.verdicts['before']} -> {story.verdicts['after']} ({story.column})."
    )
    lines.say(story.more)
    lines.say(
        f"All of it took {seconds:.0f} s. {'The local cluster is still up.' if keep else 'Nothing is left running.'}"
    )
    lines.say()
    lines.say(f"open  {_short(settings.state / 'rollout.png')}   who answered, second by second")
    lines.say(f"open  {_short(settings.state / 'drift.html')}    Evidently's report on the shifted orders")
    lines.say(f"try   export {home}")
    lines.say("      .venv/bin/hallmark model-card fraud 2; .venv/bin/hallmark up; .venv/bin/hallmark rollback fraud")
    worst = max(
        abs(tally.shares.get(variant, 0.0) - percent)
        for (variant, percent), tally in zip(story.asked, story.tallies, strict=True)
    )
    if failed or worst > 3:
        raise HallmarkError(
            "the rollout was not clean",
            expected="0 failed requests, and shares within 3 points",
            got=f"{failed} failed, {worst:.1f} points off",
        )


def _settings() -> Settings:
    from hallmark.settings import Settings

    base = Settings.load()
    state = base.root / ".hallmark" / "demo"
    settings = Settings.load(
        {"HALLMARK_ROOT": str(base.root), "HALLMARK_STATE": str(state), "HALLMARK_RELEASES": str(state / "releases")}
    )
    os.environ.update(settings.environment())
    return settings


def _short(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
