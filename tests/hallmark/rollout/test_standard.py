"""Release, promote and roll back in KServe's Standard mode, against what KServe's source says that it does there."""

from __future__ import annotations

import copy
import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from hallmark import object_labels
from hallmark.artifacts.release import Release, Target
from hallmark.cli import main
from hallmark.declaration import domain as domains
from hallmark.errors import Conflict, ModelRefused, Refused, Unavailable
from hallmark.render import inferenceservice
from hallmark.rollout import mirror, operations, standard
from hallmark.rollout import record as records
from hallmark.rollout.monitors import Monitors, unknown
from hallmark.rollout.operator import Operator
from hallmark.rollout.plan import PlannedWriter
from hallmark.rollout.writer import InferenceServiceWriter, gets, live_target, predictor_status, ready, share, variants
from hallmark.settings import Settings

sys.path.insert(0, str(Path(__file__).parent))  # importmode=importlib puts no test folder on the path

from kserve_standard import ROUTES, KServe
from tiny import CONFIG, Clock, Counters, Trainings, Versions

from tests.strict import validator

ROOT = Path(__file__).parents[3]
NAME = "fraud"


def target(version: int) -> Target:
    return Target(
        version=version, storageUri=f"s3://models/{NAME}/{version}", digest="sha256:" + f"{version:064x}", config=CONFIG
    )


def quiet(_: str) -> None:
    return


def client(url: str) -> Any:
    from kubernetes import client as kubernetes

    configuration = kubernetes.Configuration()
    configuration.host, configuration.retries = url, 0
    return kubernetes.ApiClient(configuration)


@dataclass
class World:
    kserve: KServe
    writer: InferenceServiceWriter
    settings: Settings

    def __post_init__(self) -> None:
        self.domain = domains.load(NAME, Settings.load({"HALLMARK_ROOT": str(ROOT)}))

    def release(self, version: int, percent: int, **options: Any) -> dict[str, Any]:
        given = {"note": quiet, "seconds": 10.0, "mode": "Standard", **options}
        return operations.release(self.writer, self.domain, target(version), percent=percent, **given)

    def promote(self) -> Target:
        return operations.promote(self.writer, self.domain, note=quiet, seconds=10)

    def rollback(self) -> Target | None:
        return operations.rollback(self.writer, self.domain, note=quiet, seconds=10)

    def ready(self, deployment: str, pods: int) -> None:
        """Wait until a Deployment has so many ready pods."""
        deadline = time.monotonic() + 10
        while self.kserve.deployments.get(deployment, {}).get("ready") != pods:
            assert time.monotonic() < deadline, self.kserve.deployments
            time.sleep(0.02)

    @property
    def live(self) -> dict[str, Any]:
        found = self.writer.live(NAME)
        assert found is not None
        return found

    @property
    def recorded(self) -> Release:
        found = records.written(self.live)
        assert found is not None and found.rollout is None and not found.returning
        return found.release

    @property
    def ours(self) -> Any:
        """The HTTPRoute of ours; none where there is none."""
        return self.kserve.others.get(f"{ROUTES}/fraud-rollout")

    def operator(self, *changes: str) -> Operator:
        """A watch of this domain, without answers to judge by."""
        return Operator(
            domains.overridden(self.domain, changes),
            writer=self.writer,
            source=Counters(Told(self)),  # type: ignore[arg-type]
            registry=Versions(),  # type: ignore[arg-type]
            runner=Trainings(),
            tell=lambda _: None,
            fence=1,
        )

    def until(self, operator: Operator, done: Callable[[], bool]) -> None:
        """Tick until it is so."""
        deadline = time.monotonic() + 10
        while not done():
            assert time.monotonic() < deadline, operator.check
            operator.tick()

    @property
    def weights(self) -> dict[str, int]:
        return self.kserve.routes[-1]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr("hallmark.rollout.writer._POLL", 0.02)
    settings = Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_RELEASES": str(tmp_path)})
    with KServe() as kserve:
        connected = client(kserve.url)
        yield World(kserve, InferenceServiceWriter(connected), settings)
        connected.rest_client.pool_manager.clear()
        connected.close()


