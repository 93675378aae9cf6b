"""Training sets by digest: the same content has the same name, and a changed byte is refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from hallmark.errors import ContractBroken, DeclarationError, NotFound
from hallmark.feature_store import offline, snapshots
from tests.hallmark.feature_store.offline_cases import SOURCE, START, Case, row, view

COLUMNS = {
    "count": {"take": "count"},
    "amount": {"take": "last", "of": "amount"},
    "card": {"take": "last", "of": "card"},
}
SOURCES = {SOURCE: "sha256:" + "0" * 64}


@pytest.fixture
def one() -> Case:
    rows = [
        row(f"o{n}", buyer, START, START, amount=(math.nan, None, 2.5)[n]) for n, buyer in enumerate(("a", "b", "c"))
    ]
    later = START + pd.Timedelta("1h").to_pytimedelta()
    asked = [{"n": n, "buyer_id": buyer, "at": later} for n, buyer in enumerate(("a", "b", "c", "never"))]
    return Case(view(COLUMNS), rows, asked)


def kept(one: Case, folder: Path, *, root: Path | None = None) -> str:
    paths = offline.training_frame(
        one.asked(folder), [one.view], {SOURCE: one.files(folder)}, folder / "frame", time="at"
    )
    return snapshots.write(paths, root or folder / "sets", time="at", views=[one.view], sources=SOURCES)


def test_a_training_set_says_from_what_it_was_computed(one: Case, tmp_path: Path) -> None:
    digest = kept(one, tmp_path)
    training, paths = snapshots.read(tmp_path / "sets", digest)
    assert (training.rows, training.views, training.sources) == (4, {"buyer@1": snapshots.declared(one.view)}, SOURCES)
    assert training.earliest == training.latest == one.questions[0]["at"]
    assert training.columns["amount"].model_dump() == {
        "kind": "double",
        "nulls": 2,
        "nans": 1,
        "least": "2.5",
        "greatest": "2.5",
    }
    assert training.columns["count"].model_dump() == {
        "kind": "int64",
        "nulls": 0,
        "nans": 0,
        "least": "0",
        "greatest": "1",
    }
    assert sum(pq.read_metadata(path).num_rows for path in paths) == 4


def test_a_frame_keeps_nan_and_null_apart(one: Case, tmp_path: Path) -> None:
    digest = kept(one, tmp_path)
    frame = snapshots.frame(tmp_path / "sets", digest)
    assert list(frame["amount"].isna()) == [False, True, False, True]
    assert math.isnan(frame["amount"][0])


def test_the_same_content_has_the_same_name(one: Case, tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        digests.add(kept(one, tmp_path / name, root=tmp_path / "sets"))
    assert len(digests) == 1
    assert len(list((tmp_path / "sets").iterdir())) == 1


def test_other_rows_views_or_sources_have_another_name(one: Case, tmp_path: Path) -> None:
    digests = {kept(one, tmp_path)}
    paths = sorted((tmp_path / "frame").iterdir())
    root = tmp_path / "sets"
    digests.add(snapshots.write(paths, root, time="at", views=[one.view], sources={SOURCE: "sha256:" + "1" * 64}))
    other = one.view.model_copy(update={"description": "another"})
    digests.add(snapshots.write(paths, root, time="at", views=[other], sources=SOURCES))
    fewer = tmp_path / "fewer.parquet"
    pq.write_table(pq.read_table(paths[0]).slice(1), fewer)
    digests.add(snapshots.write([fewer], root, time="at", views=[one.view], sources=SOURCES))
    assert len(digests) == 4


def test_row_groups_of_another_size_are_the_same_content(one: Case, tmp_path: Path) -> None:
    digest = kept(one, tmp_path)
    other = tmp_path / "other.parquet"
    path = tmp_path / "frame" / "part-00000.parquet"
    pq.write_table(pq.read_table(path), other, row_group_size=1, compression="snappy")
    assert snapshots.write([other], tmp_path / "sets", time="at", views=[one.view], sources=SOURCES) == digest


@pytest.mark.parametrize("name", ["manifest.json", "part-00000.parquet"])
def test_a_changed_byte_is_refused(one: Case, tmp_path: Path, name: str) -> None:
    root = tmp_path / "sets"
    digest = kept(one, tmp_path)
    path = root / digest.removeprefix("sha256:") / name
    content = path.read_bytes()
    for place in range(0, len(content), max(1, len(content) // 40)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(ContractBroken, match=name):
            snapshots.read(root, digest)
    path.write_bytes(content[:-1])
    with pytest.raises(ContractBroken, match=name):
        snapshots.read(root, digest)
    path.write_bytes(content)
    snapshots.read(root, digest)


def test_a_damaged_training_set_is_not_taken_for_the_one_that_is_written(one: Case, tmp_path: Path) -> None:
    digest = kept(one, tmp_path)
    manifest = tmp_path / "sets" / digest.removeprefix("sha256:") / "manifest.json"
    raw = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(raw | {"rows": 5}))
    paths = sorted((tmp_path / "frame").iterdir())
    with pytest.raises(ContractBroken, match=r"manifest\.json"):
        snapshots.write(paths, tmp_path / "sets", time="at", views=[one.view], sources=SOURCES)


def test_what_is_not_there_and_what_is_no_digest_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no training set"):
        snapshots.read(tmp_path, "sha256:" + "a" * 64)
    for name in ("../x", "sha256:../x", "sha256:" + "g" * 64, "md5:" + "a" * 64):
        with pytest.raises(DeclarationError, match="named by its digest"):
            snapshots.read(tmp_path, name)


def test_a_training_set_without_its_sources_snapshot_is_refused(one: Case, tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="names the snapshot of orders@1"):
        snapshots.write([], tmp_path, time="at", views=[one.view], sources={})


def test_a_failed_write_leaves_nothing(one: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshots, "_columns", full)
    with pytest.raises(OSError, match="No space"):
        kept(one, tmp_path)
    assert list((tmp_path / "sets").iterdir()) == []
