from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from hallmark.declaration import domain as domains
from hallmark.errors import ContractBroken, DeclarationError
from hallmark.learners.model import columns, examples
from hallmark.settings import Settings
from hallmark.training import leakage
from hallmark.training.split import Split, last, place, split, usual

AS_OF = datetime(2026, 10, 1, tzinfo=UTC)
FRAUD = domains.load("fraud")
LISTING = domains.load("listing")
RECOMMENDATIONS = domains.load("recommendations")
ROOT = Path(__file__).parents[3]


def orders(n: int = 3000, *, seed: int = 0, days: int = 90) -> pd.DataFrame:
    """Orders of the `days` before AS_OF with every declared field, drawn at random; fraud is paid by card more often."""
    random = np.random.default_rng(seed)
    features = domains.module("fraud", "features")
    frame = pd.DataFrame(index=range(n))
    for field in features.FIELDS:
        if field.categories:
            frame[field.name] = random.choice(np.array(field.categories, dtype=object), n)
        elif field.datatype == "BOOL":
            frame[field.name] = random.random(n) < 0.3
        else:
            high = min(float(field.maximum), 500.0)
            frame[field.name] = random.uniform(float(field.minimum), high, n).astype(field.dtype)
    frame["fraud"] = (random.random(n) < np.where(frame["payment"] == "card", 0.15, 0.05)).astype(np.int64)
    frame["order_id"] = [f"o{i}" for i in range(n)]
    frame["buyer_id"] = [f"b{i}" for i in random.integers(0, n // 3, n)]
    seconds = random.integers(0, days * 86400, n)
    ordered = pd.Series(pd.to_datetime(AS_OF) - pd.to_timedelta(seconds, unit="s"))
    frame["ordered_at"] = ordered.dt.as_unit("us")
    late = frame["ordered_at"] + pd.to_timedelta(random.integers(1, 30, n), unit="D")
    frame["charged_back_at"] = late.where(frame["fraud"] == 1).dt.as_unit("us")
    return frame


def photos(n: int = 600, *, seed: int = 0, senders: int = 60) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "image": [bytes([i % 256]) for i in range(n)],
            "sender_id": [f"s{i}" for i in random.integers(0, senders, n)],
            "label": random.choice(np.array(["Hat", "Shoes", "Dress"], dtype=object), n),
        }
    )


def test_time_split_tests_on_the_latest_orders_with_a_final_label() -> None:
    frame = orders()
    made = split(FRAUD, frame, as_of=AS_OF)
    assert made.train["ordered_at"].max() < made.validation["ordered_at"].min()
    assert made.validation["ordered_at"].max() < made.test["ordered_at"].min()
    assert made.test["ordered_at"].max() <= AS_OF - timedelta(days=30)
    total = len(made.train) + len(made.validation) + len(made.test)
    assert total + made.immature == len(frame)
    assert made.immature == int((frame["ordered_at"] > AS_OF - timedelta(days=30)).sum())
    assert len(made.test) / total == pytest.approx(0.20, abs=0.01)


def test_a_domain_says_how_many_of_the_latest_it_holds_back() -> None:
    held = domains.overridden(FRAUD, ["data.validation=0.1", "data.test=0.4"])
    made = split(held, orders(), as_of=AS_OF)
    total = len(made.train) + len(made.validation) + len(made.test)
    assert len(made.test) / total == pytest.approx(0.4, abs=0.01)
    assert len(made.validation) / total == pytest.approx(0.1, abs=0.01)
    assert made.train["ordered_at"].max() < made.validation["ordered_at"].min()
    with pytest.raises(DeclarationError) as refused:
        domains.overridden(RECOMMENDATIONS, ["data.test=0.4"])
    assert "leave data.validation and data.test out" in str(refused.value)


def test_orders_of_one_moment_stay_on_one_side() -> None:
    frame = orders()
    frame["ordered_at"] = frame["ordered_at"].dt.floor("D")
    made = split(FRAUD, frame, as_of=AS_OF)
    days = [set(part["ordered_at"]) for part in (made.train, made.validation, made.test)]
    assert not days[0] & days[1] and not days[1] & days[2]


def test_split_does_not_depend_on_the_order_of_the_rows() -> None:
    frame = orders()
    shuffled = frame.sample(frac=1, random_state=1)
    one, other = split(FRAUD, frame, as_of=AS_OF), split(FRAUD, shuffled, as_of=AS_OF)
    for name in ("train", "validation", "test"):
        assert set(getattr(one, name)["order_id"]) == set(getattr(other, name)["order_id"])