@pytest.fixture
def stable(world: World) -> World:
    """Version 1 serves everything, on the two pods that are declared."""
    world.release(1, 100)
    world.ready("fraud-predictor", 2)
    return world


def test_the_first_version_gets_everything(stable: World) -> None:
    assert stable.weights == {"fraud-predictor": 100}
    assert stable.recorded.stable == target(1)
    assert share(stable.live) is None and live_target(stable.live) == target(1)


def test_a_candidate_gets_its_share_once_it_is_ready_and_stable_is_not_touched(stable: World) -> None:
    before = stable.kserve.deployments["fraud-predictor"]["uid"]
    live = stable.release(2, 10)
    assert stable.weights == {"fraud-predictor": 90, "fraud-v2-predictor": 10}
    assert (share(live), live_target(live)) == (10, target(2)) and gets(10)(live) and ready(live)
    assert stable.kserve.deployments["fraud-predictor"]["uid"] == before
    assert stable.release(2, 50) and stable.weights == {"fraud-predictor": 50, "fraud-v2-predictor": 50}
    assert not stable.kserve.misrouted
    assert "canaryTrafficPercent" not in live["spec"]["predictor"], "Standard mode ignores it without a word"


def test_the_status_is_read_as_it_is_in_knative_mode(stable: World) -> None:
    live = stable.release(2, 10)
    component = predictor_status(live)
    assert (component["latestRolledoutRevision"], component["latestCreatedRevision"]) == (
        "fraud-predictor",
        "fraud-v2-predictor",
    )
    assert variants(live) == {"fraud-predictor": "stable", "fraud-v2-predictor": "canary"}
    assert set(Monitors(stable.writer, NAME).pods()) == set(variants(live))
    whole = stable.release(2, 100)
    assert predictor_status(whole)["latestRolledoutRevision"] == "fraud-v2-predictor"


def test_pods_say_what_they_are_and_are_not_made_anew_for_it(stable: World) -> None:
    stable.release(2, 50)

    def told() -> dict[str, str]:
        return {
            object_labels.revision_of(pod): pod["metadata"]["labels"].get("endpoint", "")
            for pod in stable.kserve.pods()
        }

    assert told() == {"fraud-predictor": "stable", "fraud-v2-predictor": "canary"}
    uid = stable.kserve.deployments["fraud-v2-predictor"]["uid"]
    stable.promote()
    assert told() == {"fraud-v2-predictor": "stable"}
    assert stable.kserve.deployments["fraud-v2-predictor"]["uid"] == uid


def test_who_may_not_label_pods_may_still_release(stable: World) -> None:
    stable.kserve.forbidden = True
    stable.release(2, 50)
    assert stable.promote() == target(2)


def test_promoting_from_a_small_share_gives_all_the_pods_first_and_restarts_none(stable: World) -> None:
    stable.release(2, 10)
    uid = stable.kserve.deployments["fraud-v2-predictor"]["uid"]
    before = len(stable.kserve.routes)
    assert stable.promote() == target(2)
    assert stable.kserve.routes[before:] == [
        {"fraud-predictor": 0, "fraud-v2-predictor": 100},
        {"fraud-v2-predictor": 100},
    ]
    deployments = stable.kserve.deployments
    assert set(deployments) == {"fraud-v2-predictor"} and deployments["fraud-v2-predictor"]["uid"] == uid
    assert deployments["fraud-v2-predictor"]["ready"] >= stable.domain.serving.replicas.minimum
    spec = stable.live["spec"]
    assert (spec["predictor"]["name"], spec["canary"]) == ("v2", [])
    assert spec["predictor"]["model"]["storageUri"] == target(2).storage_uri
    assert spec["predictor"]["maxReplicas"] == stable.domain.serving.replicas.maximum
    assert stable.recorded == Release(stable=target(2), previous=target(1))
    assert not stable.kserve.misrouted


