"""Distributed training: the work shared for real by two processes, the TrainJob's object, and its life before a stand-in."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.errors import DeclarationError, HallmarkError, ModelRefused, NotFound, TimedOut, Unavailable
from hallmark.settings import Settings
from hallmark.training import distributed_store, pods
from hallmark.training.distributed import ALONE, Ranks
from hallmark.training.distributed_job import TrainJobs, train_job
from tests.web import serving

sys.path.insert(0, str(Path(__file__).parent))  # importmode=importlib puts no test folder on the path

from fake_trainer import Fake, strange

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
TOY = ROOT / "tests" / "toy"
LIMIT = timedelta(minutes=5)


def environment(root: Path, state: Path) -> dict[str, str]:
    return {
        **os.environ,
        "HALLMARK_ROOT": str(root),
        "HALLMARK_STATE": str(state),
        "PYTHONPATH": f"{root}{os.pathsep}{ROOT}",
        "OMP_NUM_THREADS": "1",
    }


EXAMPLES_AND_ONE = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from domains.spread import data
from hallmark.data import dataset
for name, seed in (("training", 1), ("validation", 2)):
    frame = data.draw(start=datetime(2026, 10, 1, tzinfo=UTC), end=datetime(2026, 10, 11, tzinfo=UTC), seed=seed)
    dataset.write(frame, Path(sys.argv[1]) / f"{name}.parquet")
from hallmark.training import steps
folder = Path(sys.argv[1])
steps.train("spread", seed=7, options={}, history=folder / "history", training=folder / "training.parquet",
            validation=folder / "validation.parquet", trained=folder / "one")
"""


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A thousand examples, and what one process makes of them by the plain step."""
    folder = tmp_path_factory.mktemp("examples")
    command = [sys.executable, "-c", EXAMPLES_AND_ONE, str(folder)]
    subprocess.run(command, check=True, env=environment(TOY, folder), cwd=folder)
    return folder


def arguments(examples: Path, place: str) -> dict[str, str]:
    return {
        "--domain": "spread",
        "--seed": "7",
        "--options": "{}",
        "--training": (examples / "training.parquet").as_uri(),
        "--validation": (examples / "validation.parquet").as_uri(),
        "--place": place,
    }


def nodes(given: dict[str, str], folder: Path, *, launched: bool = False, second: dict[str, str] | None = None) -> Any:
    """Two nodes on this machine, as Kubeflow Trainer starts them: the job's command, and PET_ variables that say how many and where.

    Without torchrun (`launched`) the worker itself, with the variables that torchrun gives it: half the processes.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    spread = domains.load("spread", Settings.load({"HALLMARK_ROOT": str(TOY)}))
    command = train_job(spread, "t", image="i", arguments={})["spec"]["trainer"]["command"]
    module = command[1:] if launched else ["-m", command[-1]]
    processes = []
    for rank, mine in enumerate((given, given | (second or {}))):
        variables = {"RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        if launched:
            variables = {"PET_NNODES": "2", "PET_NPROC_PER_NODE": "1", "PET_NODE_RANK": str(rank)}
            variables |= {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": port}
        processes.append(
            subprocess.Popen(
                [sys.executable, *module, *[part for pair in mine.items() for part in pair]],
                env=environment(TOY, folder) | variables,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=folder,
            )
        )
    done = [process.communicate(timeout=120) for process in processes]
    out, err = ("".join(each) for each in zip(*done, strict=True))
    return subprocess.CompletedProcess([], max(abs(process.returncode) for process in processes), out, err)


def weights(folder: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return load_file(folder / "weights.safetensors")


def test_two_processes_learn_what_one_does(examples: Path, tmp_path: Path) -> None:
    place = (tmp_path / "place").as_uri()
    ran = nodes(arguments(examples, place), tmp_path, launched=True)
    assert ran.returncode == 0, ran.stderr
    alone, together = weights(examples / "one"), weights(distributed_store.fetch(place, tmp_path / "model"))
    assert alone.keys() == together.keys()
    for name, value in alone.items():
        np.testing.assert_allclose(together[name], value, rtol=1e-4, atol=1e-5)
    told = json.loads((tmp_path / "place" / "progress.json").read_text())
    assert (told["done"], told["total"]) == (6, 6)
    assert 0 < float(told["note"].removeprefix("loss ")) < 0.25
    assert ran.stdout.count("6/6 loss") == 1  # one speaks for all


def test_a_node_that_breaks_ends_the_other_and_leaves_no_model(examples: Path, tmp_path: Path) -> None:
    place = (tmp_path / "place").as_uri()
    ran = nodes(arguments(examples, place), tmp_path, second={"--training": "file:///nowhere.parquet"})
    assert ran.returncode != 0 and "nowhere.parquet" in ran.stderr
    assert not distributed_store.sealed(place)


def test_shards_of_a_batch_are_the_batch() -> None:
    batch = list(range(11))
    parts = [Ranks(rank=rank, count=4).shard(batch) for rank in range(4)]
    assert sorted(row for part in parts for row in part) == batch
    assert {len(part) for part in parts} == {2, 3}
    assert ALONE.shard(batch) == batch and ALONE.first


@pytest.fixture
def spread() -> Domain:
    return domains.load("spread", Settings.load({"HALLMARK_ROOT": str(TOY)}))


def declared_job(domain: Domain, name: str = "train-1") -> dict[str, Any]:
    return train_job(domain, name, image="r/training-python@sha256:1", arguments={"--domain": domain.name})


@pytest.mark.parametrize("name", domains.names(Settings.load({"HALLMARK_ROOT": str(ROOT)})))
def test_the_object_is_one_that_kubeflow_trainer_knows(name: str) -> None:
    domain = domains.load(name, Settings.load({"HALLMARK_ROOT": str(ROOT)}))
    assert strange(declared_job(domain)) == ""


def test_a_field_that_kubeflow_trainer_does_not_know_is_seen(spread: Domain) -> None:
    job = declared_job(spread)
    job["spec"]["trainer"]["resourcesPerNod"] = {}
    assert strange(job) == ".spec.trainer.resourcesPerNod"
    job = declared_job(spread)
    (patch,) = job["spec"]["runtimePatches"]
    patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"][0]["template"]["spec"]["podSpec"] = {}
    assert strange(job).endswith("template.spec.podSpec")


def test_the_nodes_are_what_the_domain_declares() -> None:
    domain = domains.load("authentication", Settings.load({"HALLMARK_ROOT": str(ROOT)}))
    job = declared_job(domain)
    trainer, (patch,) = job["spec"]["trainer"], job["spec"]["runtimePatches"]
    assert trainer["numNodes"] == domain.training.nodes > 1
    limits = {"cpu": domain.training.cpu, "memory": domain.training.memory, "nvidia.com/gpu": "1"}
    assert trainer["resourcesPerNode"] == {"requests": limits, "limits": limits}
    assert job["metadata"]["namespace"] == "authentication"
    assert job["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "training"
    (part,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    labels = part["template"]["spec"]["template"]["metadata"]["labels"]
    assert (labels["hallmark.dev/job"], labels["sidecar.istio.io/inject"]) == ("training", "false")
    pod = part["template"]["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "pipeline"
    assert pod["nodeSelector"] == {"hallmark.dev/pool": "gpu-training"}
    assert {each["key"] for each in pod["tolerations"]} == {"nvidia.com/gpu", "hallmark.dev/pool"}
    assert pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["runAsUser"] == pods.USER
    (container,) = pod["containers"]
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


@pytest.fixture
def api() -> Fake:
    return Fake()


@pytest.fixture
def jobs(api: Fake) -> Iterator[TrainJobs]:
    from kubernetes import client

    with serving(api.app) as address:
        configuration = client.Configuration(host=address)
        configuration.retries = False
        with client.ApiClient(configuration) as connection:
            yield TrainJobs(client.CustomObjectsApi(connection), "spread", pause=0.01, patience=0.3)


def test_a_job_is_started_waited_for_and_taken_away(
    api: Fake, jobs: TrainJobs, spread: Domain, capsys: pytest.CaptureFixture[str]
) -> None:
    api.story = [["Suspended"], ["Suspended"], [], [], ["Complete"]]
    jobs.run(declared_job(spread), limit=LIMIT, done=lambda: True, note=lambda: "3/6 loss 0.2")
    assert api.jobs == {} and len(api.made) == 1
    assert capsys.readouterr().out.splitlines() == [
        "TrainJob train-1: started on 2 nodes",
        "TrainJob train-1: in the queue",
        "TrainJob train-1: nodes active 2, ready 2 3/6 loss 0.2",
    ]


def test_a_step_that_is_started_again_takes_up_its_job(api: Fake, jobs: TrainJobs, spread: Domain) -> None:
    api.jobs["train-1"] = declared_job(spread)
    api.story = [[], ["Complete"]]
    jobs.run(declared_job(spread), limit=LIMIT, done=lambda: True)
    assert api.made == [] and api.jobs == {}


def test_a_job_that_is_going_away_is_waited_for(api: Fake, jobs: TrainJobs, spread: Domain) -> None:
    old = declared_job(spread)
    old["metadata"]["deletionTimestamp"] = "2026-11-21T00:00:00Z"
    api.jobs["train-1"] = old
    api.story = [lambda job: None, lambda job: api.jobs.clear(), ["Complete"]]
    jobs.run(declared_job(spread), limit=LIMIT, done=lambda: True)
    assert len(api.made) == 1
    api.jobs["train-1"], api.story = old, []
    with pytest.raises(TimedOut, match="does not go away"):
        jobs.run(declared_job(spread), limit=LIMIT, done=lambda: True)


@pytest.mark.parametrize(
    ("story", "kind", "said"),
    [
        (["Failed=JobSetFailed: node 1 was killed"], HallmarkError, "JobSetFailed: node 1 was killed"),
        (["Failed=DeadlineExceeded: too long"], TimedOut, "DeadlineExceeded: too long"),
    ],
)
def test_a_job_that_fails_says_why_and_is_not_in_the_way_of_the_next(
    api: Fake, jobs: TrainJobs, spread: Domain, story: list[str], kind: type[HallmarkError], said: str
) -> None:
    api.story = [[], story]
    with pytest.raises(kind) as caught:
        jobs.run(declared_job(spread), limit=LIMIT, done=lambda: True)
    assert type(caught.value) is kind and said in caught.value.got
    assert api.jobs == {}


def test_a_job_that_ends_without_a_model_or_is_deleted_or_takes_too_long_fails(
    api: Fake, jobs: TrainJobs, spread: Domain
) -> None:
    api.story = [["Complete"]]
    with pytest.raises(HallmarkError, match="left no model"):
        jobs.run(declared_job(spread), limit=LIMIT, done=lambda: False)
    api.story = [[], lambda job: api.jobs.clear()]
    with pytest.raises(HallmarkError, match="is gone"):
        jobs.run(declared_job(spread), limit=LIMIT, done=lambda: True)
    api.story = [[]]
    with pytest.raises(TimedOut, match="took too long"):
        jobs.run(declared_job(spread), limit=timedelta(seconds=0.1), done=lambda: True)
    assert api.jobs == {}


def test_silence_of_the_api_is_borne_for_a_while_and_leaves_the_job_running(
    api: Fake, jobs: TrainJobs, spread: Domain
) -> None:
    api.story, api.fail = [[], ["Complete"]], {"GET": 3}
    jobs.run(declared_job(spread), limit=LIMIT, done=lambda: True)
    api.story, api.fail = [], {"GET": 10_000}
    with pytest.raises(Unavailable):
        jobs.run(declared_job(spread), limit=LIMIT, done=lambda: True)
    assert list(api.jobs) == ["train-1"]


def test_where_trainer_is_not_installed_it_is_said(api: Fake, jobs: TrainJobs, spread: Domain) -> None:
    jobs._of["plural"] = "trainjob"
    with pytest.raises(NotFound, match="cannot be created") as caught:
        jobs.run(declared_job(spread), limit=LIMIT, done=lambda: True)
    assert "Kubeflow Trainer is installed" in caught.value.fix


def test_the_whole_step_trains_once_and_finds_its_model_again(
    api: Fake, jobs: TrainJobs, examples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step as on a cluster, but for what its pods fix: they leave the model that one process has trained."""
    from hallmark.training import distributed

    monkeypatch.setenv("HALLMARK_ROOT", str(TOY))
    monkeypatch.setenv(pods.IMAGE_VARIABLE, "r/training-python@sha256:1")
    monkeypatch.setattr(distributed, "shares", lambda domain: True)  # this process has imported the other `domains`

    def pods_run(job: dict[str, Any]) -> None:
        args = job["spec"]["trainer"]["args"]
        given = dict(zip(args[::2], args[1::2], strict=True))
        assert given == arguments(examples, given["--place"])  # with which two processes were run above
        distributed_store.put(examples / "one", given["--place"])
        job["status"] = {"conditions": [{"type": "Complete", "status": "True", "reason": "AllJobsCompleted"}]}

    def train(into: str) -> None:
        parts = {name: examples / f"{name}.parquet" for name in ("training", "validation")}
        addresses = {name: path.as_uri() for name, path in parts.items()}
        addresses["trained"] = (tmp_path / "run" / into).as_uri()
        whole = {"seed": 7, "options": {}, "code": "c", "trained": tmp_path / into, "addresses": addresses, **parts}
        distributed.train("spread", jobs=jobs, **whole)

    api.story = [pods_run]
    train("first")
    train("again")
    assert len(api.made) == 1 and api.jobs == {}
    assert (tmp_path / "first" / "weights.safetensors").read_bytes() == (
        tmp_path / "again" / "weights.safetensors"
    ).read_bytes()
    (place,) = (tmp_path / "run" / "spread" / "distributed").iterdir()
    assert place.name == api.made[0]["metadata"]["name"]
    (place / "model" / "weights.safetensors").write_bytes(b"cut")
    with pytest.raises(ModelRefused, match="is not the one that was trained"):
        train("later")


def test_a_fit_without_ranks_and_a_step_without_an_image_are_told_before_anything_starts(
    examples: Path, tmp_path: Path, spread: Domain
) -> None:
    code = (
        "import sys; from pathlib import Path; from hallmark.training import distributed; p = Path(sys.argv[1]);"
        "distributed.train('toy', seed=1, options={}, training=p, validation=p, trained=p, addresses={}, code='')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], env=environment(TOY, tmp_path), capture_output=True, text=True
    )
    assert "domains/toy/model.py cannot be trained on 1 nodes" in done.stderr
    with pytest.raises(DeclarationError, match="would have no image"):
        train_job(spread, "train-1", image="", arguments={})


def test_places_are_in_the_domains_own_part_of_the_bucket() -> None:
    found = distributed_store.beside("s3://b/fraud/pipelines/run/1/trained", "fraud", "distributed", "train-1")
    assert found == "s3://b/fraud/distributed/train-1"
    for address in ("minio://mlpipeline/v2/artifacts/x", "gs://b/x", "relative"):
        with pytest.raises(DeclarationError, match="cannot reach the artifacts"):
            distributed_store.beside(address, "fraud", "distributed")
