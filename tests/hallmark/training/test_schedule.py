"""A domain's recurring run: whatever was there, and wherever it was killed, one is awake in the end, and it is the right one."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.errors import Conflict, DeclarationError, HallmarkError, Unavailable
from hallmark.remote import Remote
from hallmark.settings import Settings
from hallmark.training import schedule
from hallmark.training.kubeflow_api import KubeflowApi, Reference
from hallmark.training.schedule import Recurring, ScheduleCall, Schedules, next_action

sys.path.insert(0, str(Path(__file__).parent))  # importmode=importlib puts no test folder on the path

from fake_kubeflow import Fake, client

ROOT = Path(__file__).parents[3]
NOON = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


class Killed(BaseException):
    """What kill -9 does, as far as one process can do it to itself."""


class Mortal(Remote):
    """Dies at its so many calls: before the server heard of it, or after it was done and before anybody heard."""

    def __init__(self, client: Any, token: Path, *, calls: int | None = None, heard: bool = False) -> None:
        super().__init__(client, what="Kubeflow Pipelines", token=token)
        self.left, self.heard, self.made = calls, heard, 0
        self.after: Callable[[], None] = lambda: None

    def ask(self, method: str, path: str, **parts: Any) -> Any:
        self.made += 1
        last = self.left is not None and self.made >= self.left
        if last and not self.heard:
            raise Killed
        answer = super().ask(method, path, **parts)
        self.after()
        if last:
            raise Killed
        return answer


@pytest.fixture
def fraud() -> Domain:
    return domains.load("fraud", Settings.load({"HALLMARK_ROOT": str(ROOT)}))


@pytest.fixture
def token(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("secret")
    return tmp_path / "token"


def world() -> Fake:
    made = Fake(clock=NOON)
    made.add_pipeline("fraud-training", versions=2)
    return made


def version(kubeflow: Fake, number: int) -> Reference:
    found = kubeflow.pipelines["fraud-training"][number]
    return {name: str(found[name]) for name in ("pipeline_id", "pipeline_version_id")}


class Clock:
    """The stand-in's own time; sleeping passes it."""

    def __init__(self, kubeflow: Fake) -> None:
        self.kubeflow, self.slept = kubeflow, 0.0

    def now(self) -> datetime:
        assert self.kubeflow.clock is not None
        return self.kubeflow.clock

    def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.kubeflow.clock = self.now() + timedelta(seconds=seconds)


def schedules(kubeflow: Fake, token: Path, said: list[str] | None = None, **mortal: Any) -> Schedules:
    clock = Clock(kubeflow)
    remote = Mortal(client(kubeflow), token, **mortal)
    say = said.append if said is not None else lambda text: None
    made = Schedules(KubeflowApi(remote), now=clock.now, sleep=clock.sleep, say=say)
    made.remote, made.clock = remote, clock  # type: ignore[attr-defined]
    return made


def awake(kubeflow: Fake) -> list[dict[str, Any]]:
    return [each for each in kubeflow.recurring if each["status"] == "ENABLED"]


def changed(kubeflow: Fake) -> list[str]:
    return [line for line in kubeflow.seen if not line.startswith("GET")]


def test_a_batch_has_a_clock_of_its_own_beside_the_training(fraud: Domain, token: Path) -> None:
    scoring = domains.overridden(fraud, ['batch.schedule="0 0 6 * * MON"'])
    kubeflow = Fake(clock=NOON)
    kubeflow.add_pipeline("fraud-training", versions=1)
    kubeflow.add_pipeline("fraud-batch", versions=1)
    graphs = {
        name: {key: str(found[0][key]) for key in ("pipeline_id", "pipeline_version_id")}
        for name, found in kubeflow.pipelines.items()
    }
    clock = schedules(kubeflow, token)
    clock.on(scoring, graphs["fraud-training"])
    clock.on(scoring, graphs["fraud-batch"], records="s3://team-members/today.parquet")
    clock.on(scoring, graphs["fraud-batch"], records="s3://team-members/today.parquet")  # changes nothing
    assert [each["display_name"] for each in awake(kubeflow)] == ["fraud-training", "fraud-batch"]
    batch = awake(kubeflow)[1]
    assert batch["trigger"]["cron_schedule"]["cron"] == "0 0 6 * * MON"
    assert batch["runtime_config"]["parameters"] == {
        "records": "s3://team-members/today.parquet",
        "version": "champion",
    }
    assert clock.off("fraud", kind="batch") == 1
    assert [each["display_name"] for each in awake(kubeflow)] == ["fraud-training"]


