"""Which cluster is meant: kubeconfig, context, the local cluster; and an unknown one is told with those that there are."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hallmark.cli import main
from hallmark.cli.clusters import connected
from hallmark.errors import HallmarkError, NotFound, Unavailable
from hallmark.rollout import clusters
from hallmark.settings import Settings

ROOT = Path(__file__).parents[3]


def kubeconfig(path: Path, *contexts: str) -> Path:
    """A kubeconfig whose contexts lead to https://<context>:6443; the first is the current one."""
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": each, "cluster": {"server": f"https://{each}:6443"}} for each in contexts],
        "users": [{"name": "me", "user": {"token": "a-token"}}],
        "contexts": [{"name": each, "context": {"cluster": each, "user": "me"}} for each in contexts],
        "current-context": contexts[0],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Kubectl's own kubeconfig has staging and production; no local cluster is there."""
    own = kubeconfig(tmp_path / "own", "staging", "production")
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(own))
    return Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(tmp_path / "state")})


def host(settings: Settings, **asked: object) -> str:
    return str(clusters.client(clusters.choose(settings, **asked)).configuration.host)  # type: ignore[arg-type]


def test_by_default_it_is_kubectls_current_context(settings: Settings) -> None:
    assert host(settings) == "https://staging:6443"
    assert clusters.choose(settings).flags == ()


def test_the_cluster_of_one_comes_first_where_there_is_one(settings: Settings) -> None:
    kubeconfig(settings.kubeconfig, "hallmark")
    choice = clusters.choose(settings)
    assert choice.here and host(settings) == "https://hallmark:6443"
    assert choice.flags == ("--kubeconfig", str(settings.kubeconfig))


def test_a_context_is_looked_up_in_kubectls_own_then_in_the_cluster_of_ones(settings: Settings) -> None:
    kubeconfig(settings.kubeconfig, "hallmark")
    assert host(settings, context="production") == "https://production:6443"
    assert clusters.choose(settings, context="production").flags == ("--context", "production")
    assert not clusters.choose(settings, context="production").here
    assert clusters.choose(settings, context="hallmark").here


def test_a_kubeconfig_is_taken_alone_with_its_own_contexts(settings: Settings, tmp_path: Path) -> None:
    mine = kubeconfig(tmp_path / "mine", "dev", "lab")
    assert host(settings, kubeconfig=mine) == "https://dev:6443"
    assert host(settings, kubeconfig=mine, context="lab") == "https://lab:6443"
    with pytest.raises(NotFound, match="no context 'staging'"):
        clusters.choose(settings, kubeconfig=mine, context="staging")


def test_an_unknown_context_lists_those_that_there_are(settings: Settings) -> None:
    kubeconfig(settings.kubeconfig, "hallmark")
    with pytest.raises(NotFound) as raised:
        clusters.choose(settings, context="prod")
    assert "one of staging, production, hallmark" in str(raised.value)


def test_no_kubeconfig_at_all_is_said(settings: Settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(Unavailable, match="no cluster"):
        clusters.client(clusters.choose(settings))
    with pytest.raises(NotFound) as raised:
        clusters.choose(settings, context="prod")
    assert "none, since there is no kubeconfig" in str(raised.value)


def test_another_cluster_is_named_before_it_is_changed(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    connected(settings, None, "production", changes=True)
    assert capsys.readouterr().err == "cluster  https://production:6443, context production\n"
    connected(settings, None, "production")
    kubeconfig(settings.kubeconfig, "hallmark")
    connected(settings, None, changes=True)
    assert capsys.readouterr().err == "", "the local cluster, and what only reads, need no word"


def test_a_kubeconfig_that_is_not_there_is_said(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(HallmarkError, match="there is no kubeconfig"):
        connected(settings, tmp_path / "none", "production")


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["apply"],
        ["promote", "fraud"],
        ["rollback", "fraud"],
        ["drift", "fraud"],
        ["timeline", "fraud"],
        ["watch", "fraud"],
    ],
)
def test_every_command_that_talks_to_a_cluster_takes_a_context(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    for key, value in settings.environment().items():
        monkeypatch.setenv(key, value)
    assert main([*command, "--context", "nowhere"]) == 1
    assert "one of staging, production" in capsys.readouterr().err


def test_a_token_that_lies_in_a_file_is_read_anew(tmp_path: Path) -> None:
    """A pod's token is another one every day, and the watch runs for weeks."""
    file = tmp_path / "kubeconfig"
    token = tmp_path / "token"
    token.write_text("first\n", encoding="utf-8")
    user = {"name": "watch", "user": {"tokenFile": str(token)}}
    place = {"name": "here", "cluster": {"server": "http://127.0.0.1:1"}}
    context = {"name": "c", "context": {"cluster": "here", "user": "watch"}}
    whole = {"current-context": "c", "clusters": [place], "users": [user], "contexts": [context]}
    file.write_text(yaml.safe_dump({"apiVersion": "v1", "kind": "Config", **whole}), encoding="utf-8")
    configuration = clusters.client(clusters.ClusterChoice(file=file)).configuration
    assert configuration.get_api_key_with_prefix("authorization") == "Bearer first"
    token.write_text("second", encoding="utf-8")
    assert configuration.get_api_key_with_prefix("authorization") == "Bearer second"