def test_a_planted_late_label_never_reaches_training() -> None:
    frame = orders()
    old = frame.index[frame["ordered_at"] < AS_OF - timedelta(days=45)][:25]
    frame.loc[old, "fraud"] = 1
    frame.loc[old, "charged_back_at"] = pd.Timestamp(AS_OF + timedelta(days=1))
    made = split(FRAUD, frame, as_of=AS_OF)
    planted = set(frame.loc[old, "order_id"])
    for part in (made.train, made.validation, made.test):
        assert not planted & set(part["order_id"])
        assert not (part["charged_back_at"] > AS_OF).any()


def test_the_audit_finds_a_label_that_was_not_known() -> None:
    frame = orders().sort_values("ordered_at")
    thirds = [frame[:1000], frame[1000:2000], frame[2000:]]
    with pytest.raises(ContractBroken, match="rows of the validation part have a label that was not known"):
        leakage.check(FRAUD, train=thirds[0], validation=thirds[1], test=thirds[2], as_of=AS_OF)


def test_the_audit_finds_training_on_days_after_the_test() -> None:
    made = split(FRAUD, orders(), as_of=AS_OF)
    with pytest.raises(ContractBroken, match="the train part reaches into the validation part"):
        leakage.check(FRAUD, train=made.test, validation=made.validation, test=made.train, as_of=AS_OF)


@pytest.mark.parametrize("column", ["device_accounts", "discount", "address_changed", "category"])
def test_a_field_filled_in_after_the_chargeback_is_found(column: str) -> None:
    frame = orders()
    if column == "category":
        frame[column] = np.where(frame["fraud"] == 1, "watches", "shoes")
    else:
        frame[column] = frame["fraud"].astype(frame[column].dtype)
    with pytest.raises(ContractBroken, match=f"field {column} alone tells the answer"):
        split(FRAUD, frame, as_of=AS_OF)


def test_columns_known_later_never_reach_encode() -> None:
    frame = orders(50)
    given = columns(frame, domains.module("fraud", "features").FIELDS)
    assert not {"fraud", "charged_back_at", "buyer_id", "ordered_at"} & set(given)
    changed = frame.assign(fraud=1 - frame["fraud"], charged_back_at=pd.NaT, buyer_id="x")
    assert (examples("fraud", frame).inputs == examples("fraud", changed).inputs).all()


def test_a_field_that_is_the_answer_is_a_wrong_declaration(monkeypatch: pytest.MonkeyPatch) -> None:
    features = domains.module("fraud", "features")
    told = features.FIELDS[0].model_copy(update={"name": "charged_back_at"})
    monkeypatch.setattr(features, "FIELDS", (*features.FIELDS, told))
    with pytest.raises(DeclarationError, match="charged_back_at is declared as a request field"):
        examples("fraud", orders(50))


def test_entity_split_keeps_every_sender_on_one_side() -> None:
    made = split(LISTING, photos())
    senders = [set(part["sender_id"]) for part in (made.train, made.validation, made.test)]
    assert not senders[0] & senders[1] and not senders[0] & senders[2] and not senders[1] & senders[2]
    assert sum(map(len, (made.train, made.validation, made.test))) == 600


def test_a_sender_stays_in_its_part_when_others_come_and_go() -> None:
    small, large = split(LISTING, photos()), split(LISTING, photos(3000, seed=5, senders=300))
    assert set(small.test["sender_id"]) <= set(large.test["sender_id"])
    assert not set(small.test["sender_id"]) & set(large.train["sender_id"])


def test_a_sender_planted_on_both_sides_is_found() -> None:
    made = split(LISTING, photos())
    train = pd.concat([made.train, made.test[:1]])
    with pytest.raises(ContractBroken, match="one sender_id is in the train and in the test part"):
        leakage.check(LISTING, train=train, validation=made.validation, test=made.test)


def test_places_are_even_fixed_and_by_seed() -> None:
    places = np.array([place(f"s{i}", seed=7) for i in range(4000)])
    assert places.min() >= 0 and places.max() < 1
    assert np.histogram(places, bins=10, range=(0, 1))[0].min() > 330
    assert place("s1", seed=7) == pytest.approx(0.591372344243313, abs=1e-12)
    assert place("s1", seed=7) != place("s1", seed=8)


@pytest.mark.parametrize("as_of", [None, datetime(2026, 10, 1)])
def test_a_time_split_needs_to_know_when(as_of: datetime | None) -> None:
    with pytest.raises(DeclarationError, match="needs to know when"):
        split(FRAUD, orders(100), as_of=as_of)


