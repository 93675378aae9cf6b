"""The page of views: what it shows, that it shows nobody, and that what others wrote stays text."""

from __future__ import annotations

import json
import re
import shutil
from datetime import timedelta
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from hallmark.cli import main
from hallmark.feature_store.page import histogram, page
from hallmark.feature_store.place import FeatureStore
from hallmark.registry.readers import Reader
from hallmark.settings import Settings
from tests.hallmark.cli.test_features import DAY, HOUR, NOW, ROOT, batch, order

HOSTILE = "<script>alert('x')</script> & \"more\""
MORE = """
  last_buyer: {take: last, of: buyer_id, description: who ordered last}
  last_payment: {take: last, of: payment}
  spent: {take: sum, of: amount, where: {payment: [card, wallet]}}
  share: {take: ratio, of: spent, over: device_accounts}
"""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    root = tmp_path / "root"
    root.mkdir()
    for name in ("domains", "contracts", "inference_services"):
        (root / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "features", root / "features")
    text = (root / "features/device/v1.yaml").read_text(encoding="utf-8").replace("version: 1", "version: 2")
    text = text.replace("Who orders with a device.", f"'{HOSTILE.replace(chr(39), chr(39) * 2)}'").rstrip() + MORE
    (root / "features/device/v2.yaml").write_text(text, encoding="utf-8")
    return Settings.load({"HALLMARK_ROOT": str(root), "HALLMARK_STATE": str(tmp_path / "state")})


@pytest.fixture
def store(settings: Settings, tmp_path: Path) -> FeatureStore:
    made = FeatureStore(settings)
    rows = [
        order(n, f"buyer{n % 7}", ago=HOUR + n * timedelta(minutes=1), device_id=f"dev{n % 5}", ip=f"10.0.0.{n}")
        for n in range(60)
    ]
    made.ingest("orders@1", Path(batch(tmp_path, "rows", rows)))
    made.apply(["device@2", "buyer_orders@1"])
    return made


class Tags(HTMLParser):
    """Checks that every tag is closed in its turn; `told` has the text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.told = ""

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in ("meta", "br", "rect"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag != "rect":
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.told += f" {data}"


def test_the_page_shows_whose_views_they_are_who_reads_them_and_how_their_values_lie(
    store: FeatureStore, settings: Settings
) -> None:
    read_by = {"device@2": [Reader("fraud", None, "declared"), Reader("fraud", 7, "stable")]}
    html = page(store, settings, read_by=read_by, now=NOW)
    tags = Tags()
    tags.feed(html)
    assert tags.open == []
    told = " ".join(tags.told.split())
    assert HOSTILE in told and "<script" not in html
    for words in (
        "trust-and-safety, fraud-oncall@hallmark.example",
        "1 h old (at most 15m)",
        "fraud, fraud 7 (stable)",
        "device@1 , device@2",
        "5 entities of the online store",
        "sum of amount, where payment is card or wallet",
        "ratio of spent over device_accounts",
        "card 100%",
        "7 to 7, median 7",
        "not applied here",
    ):
        assert words in told, words
    assert re.search(r"<rect .*?<title>7: 5</title></rect>", html)


def test_a_view_that_is_being_filled_is_not_said_to_be_applied(
    store: FeatureStore,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store.ingest("orders@1", Path(batch(tmp_path, "more", [order(n, "b", ago=HOUR) for n in range(100, 104)])))

    def stopping(view: str, done: int, total: int) -> None:
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.backfill("device@1", tell=stopping)
    stages = {"buyer_orders@1": "applied", "device@1": "filling (60 of 64 events)", "device@2": "applied"}
    assert {each: str(store.stage(each)) for each in stages} == stages
    told = " ".join(page(store, settings, read_by={}, now=NOW).split())
    assert told.count('<span class="bad">filling (60 of 64 events)</span>') == 1
    for key, value in settings.environment().items():
        monkeypatch.setenv(key, value)
    for command in (["list"], ["freshness"]):
        main(["features", *command, "-o", "json"])
        rows = {each["view"]: each for each in json.loads(capsys.readouterr().out)}
        assert {each: rows[each]["state"] for each in stages} == {each: stages[each].split()[0] for each in stages}
        assert rows["device@1"]["filled"] == {"events": 60, "of": 64} and rows["device@2"]["filled"] is None
        main(["features", *command])
        shown = " ".join(capsys.readouterr().out.split())
        assert "filling (60 of 64 events)" in shown, shown
    store.backfill("device@1")
    assert str(store.stage("device@1")) == "applied"


def test_the_page_names_no_entity_and_no_personal_text(store: FeatureStore, settings: Settings) -> None:
    html = page(store, settings, read_by={}, now=NOW)
    assert "personal: not shown" in html
    assert not re.search(r"buyer[0-6]\b|dev[0-4]\b|10\.0\.0\.", html)


def test_a_store_that_does_not_answer_costs_the_distributions_alone(store: FeatureStore, settings: Settings) -> None:
    told: list[str] = []
    (settings.state / "features" / "online.db").unlink()
    (settings.state / "features" / "online.db").write_bytes(b"no database")
    html = page(store, settings, read_by={}, now=NOW + DAY, tell=told.append)
    assert [each.partition(":")[0] for each in told] == ["buyer_orders@1", "device@2"]
    assert "1 d 1 h old" in html and "<rect" not in html


def test_a_histogram_counts_each_value_once() -> None:
    for numbers in ([3.0], [0, 0, 1, 5], [-2.5, 0.25, 7e12], [1e300, 1e300], list(range(1000)), [0] * 999 + [81]):
        counts = re.findall(r"<title>.*?: (\d+)</title>", histogram(np.sort(np.array(numbers, dtype=float))))
        assert sum(map(int, counts)) == len(numbers)


def test_the_command_writes_one_file(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for key, value in settings.environment().items():
        monkeypatch.setenv(key, value)
    out = tmp_path / "made" / "views.html"
    assert main(["features", "page", "--out", str(out)]) == 0 and str(out) in capsys.readouterr().err
    assert "no event has come in" in out.read_text(encoding="utf-8")
    assert main(["features", "page", "--out", str(tmp_path)]) == 2
