"""A file scored by a version: what the output holds, how it goes on after a kill, and what it says of a file that will not do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from domains.marketing import data, model
from hallmark.artifacts import bundle
from hallmark.batch import blocks, parts, predict
from hallmark.batch.predict import Predicted
from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.errors import ContractBroken, DeclarationError
from hallmark.learners import onnx_model
from hallmark.learners.model import columns, examples
from hallmark.registry.store import ServableVersion
from hallmark.training import export
from tests.conftest import once

START = datetime(2026, 6, 1, tzinfo=UTC)
MEMBERS = 500


@pytest.fixture(scope="session")
def version(tmp_path_factory: pytest.TempPathFactory) -> ServableVersion:
    """A version of marketing that knows little, as the registry would give it."""

    def make(folder: Path) -> None:
        frame = data.draw(start=START, end=START + timedelta(days=4), seed=7)
        some = examples("marketing", frame)
        made = model.fit(some, some, seed=7, rounds=5, folds=2)
        (folder / "model").mkdir()
        export.export(domains.load("marketing"), made, folder / "model", test=frame, reference=frame)

    folder = once(tmp_path_factory, "marketing-model", make) / "model"
    digest = bundle.read(folder, expected=None).digest
    return ServableVersion(domain="marketing", version=3, storage_uri=str(folder), digest=digest, path=folder)


@pytest.fixture
def marketing() -> Domain:
    return domains.load("marketing")


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Blocks of 64 rows, two in a part."""
    monkeypatch.setattr(blocks, "ROWS", 64)
    monkeypatch.setattr(parts, "BLOCKS", 2)
    yield


@pytest.fixture
def members(tmp_path: Path) -> Path:
    frame = data.draw(start=START, end=START + timedelta(days=2), seed=9).head(MEMBERS)
    frame["member_id"] = [f"m{number}" for number in range(MEMBERS)]
    kept = frame.drop(columns=["written", "propensity", "bought", "spent", "uplift", "written_at"])
    path = tmp_path / "members.parquet"
    kept.astype({"days_since_order": "Int64"}).to_parquet(path, row_group_size=100)
    return path


def scored(
    domain: Domain, version: ServableVersion, data: Path, out: str = "out.parquet", **more: object
) -> tuple[Predicted, pd.DataFrame]:
    path = data.with_name(out)
    made = predict.predict(domain, version, data=data, out=path, threads=1, **more)  # type: ignore[arg-type]
    return made, pd.read_csv(path) if path.suffix == ".csv" else pd.read_parquet(path)


def test_it_answers_what_the_model_answers_with_version_and_digest(
    marketing: Domain, version: ServableVersion, members: Path, small: None
) -> None:
    made, found = scored(marketing, version, members)
    frame = pd.read_parquet(members)
    frame["days_since_order"] = frame["days_since_order"].astype("float64")
    read = bundle.read(version.fetch(), expected=version.digest)
    inputs = read.features.encode(columns(frame, read.signature.fields))
    told = onnx_model.run(onnx_model.session(read.file("model.onnx")), inputs, ["uplift"])["uplift"]
    np.testing.assert_allclose(
        found["uplift"], told, atol=1e-6
    )  # a forest sums its trees in another order in larger batches
    assert found["member_id"].tolist() == frame["member_id"].tolist()
    assert set(found["model_version"]) == {3} and set(found["model_digest"]) == {version.digest}
    metadata = parquet.read_schema(members.with_name("out.parquet")).metadata
    assert metadata[b"hallmark.digest"].decode() == version.digest
    assert made.rows == len(found) == MEMBERS and not made.resumed
    assert not [path for path in members.parent.iterdir() if path.name.startswith(".")]


def test_it_says_who_is_written_to_why_and_for_what(marketing: Domain, version: ServableVersion, members: Path) -> None:
    domain = domains.overridden(marketing, ["policy.budget=3", "policy.caps.campaign=[50]"])
    made, found = scored(domain, version, members)
    written = found[found["treatment"] == 1]
    assert 0 < len(written) <= 50 and written["cost"].sum() <= 3
    assert set(written["reason"]) <= {"worth it", "by lot"}
    assert made.treated == len(written) and made.spent == pytest.approx(written["cost"].sum())
    worth = 9.0 * written["uplift"] - 0.05
    np.testing.assert_allclose(written["expected_value"], worth, atol=1e-6)
    assert (found["expected_value"][found["treatment"] == 0] == 0).all()
    assert (written["messages_30d"] < 4).all()


def test_a_kept_column_with_the_name_of_an_output_decides_nothing(
    marketing: Domain, version: ServableVersion, members: Path
) -> None:
    _, alone = scored(marketing, version, members)
    frame = pd.read_parquet(members)
    frame["uplift"] = np.linspace(1, -1, len(frame))
    frame.to_parquet(members)
    _, beside = scored(marketing, version, members, keep=["uplift"])
    pd.testing.assert_series_equal(beside["predicted_uplift"], alone["uplift"], check_names=False)
    np.testing.assert_array_equal(beside["uplift"], frame["uplift"])
    for name in predict.CHOSEN:
        pd.testing.assert_series_equal(beside[name], alone[name])


@pytest.mark.parametrize("name", ["propensity", "model_version"])
def test_a_column_that_the_output_has_itself_is_not_kept(
    marketing: Domain, version: ServableVersion, members: Path, name: str
) -> None:
    frame = pd.read_parquet(members)
    frame[name] = 0.5
    frame.to_parquet(members)
    with pytest.raises(DeclarationError, match="already"):
        scored(marketing, version, members, keep=[name])
    assert not (members.parent / "out.parquet").exists()