def test_too_young_data_is_refused_with_a_count() -> None:
    with pytest.raises(ContractBroken, match="the train part, 0 rows, cannot be learnt from") as refused:
        split(FRAUD, orders(200, days=20), as_of=AS_OF)
    assert "200 rows, of which 200 are too young" in str(refused.value)


def test_one_kind_of_label_is_refused() -> None:
    with pytest.raises(ContractBroken, match="the label is 0 in all"):
        split(FRAUD, orders().assign(fraud=0), as_of=AS_OF)


def test_split_is_frozen() -> None:
    made = split(LISTING, photos())
    assert isinstance(made, Split)
    with pytest.raises(AttributeError):
        made.train = made.test  # type: ignore[misc]


# Domains of other tasks, declared as in domains/, each with one number and one word as fields.

_FEATURES = """
from hallmark.features.fields import Field

FIELDS = (Field(name="told", datatype="FP64"), Field(name="word", datatype="BYTES"))


def encode(columns):
    return {}
"""
COLUMNS = {
    "search": "clicked",
    "recommendations": "viewed",
    "pricing": "price",
    "marketing": "bought",
    "listing": "label",
}


@pytest.fixture
def elsewhere(tmp_path: Path) -> Settings:
    """A checkout whose domains are declared as ours are."""
    for name in COLUMNS:
        folder = tmp_path / "domains" / name
        folder.mkdir(parents=True)
        shutil.copyfile(ROOT / "domains" / name / "domain.yaml", folder / "domain.yaml")
        (folder / "features.py").write_text(_FEATURES, encoding="utf-8")
    return Settings.load({"HALLMARK_ROOT": str(tmp_path)})


def rows_of(name: str, n: int = 2000) -> pd.DataFrame:
    """Rows of that domain whose fields say nothing: ten a query, a query two hours long and one beginning each hour."""
    random = np.random.default_rng(3)
    query = np.arange(n) // 10
    begun = pd.Timestamp(AS_OF) - pd.Timedelta(days=60) + pd.to_timedelta(query, unit="h")
    at = begun + pd.to_timedelta(random.integers(0, 120, n), unit="m")
    relevant = (random.random(n) < 0.3).astype(np.int64)
    frame = pd.DataFrame({"told": random.normal(size=n), "word": random.choice(np.array(["a", "b", "c"], object), n)})
    for column in ("searched_at", "shown_at", "listed_at", "written_at"):
        frame[column] = at
    for column in ("query_id", "session_id"):
        frame[column] = [f"q{number}" for number in query]
    for column in ("seller_id", "member_id", "sender_id"):
        frame[column] = [f"p{number}" for number in range(n)]
    if name == "recommendations":  # whose members each have several sessions
        frame["member_id"] = [f"p{number // 4}" for number in query]
    frame["item_id"] = [f"i{number}" for number in range(n)]
    frame["look"] = 0.5
    frame["clicked"] = frame["viewed"] = frame["bought"] = relevant
    frame["price"] = random.lognormal(4, 1, n)
    frame["unsold"], frame["sold_at"] = random.random(n) < 0.2, pd.NaT
    frame["sold_at"] = pd.to_datetime(frame["sold_at"], utc=True)
    frame["written"], frame["propensity"] = (random.random(n) < 0.5).astype(np.int64), 0.5
    frame["label"] = random.choice(np.array(["Hat", "Shoes", "Dress"], dtype=object), n)
    return frame


@pytest.mark.parametrize("name", COLUMNS)
def test_fields_that_say_nothing_are_let_through_in_every_task(elsewhere: Settings, name: str) -> None:
    made = split(domains.load(name, elsewhere), rows_of(name), as_of=AS_OF, settings=elsewhere)
    assert min(len(made.train), len(made.validation), len(made.test)) > 100


@pytest.mark.parametrize("field", ["told", "word"])
@pytest.mark.parametrize("name", COLUMNS)
def test_a_field_that_tells_the_answer_is_found_in_every_task(elsewhere: Settings, name: str, field: str) -> None:
    frame = rows_of(name)
    truth = frame[COLUMNS[name]]
    if field == "word":  # a price has too many values for words to tell it
        truth = truth.round(-1).clip(upper=100) if name == "pricing" else truth
        frame["price"] = truth if name == "pricing" else frame["price"]
        frame["word"] = truth.astype(str)
    else:
        frame["told"] = (truth == "Hat").astype(np.float64) if name == "listing" else -2.0 * truth
    with pytest.raises(ContractBroken, match=f"field {field} alone tells the answer"):
        split(domains.load(name, elsewhere), frame, as_of=AS_OF, settings=elsewhere)


