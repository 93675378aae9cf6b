"""Synthetic events go where nothing else is, and nowhere else without being told so."""

from __future__ import annotations

from pathlib import Path

import pytest

from hallmark.errors import Refused
from hallmark.feature_store.place import FeatureStore
from hallmark.settings import Settings
from tests.hallmark.cli.test_features import HOUR, ROOT, batch, order
from tools.histories import Histories
from tools.traffic import Requests, synthetic


@pytest.fixture(scope="module")
def requests() -> Requests:
    settings = Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": "unused"})
    return synthetic("fraud", count=3, seed=5, shift=None, settings=settings)


def past(requests: Requests, folder: Path, **more: str) -> Histories:
    """The same, of a state folder of its own."""
    assert requests.histories is not None
    settings = Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(folder / "state"), **more})
    return Histories(settings, requests.histories.views, requests.histories.events, requests.histories.moments)


@pytest.mark.slow
def test_they_go_into_a_store_of_this_machine_again_and_again(requests: Requests, tmp_path: Path) -> None:
    mine = past(requests, tmp_path)
    assert mine.happen() > 0
    assert mine.happen() > 0, "those of an earlier call are synthetic too"
    assert FeatureStore(mine.settings).real(["orders@1"]) == []


def test_they_do_not_go_among_real_events_unless_told_so(requests: Requests, tmp_path: Path) -> None:
    mine = past(requests, tmp_path)
    store = FeatureStore(mine.settings.prepared())
    store.ingest("orders@1", Path(batch(tmp_path, "real", [order(1, "anna", ago=HOUR)])))
    with pytest.raises(Refused, match="orders@1 holds 1 events that are not known to be synthetic") as refused:
        mine.happen()
    assert refused.value.exit_code == 3 and "--among-real-events" in refused.value.fix
    assert store.applied() == [] and len(store.files("orders@1")) == 1, "nothing was written"
    assert mine.happen(among_real=True) > 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {"HALLMARK_FEATURE_STORE": "redis://user:secret@127.0.0.1:1/0"},
            "the online store is redis://127.0.0.1:1/0",
        ),
        ({"HALLMARK_FEATURE_STORE": "sqlite:////elsewhere/online.db"}, "sqlite:////elsewhere/online.db"),
        ({"HALLMARK_FEATURE_LOG": "kafka://127.0.0.1:1/dev-{source}?sasl.password=secret"}, "log is in kafka"),
    ],
)
def test_they_do_not_go_into_a_store_or_a_log_that_others_read(
    requests: Requests, tmp_path: Path, more: dict[str, str], said: str
) -> None:
    mine = past(requests, tmp_path, **more)
    with pytest.raises(Refused) as refused:
        mine.happen()
    assert said in refused.value.got and "secret" not in str(refused.value)
    assert not (mine.settings.state / "features").exists(), "nothing was written"