def test_a_roll_back_takes_the_share_first_and_the_pods_then(stable: World) -> None:
    stable.release(2, 50)
    before = len(stable.kserve.routes)
    assert stable.rollback() == target(1)
    assert stable.kserve.routes[before:] == [
        {"fraud-predictor": 100, "fraud-v2-predictor": 0},
        {"fraud-predictor": 100},
    ]
    assert stable.recorded.stable == target(1)
    assert set(stable.kserve.deployments) == {"fraud-predictor"} and not stable.kserve.misrouted


def test_a_candidate_without_traffic_keeps_a_pod(stable: World) -> None:
    live = stable.release(2, 0)
    assert gets(0)(live) and stable.kserve.deployments["fraud-v2-predictor"]["ready"] == 1
    assert stable.weights == {"fraud-predictor": 100, "fraud-v2-predictor": 0}
    moved = stable.release(2, 100)
    assert moved["spec"]["canary"][0]["predictor"]["minReplicas"] == 2, "or it would keep the one pod for everything"


def test_a_promoted_version_rolls_back_to_the_one_before_it(stable: World) -> None:
    stable.release(2, 50)
    stable.promote()
    assert stable.rollback() == target(1)
    assert set(stable.kserve.deployments) == {"fraud-v1-predictor"} and stable.weights == {"fraud-v1-predictor": 100}
    assert live_target(stable.live) == target(1) and not stable.kserve.misrouted
    with pytest.raises(Refused, match="nothing before"):
        stable.rollback()


def test_a_model_that_does_not_load_is_told_from_its_pods(stable: World) -> None:
    stable.kserve.broken.add(target(2).storage_uri)
    with pytest.raises(ModelRefused, match="does not load") as raised:
        stable.release(2, 50)
    assert "model.onnx of the model was changed" in str(raised.value)
    assert stable.weights == {"fraud-predictor": 100}
    shares = {each["revisionName"]: each["percent"] for each in predictor_status(stable.live)["traffic"]}
    assert shares == {"fraud-predictor": 100, "fraud-v2-predictor": 0}, "what is not ready is left out of the route"
    with pytest.raises(ModelRefused):
        stable.release(2, 100)
    with pytest.raises(Refused, match="not ready"):
        stable.promote()
    assert stable.rollback() == target(1)


def test_two_hands_at_once_and_one_wins(stable: World) -> None:
    live = stable.live
    stable.writer.shift(live, percent=10, target=target(2))
    with pytest.raises(Conflict):
        stable.writer.shift(live, percent=10, target=target(3))


SHADOW = {object_labels.SHADOW: "50"}


def test_a_shadow_is_a_route_of_ours_and_stable_answers_everybody(stable: World) -> None:
    live = stable.release(2, 0, notes=SHADOW)
    (rule,) = stable.ours["spec"]["rules"]
    copies = {
        "backendRef": {"group": "", "kind": "Service", "name": "fraud-v2-predictor", "namespace": "fraud", "port": 80},
        "percent": 50,
    }
    theirs = stable.kserve.others[f"{ROUTES}/fraud"]["spec"]
    assert rule["filters"] == [
        *theirs["rules"][0]["filters"],
        {"type": "RequestMirror", "requestMirror": copies},
    ]
    assert [(each["name"], each["weight"]) for each in rule["backendRefs"]] == [("fraud-predictor", 100)]
    assert rule["matches"] == [{"path": {"type": "PathPrefix", "value": "/"}}], "before KServe's regular expression"
    assert (stable.ours["spec"]["parentRefs"], rule["timeouts"]) == (theirs["parentRefs"], {"request": "2s"})
    assert stable.ours["spec"]["hostnames"] == theirs["hostnames"]
    assert stable.ours["metadata"]["ownerReferences"][0]["uid"] == live["metadata"]["uid"], "it goes with its service"
    found = list(validator("gateway.networking.k8s.io", "HTTPRoute", "v1").iter_errors(stable.ours))
    assert not found, [each.message for each in found]


