"""Our own deployments: the flags that they start their programs with, asked of the programs."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import click
import pytest
import typer.main
import yaml

from hallmark import names
from hallmark.cli.app import app
from hallmark.declaration import feature_view
from hallmark.feature_store.bucket import Bucket
from hallmark.feature_store.online.address import connect
from hallmark.settings import Settings
from inference_services.runtime.change_bucket import BucketLog
from inference_services.runtime.change_log import connect as connect_log
from tests.manifests.builds import DOMAINS, FIRST_QUICK, ROOT, Object, built, declared, platform, tenant

SETTINGS = Settings.load({"HALLMARK_ROOT": str(ROOT)})


CLI = ["python", "-m", "hallmark.cli"]
"""Our command line as the images have it, where no program is called `hallmark`: the Dockerfile installs what it needs, and not itself."""


def containers(name: str, cluster: str = "dev") -> dict[str, Object]:
    """The containers of a deployment, those that only begin included, by name."""
    (found,) = [each for each in platform(cluster) if each["kind"] == "Deployment" and each["metadata"]["name"] == name]
    spec = found["spec"]["template"]["spec"]
    return {each["name"]: each for each in [*spec.get("initContainers", []), *spec["containers"]]}


def parsed(command: click.Command, args: list[str]) -> dict[str, Any]:
    """Values that a command reads from its arguments; click refuses what it does not know."""
    return command.make_context(command.name, list(args)).params


def environment(container: Object) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


def test_the_watch_starts_with_flags_that_it_has() -> None:
    watch = containers("watch")["watch"]
    assert watch["command"] == [*CLI, "watch"]
    group = typer.main.get_command(app)
    command = group.commands["watch"]  # type: ignore[attr-defined]
    found = parsed(command, watch["args"])
    assert found["prometheus"].startswith("http://prometheus-prometheus.monitoring.svc")
    assert found["kubeflow"].startswith(f"http://ml-pipeline.{names.KUBEFLOW}.svc")
    port = found["metrics_port"]
    assert watch["livenessProbe"]["httpGet"] == {"path": "/live", "port": port}
    mounts = {each["mountPath"] for each in watch["volumeMounts"]}
    for path in (str(found["token"]), str(found["kubeconfig"]), environment(watch)["HALLMARK_STATE"]):
        assert any(path.startswith(mount) for mount in mounts), path


def test_the_page_starts_with_flags_that_it_has_behind_the_path_that_the_gateway_gives_it() -> None:
    page = containers("ui")["ui"]
    assert page["command"] == [*CLI, "ui"]
    group: Any = typer.main.get_command(app)
    found = parsed(group.commands["ui"], page["args"])
    assert found["shared"], "else it listens to its own pod alone, and shows everything to everybody"
    assert {each["containerPort"] for each in page["ports"]} == {found["port"]}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert page[probe]["httpGet"] == {"path": "/healthz", "port": found["port"]}
    given = environment(page)
    assert given["HALLMARK_WORKSPACES"] == "domain"
    mounts = {each["mountPath"] for each in page["volumeMounts"]}
    for path in (str(found["kubeconfig"]), given["HALLMARK_STATE"], given["HALLMARK_RELEASES"], given["HOME"]):
        assert any(path.startswith(mount) for mount in mounts), path
    (route,) = [
        each for each in platform("dev") if (each["kind"], each["metadata"]["name"]) == ("VirtualService", "ui")
    ]
    stream, pages = route["spec"]["http"]
    assert stream["match"] == [{"uri": {"exact": f"{found['prefix']}/events"}}] and "timeout" not in stream
    assert {value for each in pages["match"] for value in each["uri"].values()} == {
        found["prefix"],
        f"{found['prefix']}/",
    }
    (service,) = [each for each in platform("dev") if (each["kind"], each["metadata"]["name"]) == ("Service", "ui")]
    (port,) = service["spec"]["ports"]
    assert port["targetPort"] == found["port"]
    for each in (stream, pages):
        (to,) = each["route"]
        assert to["destination"] == {"host": f"ui.{names.SYSTEM}.svc.cluster.local", "port": {"number": port["port"]}}


@pytest.mark.parametrize("name", ["watch", names.STREAM])
def test_one_program_ends_before_the_next_begins(name: str) -> None:
    (found,) = [each for each in platform("dev") if each["metadata"]["name"] == name and each["kind"] == "Deployment"]
    assert (found["spec"]["replicas"], found["spec"]["strategy"]) == (1, {"type": "Recreate"})


@pytest.mark.parametrize("cluster", FIRST_QUICK)
def test_the_feature_stream_keeps_every_declared_view_up_to_date_with_flags_that_it_has(cluster: str) -> None:
    stream = containers(names.STREAM, cluster)["stream"]
    assert stream["command"] == [*CLI, "features", "run"]
    group: Any = typer.main.get_command(app)
    found = parsed(group.commands["features"].commands["run"], stream["args"])
    assert found["follow"] and list(found["views"]) == feature_view.references(SETTINGS)
    (port,) = stream["ports"]
    assert port == {"name": "metrics", "containerPort": found["metrics_port"], "protocol": "TCP"}
    for probe in ("startupProbe", "livenessProbe"):
        assert stream[probe]["httpGet"] == {"path": "/live", "port": found["metrics_port"]}
    given = environment(stream)
    assert any(given["HALLMARK_STATE"] == each["mountPath"] for each in stream["volumeMounts"])
    assert given["HALLMARK_FEATURE_STORE"] == {"configMapKeyRef": {"name": "feature-store", "key": "address"}}
    assert given["HALLMARK_FEATURE_OFFLINE"] == {"configMapKeyRef": {"name": "feature-store", "key": "offline"}}


def _asking(metadata: Object) -> str:
    """The account that reads this ConfigMap."""
    if metadata["namespace"] == names.FEATURES:
        return names.STREAM
    return names.PREDICTOR if metadata["name"] == names.FEATURE_STORE else names.PARITY


@pytest.mark.parametrize("cluster", FIRST_QUICK)
def test_features_are_compared_with_flags_that_the_command_has(cluster: str) -> None:
    for domain in DOMAINS:
        every = [each for each in tenant(cluster, domain) if each["kind"] == "CronJob"]
        jobs = [each for each in every if not each["metadata"]["name"].endswith("-reviews-gc")]
        assert [each["metadata"]["name"] for each in jobs] == (["parity"] if declared(domain).features else [])
        for job in jobs:
            pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
            (container,) = pod["containers"]
            assert container["command"] == [*CLI, "features", "parity"] and "/hallmark/platform" in container["image"]
            group: Any = typer.main.get_command(app)
            found = parsed(group.commands["features"].commands["parity"], container["args"])
            assert found["name"] == domain
            mounts = {each["mountPath"] for each in container["volumeMounts"]}
            given = environment(container)
            for path in (str(found["kubeconfig"]), given["HALLMARK_STATE"], given["HOME"]):
                assert any(path.startswith(mount) for mount in mounts), path
            assert given["HALLMARK_FEATURE_OFFLINE"]["configMapKeyRef"]["name"] == "feature-store-parity"


@pytest.mark.parametrize("cluster", FIRST_QUICK)
def test_addresses_of_the_online_and_the_offline_store_are_some(cluster: str) -> None:
    """Of the stream, and of every domain that declares features: a store is made of each, as programs make it, though none is asked."""
    declaring = [domain for domain in DOMAINS if declared(domain).features]
    built = [*platform(cluster), *(each for domain in declaring for each in tenant(cluster, domain))]
    found = {
        (each["metadata"]["namespace"], _asking(each["metadata"])): each["data"]
        for each in built
        if each["kind"] == "ConfigMap" and each["metadata"]["name"].startswith("feature-store")
    }
    accounts = {(domain, account) for domain in declaring for account in (names.PREDICTOR, names.PARITY)}
    assert set(found) == {(names.FEATURES, names.STREAM), *accounts}
    for (namespace, account), data in found.items():
        assert set(data) == {"address", "offline"}, "one engine a cluster"
        assert data["offline"] == f"s3://hallmark-{cluster}-artifacts/features/offline?region={names.REGION}"
        assert str(Bucket.at(data["offline"])) == f"s3://hallmark-{cluster}-artifacts/features/offline"
        parts = urlsplit(data["address"])
        if parts.scheme == "dynamodb":
            assert parts.netloc == f"hallmark-{cluster}-features"
        else:
            assert (parts.scheme, parts.username) == ("rediss", f"{namespace}-{account}")
            assert dict(parse_qsl(parts.query))["iam"] == f"hallmark-{cluster}-features"
            connect(data["address"], namespace=names.FEATURES).close()


@pytest.mark.parametrize("cluster", FIRST_QUICK)
def test_servers_whose_items_change_log_them_in_their_own_part_of_the_clusters_bucket(cluster: str) -> None:
    """What the runtime's HALLMARK_CHANGES reads, as the server makes a log of it, and as Terraform gives the account the right to."""
    found = {
        domain: each["data"]["address"]
        for domain in DOMAINS
        for each in tenant(cluster, domain)
        if each["kind"] == "ConfigMap" and each["metadata"]["name"] == names.ITEM_CHANGES
    }
    assert set(found) == {domain for domain in DOMAINS if (told := declared(domain).retrieval) and told.fresh}
    for domain, address in found.items():
        bucket = f"hallmark-{cluster}-artifacts"
        assert address == f"s3://{bucket}/{domain}/changes?region={names.REGION}"
        assert str(Bucket.at(address)) == f"s3://{bucket}/{domain}/changes"
        assert isinstance(connect_log(address), BucketLog)
    (runtime,) = [each for each in platform(cluster) if each["kind"] == "ClusterServingRuntime"]
    (server,) = [each for each in runtime["spec"]["containers"] if each["name"] == "kserve-container"]
    asked = environment(server)["HALLMARK_CHANGES"]["configMapKeyRef"]
    assert asked == {"name": names.ITEM_CHANGES, "key": "address", "optional": True}


