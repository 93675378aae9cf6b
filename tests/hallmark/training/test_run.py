"""A training on this machine, with real processes: followed, reused, killed, out of disk, twice at once."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hallmark.artifacts.folder import verify
from hallmark.errors import ContractBroken, DeclarationError, HallmarkError, NotFound, TimedOut
from hallmark.registry.store import CHAMPION, Registry
from hallmark.settings import Settings
from hallmark.training import process, run
from hallmark.training.journal import JournalEvent
from hallmark.training.run import TrainingOutcome
from tests.seeds import how_many

TOY = Path(__file__).parents[2] / "toy"
STEPS = ("load", "validate", "split", "train", "evaluate", "compare", "gate", "export", "register")
DAY = "2026-11-01"


def a_root(folder: Path) -> Settings:
    """A checkout with one small domain."""
    shutil.copytree(TOY, folder / "root")
    return Settings.load({"HALLMARK_ROOT": str(folder / "root"), "HALLMARK_STATE": str(folder / "state")})


def train(settings: Settings, events: list[JournalEvent] | None = None, **options: Any) -> TrainingOutcome:
    kept = [] if events is None else events
    return run.train("toy", settings=settings, as_of=DAY, report=kept.append, **options)


def ends(events: list[JournalEvent]) -> dict[str, str]:
    return {event.step: event.state for event in events if event.state in ("finished", "reused", "failed")}


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory, empty_registry: Path
) -> tuple[Settings, TrainingOutcome, list[JournalEvent]]:
    """A first run; the tests that only add to what it left share it. (The two at once below set their registry up as well.)"""
    settings = a_root(tmp_path_factory.mktemp("trained")).prepared()
    shutil.copyfile(empty_registry, settings.state / "mlflow.db")
    events: list[JournalEvent] = []
    return settings, train(settings, events), events


@pytest.fixture
def fresh(tmp_path: Path) -> Settings:
    return a_root(tmp_path)


Trained = tuple[Settings, TrainingOutcome, list[JournalEvent]]


def test_a_first_run_goes_through_every_step_and_registers_a_challenger(trained: Trained) -> None:
    settings, outcome, events = trained
    assert ends(events) == dict.fromkeys(STEPS, "finished")
    assert [done.step for done in outcome.steps] == list(STEPS)
    assert outcome.version == 1
    assert outcome.refusal is None
    (row,) = Registry(settings).versions("toy")
    assert (row.digest, row.aliases) == (outcome.digest, ("challenger",))
    assert row.value == outcome.evaluation.metrics["average_precision"]
    assert outcome.plots.suffix == ".html"
    assert outcome.plots.read_text().lstrip().lower().startswith("<!doctype html")


def test_the_train_step_says_how_far_it_is(trained: Trained) -> None:
    progress = [event for event in trained[2] if event.state == "progress"]
    assert {event.step for event in progress} == {"train"}
    assert (progress[-1].done, progress[-1].total) == (10, 10)
    assert progress[-1].note.startswith("loss ")


def test_the_model_card_says_where_the_version_comes_from(trained: Trained) -> None:
    settings, outcome, _ = trained
    model_card = Registry(settings).model_card("toy", 1)
    assert (model_card.domain, model_card.model) == ("toy", outcome.digest)
    assert model_card.request.model_dump() == {
        "origin": "synthetic",
        "as_of": "2026-11-01T00:00:00+00:00",
        "seed": 7,
        "shift": "",
        "options": {},
        "correlation": "",
    }
    assert model_card.data.rows == 1000
    assert model_card.data.first is not None
    assert model_card.data.last is not None
    # A label is final a day later, so the window of 10 days ends a day before.
    assert model_card.data.first.isoformat() >= "2026-10-21"
    assert model_card.data.last.isoformat() <= "2026-10-31"
    assert model_card.decision == outcome.decision
    assert model_card.metrics == outcome.evaluation.metrics
    assert model_card.errors == outcome.evaluation.errors
    assert set(model_card.errors) == set(model_card.metrics) and 0 < model_card.errors["average_precision"] < 0.1
    assert {part.value for part in model_card.slices} == {"x", "y"}
    assert all(part.error is not None and part.replicates == () for part in model_card.slices)
    assert model_card.champion is None
    assert model_card.parity.difference <= model_card.parity.tolerance
    assert {"kfp", "mlflow", "numpy"} <= set(model_card.libraries)


def test_kubeflow_artifacts_and_a_log_a_step_are_kept(trained: Trained) -> None:
    workspace = trained[1].workspace
    assert workspace is not None
    found = {path.name for path in workspace.glob("artifacts/*/evaluate/*")}
    assert {"evaluation", "plots", "slices"} <= found
    assert {path.stem for path in (workspace / "logs").iterdir()} == {*STEPS, "pipeline"}
    assert not (workspace / "tmp").exists()


def test_a_second_run_reuses_every_step(trained: Trained) -> None:
    settings, first, _ = trained
    events: list[JournalEvent] = []
    again = train(settings, events)
    assert ends(events) == dict.fromkeys(STEPS, "reused")
    assert (again.version, again.digest, again.evaluation) == (first.version, first.digest, first.evaluation)
    assert again.workspace is None
    assert len(Registry(settings).versions("toy")) == 1


@pytest.mark.serial
def test_a_second_run_takes_five_seconds_or_less_with_its_interpreter(trained: Trained) -> None:
    settings = trained[0]
    script = (
        "from hallmark.settings import Settings; from hallmark.training import run\n"
        f"print(run.train('toy', settings=Settings.load(), as_of='{DAY}').version)"
    )
    environment = {**os.environ, **settings.environment()}
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert time.monotonic() - began <= 5
    assert done.stdout.strip() == "1"


@pytest.mark.slow
def test_damage_in_the_cache_is_noticed_and_mended(trained: Trained) -> None:
    settings, first, _ = trained
    done = next(done for done in first.steps if done.step == "validate")
    facts = settings.runs / "cache" / "entries" / f"validate-{done.key}" / "outputs" / "facts"
    facts.write_bytes(facts.read_bytes().replace(b"1000", b"2000"))
    events: list[JournalEvent] = []
    again = train(settings, events)
    # Registering is an effect elsewhere, so it runs again; the same digest is the same version.
    assert ends(events) == dict.fromkeys(STEPS, "reused") | {"validate": "finished", "register": "finished"}
    assert again.version == 1
    assert again.digest == first.digest
    assert b"1000" in facts.read_bytes()


@pytest.mark.slow
def test_an_error_nobody_foresaw_is_told_with_its_step_and_its_log(trained: Trained) -> None:
    settings = trained[0]
    with pytest.raises(HallmarkError, match="step train broke") as caught:
        train(settings, options={"fail": "the loss went to infinity"})
    assert "ValueError: the loss went to infinity" in caught.value.got
    log = Path(caught.value.fix.removeprefix("the whole log is ").partition(";")[0])
    assert "Traceback" in log.read_text()


@pytest.mark.slow
def test_a_broken_contract_stops_before_training_and_bytes_changed_behind_a_path_are_a_miss(trained: Trained) -> None:
    settings, first, _ = trained
    done = next(done for done in first.steps if done.step == "load")
    own = settings.root / "own.parquet"
    shutil.copyfile(settings.runs / "cache" / "entries" / f"load-{done.key}" / "outputs" / "examples", own)
    with pytest.raises(HallmarkError, match="step train broke"):
        train(settings, source=str(own), options={"fail": "far enough"})
    stat = own.stat()
    break_range(own)
    os.utime(own, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    events: list[JournalEvent] = []
    with pytest.raises(ContractBroken) as caught:
        train(settings, events, source=str(own), options={"fail": "far enough"})
    assert ends(events) == {"load": "finished", "validate": "failed"}
    assert caught.value.exit_code == 3
    assert "a" in caught.value.message
    assert len(Registry(settings).versions("toy")) == 1


def break_range(path: Path) -> None:
    import pandas as pd

    frame = pd.read_parquet(path)
    frame.loc[3, "a"] = 1e6
    frame.to_parquet(path, index=False)


@pytest.mark.slow
def test_a_candidate_that_does_not_pass_is_not_registered(trained: Trained, tmp_path: Path) -> None:
    settings = trained[0]
    declaration = settings.root / "domains" / "toy" / "domain.yaml"
    text = declaration.read_text()
    declaration.write_text(text.replace("floor: 0.5", "floor: 0.9999"))
    events: list[JournalEvent] = []
    try:
        outcome = train(settings, events)
        again = train(settings)
    finally:
        declaration.write_text(text)
    assert set(ends(events)) == {*STEPS, "log"} - {"export", "register"}
    assert outcome.version is None
    assert outcome.digest is None
    assert outcome.refusal is not None
    assert outcome.refusal.exit_code == 3
    assert "0.9999" in outcome.refusal.got
    (refused,) = Registry(settings).trials("toy")
    assert (refused.outcome, refused.run, refused.passed) == ("refused", outcome.run, False)
    assert "does not reach the floor 0.9999" in refused.reason, "and it is there for whoever was not"
    assert {done.state for done in again.steps} == {"reused"}
    assert again.refusal is not None
    assert len(Registry(settings).versions("toy")) == 1


@pytest.mark.slow
def test_a_candidate_is_compared_with_the_champion_of_now(trained: Trained) -> None:
    settings, first, _ = trained
    Registry(settings).alias("toy", CHAMPION, 1)
    events: list[JournalEvent] = []
    outcome = train(settings, events, seed=8)
    assert outcome.champion is not None
    assert (outcome.champion.version, outcome.champion.digest) == (1, first.digest)
    assert outcome.version == 2
    model_card = Registry(settings).model_card("toy", 2)
    assert model_card.champion == outcome.champion
    released = Registry(settings).resolve("toy", 2)
    assert released.path is not None
    assert verify(released.path) == outcome.digest


def test_data_that_is_not_there_is_said_before_anything_starts(fresh: Settings, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="there is no data at"):
        train(fresh, source=str(tmp_path / "nowhere.parquet"))
    with pytest.raises(DeclarationError, match="the window is not a duration"):
        train(fresh, window="a month")
    with pytest.raises(DeclarationError, match="the time is not a day"):
        run.train("toy", settings=fresh, as_of="yesterday")
    with pytest.raises(DeclarationError, match="there is no domain"):
        run.train("nobody", settings=fresh)
    assert not fresh.runs.exists()


@pytest.mark.slow
def test_a_run_that_takes_too_long_is_ended_and_leaves_no_process(fresh: Settings) -> None:
    declaration = fresh.root / "domains" / "toy" / "domain.yaml"
    declaration.write_text(declaration.read_text().replace("timeout: 5m", "timeout: 3s"))
    events: list[JournalEvent] = []
    with pytest.raises(TimedOut, match="training toy took too long"):
        train(fresh, events, options={"pause": 30})
    wait_gone([event.pid for event in events if event.pid])


@pytest.mark.slow
def test_the_steps_end_with_whoever_asked_for_them(fresh: Settings) -> None:
    script = (
        "from hallmark.settings import Settings; from hallmark.training import run\n"
        "run.train('toy', settings=Settings.load(), options={'pause': 30}, "
        "report=lambda e: print(e.model_dump_json(), flush=True))"
    )
    environment = {**os.environ, **fresh.environment()}
    with subprocess.Popen([sys.executable, "-c", script], env=environment, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        pid = next(
            event["pid"] for line in child.stdout if (event := json.loads(line))["step"] == "load" and "pid" in event
        )
        child.kill()
        wait_gone([pid, child.pid])


def wait_gone(pids: list[int]) -> None:
    until = time.monotonic() + 10
    for pid in pids:
        while Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z":
            assert time.monotonic() < until, f"process {pid} is still there"
            time.sleep(0.05)


@contextlib.contextmanager
def no_large_files(settings: Settings) -> Iterator[None]:
    """No file may grow beyond 100 kB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextlib.contextmanager