def test_a_shadow_has_the_pods_for_its_copies_first(stable: World) -> None:
    made: list[int] = []

    def posted(body: dict[str, Any]) -> None:
        if body["kind"] == "HTTPRoute":
            made.append(stable.kserve.deployments["fraud-v2-predictor"]["ready"])

    stable.kserve.posted = posted
    stable.release(2, 0, notes={object_labels.SHADOW: "100"})
    assert made == [2]


@pytest.mark.parametrize("end", ["share", "promote", "rollback"])
def test_the_route_goes_with_the_shadow(stable: World, end: str) -> None:
    stable.release(2, 0, notes=SHADOW)
    if end == "share":
        stable.release(2, 10)
    else:
        getattr(stable, end)()
    assert stable.ours is None and not stable.kserve.misrouted


def test_a_route_that_cannot_be_made_is_told_and_the_shadow_ends_at_its_deadline(stable: World) -> None:
    stable.kserve.closed.add(f"{ROUTES}/fraud-rollout")
    stable.release(2, 0, notes=SHADOW)
    operator = stable.operator("rollout.stages=[100]", "rollout.deadline=1s")
    stable.until(operator, lambda: share(stable.live) is None and live_target(stable.live) == target(1))


def test_who_may_make_no_route_leaves_it_to_the_watch(stable: World) -> None:
    said: list[str] = []
    stable.kserve.closed.add(f"{ROUTES}/fraud-rollout")
    live = stable.release(2, 0, notes=SHADOW, note=said.append)
    assert gets(0)(live) and stable.ours is None and "left to the watch" in said[-1]


def test_a_release_and_the_watch_may_make_and_end_the_same_route_at_once(stable: World) -> None:
    live = stable.release(2, 0, notes=SHADOW)
    ended = copy.deepcopy(live)
    del ended["metadata"]["annotations"][object_labels.SHADOW]
    with ThreadPoolExecutor(8) as pool:
        for wanted in (ended, live) * 10:
            list(pool.map(stable.writer.mirror, [wanted] * 8))
            assert (stable.ours is None) == (wanted is ended)


def test_a_host_that_others_share_gets_no_route_of_ours(stable: World) -> None:
    stable.release(2, 0)
    theirs = copy.deepcopy(stable.kserve.others[f"{ROUTES}/fraud"])
    theirs["spec"]["hostnames"] = ["hallmark.example"]
    with pytest.raises(Unavailable, match="no shadow yet"):
        mirror.route(theirs, stable.live)


def test_the_watch_keeps_and_ends_a_shadow_whoever_left_it_how(stable: World) -> None:
    stable.writer.shift(stable.live, percent=0, target=target(2), notes=SHADOW)  # cut off before its route was made
    stable.ready("fraud-v2-predictor", 1)
    changes = ["rollout.shadow={output: score, threshold: 0.5}", "retrain.on_drift=false"]
    operator = stable.operator(*changes)
    stable.until(operator, lambda: stable.ours is not None)
    stable.rollback()
    stable.kserve.others[f"{ROUTES}/fraud-rollout"] = {"metadata": {}, "spec": {"rules": []}}  # left by one that ended
    stable.until(operator, lambda: stable.ours is None)


def test_another_candidate_waits_for_the_end_of_the_first(stable: World) -> None:
    stable.release(2, 10)
    with pytest.raises(Refused, match="running at 10%"):
        stable.release(3, 10)


def test_a_candidate_of_the_name_that_stable_has_gets_another(stable: World) -> None:
    live = stable.live
    live["spec"]["predictor"]["name"] = "v2"
    moved = standard.moved(live, percent=10, to=target(2))
    assert moved["canary"][0]["predictor"]["name"] == "v2b"


def test_several_canaries_are_a_persons_and_left_alone(stable: World) -> None:
    live = stable.live
    live["spec"]["canary"] = [inferenceservice.canary(target(n), percent=5) for n in (2, 3)]
    with pytest.raises(Refused, match="2 canaries"):
        share(live)