def test_a_domain_that_declares_no_batch_has_no_clock_for_one(fraud: Domain) -> None:
    with pytest.raises(DeclarationError, match="scores no file by the clock"):
        schedule.times(fraud, after=NOON, kind="batch")


def test_what_is_asked_for_is_a_run_of_this_version_by_the_declared_clock(fraud: Domain, token: Path) -> None:
    kubeflow = world()
    made = schedules(kubeflow, token).on(fraud, version(kubeflow, 1))
    (there,) = kubeflow.recurring
    assert there["recurring_run_id"] == made.id and there["status"] == "ENABLED"
    assert there["pipeline_version_reference"] == version(kubeflow, 1)
    assert set(there["pipeline_version_reference"]) == {"pipeline_id", "pipeline_version_id"}
    assert there["trigger"] == {"cron_schedule": {"cron": "0 0 3 * * *"}}
    assert there["runtime_config"] == {"parameters": {"window": "60d"}}
    assert (there["max_concurrency"], there["no_catchup"], there["service_account"]) == ("1", True, "pipeline")
    assert (there["namespace"], there["display_name"]) == ("fraud", "fraud-training")


def test_a_second_time_changes_nothing(fraud: Domain, token: Path) -> None:
    kubeflow = world()
    first = schedules(kubeflow, token).on(fraud, version(kubeflow, 1))
    before = changed(kubeflow)
    assert schedules(kubeflow, token).on(fraud, version(kubeflow, 1)) == first
    assert changed(kubeflow) == before


@pytest.mark.parametrize("change", ["version", "cron", "window"])
def test_what_changed_takes_the_place_of_what_was_and_the_clock_is_never_without_one(
    fraud: Domain, token: Path, change: str
) -> None:
    kubeflow = world()
    first = schedules(kubeflow, token).on(fraud, version(kubeflow, 0))
    kubeflow.runs.append({"run_id": "under way", "recurring_run_id": first.id})
    kubeflow.clock = NOON + timedelta(days=3)
    wanted, number = fraud, 1 if change == "version" else 0
    if change != "version":
        key, value = ("schedule", "0 0 4 * * *") if change == "cron" else ("window", "30d")
        wanted = domains.overridden(fraud, [f"training.{key}={value}"])
    second = schedules(kubeflow, token)
    states: list[int] = []
    second.remote.after = lambda: states.append(len(awake(kubeflow)))  # type: ignore[attr-defined]
    made = second.on(wanted, version(kubeflow, number))
    assert made.id != first.id
    assert [each["recurring_run_id"] for each in kubeflow.recurring] == [made.id] and len(awake(kubeflow)) == 1
    assert min(states) == 1 and max(states) == 2
    assert kubeflow.runs, "what the old one had started was taken away with it"


