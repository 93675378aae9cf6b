"""Examples with the fields that feature views give: as the reference loop computes them, with nothing of later, and never from thin air."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import domains.fraud.synthetic as marketplace
from hallmark.artifacts import views
from hallmark.artifacts.model_card import DatasetFacts
from hallmark.artifacts.signature import ViewUse
from hallmark.data import dataset
from hallmark.declaration import domain as domains
from hallmark.declaration import feature_view
from hallmark.declaration.feature_view import FeatureView
from hallmark.errors import Conflict, ContractBroken, HallmarkError, NotFound
from hallmark.feature_store import iceberg, snapshots, sources
from hallmark.features.fields import Field
from hallmark.settings import Settings
from hallmark.training import source, steps, view_join
from tests.hallmark.feature_store import reference
from tests.hallmark.feature_store.s3 import serving

ROOT = Path(__file__).parents[3]
START, END = datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 9, 3, tzinfo=UTC)
FRAUD = domains.load("fraud")
GIVEN = {
    "buyer_orders@1": ("buyer_orders_30d", "buyer_cards_90d"),
    "device@1": ("device_accounts",),
    "ip_orders@1": ("ip_orders_1h",),
}
ASKED: dict[str, Any] = {"start": START, "end": END, "seed": 7}


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    """A marketplace of 400 orders a day, drawn once for each time that is asked for."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("orders", "order_events"):
            drawn = functools.cache(functools.partial(getattr(marketplace, name), per_day=400))
            patch.setattr(marketplace, name, drawn)
        yield


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(tmp_path / "state")})


def events(*, days: float = 100, until: datetime = END) -> pd.DataFrame:
    found = marketplace.order_events(START - timedelta(days=days), END, seed=7)
    return found[found.ordered_at < until]


def stored(settings: Settings, frame: pd.DataFrame, batch: str = "all") -> None:
    sources.append(sources.place(settings, "orders@1"), frame, source="orders@1", batch=batch)


def own(folder: Path, frame: pd.DataFrame) -> str:
    """A file of a team's own, with what callers send and the labels."""
    path = folder / "orders.parquet"
    frame.drop(columns=[name for names in GIVEN.values() for name in names], errors="ignore").to_parquet(path)
    return str(path)


