"""The local cluster as the source of `hallmark watch`, found by its entry point alone."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from hallmark.cli.watch import _source
from hallmark.errors import NotFound, Unavailable
from hallmark.rollout.prometheus import Prometheus
from hallmark.rollout.writer import InferenceServiceWriter
from hallmark.settings import Settings
from local_cluster.scrape import Scrape

ROOT = Path(__file__).parents[2]


def installed(folder: Path, groups: dict[str, dict[str, str]]) -> None:
    """Metadata that an installer writes of Hallmark."""
    where = folder / "hallmark-0.1.0.dist-info"
    where.mkdir()
    (where / "METADATA").write_text("Metadata-Version: 2.1\nName: hallmark\nVersion: 0.1.0\n")
    lines = [line for name, rows in groups.items() for line in (f"[{name}]", *(f"{k} = {v}" for k, v in rows.items()))]
    (where / "entry_points.txt").write_text("\n".join(lines) + "\n")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(tmp_path / "state")})


@pytest.fixture
def writer() -> InferenceServiceWriter:
    from kubernetes import client

    return InferenceServiceWriter(client.ApiClient(client.Configuration(host="http://127.0.0.1:9")))


def test_a_checkout_reads_the_local_cluster_where_no_prometheus_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings, writer: InferenceServiceWriter
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    installed(tmp_path, project["entry-points"])
    monkeypatch.syspath_prepend(tmp_path)
    found = _source(writer, settings, "", None)
    assert isinstance(found, Scrape)
    with pytest.raises(Unavailable, match="the gateway is not up"):
        found.read("fraud", ["requests"])


def test_where_there_is_no_local_cluster_a_prometheus_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings, writer: InferenceServiceWriter
) -> None:
    installed(tmp_path, {"console_scripts": {"hallmark": "hallmark.cli:main"}})
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(NotFound) as caught:
        _source(writer, settings, "", None)
    assert "hallmark.sources" in caught.value.got and "--prometheus" in caught.value.fix
    assert isinstance(_source(writer, settings, "http://127.0.0.1:9", None), Prometheus)
