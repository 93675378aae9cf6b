"""A pushed model serves elsewhere by digest: by a folder and by a bucket (moto), resumed after a kill, refused where one byte is another."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from moto import mock_aws

from hallmark.artifacts.folder import ROWS_SEEN, seal, verify
from hallmark.errors import DeclarationError, ModelRefused, NotFound
from hallmark.files import digest_file
from hallmark.registry.store import Registry
from hallmark.training import sharing
from tests.hallmark.registry.conftest import at, model_card


def registry(folder: Path, empty: Path) -> Registry:
    settings = at(folder)
    settings.state.mkdir(parents=True)
    shutil.copyfile(empty, settings.state / "mlflow.db")
    return Registry(settings)


@pytest.fixture
def here(tmp_path: Path, empty_registry: Path) -> Registry:
    """A registry with versions 1 and 2, which share a file."""
    found = registry(tmp_path / "here", empty_registry)
    for text in ("one", "two"):
        folder = tmp_path / text
        (folder / "index").mkdir(parents=True)
        (folder / "model.onnx").write_text(text)
        (folder / "index" / "ids.npy").write_text("the same")
        (folder / "features.py").write_text("FIELDS = ()\n")
        rows = tmp_path / f"{text}.npy"
        rows.write_bytes(f"rows of {text}".encode())
        card = model_card(seal(folder)).model_copy(update={"rows_seen": digest_file(rows)})
        found.register(folder, card, rows_seen=rows)
    return found


@pytest.fixture
def elsewhere(tmp_path: Path, empty_registry: Path) -> Registry:
    return registry(tmp_path / "elsewhere", empty_registry)


@pytest.fixture(params=["folder", "bucket"])
def target(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    if request.param == "folder":
        yield str(tmp_path / "shared")
        return
    import boto3

    for name, value in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "DEFAULT_REGION": "us-east-1"}.items():
        monkeypatch.setenv(f"AWS_{name}", value)
    with mock_aws():
        boto3.client("s3").create_bucket(Bucket="team-models")
        yield "s3://team-models/shared"


@pytest.mark.slow
def test_a_pushed_model_serves_elsewhere_by_its_digest(here: Registry, elsewhere: Registry, target: str) -> None:
    first, second = (sharing.push(here, "toy", number, target) for number in ("1", "2"))
    assert (first.sent, second.sent) == (6, 4), "index and features.py are there already"
    assert sharing.push(here, "toy", "2", target).sent == 0
    done = sharing.pull(elsewhere, "toy", first.digest, target)
    found = elsewhere.resolve("toy", done.version)
    assert (done.version, found.digest) == (1, first.digest) and found.path is not None
    assert verify(found.path, expected=first.digest) == first.digest
    assert (found.path / ROWS_SEEN).read_bytes() == b"rows of one", "a later candidate is compared fairly there too"
    assert elsewhere.versions("toy")[0].aliases == (), "it is nobody's challenger"
    assert elsewhere.model_card("toy", 1) == here.model_card("toy", 1)
    assert sharing.pull(elsewhere, "toy", first.digest, target).version == 1, "the same digest is the same version"
    assert sharing.pull(elsewhere, "toy", first.digest, target).sent == 0, "what is here is not fetched again"
    assert sharing.pull(elsewhere, "toy", "", target).digest == second.digest, "the last one that was pushed"
    assert sharing.pull(elsewhere, "toy", "1", target).version == 1


@pytest.mark.slow
def test_a_pull_that_broke_off_goes_on(
    here: Registry, elsewhere: Registry, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sharing.push(here, "toy", "1", target)

    def stop(done: int, total: int, name: str) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sharing.pull(elsewhere, "toy", "1", target, progress=stop)
    assert elsewhere.versions("toy") == []
    assert sharing.pull(elsewhere, "toy", "1", target).sent == 3, "of six files, three were here"


@pytest.mark.slow
def test_a_changed_byte_is_refused_and_nothing_is_registered(
    here: Registry, elsewhere: Registry, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    sharing.push(here, "toy", "1", str(shared))
    for path in sorted(path for path in (shared / "toy").rglob("*") if path.is_file()):
        whole = path.read_bytes()
        path.write_bytes(whole[:-2] + bytes([whole[-2] ^ 1]) + whole[-1:])
        with pytest.raises((ModelRefused, NotFound)):
            sharing.pull(elsewhere, "toy", here.resolve("toy", 1).digest, str(shared))
            sharing.pull(elsewhere, "toy", "1", str(shared))
            sharing.pull(elsewhere, "toy", "", str(shared))
        shutil.rmtree(elsewhere.settings.state / "pulled", ignore_errors=True)
        path.write_bytes(whole)
        assert path.parent.name != "blobs" or elsewhere.versions("toy") == []
    assert sharing.pull(elsewhere, "toy", "1", str(shared)).version == 1


def test_a_file_that_was_cut_off_in_a_folder_is_pushed_again(
    here: Registry, elsewhere: Registry, tmp_path: Path
) -> None:
    shared = tmp_path / "shared"
    sharing.push(here, "toy", "1", str(shared))
    cut = next(path for path in sorted((shared / "toy" / "blobs").iterdir()) if path.stat().st_size > 3)
    cut.write_bytes(cut.read_bytes()[:3])
    assert sharing.push(here, "toy", "1", str(shared)).sent == 1
    assert sharing.pull(elsewhere, "toy", "1", str(shared)).version == 1


def test_what_is_not_there_is_said(here: Registry, elsewhere: Registry, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="has no toy@7"):
        sharing.pull(elsewhere, "toy", "7", str(tmp_path / "shared"))
    with pytest.raises(DeclarationError, match="no aliases"):
        sharing.pull(elsewhere, "toy", "champion", str(tmp_path / "shared"))
    with pytest.raises(DeclarationError, match="cannot be shared there"):
        sharing.push(here, "toy", "1", "gs://bucket")