def test_whole_numbers_are_the_same_members_as_floats_and_texts(
    marketing: Domain, version: ServableVersion, members: Path
) -> None:
    frame, found = pd.read_parquet(members), []
    for kind in ("int64", "float64", "str"):
        frame.assign(member_id=np.arange(len(frame)).astype(kind)).to_parquet(members)
        found.append(scored(marketing, version, members)[1]["treatment"].tolist())
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("nobody", [None, ""])
def test_a_row_of_nobody_is_refused(
    marketing: Domain, version: ServableVersion, members: Path, nobody: str | None
) -> None:
    frame = pd.read_parquet(members)
    frame.loc[4, "member_id"] = nobody
    frame.to_parquet(members)
    with pytest.raises(ContractBroken, match="row 5 does not say"):
        scored(marketing, version, members)


def test_what_is_expected_stays_within_the_bound(marketing: Domain, version: ServableVersion, members: Path) -> None:
    made, frame = scored(marketing, version, members)
    assert made.worth is not None and made.bound is not None and made.worth <= made.bound + 0.01
    assert made.worth == pytest.approx(frame["expected_value"].sum(), abs=0.01)


def test_a_run_that_was_stopped_goes_on(
    marketing: Domain, version: ServableVersion, members: Path, small: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, expected = scored(marketing, version, members, "whole.parquet", run="r")
    seen: list[int] = []

    def stop(done: int, total: int, note: str) -> None:
        seen.append(done)
        if done > 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scored(marketing, version, members, run="r", progress=stop)
    assert not members.with_name("out.parquet").exists()
    again, found = scored(marketing, version, members, run="r")
    assert 100 <= again.resumed <= 300 and whole.resumed == 0
    pd.testing.assert_frame_equal(found, expected)


def test_parts_of_another_file_or_version_are_not_taken(
    marketing: Domain, version: ServableVersion, members: Path, small: None
) -> None:
    def stop(done: int, total: int, note: str) -> None:
        if done > 300:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        scored(marketing, version, members, progress=stop)
    made, _ = scored(marketing, version.model_copy(update={"version": 4}), members)
    assert made.resumed == 0


def test_csv_in_and_out_say_the_same(marketing: Domain, version: ServableVersion, members: Path, small: None) -> None:
    _, expected = scored(marketing, version, members, run="r")
    path = members.with_suffix(".csv")
    pd.read_parquet(members).to_csv(path, index=False)
    _, found = scored(marketing, version, path, "out.csv", run="r")
    assert found["treatment"].tolist() == expected["treatment"].tolist()
    np.testing.assert_allclose(found["uplift"], expected["uplift"], atol=1e-6)
    assert found["reason"].tolist() == expected["reason"].astype(str).tolist()


def test_a_csv_with_gaps_says_whole_numbers_as_a_table_writes_them(
    marketing: Domain, version: ServableVersion, members: Path, small: None
) -> None:
    frame, path = pd.read_parquet(members), members.with_suffix(".csv")
    frame.astype({"days_since_order": "float64"}).to_csv(path, index=False)  # 164.0, and nothing where it is not known
    assert ".0," in path.read_text().splitlines()[1] + path.read_text().splitlines()[2]
    _, expected = scored(marketing, version, members, run="r")
    _, found = scored(marketing, version, path, "out.csv", run="r")
    np.testing.assert_allclose(found["uplift"], expected["uplift"], atol=1e-6)
    broken = path.read_text().splitlines()
    place = broken[0].split(",").index("visits_30d")
    cells = broken[301].split(",")
    broken[301] = ",".join([*cells[:place], "2.5", *cells[place + 1 :]])
    path.write_text("\n".join(broken))
    with pytest.raises(ContractBroken, match=r"visits_30d .* in row 301") as refused:
        scored(marketing, version, path, "again.csv")
    assert refused.value.got == "'2.5'"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda frame: frame.drop(columns="country"), "lacks what marketing reads: country"),
        (lambda frame: frame.assign(country=["de"] * 400 + ["atlantis"] * 100), r"country .* in row 401"),
        (lambda frame: frame.assign(visits_30d=[3] * 444 + [-1] * 56), r"visits_30d .* in row 445"),
        (lambda frame: frame.assign(app=[None] + [True] * 499), r"app .* in row 1\b"),
        (lambda frame: frame.assign(favourites="many"), "favourites"),
        (lambda frame: frame.drop(columns="member_id"), "does not say whom"),
        (lambda frame: frame.head(0), "holds no records"),
    ],
)  # fmt: skip
def test_a_file_that_will_not_do_is_refused_by_column_and_row(
    change: object, says: str, marketing: Domain, version: ServableVersion, members: Path, small: None
) -> None:
    changed = change(pd.read_parquet(members))  # type: ignore[operator]
    path = members.with_name("changed.parquet")
    parquet.write_table(pa.Table.from_pandas(changed, preserve_index=False), path)
    with pytest.raises(ContractBroken, match=says):
        scored(marketing, version, path)
    assert not path.with_name("out.parquet").exists()


@pytest.mark.parametrize(
    ("out", "keep", "says"),
    [("out.xlsx", (), "not a Parquet or CSV"), ("members.parquet", (), "the file that is read"), ("o.csv", ("x",), "--keep x")],
)  # fmt: skip
def test_an_option_that_will_not_do_is_refused(
    out: str, keep: tuple[str, ...], says: str, marketing: Domain, version: ServableVersion, members: Path
) -> None:
    with pytest.raises(DeclarationError, match=says):
        scored(marketing, version, members, out, keep=keep)