@pytest.mark.parametrize("heard", [False, True])
@pytest.mark.parametrize("start", ["nothing", "old", "asleep", "two awake", "leftovers"])
def test_killed_at_any_call_the_next_one_ends_well(fraud: Domain, token: Path, start: str, heard: bool) -> None:
    calls = 1
    while True:
        kubeflow = world()
        prepare(kubeflow, fraud, token, start)
        had = bool(awake(kubeflow))
        dying = schedules(kubeflow, token, calls=calls, heard=heard)
        states: list[int] = []
        dying.remote.after = lambda kubeflow=kubeflow, states=states: states.append(len(awake(kubeflow)))  # type: ignore[attr-defined]
        try:
            dying.on(fraud, version(kubeflow, 1))
            ended = True
        except Killed:
            ended = False
        assert not had or min([1, *states]) == 1, f"no recurring run was awake after call {calls}"
        kubeflow.clock = NOON + timedelta(seconds=90)
        schedules(kubeflow, token).on(fraud, version(kubeflow, 1))
        (only,) = kubeflow.recurring
        assert only["status"] == "ENABLED" and only["pipeline_version_reference"] == version(kubeflow, 1)
        assert len(kubeflow.experiments) == 1
        if ended:
            break
        calls += 1
    assert calls >= 4


def prepare(kubeflow: Fake, fraud: Domain, token: Path, start: str) -> None:
    if start == "nothing":
        return
    schedules(kubeflow, token).on(fraud, version(kubeflow, 0))
    if start == "asleep":
        schedules(kubeflow, token).off("fraud")
    if start in ("two awake", "leftovers"):
        status = "ENABLED" if start == "two awake" else "DISABLED"
        kubeflow.recurring.append({**kubeflow.recurring[0], "recurring_run_id": "second", "status": status})
        kubeflow.recurring.append({**kubeflow.recurring[0], "recurring_run_id": "third", "status": status})


def test_two_at_once_leave_one(fraud: Domain, token: Path) -> None:
    """Each call of the one is followed by a whole turn of the other."""
    for turn in range(1, 8):
        kubeflow = world()
        prepare(kubeflow, fraud, token, "old")
        slow = schedules(kubeflow, token)

        def other(slow: Any = slow, kubeflow: Fake = kubeflow, turn: int = turn) -> None:
            if slow.remote.made == turn:
                schedules(kubeflow, token).on(fraud, version(kubeflow, 1))

        slow.remote.after = other  # type: ignore[attr-defined]
        slow.on(fraud, version(kubeflow, 1))
        (only,) = kubeflow.recurring
        assert only["status"] == "ENABLED" and only["pipeline_version_reference"] == version(kubeflow, 1)


def test_nothing_is_exchanged_while_a_run_is_due(fraud: Domain, token: Path) -> None:
    kubeflow = world()
    schedules(kubeflow, token).on(fraud, version(kubeflow, 0))
    kubeflow.clock = datetime(2026, 11, 23, 2, 59, 30, tzinfo=UTC)
    said: list[str] = []
    exchange = schedules(kubeflow, token, said)
    exchange.on(fraud, version(kubeflow, 1))
    assert exchange.clock.slept == 60  # type: ignore[attr-defined]
    assert said[0] == "a run is due at 03:00:00: the exchange waits for it"
    (only,) = kubeflow.recurring
    assert only["created_at"] == "2026-11-23T03:00:30Z"  # after it, so that the new one does not do it again


def test_one_that_slept_through_its_time_is_made_anew_and_does_not_train_at_once(fraud: Domain, token: Path) -> None:
    kubeflow = world()
    first = schedules(kubeflow, token).on(fraud, version(kubeflow, 1))
    assert schedules(kubeflow, token).off("fraud") == 1
    assert schedules(kubeflow, token).off("fraud") == 0 and awake(kubeflow) == []
    again = schedules(kubeflow, token).on(fraud, version(kubeflow, 1))
    assert again.id == first.id and len(awake(kubeflow)) == 1
    schedules(kubeflow, token).off("fraud")
    kubeflow.clock = NOON + timedelta(days=2)
    later = schedules(kubeflow, token).on(fraud, version(kubeflow, 1))
    assert later.id != first.id
    assert [each["recurring_run_id"] for each in kubeflow.recurring] == [later.id]