def test_apply_keeps_the_rollout_and_the_name_that_a_promotion_gave(stable: World) -> None:
    stable.release(2, 50)
    (_, service) = inferenceservice.objects(stable.domain, Release(stable=target(1)), "Standard")
    service["spec"]["predictor"]["maxReplicas"] = 9
    assert stable.writer.apply(service) == "kept"
    assert share(stable.live) == 50 and stable.live["spec"]["predictor"]["maxReplicas"] == 9
    stable.promote()
    (_, service) = inferenceservice.objects(stable.domain, Release(stable=target(2)), "Standard")
    assert stable.writer.apply(service) == "configured", "maxReplicas is the declaration's again"
    assert stable.live["spec"]["predictor"]["name"] == "v2"
    assert stable.writer.apply(service) == "unchanged"


def test_a_plan_names_the_patches_and_changes_nothing(stable: World) -> None:
    stable.release(2, 10)
    before, version = stable.recorded, stable.live["metadata"]["resourceVersion"]
    said: dict[str, list[str]] = {}
    for step in (operations.promote, operations.rollback):
        lines = said.setdefault(step.__name__, [])
        plan = PlannedWriter(client(stable.kserve.url), flags=("--context", "eks"), tell=lines.append)
        step(plan, stable.domain, note=quiet)
        plan.core.api_client.rest_client.pool_manager.clear()
        assert all(line.startswith(("kubectl", "# wait until: ")) for line in lines) and lines[-1].startswith("#")
        patches = [line for line in lines if not line.startswith("#")]
        assert all(
            line.startswith("kubectl patch inferenceservice fraud -n fraud --type merge -p '") for line in patches
        )
        assert all(line.endswith("' --context eks") for line in patches)
    scaled, whole, promoted = (line for line in said["promote"] if not line.startswith("#"))
    assert (
        '"minReplicas":2' in scaled
        and '"trafficPercent":10' in scaled
        and '"trafficPercent":100' in whole
        and '"canary":[]' in promoted
        and '"name":"v2"' in promoted
    )
    nothing, gone = (line for line in said["rollback"] if not line.startswith("#"))
    assert '"trafficPercent":0' in nothing and '"spec":{"predictor":{"minReplicas":2},"canary":[]}' in gone
    assert stable.live["metadata"]["resourceVersion"] == version and stable.recorded == before


