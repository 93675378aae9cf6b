"""The reader of the text format, beside Prometheus' own Python parser."""

from __future__ import annotations

import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from hallmark.errors import Unavailable
from hallmark.rollout.samples import Sample
from local_cluster.samples import parse

NAMES = ("requests", "requests_bucket", "requests_total", "seconds", "other:sum")
label = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,6}", fullmatch=True).filter(lambda name: not name.startswith("__"))
word = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"), max_size=12
) | st.sampled_from(['a"b', "a\\", "}", "# {", 'x="y",', "\n", "\\n", "1 2"])
number = st.floats() | st.integers(-(10**20), 10**20) | st.sampled_from(["+Inf", "-Inf", "NaN", "1e3", ".5", "7."])


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


@st.composite
def line(draw: st.DrawFn) -> str:
    blank = draw(st.sampled_from(["", " ", "  "]))
    pairs = draw(st.dictionaries(label, word, max_size=4)).items()
    inside = ",".join(f"{blank}{key}={quoted(value)}{blank}" for key, value in pairs)
    inside += "," if pairs and draw(st.booleans()) else ""
    labels = f"{{{inside}}}" if pairs or draw(st.booleans()) else ""
    stamp = draw(st.sampled_from(["", " 1700000000000"]))
    return f"{draw(st.sampled_from(NAMES))}{labels} {blank}{draw(number)}{stamp}{blank}"


comment = st.sampled_from(["", "# requests 1", "# HELP seconds x{ 1", "#", "# a comment"])


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.lists(line() | comment, max_size=12), st.sets(st.sampled_from(NAMES)))
def test_it_reads_what_the_official_parser_reads(lines: list[str], names: set[str]) -> None:
    text = "".join(f"{each}\n" for each in lines)
    expected = [
        Sample(sample.name, sample.labels, float(sample.value))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name in names and math.isfinite(sample.value)
    ]
    assert parse(text, sorted(names)) == expected


@pytest.mark.parametrize(
    "broken",
    [
        "requests",
        "requests 1 2 3",
        "requests one",
        "requests 1_000",
        "requests 0x1",
        'requests{a="b} 1',
        "requests{a=b} 1",
        'requests{a="b"c="d"} 1',
        "requests{,} 1",
        'requests{a="b",,} 1',
        'requests{a="\\d"} 1',
        'requests{a="1",a="2"} 1',
        'requests{"a"="b"} 1',
        "requests 1 # {} 2",
    ],
)
def test_a_broken_line_of_a_name_that_is_asked_for_is_an_error_that_shows_it(broken: str) -> None:
    with pytest.raises(Unavailable, match="cannot be read") as caught:
        parse(f"fine 1\n{broken}\n", ["requests"])
    assert broken[:20] in caught.value.got.replace("\\\\", "\\")
    assert parse(f"fine 1\n{broken}\n", ["fine"]) == [Sample("fine", {}, 1)]


def test_an_answer_that_was_cut_off_is_not_taken_for_a_smaller_number() -> None:
    with pytest.raises(Unavailable, match="cannot be read"):
        parse("requests 12", ["requests"])
    assert parse("", ["requests"]) == []


def test_one_name_is_not_taken_for_a_longer_one() -> None:
    text = "requests_total 1\nrequests 2\nrequests:rate 3\n"
    assert parse(text, ["requests"]) == [Sample("requests", {}, 2)]


@pytest.mark.serial
def test_a_gateways_200_kilobytes_take_milliseconds() -> None:
    rows = [f'envoy_cluster_upstream{{envoy_cluster_name="fraud_{row % 9}",code="200"}} {row}' for row in range(2900)]
    mine = [f'envoy_hallmark{{service="fraud/fraud",revision="r-{row}",le="+Inf"}} {row}' for row in range(100)]
    text = "\n".join(rows + mine) + "\n"
    assert len(text) > 200_000
    spent = []
    for _ in range(5):
        began = time.perf_counter()
        assert len(parse(text, ["envoy_hallmark"])) == 100
        spent.append(time.perf_counter() - began)
    assert min(spent) < 0.02, spent
