"""`--option KEY=VALUE`: what a pipeline can hand on, and a usage error for the rest."""

from __future__ import annotations

import pytest

from hallmark.cli import main
from hallmark.cli.options import fit_options as options
from hallmark.errors import DeclarationError


def test_values_are_read_as_yaml() -> None:
    given = ["epochs=3", "rate=1.0", "quick=true", "metric=auc", "widths=[8, 16]"]
    assert options(given) == {"epochs": 3, "rate": 1.0, "quick": True, "metric": "auc", "widths": [8, 16]}


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
        "[",
        "2026-99-01",
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