def test_status_shows_both_variants(stable: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stable.release(2, 10)
    path = tmp_path / "kubeconfig"
    content = {
        "clusters": [{"name": "c", "cluster": {"server": stable.kserve.url}}],
        "users": [{"name": "u", "user": {}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        "current-context": "c",
    }
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    assert main(["status", "--kubeconfig", str(path), "-o", "json"]) == 0
    rows = {
        (row["variant"], row["version"], row["percent"], row["ready"]) for row in json.loads(capsys.readouterr().out)
    }
    assert rows == {("stable", "1", 90, True), ("canary", "2", 10, True)}


class Told:
    """What the stand-in for metrics asks of a cluster."""

    name = NAME

    def __init__(self, world: World) -> None:
        self._world = world

    @property
    def percent(self) -> int | None:
        return share(self._world.live)

    @property
    def revisions(self) -> list[str]:
        return [predictor_status(self._world.live)["latestCreatedRevision"]]

    @property
    def rolled_out(self) -> str:
        return str(predictor_status(self._world.live)["latestRolledoutRevision"])


@pytest.mark.parametrize(("failing", "ends"), [(0.0, "promote"), (1.0, "rollback")])
def test_the_watch_decides_in_standard_mode_too(stable: World, failing: float, ends: str) -> None:
    clock, told, entries = Clock(), Told(stable), []
    counters = Counters(told)  # type: ignore[arg-type]
    changes = [
        "rollout.shadow=null",
        "rollout.dwell=2s",
        "rollout.minimum_samples=100",
        "rollout.limits.negligible=0.02",
    ]
    operator = Operator(
        domains.overridden(stable.domain, changes),
        writer=stable.writer,
        source=counters,
        registry=Versions(),  # type: ignore[arg-type]
        runner=Trainings(),
        tell=entries.append,
        fence=1,
        clock=clock,
    )
    operator.begin(target(2))
    assert share(stable.live) == 10
    for _ in range(60):
        counters.serve(200, failing=failing)
        for revision in (told.rolled_out, *told.revisions):
            rows = stable.kserve.answers.setdefault(revision, [])
            for at in range(20):
                score = {"score": (len(rows) * 37 % 100) / 100}
                row = {"exchange": f"{len(rows)}", "row": 0, "at": clock().timestamp(), "outputs": score, "label": None}
                rows.append({**row, "columns": {"amount": 10.0 + at}})
        clock.sleep(1)
        operator.tick()
        if ends in [entry.kind for entry in entries]:
            break
    kinds = [entry.kind for entry in entries if entry.kind != "hold"]
    assert kinds == (["canary", "canary", "promote"] if ends == "promote" else ["canary", "rollback"]), entries[-1].text
    winner = 2 if ends == "promote" else 1
    assert (share(stable.live), live_target(stable.live)) == (None, target(winner))
    assert stable.recorded.stable == target(winner) and not stable.kserve.misrouted


def test_a_monitor_that_waits_for_its_model_says_so() -> None:
    assert unknown({"waiting": "nothing is published"})["reasons"] == ["nothing is published"]
    assert unknown({"variants": {}}) == {"state": "INSUFFICIENT", "rows": 0, "reasons": ["no request was captured yet"]}


# Knative mode on a real KServe: its status counts another object's generations.


class Real(InferenceServiceWriter):
    """An writer whose live object is what `told` gives, one after the other."""

    def __init__(self, told: list[dict[str, Any]]) -> None:
        super().__init__(client("http://127.0.0.1:1"))
        self.told = told

    def live(self, name: str) -> dict[str, Any]:
        return self.told.pop(0) if len(self.told) > 1 else self.told[0]

    def pods(self, name: str) -> list[dict[str, Any]]:
        return []


def knative(created: str, percent: int) -> dict[str, Any]:
    component = {
        "latestCreatedRevision": created,
        "latestReadyRevision": created,
        "traffic": [{"revisionName": created, "percent": percent}],
    }
    conditions = [{"type": "Ready", "status": "True"}]
    status = {"observedGeneration": 2, "conditions": conditions, "components": {"predictor": component}}
    meta = {"name": NAME, "namespace": NAME, "generation": 9, "annotations": {object_labels.MODE: "Knative"}}
    return {"metadata": meta, "spec": {"predictor": {"canaryTrafficPercent": percent}}, "status": status}


def test_a_status_that_counts_the_knative_services_generations_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hallmark.rollout.writer._POLL", 0.01)
    moved: Callable[[dict[str, Any]], bool] = lambda live: predictor_status(live)["latestCreatedRevision"] == "two"  # noqa: E731
    writer = Real([knative("one", 100), knative("one", 100), knative("two", 100)])
    live = writer.wait(NAME, gets(100), generation=9, seconds=5, what="it", moved=moved)
    assert predictor_status(live)["latestCreatedRevision"] == "two", "the old revision's 100% are not the new one's"


def test_a_status_that_is_written_meanwhile_is_nobodys_change(stable: World) -> None:
    """KServe writes the status as often as pods change, and each time the object gets another resourceVersion."""
    live = stable.live
    with stable.kserve.lock:
        stable.kserve._stamp(stable.kserve.objects[NAME])
    stable.writer.note(live, {"hallmark.dev/a": "1"})
    assert stable.live["metadata"]["annotations"]["hallmark.dev/a"] == "1"
    with pytest.raises(Conflict):
        stable.writer.note(live, {"hallmark.dev/a": "2"})
    assert stable.live["metadata"]["annotations"]["hallmark.dev/a"] == "1"
