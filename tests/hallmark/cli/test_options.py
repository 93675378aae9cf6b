"""`--option KEY=VALUE`: what a pipeline can hand on, and a usage error for the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallmark.cli import main
from hallmark.cli.options import fit_options as options
from hallmark.declaration import domain as declared
from hallmark.errors import DeclarationError
from hallmark.settings import Settings
from hallmark.tco.assumptions import Assumptions


def test_values_are_read_as_yaml() -> None:
    given = ["epochs=3", "rate=1.0", "quick=true", "metric=auc", "widths=[8, 16]"]
    assert options(given) == {"epochs": 3, "rate": 1.0, "quick": True, "metric": "auc", "widths": [8, 16]}


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("1e-5", 1e-05),
        ("1E5", 100000.0),
        ("[a, 1e3]", ["a", 1000.0]),
        ("010", 10),
        ("0x10", 16),
        ("12:30", "12:30"),
        ("1_000", "1_000"),
        ("no", "no"),
        ('"1e3"', "1e3"),
        ("1e", "1e"),
    ],
)
def test_a_number_is_what_the_person_who_typed_it_means_and_no_other_text_is_one(value: str, meant: object) -> None:
    """YAML 1.1 reads 010 as eight, 12:30 as 750, no as false and 1e-5 as a text."""
    assert options([f"x={value}"]) == {"x": meant} and type(options([f"x={value}"])["x"]) is type(meant)


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
HANDED_ON: st.SearchStrategy[Any] = st.recursive(
    st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.examples
@given(value=HANDED_ON | st.none(), escaped=st.booleans())
def test_a_value_in_json_arrives_as_it_is_or_is_refused(value: Any, escaped: bool) -> None:
    try:
        found = options([f"x={json.dumps(value, ensure_ascii=escaped)}"])
    except DeclarationError:
        assert value is None
    else:
        assert found == {"x": value} and type(found["x"]) is type(value)


@pytest.mark.examples
@given(text=st.text(max_size=12) | st.text("0123456789.eE+-_:,[]{}'\"!&*#~ ", max_size=8))
def test_any_text_is_a_value_that_a_pipeline_hands_on_or_a_usage_error(text: str) -> None:
    try:
        found = options([f"x={text}"])
    except DeclarationError as error:
        assert error.expected and error.got
    else:
        assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize(
    "value",
    [
        str(2**53 + 1),
        f"[1, -{2**60}]",
        "null",
        "",
        "~",
        ".nan",
        ".inf",
        "2026-01-01",
        "[1, null]",
        "{a: null}",
        "{0: 1}",
        "[",
        "2026-99-01",
        '"\\ud800"',
        '["\\ud800"]',
        "\udcff",
    ],
)
def test_a_value_that_no_pipeline_hands_on_is_a_usage_error(value: str) -> None:
    with pytest.raises(DeclarationError, match="--option metric"):
        options([f"metric={value}"])


@pytest.mark.parametrize("item", ["metric", "=3", "a-b=3"])
def test_what_is_no_pair_is_a_usage_error(item: str) -> None:
    with pytest.raises(DeclarationError, match="not KEY=VALUE"):
        options([item])


@pytest.mark.parametrize("seed", [2**53 + 1, 2**31])
@pytest.mark.parametrize("command", ["train", "data"])
def test_p16_a_seed_that_not_every_library_keeps_whole_is_refused(command: str, seed: int) -> None:
    assert main([command, "fraud", "--seed", str(seed)]) == 2


@pytest.mark.parametrize("option", ["metric=null", "num_leaves=", f"num_leaves={2**53 + 1}"])
def test_p17_an_option_without_a_value_is_a_usage_error(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "fraud", "--option", option]) == 2
    assert f"--option {option.partition('=')[0]} has a value that no pipeline hands on" in capsys.readouterr().err


def test_what_set_gives_is_read_alike_and_what_is_no_yaml_is_a_usage_error() -> None:
    fraud = declared.load("fraud", Settings.load())
    assert declared.overridden(fraud, ["drift.threshold=2e-1"]).drift.threshold == 0.2
    with pytest.raises(DeclarationError, match=r"--set rollout\.dwell cannot be read"):
        declared.overridden(fraud, ["rollout.dwell=["])
    assert Assumptions().with_changes(["house_hours=1e1"]).house_hours == 10
    with pytest.raises(DeclarationError, match="--set house_hours cannot be read"):
        Assumptions().with_changes(["house_hours=["])


def test_who_forgets_their_data_is_told_before_the_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """A newcomer left --data out of their second training, and met made-up examples in its figures."""
    from hallmark.cli import model
    from hallmark.registry.store import Registry
    from hallmark.settings import Settings
    from tests.hallmark.registry.conftest import model_card

    card = model_card("sha256:" + "7" * 64)
    monkeypatch.setattr(Registry, "model_card", lambda *_: card)
    assert model._own("toy", Settings.load()) == ""
    own = card.model_copy(update={"request": card.request.model_copy(update={"origin": "orders.parquet"})})
    monkeypatch.setattr(Registry, "model_card", lambda *_: own)
    assert model._own("toy", Settings.load()) == "the champion has learnt from orders.parquet"
