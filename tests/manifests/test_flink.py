"""What a cluster applies that takes the Flink jobs of feature views: whole, by the schemas, with the cluster's own names in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.manifests import builds
from tests.manifests.builds import ROOT, Object


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> tuple[Object, ...]:
    """The build of a production cluster's settings over the jobs alone."""
    folder = tmp_path_factory.mktemp("cluster")
    manifests = ROOT / "manifests"
    body: dict[str, Any] = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    relative = Path(*[".."] * len(folder.parts[1:])) / manifests.relative_to("/")
    body |= {"resources": [str(relative / "features" / "flink")]}
    body |= {"components": [str(relative / "clusters" / "production" / "settings")]}
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(body), encoding="utf-8")
    return builds.built(folder)


def test_each_object_keeps_the_schema_of_its_kind(objects: tuple[Object, ...]) -> None:
    assert {each["kind"] for each in objects} >= {
        "Application",
        "ConfigMap",
        "FlinkDeployment",
        "Namespace",
        "NetworkPolicy",
    }
    assert {each["metadata"]["name"]: builds.problems(each) for each in objects if builds.problems(each)} == {}


def test_each_views_job_runs_its_script_with_the_clusters_names(objects: tuple[Object, ...]) -> None:
    jobs = {each["metadata"]["name"]: each for each in objects if each["kind"] == "FlinkDeployment"}
    scripts = {each["metadata"]["name"]: each["data"] for each in objects if each["kind"] == "ConfigMap"}
    values = yaml.safe_load((ROOT / "manifests/clusters/production/settings/values.yaml").read_text(encoding="utf-8"))
    own, names = values["data"], scripts.pop("cluster-names")
    assert (
        set(jobs)
        == set(scripts)
        == {f"{path.parent.name.replace('_', '-')}-{path.stem}" for path in (ROOT / "features").glob("*/v*.yaml")}
    )
    assert (names["CLUSTER"], names["REGION"]) == (own["name"], own["region"])
    assert names["ACCOUNT"] == own["registry"].partition(".")[0]
    for name, job in jobs.items():
        spec = job["spec"]
        assert (
            spec["flinkConfiguration"]["execution.checkpointing.dir"]
            == f"s3://{own['bucket']}/features/flink/{name}/checkpoints"
        )
        pods = [spec["image"], spec["podTemplate"]["spec"]["initContainers"][0]["image"]]
        assert all(image.startswith(own["registry"]) for image in pods), pods
        (sed,) = spec["podTemplate"]["spec"]["initContainers"][0]["args"]
        told = set(names)
        assert all(f"__{each}__" in scripts[name]["job.sql"] and f"__{each}__|${each}|" in sed for each in told)


@pytest.mark.slow
def test_a_cluster_that_takes_them_serves_their_tiles_by_the_same_deployment(tmp_path: Path) -> None:
    """The probes, the port that Prometheus reads, the claim and the account are the stream's, and so are the alerts."""
    manifests = ROOT / "manifests"
    relative = Path(*[".."] * len(tmp_path.parts[1:])) / manifests.relative_to("/")

    def stream(*components: str) -> Object:
        folder = tmp_path / "-".join(["of", *components])
        folder.mkdir()
        body: dict[str, Any] = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
        body |= {"resources": [f"../{relative}/platform"]}
        body |= {"components": [f"../{relative}/clusters/{each}" for each in (*components, "production/settings")]}
        (folder / "kustomization.yaml").write_text(yaml.safe_dump(body), encoding="utf-8")
        found = builds.built(folder)
        assert bool(components) == any(each["kind"] == "FlinkDeployment" for each in found)
        named = {each["data"]["CLUSTER"] for each in found if each["metadata"]["name"] == "cluster-names"}
        assert not components or named == {"hallmark-production"}
        (deployment,) = [
            each for each in found if each["kind"] == "Deployment" and each["metadata"]["name"] == "stream"
        ]
        assert builds.problems(deployment) == []
        return deployment

    plain, tiles = stream(), stream("flink")
    (container,) = tiles["spec"]["template"]["spec"]["containers"]
    assert container["args"].pop(0) == "--tiles"
    assert tiles == plain
    assert {"--follow", "--metrics-port=9100"} <= {*container["args"]} and container["livenessProbe"]["httpGet"][
        "path"
    ] == "/live"
    views = {f"{path.parent.name}@{path.stem[1:]}" for path in (ROOT / "features").glob("*/v*.yaml")}
    assert views == {each for each in container["args"] if not each.startswith("-")}
