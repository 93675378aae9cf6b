"""`hallmark pipeline` as a person uses it, before a stand-in that speaks Kubeflow's wire format."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from hallmark import cli
from hallmark.declaration import domain as domains
from hallmark.registry.store import Registry
from hallmark.settings import Settings
from hallmark.training import graph as graphs
from hallmark.training.graph import StepGraph
from tests import strict
from tests.graphs import shallow
from tests.web import serving

ROOT = Path(__file__).parents[3]
FAKE = ROOT / "tests" / "hallmark" / "training" / "fake_kubeflow.py"

spec = importlib.util.spec_from_file_location("fake_kubeflow", FAKE)
assert spec and spec.loader
fake_kubeflow = sys.modules.get("fake_kubeflow") or importlib.util.module_from_spec(spec)
if "fake_kubeflow" not in sys.modules:
    sys.modules["fake_kubeflow"] = fake_kubeflow
    spec.loader.exec_module(fake_kubeflow)

Hallmark = Callable[..., int]


@pytest.fixture(scope="module")
def graph() -> StepGraph:
    settings = Settings.load({"HALLMARK_ROOT": str(ROOT)})
    return shallow(lambda: graphs.compiled(domains.load("fraud", settings), settings))


@pytest.fixture
def kubeflow() -> Any:
    return fake_kubeflow.Fake()


@pytest.fixture
def hallmark(kubeflow: Any, graph: StepGraph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hallmark]:
    """The command line; the graph is compiled once for all tests."""
    (tmp_path / "token").write_text("secret\n")
    monkeypatch.setenv("HALLMARK_ROOT", str(ROOT))
    monkeypatch.setenv("HALLMARK_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("HALLMARK_KUBEFLOW_TOKEN", str(tmp_path / "token"))
    monkeypatch.setattr(
        graphs,
        "compiled",
        lambda domain, settings, kind="training", image="", search=None: graph.model_copy(
            update={"kind": kind, "domain": domain.name}
        ),
    )
    monkeypatch.setattr("hallmark.cli.pipeline._LOOK", 0.02)
    with serving(kubeflow.app) as address:
        monkeypatch.setenv("HALLMARK_KUBEFLOW", address)
        yield lambda *arguments: cli.main(["pipeline", *arguments])


@pytest.mark.slow
def test_the_graph_is_a_file_for_the_ui_and_the_same_bytes_in_another_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HALLMARK_ROOT", str(ROOT))
    command = [sys.executable, "-m", "hallmark.cli", "pipeline", "compile", "search"]
    environment = {**os.environ, "HALLMARK_ROOT": str(ROOT), "PYTHONPATH": str(ROOT)}
    piped = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout
    image = ["--image", "r/training-python@sha256:1", "--out", str(tmp_path / "search.yaml")]
    assert shallow(lambda: cli.main([*command[3:], *image])) == 0
    ours, platform = yaml.safe_load_all(piped)
    assert ours["pipelineInfo"]["name"] == "search-training" and set(platform) == {"platforms"}
    written = (tmp_path / "search.yaml").read_text()
    assert written.replace("r/training-python@sha256:1", "hallmark/training-python:0.1.0") == piped
    assert "search-training in version " in " ".join(capsys.readouterr().err.split())


def test_gitops_objects_keep_the_schema_and_are_named_by_content(
    hallmark: Hallmark, graph: StepGraph, tmp_path: Path
) -> None:
    assert hallmark("compile", "fraud", "--manifest", "--out", str(tmp_path / "fraud.yaml")) == 0
    text = (tmp_path / "fraud.yaml").read_text()
    assert text.startswith("# Compiled from domains/fraud/domain.yaml") and "&id0" not in text
    pipeline, version = yaml.safe_load_all(text)
    assert [pipeline["kind"], version["kind"]] == ["Pipeline", "PipelineVersion"]
    assert pipeline["metadata"]["namespace"] == version["metadata"]["namespace"] == "fraud"
    assert version["spec"]["pipelineName"] == pipeline["metadata"]["name"] == "fraud-training"
    assert version["metadata"]["name"] == f"fraud-training-{graph.version}"
    assert version["spec"]["pipelineSpec"] == graph.documents[0]
    assert version["spec"]["platformSpec"] == graph.documents[1]
    for each in (pipeline, version):
        strict.validator("pipelines.kubeflow.org", each["kind"], "v2beta1").validate(each)


def test_the_name_of_a_version_follows_from_its_content(graph: StepGraph) -> None:
    first, *rest = graph.documents
    same = graph.model_copy(update={"documents": (json.loads(json.dumps(first)), *rest), "text": "other blanks"})
    other = graph.model_copy(update={"documents": ({**first, "sdkVersion": "kfp-3"}, *rest)})
    assert StepGraph.model_validate(same.model_dump()).version == graph.version
    assert StepGraph.model_validate(other.model_dump()).version != graph.version
    assert first["pipelineInfo"]["description"] == graph.description, "an object may not change under its name"


def test_out_is_a_yaml_file(hallmark: Hallmark, tmp_path: Path) -> None:
    assert hallmark("compile", "fraud", "--out", str(tmp_path / "graph.json")) == 2


def test_submitting_uploads_once_and_starts_one_run(
    hallmark: Hallmark, kubeflow: Any, graph: StepGraph, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("submit", "fraud", "--until", "2026-10-01", "--option", "rounds=60", "-o", "json")
    assert hallmark(*given) == 0
    first = json.loads(capsys.readouterr().out)
    for _ in range(3):
        assert hallmark(*given) == 0
        assert json.loads(capsys.readouterr().out) == first
    (version,) = kubeflow.pipelines["fraud-training"]
    assert kubeflow.spaces["fraud-training"] == "fraud"
    assert version["name"] == version["display_name"] == graph.version == first["graph"]
    assert kubeflow.graphs[version["pipeline_version_id"]] == graph.text
    (run,) = kubeflow.runs
    assert run["run_id"] == first["run"] and first["ui"].endswith(f"/#/runs/details/{run['run_id']}")
    assert run["service_account"] == "pipeline"
    assert run["pipeline_version_reference"]["pipeline_version_id"] == version["pipeline_version_id"]
    parameters = run["runtime_config"]["parameters"]
    assert parameters.pop("correlation")
    assert parameters == {"source": "synthetic", "as_of": "2026-10-01T00:00:00+00:00", "options": {"rounds": 60}}
    ((name, namespace),) = [(each["display_name"], each["namespace"]) for each in kubeflow.experiments]
    assert (name, namespace) == ("fraud", "fraud")


def test_the_version_that_runs_is_the_one_submitted_and_not_the_newest(
    hallmark: Hallmark, kubeflow: Any, graph: StepGraph
) -> None:
    assert hallmark("submit", "fraud") == 0
    later = {
        **kubeflow.pipelines["fraud-training"][0],
        "pipeline_version_id": "later",
        "name": "x",
        "display_name": "x",
    }
    kubeflow.pipelines["fraud-training"].append({**later, "created_at": "2099-01-01T00:00:00Z"})
    assert hallmark("submit", "fraud", "--until", "2026-09-01") == 0
    assert len(kubeflow.pipelines["fraud-training"]) == 2
    assert {run["pipeline_version_reference"]["pipeline_version_id"] for run in kubeflow.runs} != {"later"}


def test_again_starts_anew_only_where_it_has_ended(
    hallmark: Hallmark, kubeflow: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert hallmark("submit", "fraud", "--until", "2026-10-01", "--again") == 0
    assert len(kubeflow.runs) == 1
    kubeflow.end(kubeflow.runs[0]["display_name"], "FAILED")
    assert hallmark("submit", "fraud", "--until", "2026-10-01") == 0
    assert len(kubeflow.runs) == 1
    for _ in range(2):
        assert hallmark("submit", "fraud", "--until", "2026-10-01", "--again") == 0
    assert [run["display_name"] for run in kubeflow.runs][1] == kubeflow.runs[0]["display_name"] + "-2"
    assert len(kubeflow.runs) == 2
    correlations = {run["runtime_config"]["parameters"]["correlation"] for run in kubeflow.runs}
    assert len(correlations) == 2


FAILED = {"task_details": [{"display_name": "validate", "state": "FAILED", "error": {"message": "exit code 1"}}]}
BROKEN = {"task_details": [{"display_name": "train", "state": "FAILED", "error": {"message": "OOMKilled"}}]}


@pytest.mark.parametrize(
    ("ends", "version", "code", "said"),
    [
        (("SUCCEEDED", {}), 4, 0, "version 4 of fraud; next: hallmark release fraud --candidate 4"),
        (("SUCCEEDED", {}), None, 3, "did not pass its gate"),
        (("FAILED", {"run_details": FAILED}), None, 3, "ended at the contract of fraud's data"),
        (("FAILED", {"run_details": BROKEN}), None, 1, "step train failed: OOMKilled"),
        (("CANCELED", {}), None, 1, "it was cancelled"),
        (None, None, 4, "has not ended"),
    ],
)
def test_waiting_follows_to_the_end_and_says_how_it_ended(
    hallmark: Hallmark,
    kubeflow: Any,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    ends: Any,
    version: int | None,
    code: int,
    said: str,
) -> None:
    monkeypatch.setattr(Registry, "correlated", lambda self, domain, correlation: version)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://mlflow.test")

    def story() -> None:
        while not kubeflow.runs:
            time.sleep(0.01)
        doing = {"task_details": [{"display_name": "train", "state": "RUNNING"}]}
        kubeflow.runs[0].update({"state": "RUNNING", "run_details": doing})
        time.sleep(0.3)
        if ends:
            kubeflow.end(kubeflow.runs[0]["display_name"], ends[0], **ends[1])

    teller = threading.Thread(target=story)
    teller.start()
    got = hallmark("submit", "fraud", "--wait", "--timeout", "5" if ends else "1")
    teller.join()
    told = capsys.readouterr().err
    assert got == code and said in " ".join(told.split())
    assert "running: train" in told


def test_what_cannot_run_is_refused_before_anything_is_asked(
    hallmark: Hallmark, kubeflow: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for given, said in (
        (("submit", "fraud", "--data", "orders.parquet"), "the steps' pods cannot read --data"),
        (("submit", "fraud", "--data", "s3://bucket/orders"), "the steps' pods cannot read --data"),
        (("submit", "fraud", "--until", "yesterday"), "the time is not a day"),
        (("submit", "fraud", "--window", "a while"), "the window is not a duration"),
        (("submit", "fraud", "--option", "rounds"), "--option is not KEY=VALUE"),
        (("submit", "nobody"), "there is no domain 'nobody'"),
        (("submit", "fraud", "--wait"), "MLFLOW_TRACKING_URI to be the cluster's MLflow"),
    ):
        assert hallmark(*given) == 2, given
        assert said in capsys.readouterr().err
    monkeypatch.delenv("HALLMARK_KUBEFLOW")
    assert hallmark("submit", "fraud") == 2
    assert "--url or HALLMARK_KUBEFLOW" in capsys.readouterr().err
    assert kubeflow.seen == []


def test_another_domains_namespace_is_refused(
    hallmark: Hallmark, kubeflow: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    kubeflow.namespaces = {"listing"}
    assert hallmark("submit", "fraud") == 3
    assert "403: PermissionDenied: not authorized in namespace fraud" in capsys.readouterr().err


def test_a_graph_that_another_shares_with_all_is_not_taken_for_ours(hallmark: Hallmark, kubeflow: Any) -> None:
    kubeflow.add_pipeline("fraud-training")
    kubeflow.spaces["fraud-training"] = ""  # uploaded as shared, by anybody
    assert hallmark("submit", "fraud") != 0 and kubeflow.runs == []


def test_a_search_is_a_graph_and_a_run_of_its_own(
    hallmark: Hallmark, kubeflow: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("submit", "fraud", "--tune", "--option", "learning_rate=0.02..0.2", "--until", "2026-10-01", "-o", "json")
    assert hallmark("submit", "fraud", "--until", "2026-10-01") == 0, "a training's graph is there already"
    capsys.readouterr()
    for _ in range(2):
        assert hallmark(*given) == 0
        told = json.loads(capsys.readouterr().out)
    training, search = kubeflow.runs
    assert told["run"] == search["run_id"] and told["name"].startswith("fraud-tuning-")
    assert [len(kubeflow.pipelines[f"fraud-{kind}"]) for kind in ("training", "tuning")] == [1, 1]
    assert search["pipeline_version_reference"] != training["pipeline_version_reference"]
    assert search["runtime_config"]["parameters"] == {"source": "synthetic", "as_of": "2026-10-01T00:00:00+00:00"}
    search["state"] = "SUCCEEDED"
    assert hallmark(*given, "--wait") == 0, "no version comes of it, and that is no refusal"
    assert "the step `choose` of the run" in capsys.readouterr().err
    assert hallmark("submit", "fraud", "--tune", "--option", "learning_rate") == 2


def test_a_batch_by_the_clock_is_no_version_of_the_training(hallmark: Hallmark, kubeflow: Any) -> None:
    """What a watch starts is the newest version of the training's pipeline."""
    kubeflow.namespaces.add("marketing")
    assert hallmark("submit", "marketing") == 0
    assert hallmark("schedule", "marketing", "--batch", "--records", "s3://team-members/today.parquet") == 0
    assert [len(kubeflow.pipelines[f"marketing-{kind}"]) for kind in ("training", "batch")] == [1, 1]


def test_a_schedule_is_set_shown_and_put_to_sleep(
    hallmark: Hallmark, kubeflow: Any, graph: StepGraph, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert hallmark("schedule", "fraud", "-o", "json") == 0
        told = json.loads(capsys.readouterr().out)
        (row,) = told["recurring"]
        assert (row["cron"], row["state"], len(told["next"])) == ("0 0 3 * * *", "on", 5)
        assert all(when.endswith("03:00:00") for when in told["next"])
    (there,) = kubeflow.recurring
    (version,) = kubeflow.pipelines["fraud-training"]
    assert there["pipeline_version_reference"]["pipeline_version_id"] == version["pipeline_version_id"]
    assert hallmark("schedule", "fraud", "--off") == 0
    assert "1 put to sleep" in capsys.readouterr().err
    assert there["status"] == "DISABLED"
    before = [line for line in kubeflow.seen if not line.startswith("GET")]
    assert hallmark("schedule", "fraud", "--show", "-o", "json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [each["state"] for each in told["recurring"]] == ["off"] and told["next"] == []
    assert [line for line in kubeflow.seen if not line.startswith("GET")] == before
