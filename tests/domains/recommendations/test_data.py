"""A public log, and the marketplace's, as sequences: each row what came before and what then, and every item told of once."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from domains.recommendations import data
from domains.recommendations.features import LONGEST
from hallmark.cli import main
from hallmark.data import contract, dataset
from hallmark.declaration import domain as domains
from hallmark.errors import ContractBroken
from hallmark.learners.model import examples
from hallmark.training.split import split

START = datetime(2026, 9, 1, tzinfo=UTC)
END = START + timedelta(days=12)
LOG = "user,item,time\nann,a,1300000000\nann,b,1300000100\nbob,b,1300000050\nann,c,1300000200\nann,d,1300000300\nann,a,1300000400\n"


@cache
def drawn() -> pd.DataFrame:
    return data.draw(start=START, end=END, seed=7)


def read(folder: Path, text: str = LOG, name: str = "log.csv") -> pd.DataFrame:
    (folder / name).write_text(text)
    return data.read(folder / name)


def test_the_marketplace_keeps_the_contract() -> None:
    contract.check(data.contract(), drawn(), "the marketplace")


def test_a_row_is_what_a_member_looked_at_before_and_what_then(tmp_path: Path) -> None:
    found = read(tmp_path)
    contract.check(data.contract(), found, "the log")
    ann = found[(found.member_id == "ann") & (found.viewed == 1)]
    assert [list(each) for each in ann.recent_items] == [[], ["a"], ["a", "b"], ["a", "b", "c"]], "an item counts once"
    assert ann.item_id.tolist() == ["a", "b", "c", "d"] and ann.new_item.tolist() == [False, False, True, True]
    assert ann.new_member.tolist() == [True, True, True, False]
    told = found[found.viewed == 0]
    assert sorted(told.item_id) == ["a", "b", "c", "d"]
    assert all(list(each) == [item] for each, item in zip(told.recent_items, told.item_id, strict=True))
    assert found.recent_brands.isna().all() and found.session_id.is_unique


def test_what_happened_at_one_moment_stays_in_the_order_of_the_file(tmp_path: Path) -> None:
    found = read(tmp_path, "user,item,time\nann,z,1300000000\nann,b,1300000000\nann,a,1300000000\nann,y,1200000000\n")
    assert found[found.viewed == 1].item_id.tolist() == ["y", "z", "b", "a"]


def test_the_data_command_counts_members_and_items_apart(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    read(tmp_path)
    assert main(["data", "recommendations", "--data", str(tmp_path / "log.csv"), "-o", "json"]) == 0
    told = json.loads(capsys.readouterr().out)[0]
    assert (told["examples"], told["member_id"], told["items"]) == (9, 2, 4)


def test_what_is_known_of_items_comes_with_them(tmp_path: Path) -> None:
    lines = "member_id,item_id,shown_at,brand,price,listed_at\nann,a,2026-09-01T00:00:00Z,zig,5,2026-08-01T00:00:00Z\nann,b,2026-09-02T00:00:00Z,,,2026-08-02T00:00:00Z\n"
    found = read(tmp_path, lines)
    contract.check(data.contract(), found, "the log")
    last = found[(found.item_id == "b") & (found.viewed == 0)].iloc[0]
    assert (last.recent_brands[0], last.recent_prices[0], last.recent_listed[0]) == ("unknown", 0.0, 20667)
    encoded = examples("recommendations", found)
    assert (encoded.named["facts"] != 0).any()


@pytest.mark.parametrize(
    ("time", "moment"),
    [
        ("1300000000", "2011-03-13T07:06:40+00:00"),
        ("1300000000000", "2011-03-13T07:06:40+00:00"),
        ("1300000000.0", "2011-03-13T07:06:40+00:00"),
        ("2011-03-13T09:06:40+02:00", "2011-03-13T07:06:40+00:00"),
    ],
)
def test_times_are_seconds_milliseconds_or_iso(tmp_path: Path, time: str, moment: str) -> None:
    found = read(tmp_path, f"user,item,time\nann,a,{time}\n")
    assert found.shown_at.iloc[0] == pd.Timestamp(moment) and str(found.shown_at.dtype) == "datetime64[us, UTC]"


@pytest.mark.parametrize(
    "times", ["1300000000.25 1300000001", "1.3e9 1.3e9", "0 1300000000", "1300000000 1300000000000", "17 4000"]
)
def test_numbers_that_are_no_times_alike_in_every_row_are_refused(tmp_path: Path, times: str) -> None:
    one, two = times.split()
    with pytest.raises(ContractBroken, match="column time cannot be read") as refused:
        read(tmp_path, f"user,item,time\nann,a,{one}\nann,b,{two}\n")
    assert "seconds" in refused.value.expected and "time" in refused.value.fix


def test_parquet_reads_as_csv_does(tmp_path: Path) -> None:
    frame = pd.DataFrame({"user": ["ann", "ann"], "item": [1, 2], "time": [1_300_000_000, 1_300_000_100]})
    dataset.write(frame, tmp_path / "log.parquet")
    found = data.read(tmp_path / "log.parquet")
    pd.testing.assert_frame_equal(
        found, read(tmp_path, "user,item,time\nann,1,1300000000\nann,2,1300000100\n"), check_dtype=True
    )


def test_other_names_are_read_as_data_yaml_says_and_without_it_refused(tmp_path: Path) -> None:
    lines = LOG.replace("user,item,time", "reviewer,item,time")
    with pytest.raises(ContractBroken, match="no column user") as refused:
        read(tmp_path, lines)
    assert "data.yaml" in refused.value.fix
    (tmp_path / "data.yaml").write_text("names: {reviewer: user}\n")
    assert len(read(tmp_path, lines)) == len(read(tmp_path, LOG.replace("user", "reviewer")))


def test_a_time_that_is_none_is_refused_with_its_line_and_read_where_data_yaml_says_its_zone(tmp_path: Path) -> None:
    with pytest.raises(ContractBroken, match="time") as refused:
        read(tmp_path, "user,item,time\nann,a,yesterday\nann,b,today\n")
    assert "log.csv:2" in refused.value.got
    berlin = "user,item,time\nann,a,2026-10-01 10:00:00\nann,b,2026-10-02 10:00:00\n"
    with pytest.raises(ContractBroken, match="time"):
        read(tmp_path, berlin)
    (tmp_path / "data.yaml").write_text("timezone: Europe/Berlin\n")
    assert read(tmp_path, berlin).shown_at.min().isoformat() == "2026-10-01T08:00:00+00:00"


@pytest.mark.parametrize("viewed", ["2", ""])
def test_a_look_that_is_neither_yes_nor_no_is_refused(tmp_path: Path, viewed: str) -> None:
    with pytest.raises(ContractBroken, match="viewed"):
        read(tmp_path, f"user,item,time,viewed\nann,a,1760000000,1\nann,b,1760000001,{viewed}\n")


def test_the_last_look_of_each_member_is_the_test_and_new_items_are_those_not_learnt_from() -> None:
    made = split(domains.load("recommendations"), drawn(), as_of=END)
    rows = made.train[made.train.viewed == 1]
    learnt = set(rows.item_id).union(*rows.recent_items)
    assert made.test.member_id.is_unique and (made.test.viewed == 1).all()
    assert (made.test.new_item == ~made.test.item_id.isin(learnt)).all() and made.test.new_item.any()
    assert set(made.test.item_id) <= set(made.train.item_id), "every item is told of"


def test_a_request_holds_the_last_items_only() -> None:
    items = [f"x{number:03d}" for number in range(LONGEST + 9)]
    times = pd.to_datetime(np.arange(len(items)) + 1_300_000_000, unit="s", utc=True)
    rows = data.sequences(pd.DataFrame({"member_id": "ann", "item_id": items, "shown_at": times}))
    assert list(rows.recent_items.iloc[-1]) == items[-LONGEST - 1 : -1]