def a_full_disk(settings: Settings) -> Iterator[None]:
    """A file system of its own with 200 kB left."""
    settings.state.mkdir(parents=True, exist_ok=True)
    ballast = settings.state / "ballast"
    ballast.write_bytes(bytes(32 * 1024 * 1024 - 200_000))
    yield
    ballast.unlink()


@pytest.fixture
def small_disk(fresh: Settings) -> Iterator[Settings]:
    fresh.state.mkdir(parents=True)
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=32m", "tmpfs", str(fresh.state)], capture_output=True, text=True
    )
    if mount.returncode != 0:
        pytest.skip(f"needs the right to mount a small file system: {mount.stderr.strip()}")
    try:
        yield fresh
    finally:
        subprocess.run(["umount", str(fresh.state)], check=True)


def fails_cleanly_and_works_again(settings: Settings, full: Any) -> None:
    large: dict[str, Any] = {"window": "200d", "options": {"fail": "far enough"}}
    with full(settings), pytest.raises(HallmarkError, match="the disk is full") as caught:
        train(settings, **large)
    assert "make room" in caught.value.fix
    assert not list((settings.runs / "cache").glob("entries/*"))
    assert not list((settings.runs / "cache").glob("drafts/*"))
    events: list[JournalEvent] = []
    with pytest.raises(HallmarkError, match="far enough"):
        train(settings, events, **large)
    assert ends(events) == dict.fromkeys(("load", "validate", "split"), "finished") | {"train": "failed"}


