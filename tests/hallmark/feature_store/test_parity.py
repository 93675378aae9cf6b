"""Features as they were served beside what is recomputed: fault 39, each cause planted for real, and none where all is well."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hallmark.declaration.feature_view import FeatureView
from hallmark.declaration.features import Parity
from hallmark.feature_store import parity
from hallmark.feature_store.causes import same
from hallmark.feature_store.log import FileLog
from hallmark.feature_store.lookups import Lookup
from hallmark.feature_store.online.keys import Key, entity_key
from hallmark.feature_store.online.store import Row
from hallmark.feature_store.parity import Compared
from hallmark.feature_store.parity_report import ParityReport, extended, interval
from hallmark.feature_store.stream import Published, Stream, encoded
from hallmark.feature_store.tiles import TYPES
from tests.hallmark.feature_store.shop import DAY, DECLARED, HOUR, MINUTE, SOURCE, VIEW, Shop


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """One in which anna ordered three times and bob once, all of which is online."""
    found = Shop(tmp_path)
    found.ingest(
        found.order(1, "anna", ago=20 * DAY, amount=30.1),
        found.order(2, "anna", ago=30 * MINUTE, amount=10.2),
        found.order(3, "bob", ago=3 * HOUR, amount=7.0),
        found.order(4, "anna", ago=20 * MINUTE, amount=5.3),
    )
    found.run()
    return found


def test_fault_39_a_clean_store_differs_in_nothing(shop: Shop) -> None:
    shop.ingest(
        shop.order(4, "anna", ago=20 * MINUTE, amount=6.0, known=15 * MINUTE),  # corrected, at the same event time
        shop.order(3, "carl", ago=3 * HOUR, amount=8.0, known=10 * MINUTE),  # it was not bob's
        shop.order(5, "anna", ago=2 * DAY, amount=1.5, known=5 * MINUTE),  # known two days late
        shop.order(6, "dora", ago=40 * DAY, amount=2.0),  # over its time to live
        shop.order(4, "anna", ago=20 * MINUTE, amount=6.0, known=15 * MINUTE),
    )
    shop.run()
    told = shop.ask("anna", "bob", "carl", "dora", "nobody")
    compared = shop.judged(told)
    assert not {each.column: each.cause for each in compared if each.cause}
    values = {(each.entity, each.column): each.served for each in compared}
    assert values["anna", "orders_1h"] == 2 and values["anna", "spent_30d"] == pytest.approx(47.8)
    assert (values["bob", "spent_30d"], values["carl", "spent_30d"], values["dora", "last_amount"]) == (0.0, 8.0, None)


def test_fault_39_a_row_that_reaches_the_store_after_the_read_is_late(shop: Shop) -> None:
    shop.ingest(shop.order(5, "anna", ago=MINUTE, amount=4.0), shop.order(6, "eve", ago=MINUTE))
    told = shop.ask("anna", "eve")
    expected = {"orders_1h": "late", "spent_30d": "late", "last_amount": "late"}
    assert shop.causes(told) == expected, "the stream has not read it"
    shop.run()
    assert shop.causes(told) == expected, "it has by now"
    assert not shop.causes(shop.ask("anna", "eve"))


def test_fault_39_a_value_past_its_time_and_a_row_dropped_before_it_are_ttl(shop: Shop) -> None:
    told = shop.ask("anna")
    later = {"read_at": told.lookups[0].read_at + 2 * 3_600_000_000}
    kept = told.model_copy(update={"lookups": (told.lookups[0].model_copy(update=later),)})
    assert shop.causes(kept) == {"orders_1h": "ttl"}, "a server that keeps what it read for two hours"
    with shop.online() as store:
        store.erase(entity_key("anna"), [VIEW])
    assert shop.causes(shop.ask("anna")) == {"orders_1h": "ttl", "spent_30d": "ttl", "last_amount": "ttl"}


def test_fault_39_a_number_that_was_cut_is_of_another_type(shop: Shop) -> None:
    def cut(columns: dict[str, Any]) -> None:
        columns["spent_30d"] = columns["spent_30d"].astype(np.float32)

    def whole(columns: dict[str, Any]) -> None:
        columns["orders_1h"] = columns["orders_1h"].astype(np.float64)

    assert shop.causes(shop.ask("anna", change=cut)) == {"spent_30d": "type"}
    assert shop.causes(shop.ask("anna", change=whole)) == {"orders_1h": "type"}


def test_fault_39_a_view_computed_otherwise_than_declared_is_transform(shop: Shop) -> None:
    def cents(columns: dict[str, Any]) -> None:
        columns["spent_30d"] = columns["spent_30d"] * 100

    assert shop.causes(shop.ask("anna", change=cents)) == {"spent_30d": "transform"}
    columns = {**DECLARED["columns"], "spent_30d": {"take": "sum", "of": "amount", "window": "1h"}}
    other = FeatureView.model_validate({**DECLARED, "columns": columns})
    with shop.online() as store:
        store.erase(entity_key("anna"), [VIEW])
        types = {name: TYPES[each.datatype] for name, each in shop.contract.columns.items()}
        with shop.place._log("orders@1") as log:
            job = Stream([other], types, log=log, store=Published(store, [other]), folder=shop.folder / "other")
            while job.step():
                pass
            job.close()
    assert shop.causes(shop.ask("anna", view=other)) == {"spent_30d": "transform"}, "the file was changed in place"


def test_fault_39_an_older_row_that_stands_in_a_newer_ones_place_is_a_race(shop: Shop) -> None:
    (old,) = shop.place.rows(VIEW, ["anna"])
    shop.ingest(shop.order(5, "anna", ago=MINUTE, amount=4.0))
    shop.run()
    assert old is not None
    with shop.online() as store:  # a writer with a clock that is ahead
        ahead = old.event_time + 10**9
        store.write([Row(Key(VIEW, entity_key("anna")), ahead, 0, old.payload)])
    assert shop.causes(shop.ask("anna")) == dict.fromkeys(("orders_1h", "spent_30d", "last_amount"), "race")


def test_fault_39_a_correction_of_the_same_event_time_that_is_skipped_online_is_named(shop: Shop) -> None:
    shop.ingest_past_the_log(shop.order(4, "anna", ago=20 * MINUTE, amount=6.0, known=10 * MINUTE))
    shop.ingest(shop.order(7, "bob", ago=MINUTE))
    shop.run()
    assert shop.causes(shop.ask("anna")) == dict.fromkeys(("spent_30d", "last_amount"), "equal_time_correction")


def test_without_the_streams_state_the_stores_own_rows_say_how_far_it_is(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shop.place, "state", lambda _: shop.folder / "elsewhere")
    shop.now = datetime.now(UTC)  # after the backfill
    shop.ingest(shop.order(5, "anna", ago=timedelta(0), amount=4.0))
    assert set(shop.causes(shop.ask("anna")).values()) == {"late"}, "no row is from after it"
    (old,) = shop.place.rows(VIEW, ["anna"])
    shop.now = datetime.now(UTC)
    shop.ingest(shop.order(6, "bob", ago=timedelta(0)))
    shop.run()
    assert old is not None
    with shop.online() as store:
        store.erase(entity_key("anna"), [VIEW])
        store.write([old])
    assert set(shop.causes(shop.ask("anna")).values()) == {"race"}, "bob's row is, and hers is not"
    with shop.online() as store:
        store.erase(entity_key("anna"), [VIEW])
    assert set(shop.causes(shop.ask("anna")).values()) == {"ttl"}


def test_what_no_fault_gives_is_unknown_and_counts(shop: Shop) -> None:
    shop.run()
    told = shop.ask("anna")
    shop.ingest(shop.order(8, "anna", ago=MINUTE))
    shop.run()  # the store has changed since, so nothing shows how the value was made
    values = {**told.lookups[0].values, "spent_30d": 1234.5}
    odd = told.model_copy(
        update={
            "lookups": (
                told.lookups[0].model_copy(update={"values": values, "read_at": told.lookups[0].read_at - 30_000_000}),
            )
        }
    )
    assert shop.causes(odd)["spent_30d"] == "unknown"


def test_an_answer_of_defaults_says_nothing_of_the_store(shop: Shop) -> None:
    told = shop.ask("anna")
    unread = told.lookups[0].model_copy(update={"newest": {VIEW: -1}, "values": {"orders_1h": 0}})
    assert not shop.judged(told.model_copy(update={"lookups": (unread,)}))


def test_answers_of_before_an_erasure_burn_nothing_and_others_count_as_before(shop: Shop) -> None:
    shop.ingest(
        shop.order(5, "anna", ago=5 * MINUTE, amount=4.0) | {"seller_id": "eve"},
        shop.order(6, "carl", ago=4 * MINUTE),
    )
    shop.run()
    told = shop.ask("anna", "bob", "carl")
    _, record = shop.place.eraser({"seller_id": "eve"}).run(by="tests", tell=lambda _: None)
    assert record is not None and "anna" not in record.model_dump_json()
    assert shop.causes(told) == dict.fromkeys(("orders_1h", "spent_30d", "last_amount"), "erased")
    report = extended(None, "fraud", POLICY, told.lookups, shop.judged(told), now=shop.now)
    assert (report.answers, report.erased, report.differ, report.mismatches) == (2, 1, 0, [])
    shop.ingest(shop.order(7, "anna", ago=MINUTE), shop.order(8, "bob", ago=MINUTE))
    later = shop.ask("anna")
    both = later.model_copy(update={"lookups": (*told.lookups, *later.lookups)})
    causes = {
        (each.entity, each.lookup.read_at > told.lookups[-1].read_at): each.cause
        for each in shop.judged(both)
        if each.cause
    }
    assert causes["anna", True] == "late", "what is read after the erasure is judged as ever"


def test_an_answer_that_knows_more_than_the_offline_store_has_yet_waits_for_it(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FileLog(shop.settings.state / "features" / "log" / SOURCE) as log:  # as a service that ingests nothing
        log.append("0", [encoded(shop.order(5, "anna", ago=MINUTE))])
    shop.run()
    told = shop.ask("anna", "bob")
    assert shop.causes(told) == dict.fromkeys(("orders_1h", "spent_30d", "last_amount"), "ahead")
    report = extended(None, "fraud", POLICY, told.lookups, shop.judged(told), now=shop.now)
    assert (report.answers, report.ahead, report.differ, report.mismatches) == (1, 1, 0, [])
    with monkeypatch.context() as patched:
        patched.setattr(parity, "BEHIND", timedelta(0))
        late = extended(None, "fraud", POLICY, told.lookups, shop.judged(told), now=shop.now)
        assert (late.answers, late.ahead, late.differ) == (2, 0, 1), "what never comes there is a mismatch"
    shop.place.archive(SOURCE)
    assert shop.causes(told) == {}


def test_floats_are_equal_to_nine_digits_and_null_is_its_default() -> None:
    assert same(0.1 + 0.2, 0.3) and not same(0.3, 0.3 * (1 + 1e-8))
    assert same(None, None) and same(0, None, default=0) and not same(0, None) and not same(0.0, 0)
    assert not same(1, True) and not same(None, 0)


# The report and its budget.

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
POLICY = Parity(budget=0.01, window=timedelta(hours=12))


def answers(count: int, differ: int, *, at: datetime, report: ParityReport | None = None) -> ParityReport:
    told = [
        Lookup(
            number=n, row=0, request="", trace="", exchange="", read_at=int(at.timestamp() * 1e6),
            entities={}, newest={VIEW: 0}, values={}, sent={}, outputs={},
        )
        for n in range(count)
    ]  # fmt: skip
    found = [Compared(each, VIEW, "orders_1h", "a", 1, 2, "late", 0) for each in told[:differ]]
    found += [Compared(each, VIEW, "spent_30d", "a", 1, 2, "late", 0) for each in told[:differ]]
    return extended(report, "fraud", POLICY, told, found, now=at)


def test_a_budget_burns_only_where_chance_does_not_explain_it() -> None:
    assert not answers(1000, 10, at=NOW).burns, "as many as may differ"
    assert not answers(300, 4, at=NOW).burns, "few answers tell little"
    burning = answers(1000, 40, at=NOW)
    assert burning.burns and burning.differ == 40, "an answer with two columns that differ is one"
    assert "4.00%" in burning.told and "late in buyers@1" in burning.told
    assert not answers(0, 0, at=NOW).burns


def test_a_budget_stops_burning_once_the_newest_answers_are_right_and_burns_again_at_once() -> None:
    burning = answers(1000, 40, at=NOW)
    still = answers(100, 0, at=NOW + timedelta(minutes=20), report=burning)
    assert still.burns, "the bad hour is not over"
    well = answers(500, 0, at=NOW + timedelta(hours=2), report=still)
    assert not well.burns and well.share > POLICY.budget
    assert answers(500, 30, at=NOW + timedelta(hours=3), report=well).burns
    past = answers(500, 0, at=NOW + timedelta(hours=13), report=well)
    assert past.differ == 0, "what is out of the window is dropped"


def test_a_report_that_is_too_old_says_so() -> None:
    report = answers(1000, 40, at=NOW)
    assert report.stale(NOW + timedelta(minutes=59)) == ""
    assert "ago" in report.stale(NOW + timedelta(minutes=61))
    assert ParityReport.model_validate(json.loads(report.model_dump_json())) == report


def test_the_interval_is_clopper_pearsons() -> None:
    low, high = interval(1, 10, confidence=0.95)
    assert (low, high) == (pytest.approx(0.00252858, rel=1e-5), pytest.approx(0.44501612, rel=1e-6))
    assert interval(0, 10, confidence=0.95) == (0.0, pytest.approx(1 - 0.025**0.1))
    assert interval(10, 10, confidence=0.95)[1] == 1.0