def test_recurring_runs_of_people_and_other_domains_are_left_alone(fraud: Domain, token: Path) -> None:
    kubeflow = world()
    schedules(kubeflow, token).on(fraud, version(kubeflow, 0))
    (mine,) = kubeflow.recurring
    theirs = [
        {**mine, "recurring_run_id": "by hand", "display_name": "my experiment"},
        {**mine, "recurring_run_id": "capitals", "display_name": "FRAUD-training"},
        {**mine, "recurring_run_id": "elsewhere", "experiment_id": "another"},
    ]
    kubeflow.recurring += [dict(each) for each in theirs]
    schedules(kubeflow, token).on(fraud, version(kubeflow, 1))
    schedules(kubeflow, token).off("fraud")
    assert [
        each for each in kubeflow.recurring if each["recurring_run_id"] in ("by hand", "capitals", "elsewhere")
    ] == theirs


def test_one_that_kubeflow_says_nothing_good_of_is_replaced(fraud: Domain, token: Path) -> None:
    kubeflow = world()
    first = schedules(kubeflow, token).on(fraud, version(kubeflow, 1))
    kubeflow.recurring[0]["status"] = "STATUS_UNSPECIFIED"
    assert schedules(kubeflow, token).on(fraud, version(kubeflow, 1)).id != first.id
    assert len(kubeflow.recurring) == 1


def test_whoever_undoes_every_call_is_named_in_the_end(fraud: Domain, token: Path) -> None:
    kubeflow = world()
    restless = schedules(kubeflow, token)
    restless.remote.after = lambda: [each.update(status="DISABLED") for each in kubeflow.recurring]  # type: ignore[attr-defined]
    with pytest.raises(Conflict, match="change as fast as they are changed"):
        restless.on(fraud, version(kubeflow, 1))


def test_another_form_of_answer_is_told(fraud: Domain, token: Path) -> None:
    kubeflow = world()
    schedules(kubeflow, token).on(fraud, version(kubeflow, 1))
    del kubeflow.recurring[0]["created_at"]
    with pytest.raises(Unavailable, match="Kubeflow Pipelines does not answer"):
        schedules(kubeflow, token).on(fraud, version(kubeflow, 1))
    with pytest.raises(HallmarkError):
        schedules(kubeflow, token).on(fraud, {"pipeline_id": "p", "pipeline_version_id": "none"})


def each(number: int, mark: str, status: str, hours: float = 1) -> Recurring:
    created = NOON - timedelta(hours=hours)
    return Recurring(id=str(number), mark=mark, cron="0 0 3 * * *", version="v", created=created, status=status)


def test_the_next_step_follows_from_what_is_there() -> None:
    new, old = each(1, "new", "ENABLED"), each(2, "old", "ENABLED", hours=50)
    asleep = each(3, "new", "DISABLED", hours=0)
    assert next_action([], "new", now=NOON) == (ScheduleCall.make_awake, None)
    assert next_action([old], "new", now=NOON) == (ScheduleCall.make_asleep, None)
    assert next_action([old, asleep], "new", now=NOON) == (ScheduleCall.wake, asleep)
    assert next_action([old, new, asleep], "new", now=NOON) == (ScheduleCall.sleep, old)
    assert next_action([asleep, new], "new", now=NOON) == (ScheduleCall.delete, asleep)
    assert next_action([new], "new", now=NOON) is None
    overslept = each(4, "new", "DISABLED", hours=24)
    assert next_action([overslept], "new", now=NOON) == (ScheduleCall.make_awake, None)


def test_the_stand_in_speaks_what_the_generated_client_understands(fraud: Domain, token: Path) -> None:
    import kfp_server_api as api

    kubeflow = world()
    body = schedule.wanted(fraud, version(kubeflow, 1), "e")
    known = api.V2beta1RecurringRun(**{**body, "mode": "DISABLE", "local_vars_configuration": api.Configuration()})
    told = api.ApiClient().sanitize_for_serialization(known)
    assert told == {**body, "mode": "DISABLE"}