def test_the_log_of_item_changes_follows_its_cluster_to_another_region_and_bucket(tmp_path: Path) -> None:
    """Our three clusters share a region, so a build of another's tells whether it is replaced at all."""
    (resource,) = [
        each
        for each in yaml.safe_load_all((ROOT / "manifests/tenants/search.yaml").read_text(encoding="utf-8"))
        if each["kind"] == "ConfigMap" and each["metadata"]["name"] == names.ITEM_CHANGES
    ]
    clusters = ROOT / "manifests" / "clusters"
    shutil.copytree(clusters / "common", tmp_path / "common")
    values = yaml.safe_load((clusters / "dev/settings/values.yaml").read_text(encoding="utf-8"))
    values["data"] |= {"region": "us-west-2", "bucket": "other-artifacts"}
    body = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization"}
    folder = tmp_path / "cluster"
    folder.mkdir()
    for name, content in (
        ("kustomization", body | {"resources": ["items.yaml", "values.yaml"], "components": ["../common"]}),
        ("items", resource),
        ("values", values),
    ):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    (found,) = built(folder)
    assert found["data"]["address"] == "s3://other-artifacts/search/changes?region=us-west-2"


@pytest.mark.filterwarnings("ignore:.*Any type hint:UserWarning")  # of a module that MLflow's command line imports
def test_mlflow_starts_with_flags_that_it_has() -> None:
    from mlflow.cli import server
    from mlflow.db import upgrade

    for name, domains_only in (("mlflow", True), ("mlflow-console", False)):
        found = containers(name)["mlflow"]
        assert found["command"] == ["mlflow", "server"]
        flags = parsed(server, found["args"])
        assert flags["enable_workspaces"] is True
        assert flags["serve_artifacts"] is False, "artifacts go to S3 by the caller's own credentials"
        assert flags["app_name"] == ("basic-auth" if domains_only else None)
        assert flags["port"] == found["ports"][0]["containerPort"]
        assert "MLFLOW_BACKEND_STORE_URI" in environment(found), "not on the command line, where `ps` shows it"
        assert {flag.envvar for flag in server.params if flag.name == "backend_store_uri"} == {
            "MLFLOW_BACKEND_STORE_URI"
        }
    schema = containers("mlflow")["schema"]
    assert schema["command"][:3] == ["mlflow", "db", "upgrade"]
    assert parsed(upgrade, schema["command"][3:]) == {"url": "$(MLFLOW_BACKEND_STORE_URI)"}


def test_only_domains_the_watch_and_the_page_reach_mlflow_and_only_the_gateway_console_and_page() -> None:
    policies = {
        each["metadata"]["name"]: each["spec"]
        for each in platform("dev")
        if each["kind"] == "NetworkPolicy" and each["metadata"]["namespace"] == names.SYSTEM
    }
    assert policies["default-deny"]["podSelector"] == {}
    assert set(policies["default-deny"]["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in policies["default-deny"]
    for name in ("mlflow-console", "ui"):
        (opened,) = policies[name]["ingress"]
        (source,) = opened["from"]
        assert source["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": names.INGRESS}
        assert source["podSelector"]["matchLabels"] == {"istio": "ingress"}
    (server,) = policies["mlflow"]["ingress"]
    assert len(server["from"]) == 3
