"""`hallmark features erase`: what a person at a desk asks for, sees and can show afterwards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from hallmark.cli import main
from hallmark.errors import NotFound, Unavailable
from hallmark.feature_store import iceberg, sources
from hallmark.feature_store.place import FeatureStore
from hallmark.rollout import monitors
from hallmark.settings import Settings
from tests.hallmark.cli.test_features import FIRST, NOW, batch, counts, place, told

__all__ = ["place"]


def test_a_person_is_looked_for_erased_and_not_found_again(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told(capsys, "ingest", "orders@1", batch(place, "first", FIRST))
    told(capsys, "apply")
    held = sources.snapshot(FeatureStore(Settings.load()).offline("orders@1")).digest
    looked = told(capsys, "erase", "buyer_id=anna", "--dry-run")
    assert looked["erased"] is False and {"where": "log of orders@1", "what": "records", "count": 2} in looked["counts"]
    assert counts(capsys, "anna") == [(1, 2)], "to look changes nothing"
    erased = told(capsys, "erase", "buyer_id=anna", "--by", "dpo")
    assert (erased["erased"], erased["counts"], erased["record"]["by"]) == (True, looked["counts"], "dpo")
    assert counts(capsys, "anna", "bob") == [(0, 0), (1, 0)]
    assert told(capsys, "erase", "buyer_id=anna") == {"erased": False, "counts": [], "also": {}, "record": None}
    (row,) = told(capsys, "erasures")
    assert (row["by"], row["state"], row["rows"], list(row["columns"])) == ("dpo", "done", 5, ["buyer_id"])
    now = sources.snapshot(FeatureStore(Settings.load()).offline("orders@1")).digest
    assert told(capsys, "erasures", held) == [{"digest": held, "is": "erased"}, {"digest": now, "is": "now"}]
    capsys.readouterr()
    assert main(["features", "erase", "buyer_id=anna"]) == 0
    assert "nothing is held" in (said := capsys.readouterr().err) and "anna" not in said


def test_what_join_wrote_loses_their_rows_and_a_folder_without_training_sets_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told(capsys, "ingest", "orders@1", batch(place, "first", FIRST))
    asked = pd.DataFrame(
        {"buyer_id": ["anna", "bob"], "at": [NOW] * 2, "device_id": ["d1"] * 2, "ip": ["10.0.0.1"] * 2}
    )
    asked.to_parquet(place / "asked.parquet")
    told(capsys, "join", str(place / "asked.parquet"), "--out", str(place / "set"), "--time", "at")
    for wrong, said in ((place / "nothere", "no folder"), (place / "state", "none of these")):
        assert (
            main(["features", "erase", "buyer_id=anna", "--training", str(place / "set"), "--training", str(wrong)])
            == 2
        )
        assert f"{wrong.name} holds no training set" in (shown := capsys.readouterr().err) and said in shown
    assert len(pd.read_parquet(place / "set")) == 2, "nothing is erased then"
    (place / "set" / "manifest.json").touch()
    assert main(["features", "erase", "buyer_id=anna", "--training", str(place / "set")]) == 2
    assert f"--training {place}" in capsys.readouterr().err
    (place / "set" / "manifest.json").unlink()
    before = pd.read_parquet(place / "set")
    erased = told(capsys, "erase", "buyer_id=anna", "--training", str(place / "set"))
    (found,) = [each for each in erased["counts"] if each["where"].startswith("training set")]
    assert (found["what"], found["count"]) == ("rows", 1)
    left = pd.read_parquet(place / "set")
    assert left["buyer_id"].tolist() == ["bob"] and list(left.columns) == list(before.columns)
    assert b"anna" not in b"".join(path.read_bytes() for path in (place / "set").iterdir())


@pytest.mark.parametrize(
    ("person", "said"),
    [
        ("anna", "COLUMN=VALUE"),
        ("buyer_id=", "COLUMN=VALUE"),
        ("buyer_id=m1 buyer_id=m2", "buyer_id is given twice"),
        ("amount=3", "buyer_id, card_id, device_id, ip, seller_id"),
    ],
)
def test_what_names_no_person_is_refused(
    place: Path, capsys: pytest.CaptureFixture[str], person: str, said: str
) -> None:
    assert main(["features", "erase", *person.split()]) == 2 and said in capsys.readouterr().err


def test_what_is_no_digest_is_refused_and_one_that_no_erasure_changed_is_said(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for wrong in ("zz", "sha256:zz", "0" * 64):
        assert main(["features", "erasures", wrong]) == 2 and "this is no digest" in capsys.readouterr().err
    assert main(["features", "erasures", f"sha256:{'0' * 64}"]) == 0
    assert "no erasure here changed what it names" in capsys.readouterr().err


def test_the_monitors_of_a_cluster_are_told_and_one_that_cannot_is_named() -> None:
    class Writer:
        """A cluster with two pods, the second with an image of before."""

        def pods(self, name: str) -> list[Any]:
            return [{"metadata": {"name": f"{name}-{at}"}} for at in range(2)]

        def sidecar(self, pod: Any, path: str, *, body: Any) -> bytes:
            if pod["metadata"]["name"] == "old-1":
                raise NotFound("there is no /erase")
            assert (path, body) == ("erase", {"buyer_id": "anna"})
            return b'{"erased": 3}'

    writer: Any = Writer()
    assert monitors.erase(writer, "fraud", {"buyer_id": "anna"}) == 6
    with pytest.raises(Unavailable, match="old-1 forgets nobody"):
        monitors.erase(writer, "old", {"buyer_id": "anna"})


def test_the_list_of_views_says_which_models_read_them(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALLMARK_RELEASES", str(place / "releases"))
    settings = Settings.load()
    folder = settings.models / "fraud" / "7"
    folder.mkdir(parents=True)
    use = {"view": {"name": "buyer_orders", "version": 1}}
    (folder / "signature.json").write_text(json.dumps({"views": [use]}), encoding="utf-8")
    release = settings.releases / "fraud" / "release.yaml"
    release.parent.mkdir(parents=True)
    target = f"{{version: 7, storageUri: 'pvc://models/fraud/7', digest: 'sha256:{'a' * 64}', config: null}}"
    release.write_text(f"stable: {target}\ncandidate: null\npercent: null\nprevious: null\n", encoding="utf-8")
    (buyers, *_) = told(capsys, "list")
    assert {"domain": "fraud", "version": 7, "role": "stable"} in buyers["read_by"]


@pytest.mark.slow
def test_training_sets_in_iceberg_that_have_their_rows_are_named_with_what_removes_them(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALLMARK_TRAINING_SETS", "iceberg://local/sets")
    told(capsys, "ingest", "orders@1", batch(place, "first", FIRST))
    told(capsys, "erase", "buyer_id=carl")  # nobody has kept a set
    kept = iceberg.Place.at("iceberg://local/sets", Settings.load().state / "features" / "iceberg")
    for number, buyers in enumerate((["anna", "bob"], ["bob", None], ["dora", "anna"])):
        frame = pd.DataFrame({"buyer_id": buyers, "last": ["x", "anna"], "at": [NOW] * 2}).astype(
            {"at": "datetime64[us, UTC]"}
        )
        frame["last"] = frame["last"] if number != 1 else "y"
        frame.to_parquet(place / f"{number}.parquet")
        kept.write("fraud", [place / f"{number}.parquet"], time="at", views=[], sources={})
    capsys.readouterr()
    assert main(["features", "erase", "buyer_id=anna"]) == 3
    said = " ".join(capsys.readouterr().err.split())
    assert "2 training sets in Iceberg still have rows of them" in said and said.count("sets.fraud, snapshot") == 2
    assert said.count("expire_snapshots(table => 'sets.fraud'") == 2 and said.count("DROP TAG `set-") == 2
    assert said.count("train again") == 1, "the newest set is the table"
    assert main(["features", "erase", "buyer_id=dora", "--dry-run"]) == 3
    assert main(["features", "erase", "buyer_id=nobody"]) == 0
