"""Token, certificate and kubeconfig: private, lasting, renewed."""

from __future__ import annotations

import stat
from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from local_cluster import access as module
from local_cluster import kubeconfig
from local_cluster.access import ApiAccess


def test_keys_are_made_once_and_for_their_user_only(tmp_path: Path) -> None:
    first, again = ApiAccess.open(tmp_path), ApiAccess.open(tmp_path)
    assert first == again
    for path in tmp_path.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ApiAccess.open(tmp_path / "other").token != first.token


def test_a_token_does_not_show(tmp_path: Path) -> None:
    access = ApiAccess.open(tmp_path)
    assert access.token.get_secret_value() not in repr(access) + str(access) + access.model_dump_json()


def test_a_certificate_is_renewed_before_it_runs_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ApiAccess.open(tmp_path)
    old = (tmp_path / "api.crt").read_bytes()
    monkeypatch.setattr(module, "_RENEW", timedelta(days=400))
    token = ApiAccess.open(tmp_path).token
    assert (tmp_path / "api.crt").read_bytes() != old
    (tmp_path / "api.crt").write_text("broken")
    monkeypatch.undo()
    assert ApiAccess.open(tmp_path).token == token
    assert (tmp_path / "api.crt").read_text().startswith("-----BEGIN CERTIFICATE-----")


def test_a_kubeconfig_holds_what_a_client_needs(tmp_path: Path) -> None:
    access = ApiAccess.open(tmp_path)
    path = tmp_path / "deep" / "kubeconfig"
    kubeconfig.write(path, server="https://127.0.0.1:1", access=access, namespace="fraud")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    config = yaml.safe_load(path.read_text())
    assert config["users"][0]["user"] == {"token": access.token.get_secret_value()}
    assert config["contexts"][0]["context"]["namespace"] == "fraud"
    assert config["current-context"] == config["contexts"][0]["name"]