def by_hand(view: FeatureView, told: pd.DataFrame, asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The view's columns for each of these rows, by the loop that all executions are compared with."""
    orders, (whose, entities) = pd.factorize(told.order_id)[0], pd.factorize(told[view.entity])
    places, found = {entity: place for place, entity in enumerate(entities)}, []
    for row in asked:
        mine = orders[whose == places.get(row[view.entity], -2)]
        rows = told[np.isin(orders, mine)][list(view.reads)]
        rows = rows.astype(object).where(rows.notna(), None).to_dict("records")
        found.append(reference.features(view, rows, row[view.entity], row["ordered_at"].to_pydatetime()))
    return found


def test_each_example_has_what_was_known_before_it_and_no_more(settings: Settings) -> None:
    told, frame = events(), source.load("fraud", source="synthetic", **ASKED)
    nobody = frame[frame.device_id.isna()]
    busy = frame.sort_values(["buyer_orders_30d", "device_accounts", "ip_orders_1h"]).tail(30)
    chosen = pd.concat([busy, frame.sample(30, random_state=3), nobody])
    assert (chosen.buyer_orders_30d > 1).sum() > 10 and (chosen.ip_orders_1h > 0).any()
    for name, columns in GIVEN.items():
        rows = chosen.to_dict("records")
        assert [{each: row[each] for each in columns} for row in rows] == by_hand(feature_view.load(name), told, rows)
    assert (nobody.device_accounts == 0).all(), "of a device that is not known nothing is known"


def test_what_becomes_known_later_changes_no_example(settings: Settings, tmp_path: Path) -> None:
    told = events()
    stored(settings, told)
    rows = source.rows("fraud", source="synthetic", **ASKED)
    path = own(tmp_path, rows)
    before = source.load("fraud", source=path, settings=settings, **ASKED)
    last = rows.ordered_at.max()
    late = told[told.ordered_at < last].assign(known_at=last, buyer_id=rows.buyer_id.iloc[0], ip=rows.ip.iloc[0])
    stored(settings, late.assign(order_id="late-" + late.order_id), "late")
    pd.testing.assert_frame_equal(source.load("fraud", source=path, settings=settings, **ASKED), before)


def test_own_examples_have_the_features_that_synthetic_ones_have(settings: Settings, tmp_path: Path) -> None:
    stored(settings, events())
    drawn, origin = source.traced("fraud", source="synthetic", **ASKED)
    found, own_origin = source.traced("fraud", source=own(tmp_path, drawn), settings=settings, **ASKED)
    pd.testing.assert_frame_equal(found, drawn)
    assert origin and own_origin and origin.views == own_origin.views and list(origin.views) == list(GIVEN)
    assert own_origin.sources == {"orders@1": sources.snapshot(sources.place(settings, "orders@1")).digest}
    wrong = drawn.assign(ip_orders_1h=7).drop(columns="device_accounts")
    wrong.to_parquet(tmp_path / "wrong.parquet")
    again = source.load("fraud", source=str(tmp_path / "wrong.parquet"), settings=settings, **ASKED)
    pd.testing.assert_frame_equal(again[drawn.columns], drawn)  # what a view gives is never read from the file


@pytest.mark.slow
def test_own_examples_are_joined_with_what_another_machine_stored_in_the_bucket(
    settings: Settings, tmp_path: Path
) -> None:
    with serving() as server:
        server.client().create_bucket(
            Bucket="trainings", CreateBucketConfiguration={"LocationConstraint": "eu-central-1"}
        )
        there = {"feature_offline": server.address("trainings")}
        stored(settings.model_copy(update={**there, "state": tmp_path / "other"}), events())
        here = settings.model_copy(update=there)
        drawn, _ = source.traced("fraud", source="synthetic", **ASKED)
        path = own(tmp_path, drawn)
        held = view_join.held(FRAUD, path, here)
        found, origin = source.traced("fraud", source=path, settings=here, held=held, **ASKED)
        pd.testing.assert_frame_equal(found, drawn)
        assert origin and origin.sources == {"orders@1": held["rows orders@1"]}
        with pytest.raises(NotFound, match="no rows of orders@1 are stored in s3://trainings/elsewhere/orders@1"):
            elsewhere = settings.model_copy(update={"feature_offline": server.address("trainings", "elsewhere")})
            source.traced("fraud", source=path, settings=elsewhere, **ASKED)


@pytest.mark.parametrize("where", ["sets", "iceberg://local/sets"])
def test_a_trainings_examples_are_kept_by_digest_where_it_is_asked_for(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    asked = {"HALLMARK_STATE": str(tmp_path / "state"), "HALLMARK_TRAINING_SETS": where}
    if "://" not in where:
        asked["HALLMARK_TRAINING_SETS"] = str(tmp_path / where)
    for name, value in asked.items():
        monkeypatch.setenv(name, value)
    told = []
    for turn in range(2):
        examples, facts = tmp_path / f"examples{turn}.parquet", tmp_path / f"facts{turn}.json"
        given = {"as_of": "2026-09-03T00:00:00+00:00", "window": "2d", "seed": 7, "shift": ""}
        steps.load("fraud", source="synthetic", examples=examples, **given)
        steps.validate("fraud", examples=examples, facts=facts, summary=tmp_path / "summary.md")
        told.append(DatasetFacts.model_validate_json(facts.read_text()))
    assert told[0] == told[1], "the same set is kept once"
    origin = told[0].features
    assert origin is not None and origin.kept is not None
    kept = origin.kept
    if kept.snapshot is None:
        training, paths = snapshots.read(tmp_path / "sets", kept.digest)
    else:
        place = iceberg.Place.at(where, tmp_path / "state" / "features" / "iceberg")
        assert kept.table == "sets.fraud"
        training, paths = place.read("fraud", kept.snapshot, kept.digest, tmp_path / "back")
    assert (training.rows, training.views, training.sources) == (told[0].rows, origin.views, origin.sources)
    written = dataset.read(tmp_path / "examples0.parquet")
    read = pd.concat([pd.read_parquet(path) for path in paths], ignore_index=True)
    pd.testing.assert_frame_equal(read, written, check_dtype=False)


def test_a_source_that_holds_nothing_or_not_enough_is_refused_with_what_to_do(
    settings: Settings, tmp_path: Path
) -> None:
    path = own(tmp_path, source.rows("fraud", source="synthetic", **ASKED))

    def refused() -> HallmarkError:
        with pytest.raises(HallmarkError) as caught:
            source.load("fraud", source=path, settings=settings, **ASKED)
        return caught.value

    nothing = refused()
    assert isinstance(nothing, NotFound) and "hallmark features ingest orders@1" in nothing.fix
    stored(settings, events(days=20), "young")
    late = refused()
    assert "do not reach over" in late.message and late.got.startswith("2026-08-12") and "older rows" in late.fix
    assert "2026-06-03" in late.expected and "2026-11-10" in late.fix, "90 days before the first, 90 after the oldest"


def test_rows_that_end_too_early_are_told(settings: Settings, tmp_path: Path) -> None:
    path = own(tmp_path, source.rows("fraud", source="synthetic", **ASKED))
    stored(settings, events(until=END - timedelta(days=1)))
    with pytest.raises(HallmarkError, match="do not reach over") as caught:
        source.load("fraud", source=path, settings=settings, **ASKED)
    assert "newer rows" in caught.value.fix and "2026-09-01" in caught.value.got


def test_a_file_that_breaks_the_contract_is_named_before_anything_is_looked_up(
    settings: Settings, tmp_path: Path
) -> None:
    rows = source.rows("fraud", source="synthetic", **ASKED)
    with pytest.raises(ContractBroken, match="column ip"):
        source.load("fraud", source=own(tmp_path, rows.drop(columns="ip")), settings=settings, **ASKED)


def test_what_decides_the_features_is_part_of_a_steps_key(settings: Settings, tmp_path: Path) -> None:
    path = own(tmp_path, source.rows("fraud", source="synthetic", **ASKED))
    declared = view_join.held(FRAUD, "synthetic", settings)
    assert set(declared) == {*(f"view {name}" for name in GIVEN), "contract orders@1"}
    assert view_join.held(FRAUD, path, settings) == declared, "nothing is stored yet"
    stored(settings, events())
    first = view_join.held(FRAUD, path, settings)
    assert set(first) - set(declared) == {"rows orders@1"} and view_join.held(FRAUD, path, settings) == first
    assert view_join.held(FRAUD, "synthetic", settings) == declared, "own rows are nothing to synthetic examples"
    stored(settings, events().tail(3).assign(amount=1.0), "more")
    assert view_join.held(FRAUD, path, settings) != first
    with pytest.raises(Conflict, match="a batch of orders@1 came in"):
        source.traced("fraud", source=path, settings=settings, held=first, **ASKED)
    assert view_join.held(domains.load("listing"), "synthetic", settings) == {}


def test_the_step_asks_for_it_and_the_card_is_told(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key, value in settings.environment().items():
        monkeypatch.setenv(key, value)
    given = {"source": "synthetic", "as_of": END.isoformat(), "window": "2d", "seed": 7, "shift": ""}
    steps.load("fraud", examples=tmp_path / "examples", **given)
    steps.validate("fraud", examples=tmp_path / "examples", facts=tmp_path / "facts", summary=tmp_path / "summary")
    found = steps.read_json(tmp_path / "facts")["features"]
    assert list(found["views"]) == list(GIVEN) and found["refused"] == 0
    assert found["sources"]["orders@1"].startswith("sha256:")


COUNT = Field(name="orders", datatype="INT64")


def use(field: Field, **column: Any) -> ViewUse:
    told = {"owner": {"team": "t", "contact": "t@hallmark.example"}, "description": "d", "source": "orders@1"}
    times = {"event_time": "at", "known_at": "known_at", "event_id": "id", "freshness": "1h", "ttl": "30d"}
    whole = {"name": "v", "version": 1, "entity": "buyer_id", **told, **times, "columns": {field.name: column}}
    view = FeatureView.model_validate(whole)
    return ViewUse(view=view, entity=Field(name="buyer_id", datatype="BYTES"), fields=(field.name,), types={})


@pytest.mark.parametrize(
    ("field", "column", "missing", "found"),
    [
        (COUNT, {"take": "count"}, "default", ([3, 0], (), True)),
        (COUNT, {"take": "count"}, "refuse", ([3, None], (1,), False)),
        (COUNT, {"take": "max", "of": "amount", "default": 5}, "default", ([3, 5], (), True)),
        (COUNT, {"take": "max", "of": "amount"}, "default", ([3, None], (1,), False)),
        (COUNT.model_copy(update={"optional": True}), {"take": "count"}, "refuse", ([3, None], (), False)),
    ],
)
def test_a_missing_value_means_one_thing_in_training_and_in_the_server(
    field: Field, column: dict[str, Any], missing: Any, found: Any
) -> None:
    (given,) = views.given(use(field, **column), [field])
    values, lacking, defaulted = given.filled([3, None], missing)
    assert (values, lacking, defaulted) == found
    if not lacking:
        made = given.array(values)
        assert made.dtype == field.dtype and (np.isnan(made[1]) if field.optional else made[1] == values[1])
