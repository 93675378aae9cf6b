"""The serving config: what a declaration says of serving, as one file under a digest."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallmark.declaration import domain as domains
from hallmark.declaration import serving_config
from hallmark.declaration.serving_config import ServingConfig
from hallmark.errors import DeclarationError, ModelRefused
from hallmark.settings import Settings

ROOT = Path(__file__).parents[3]
FRAUD = domains.load("fraud", Settings.load({"HALLMARK_ROOT": str(ROOT)}))
CHANGES = (
    "serving.timeout=3s",
    "serving.latency_objective=20ms",
    "serving.cache=64Mi",
    "serving.captured=0.5",
    "drift.window=700",
)


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_server_or_its_monitor_reads_makes_another_config(change: str) -> None:
    changed = serving_config.of(domains.overridden(FRAUD, [change]))
    assert changed.reference != serving_config.of(FRAUD).reference


def test_what_neither_reads_leaves_the_config_as_it_is() -> None:
    elsewhere = domains.overridden(FRAUD, ["serving.replicas.maximum=9", "serving.memory=4Gi", "rollout.dwell=5m"])
    assert serving_config.of(elsewhere).reference == serving_config.of(FRAUD).reference


@given(batch=st.integers(1, 4096), queued=st.integers(1, 4096), sample=st.floats(0, 1), seconds=st.floats(0, 60))
def test_the_file_is_read_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, batch: int, queued: int, sample: float, seconds: float
) -> None:
    config = ServingConfig(
        batch=batch, queued=queued, saturated=seconds, capture=serving_config.CaptureLimits(sample=sample)
    )
    path = tmp_path_factory.mktemp("config") / serving_config.FILE
    path.write_text(config.text, encoding="utf-8")
    assert serving_config.read(path, expected=config.reference.digest) == config


def test_where_an_optional_config_map_is_not_there_the_defaults_hold(tmp_path: Path) -> None:
    (tmp_path / "..data").symlink_to("..2026_11_30")
    assert serving_config.read(tmp_path / serving_config.FILE) == ServingConfig()


def test_a_file_that_is_missing_strange_or_another_is_refused(tmp_path: Path) -> None:
    path = tmp_path / serving_config.FILE
    with pytest.raises(DeclarationError, match="cannot be read"):
        serving_config.read(path, expected=ServingConfig().reference.digest)
    (tmp_path / "another.json").touch()
    with pytest.raises(DeclarationError, match="cannot be read"):
        serving_config.read(path)
    with pytest.raises(DeclarationError, match="cannot be read"):
        serving_config.read(tmp_path / "nowhere" / serving_config.FILE)
    path.write_text('{"queue": 4}', encoding="utf-8")
    with pytest.raises(DeclarationError, match="queue") as caught:
        serving_config.read(path)
    assert caught.value.got.startswith("no such key ")
    path.write_text("{", encoding="utf-8")
    with pytest.raises(DeclarationError, match="is not JSON"):
        serving_config.read(path)
    path.write_text(ServingConfig().text + " ", encoding="utf-8")
    with pytest.raises(ModelRefused, match="not the one that was released"):
        serving_config.read(path, expected=ServingConfig().reference.digest)


def test_a_domain_with_retrieval_tells_its_server_how_fresh_and_how_much_to_check() -> None:
    domain = domains.load("search")
    searched = domains.overridden(domain, ["retrieval.corpus=orders@1", "retrieval.fresh=500ms", "retrieval.live=0.05"])
    found = serving_config.of(searched)
    assert found.retrieval == serving_config.RetrievalServing(fresh=0.5, live=0.05)
    still = serving_config.of(domains.overridden(domain, ["retrieval.fresh=null"])).retrieval
    assert still == serving_config.RetrievalServing(fresh=None, live=0.01)
    assert "retrieval" not in serving_config.of(domains.load("fraud")).text  # its digest stays what it was