@pytest.mark.slow
def test_a_limit_on_file_size_fails_cleanly_and_the_next_run_works(fresh: Settings) -> None:
    fails_cleanly_and_works_again(fresh, no_large_files)


@pytest.mark.slow
def test_a_full_disk_fails_cleanly_and_the_next_run_works(small_disk: Settings) -> None:
    fails_cleanly_and_works_again(small_disk, a_full_disk)


@pytest.mark.slow
@pytest.mark.many
@pytest.mark.timeout(900)
def test_a_run_killed_in_any_step_and_started_again_ends_with_the_same_digest(
    fresh: Settings, trained: Trained, empty_registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copyfile(empty_registry, fresh.prepared().state / "mlflow.db")
    monkeypatch.setattr(process, "PAUSE", 0.002)  # so that the gate, which takes 40 ms, is killed within it
    stride = how_many(3, 1)
    for number, step in [*enumerate(STEPS)][::-stride][::-1]:  # the last one among them
        events: list[JournalEvent] = []

        def kill(event: JournalEvent, step: str = step, events: list[JournalEvent] = events) -> None:
            events.append(event)
            if (event.step, event.state) == (step, "started"):
                os.kill(event.pid, signal.SIGKILL)

        with pytest.raises(HallmarkError, match=f"step {step} broke") as caught:
            run.train("toy", settings=fresh, as_of=DAY, report=kill)
        assert "it was killed" in caught.value.got
        reused = {name for name, state in ends(events).items() if state == "reused"}
        # The step killed last time, and the ones never reached before it, run; what had finished is reused.
        assert reused >= set(STEPS[: max(number - stride, 0)])
    events = []
    outcome = train(fresh, events)
    assert ends(events) == dict.fromkeys(STEPS, "reused") | {"register": "finished"}
    assert outcome.digest == trained[1].digest
    assert outcome.version == 1
    assert len(Registry(fresh).versions("toy")) == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_runs_at_once_do_each_step_once_and_register_one_version(fresh: Settings, trained: Trained) -> None:
    outcomes: list[TrainingOutcome] = []
    threads = [threading.Thread(target=lambda: outcomes.append(train(fresh))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(600)
    assert [outcome.digest for outcome in outcomes] == [trained[1].digest] * 2
    assert [outcome.version for outcome in outcomes] == [1, 1]
    assert len(Registry(fresh).versions("toy")) == 1
    for step in ("load", "train", "export"):
        states = sorted(done.state for outcome in outcomes for done in outcome.steps if done.step == step)
        assert states == ["finished", "reused"]