def test_an_asking_price_that_is_nearly_the_price_is_no_leak(elsewhere: Settings) -> None:
    frame = rows_of("pricing")
    frame["told"] = frame["price"] * np.random.default_rng(4).lognormal(0, 0.1, len(frame))
    assert np.corrcoef(frame["told"].rank(), frame["price"].rank())[0, 1] > 0.98
    split(domains.load("pricing", elsewhere), frame, as_of=AS_OF, settings=elsewhere)


def test_a_query_that_goes_on_over_the_cut_stays_whole_and_in_order(elsewhere: Settings) -> None:
    search = domains.load("search", elsewhere)
    made = split(search, rows_of("search").sample(frac=1, random_state=2), as_of=AS_OF, settings=elsewhere)
    parts = (made.train, made.validation, made.test)
    queries = [set(part["query_id"]) for part in parts]
    assert sum(map(len, queries)) == len(set.union(*queries)) == 200
    assert all((part.groupby("query_id").size() == 10).all() for part in parts)
    begun = [part.groupby("query_id")["searched_at"].min() for part in parts]
    assert begun[0].max() < begun[1].min() and begun[1].max() < begun[2].min()
    # Rows of the last query of one part come after the first of the next: by rows it would have been cut in two.
    assert made.train["searched_at"].max() > made.validation["searched_at"].min()
    assert len(made.test) / 2000 == pytest.approx(0.20, abs=0.01)


def test_the_audit_finds_a_query_in_two_parts_and_queries_out_of_order(elsewhere: Settings) -> None:
    search = domains.load("search", elsewhere)
    made = split(search, rows_of("search"), as_of=AS_OF, settings=elsewhere)
    parted = made.validation["query_id"] == made.validation["query_id"].iloc[-1]
    train = pd.concat([made.train, made.validation[parted][:3].assign(searched_at=made.train["searched_at"].min())])
    with pytest.raises(ContractBroken, match="one query_id is in the train and in the validation part"):
        leakage.check(search, train=train, validation=made.validation, test=made.test, settings=elsewhere)
    with pytest.raises(ContractBroken, match="the train part reaches into the validation part") as refused:
        leakage.check(search, train=made.test, validation=made.validation, test=made.train, settings=elsewhere)
    assert "queries up to" in str(refused.value)


def looks() -> pd.DataFrame:
    """Looks of members, each its own session, and a session in which nothing is relevant."""
    times = pd.date_range(AS_OF - timedelta(days=20), periods=9, freq="D").as_unit("us")
    members = ["a", "a", "b", "a", "b", "c", "a", "c", "shop"]
    viewed = [1, 1, 1, 1, 1, 1, 1, 1, 0]
    return pd.DataFrame(
        {
            "session_id": [f"s{n}" for n in range(9)],
            "member_id": members,
            "item_id": [f"i{n}" for n in range(9)],
            "viewed": viewed,
            "shown_at": times,
        }
    )


def test_split_by_last_holds_back_the_last_two_of_each_entity_that_has_three() -> None:
    frame = looks().iloc[::-1].reset_index(drop=True)
    held = dict(zip(frame.session_id, last(RECOMMENDATIONS, frame).tolist(), strict=True))
    assert {name for name, kind in held.items() if kind == 1} == {"s6"}, "the last of a; b and c have but two"
    assert {name for name, kind in held.items() if kind == 2} == {"s3"}


def test_what_is_usual_is_the_latest_of_all_looks_not_the_last_of_each() -> None:
    """The fifth that a split by time would test on, without rows in which nothing is relevant: those of a member with two looks too."""
    assert usual(RECOMMENDATIONS, looks().sample(frac=1, random_state=0)).session_id.tolist() == ["s6", "s7"]


def test_a_test_example_before_what_was_learnt_of_its_entity_is_a_leak() -> None:
    frame = looks().assign(**{field.name: None for field in domains.module("recommendations", "features").FIELDS})
    by = frame.set_index("session_id", drop=False)
    chosen = {"train": ["s0", "s1", "s6"], "validation": ["s3"], "test": ["s4"]}
    parts = {name: by.loc[rows].reset_index(drop=True) for name, rows in chosen.items()}
    with pytest.raises(ContractBroken, match="reaches into"):
        leakage.check(RECOMMENDATIONS, **parts)
