"""Trainings handed in to a stand-in that speaks Kubeflow's wire format."""

from __future__ import annotations

import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from hallmark.errors import HallmarkError, NotFound, Refused, Unavailable
from hallmark.settings import Settings
from hallmark.training.kubeflow import Kubeflow
from hallmark.training.submit import Runner, RunRequest
from tests.graphs import compile_to
from tests.web import serving

sys.path.insert(0, str(Path(__file__).parent))  # importmode=importlib puts no test folder on the path

from fake_kubeflow import Fake

ROOT = Path(__file__).parents[3]
CORRELATION = "4bf92f3577b34da6a3ce929d0e0e4736"


class Versions:
    """The registry, as far as it is asked."""

    def __init__(self) -> None:
        self.known: dict[tuple[str, str], int] = {}

    def correlated(self, domain: str, correlation: str) -> int | None:
        return self.known.get((domain, correlation))


@pytest.fixture(scope="module")
def parameters(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What the compiled graph of fraud takes: a run with another parameter is refused."""
    path = tmp_path_factory.mktemp("graph") / "fraud.yaml"
    compile_to(path, "fraud", settings=Settings.load({"HALLMARK_ROOT": str(ROOT)}))
    return set(next(yaml.safe_load_all(path.read_text()))["root"]["inputDefinitions"]["parameters"])


@pytest.fixture
def kubeflow(parameters: set[str]) -> Fake:
    made = Fake(parameters=parameters)
    made.add_pipeline("fraud-training", versions=3)
    return made


@pytest.fixture
def url(kubeflow: Fake) -> Iterator[str]:
    with serving(kubeflow.app) as address:
        yield address


@pytest.fixture
def versions() -> Versions:
    return Versions()


@pytest.fixture
def runner(url: str, versions: Versions, tmp_path: Path) -> Runner:
    (tmp_path / "token").write_text("secret\n")
    return Kubeflow.at(url, registry=versions, token=tmp_path / "token")  # type: ignore[arg-type]


def request(key: str = "fraud-3-drift", **more: object) -> RunRequest:
    given = {
        "key": key,
        "domain": "fraud",
        "as_of": "2026-11-01",
        "reason": "drift of amount",
        "correlation": CORRELATION,
    }
    return RunRequest.model_validate(given | more)


def test_a_run_of_the_newest_graph_is_made_once_with_what_was_set(kubeflow: Fake, runner: Runner) -> None:
    assert runner.find("fraud-3-drift", "fraud") is None
    asked = request(shift="new_fraud_pattern", options={"rounds": 60})
    first = runner.submit(asked)
    for _ in range(20):
        assert runner.submit(asked) == first
    assert (first.state, first.version, first.ended) == ("running", None, None)
    assert first.started is not None
    (run,) = kubeflow.runs
    assert run["run_id"] == first.id
    assert run["pipeline_version_reference"]["pipeline_version_id"] == "fraud-training-v2"
    assert run["runtime_config"]["parameters"] == {
        "source": "synthetic",
        "as_of": "2026-11-01",
        "shift": "new_fraud_pattern",
        "options": {"rounds": 60},
        "correlation": CORRELATION,
    }
    assert (run["service_account"], run["description"]) == ("pipeline", "drift of amount")
    ((name, namespace),) = [(each["display_name"], each["namespace"]) for each in kubeflow.experiments]
    assert (name, namespace) == ("fraud", "fraud")


def test_fault_19_a_hundred_reports_at_once_leave_one_run(
    kubeflow: Fake, url: str, versions: Versions, tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("secret")

    def many(_: int) -> set[str]:
        runner = Kubeflow.at(url, registry=versions, token=tmp_path / "token")  # type: ignore[arg-type]
        return {runner.submit(request()).id for _ in range(25)}

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(many, range(4)))
    alive = [run for run in kubeflow.runs if run["state"] in ("PENDING", "RUNNING")]
    assert len(alive) == 1
    assert len(kubeflow.experiments) == 1
    found = Kubeflow.at(url, registry=versions, token=tmp_path / "token").find("fraud-3-drift", "fraud")  # type: ignore[arg-type]
    assert found is not None and found.id == alive[0]["run_id"]


def test_of_two_runs_with_one_key_all_agree_on_the_first(kubeflow: Fake, runner: Runner) -> None:
    first = runner.submit(request())
    late = {**kubeflow.runs[0], "run_id": "f" * 8, "created_at": "2099-01-01T00:00:00Z"}
    kubeflow.runs.insert(0, late)
    assert runner.submit(request()).id == first.id
    assert late["state"] == "CANCELING"
    assert runner.submit(request("other")).id not in (first.id, late["run_id"])


@pytest.mark.parametrize(
    ("said", "state"),
    [
        ("PENDING", "running"),
        ("RUNNING", "running"),
        ("CANCELING", "running"),
        ("PAUSED", "running"),
        ("RUNTIME_STATE_UNSPECIFIED", "running"),
        ("A_STATE_OF_LATER", "running"),
        ("SKIPPED", "failed"),
        ("FAILED", "failed"),
        ("CANCELED", "failed"),
        ("SUCCEEDED", "refused"),
    ],
)
def test_every_state_of_kubeflow_has_one_of_ours(kubeflow: Fake, runner: Runner, said: str, state: str) -> None:
    runner.submit(request())
    kubeflow.end("fraud-3-drift", said)
    found = runner.find("fraud-3-drift", "fraud")
    assert found is not None and found.state == state
    assert (found.ended is None) == (state == "running")
    assert bool(found.message) == (state != "running")


def test_the_version_is_the_one_that_carries_the_correlation(
    kubeflow: Fake, runner: Runner, versions: Versions
) -> None:
    runner.submit(request())
    kubeflow.end("fraud-3-drift", "SUCCEEDED")
    refused = runner.find("fraud-3-drift", "fraud")
    assert refused is not None and "the gate did not pass" in refused.message
    versions.known["fraud", CORRELATION] = 4
    found = runner.find("fraud-3-drift", "fraud")
    assert found is not None and (found.state, found.version) == ("succeeded", 4)
    runner.submit(request("by-hand", correlation=""))
    kubeflow.end("by-hand", "SUCCEEDED")
    by_hand = runner.find("by-hand", "fraud")
    assert by_hand is not None and (by_hand.state, by_hand.version) == ("succeeded", None)


def test_a_failure_names_the_step(kubeflow: Fake, runner: Runner) -> None:
    runner.submit(request())
    tasks = [
        {"display_name": "load", "state": "SUCCEEDED", "task_id": "1"},
        {"display_name": "validate", "state": "FAILED", "error": {"code": 2, "message": "exit code 3"}},
    ]
    kubeflow.end("fraud-3-drift", "FAILED", run_details={"task_details": tasks})
    found = runner.find("fraud-3-drift", "fraud")
    assert found is not None and found.message == "step validate failed: exit code 3"


def test_a_run_is_found_on_a_later_page_and_not_taken_for_one_in_capitals(kubeflow: Fake, runner: Runner) -> None:
    runner.submit(request("FRAUD-3-DRIFT"))
    kubeflow.page_limit = 3
    template = kubeflow.runs[0]
    kubeflow.runs = [{**template, "run_id": str(n), "created_at": f"2026-10-01T00:00:{n:02d}Z"} for n in range(10)]
    assert runner.find("fraud-3-drift", "fraud") is None
    wanted = {**template, "run_id": "it", "display_name": "fraud-3-drift", "created_at": "2026-10-02T00:00:00Z"}
    kubeflow.runs.append(wanted)
    found = runner.find("fraud-3-drift", "fraud")
    assert found is not None and found.id == "it"
    assert sum(line == "GET /apis/v2beta1/runs" for line in kubeflow.seen) > 4


def test_an_answer_that_is_lost_is_not_a_second_run(kubeflow: Fake, runner: Runner) -> None:
    kubeflow.lose = True
    with pytest.raises(Unavailable, match="Kubeflow Pipelines does not answer"):
        runner.submit(request())
    assert runner.submit(request()).id == kubeflow.runs[0]["run_id"]
    assert len(kubeflow.runs) == 1


def test_what_is_wrong_is_said(kubeflow: Fake, url: str, versions: Versions, tmp_path: Path) -> None:
    token = tmp_path / "token"
    runner = Kubeflow.at(url, registry=versions, token=token)  # type: ignore[arg-type]
    with pytest.raises(Unavailable, match="the token for Kubeflow Pipelines cannot be read"):
        runner.submit(request())
    token.write_text("expired")
    with pytest.raises(Unavailable) as caught:
        runner.submit(request())
    assert "401 without JSON: Jwt verification fails" in caught.value.got
    token.write_text("secret")
    with pytest.raises(Refused, match="refused a call") as refused:
        runner.submit(request(domain="search"))
    assert "403: PermissionDenied: not authorized in namespace search" in refused.value.got
    with pytest.raises(NotFound) as missing:
        runner.submit(request(domain="listing"))
    assert "Pipeline listing-training not found" in missing.value.got
    kubeflow.pipelines["listing-training"] = []
    with pytest.raises(NotFound, match="has no version"):
        runner.submit(request(domain="listing"))
    kubeflow.parameters = {"as_of"}
    with pytest.raises(HallmarkError) as unknown:
        runner.submit(request())
    assert "400: InvalidInputError: pipeline has no parameter" in unknown.value.got
    assert kubeflow.runs == []


def test_silence_ends_in_time(versions: Versions) -> None:
    with socket.socket() as quiet:
        quiet.bind(("127.0.0.1", 0))
        quiet.listen()
        began = time.monotonic()
        with pytest.raises(Unavailable, match="Kubeflow Pipelines does not answer"):
            Kubeflow.at(f"http://127.0.0.1:{quiet.getsockname()[1]}", registry=versions).find("key", "fraud")  # type: ignore[arg-type]
        assert time.monotonic() - began < 9.5


def test_the_stand_in_speaks_what_the_generated_client_understands(kubeflow: Fake, url: str, runner: Runner) -> None:
    import kfp_server_api as api

    made = runner.submit(request())
    configuration = api.Configuration(host=url)
    with api.ApiClient(configuration, header_name="authorization", header_value="Bearer secret") as client:
        experiment = kubeflow.experiments[0]["experiment_id"]
        found = api.RunServiceApi(client).run_service_list_runs(experiment_id=experiment)
        (run,) = found.runs
        assert (run.run_id, run.state, found.total_size) == (made.id, "PENDING", 1)
        assert run.created_at == made.started
        named = api.PipelineServiceApi(client).pipeline_service_get_pipeline_by_name(
            "fraud-training", namespace="fraud"
        )
        assert named.pipeline_id == kubeflow.pipelines["fraud-training"][0]["pipeline_id"]
