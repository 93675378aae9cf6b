"""The watch and the page on a real MLflow with workspaces and users: one moves each domain's aliases, the other reads its trainings; nothing else."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import pytest

from hallmark.errors import Refused
from hallmark.registry.store import CHAMPION, OUTCOME, Registry
from hallmark.settings import Settings

pytestmark = pytest.mark.slow

DOMAINS = ("fraud", "search")
PASSWORD = "a long enough password"
TAGS = {"data": "", "commit": "", "metric": "roc_auc", "value": "0.9"}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """MLflow with the flags of manifests/platform/mlflow, on SQLite."""
    folder = tmp_path_factory.mktemp("mlflow")
    (folder / "basic_auth.ini").write_text(
        "[mlflow]\ndefault_permission = NO_PERMISSIONS\ngrant_default_workspace_access = false\n"
        f"database_uri = sqlite:///{folder / 'auth.db'}\nadmin_username = admin\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"]
    command += ["--port", str(port), "--workers", "1", "--enable-workspaces", "--app-name", "basic-auth"]
    command += ["--default-artifact-root", str(folder / "artifacts"), "--no-serve-artifacts"]
    environment = {
        **os.environ,
        "MLFLOW_AUTH_CONFIG_PATH": str(folder / "basic_auth.ini"),
        "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
        "MLFLOW_FLASK_SERVER_SECRET_KEY": "key",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, start_new_session=True, env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        until = time.monotonic() + 120
        while not _healthy(url):
            assert time.monotonic() < until and process.poll() is None, (folder / "log").read_text()
            time.sleep(0.2)
        yield url
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _healthy(url: str) -> bool:
    try:
        with urlopen(f"{url}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _as(monkeypatch: pytest.MonkeyPatch, user: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", user)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)


def test_the_watch_moves_every_domains_aliases_and_nothing_else(
    server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    from mlflow.exceptions import MlflowException
    from mlflow.utils.workspace_context import WorkspaceContext

    from tools.mlflow_workspaces import UI, WATCH, ask, prepare

    client = mlflow.MlflowClient(tracking_uri=server, registry_uri=server)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(server)
    try:
        _as(monkeypatch, "admin")
        for user in ("watch", "page"):
            ask("POST", "/api/2.0/mlflow/users/create", username=user, password=PASSWORD)
        users = {WATCH: "watch", UI: "page"}
        made = prepare(DOMAINS, "s3://bucket", users)
        assert len(made) == 12
        assert prepare(DOMAINS, "s3://bucket", users) == []
        mlflow.create_workspace("returns", default_artifact_root="s3://bucket/returns/models")
        for domain in (*DOMAINS, "returns"):
            with WorkspaceContext(domain):
                client.create_registered_model(domain)
                run = client.create_run(client.create_experiment(domain)).info.run_id
                for key, value in {OUTCOME: "refused", "hallmark.reason": f"of {domain}"}.items():
                    client.set_tag(run, key, value)
                for _ in range(2):
                    client.create_model_version(
                        domain, f"s3://bucket/{domain}/models/1", tags=TAGS | {"digest": f"sha256:{domain}"}
                    )

        _as(monkeypatch, "watch")
        registry = Registry(
            Settings(root=tmp_path, state=tmp_path, releases=tmp_path, tracking=server, workspaces=True)
        )
        for domain in DOMAINS:
            registry.alias(domain, CHAMPION, 1, expected=None)
            registry.alias(domain, CHAMPION, 2, expected=1)
            found = registry.resolve(domain, CHAMPION)
            assert (found.version, found.digest) == (2, f"sha256:{domain}")
        with pytest.raises(Refused, match="does not let this account") as refused:
            registry.alias("returns", CHAMPION, 1)
        assert "EDIT" in refused.value.fix
        for domain, denied in {
            "fraud": (
                lambda: client.delete_model_version("fraud", "1"),
                lambda: client.delete_registered_model("fraud"),
                lambda: client.create_registered_model("other"),
                lambda: client.create_experiment("other"),
            ),
            "returns": (lambda: client.get_model_version("returns", "1"),),
        }.items():
            for call in denied:
                with WorkspaceContext(domain), pytest.raises(MlflowException, match=r"ermission|403"):
                    call()
        with WorkspaceContext("fraud"):
            assert client.search_experiments() == []

        _as(monkeypatch, "page")
        for domain in DOMAINS:
            assert [each.version for each in registry.versions(domain)] == [2, 1]
            assert [each.outcome for each in registry.trials(domain)] == ["refused"]
        with pytest.raises(Refused, match="does not let this account"):
            registry.versions("returns")
        with WorkspaceContext("returns"):
            assert client.search_experiments() == []
        for denied_too in (
            lambda: client.set_registered_model_alias("fraud", CHAMPION, "1"),
            lambda: client.create_experiment("other"),
            lambda: client.set_tag(run, "x", "y"),
            lambda: client.delete_registered_model("fraud"),
        ):
            with WorkspaceContext("fraud"), pytest.raises(MlflowException, match=r"ermission|403"):
                denied_too()
    finally:
        mlflow.set_tracking_uri(before)
