"""Our own deployments: the flags that they start their programs with, asked of the programs."""

from __future__ import annotations

from typing import Any

import click
import pytest
import typer.main

from hallmark import names
from hallmark.cli.app import app
from tests.manifests.builds import Object, platform


def containers(name: str) -> dict[str, Object]:
    """The containers of a deployment, those that only begin included, by name."""
    (found,) = [each for each in platform("dev") if each["kind"] == "Deployment" and each["metadata"]["name"] == name]
    spec = found["spec"]["template"]["spec"]
    return {each["name"]: each for each in [*spec.get("initContainers", []), *spec["containers"]]}


def parsed(command: click.Command, args: list[str]) -> dict[str, Any]:
    """Values that a command reads from its arguments; click refuses what it does not know."""
    return command.make_context(command.name, list(args)).params


def environment(container: Object) -> dict[str, Any]:
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


def test_the_watch_starts_with_flags_that_it_has() -> None:
    watch = containers("watch")["watch"]
    assert watch["command"] == ["hallmark", "watch"]
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


def test_one_watch_ends_before_the_next_begins() -> None:
    (found,) = [
        each for each in platform("dev") if each["metadata"]["name"] == "watch" and each["kind"] == "Deployment"
    ]
    assert (found["spec"]["replicas"], found["spec"]["strategy"]) == (1, {"type": "Recreate"})


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


def test_only_domains_and_the_watch_reach_mlflow_and_only_the_gateway_its_console() -> None:
    policies = {
        each["metadata"]["name"]: each["spec"]
        for each in platform("dev")
        if each["kind"] == "NetworkPolicy" and each["metadata"]["namespace"] == names.SYSTEM
    }
    assert policies["default-deny"]["podSelector"] == {}
    assert set(policies["default-deny"]["policyTypes"]) == {"Ingress", "Egress"}
    assert "ingress" not in policies["default-deny"]
    (console,) = policies["mlflow-console"]["ingress"]
    (source,) = console["from"]
    assert source["namespaceSelector"]["matchLabels"] == {"kubernetes.io/metadata.name": names.INGRESS}
    assert source["podSelector"]["matchLabels"] == {"istio": "ingress"}
    (server,) = policies["mlflow"]["ingress"]
    assert len(server["from"]) == 2
