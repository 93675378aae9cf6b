"""`--option KEY=VALUE`: what a pipeline can hand on, and a usage error for the rest."""

from __future__ import annotations

import pytest

from hallmark.cli.options import fit_options as options
from hallmark.errors import DeclarationError


def test_values_are_read_as_yaml() -> None:
    given = ["epochs=3", "rate=1.0", "quick=true", "metric=auc", "widths=[8, 16]"]
    assert options(given) == {"epochs": 3, "rate": 1.0, "quick": True, "metric": "auc", "widths": [8, 16]}


@pytest.mark.parametrize(
    "value", ["null", "", "~", ".nan", ".inf", "2026-01-01", "[1, null]", "{a: null}", "[", "2026-99-01"]
)
def test_a_value_that_no_pipeline_hands_on_is_a_usage_error(value: str) -> None:
    with pytest.raises(DeclarationError, match="--option metric"):
        options([f"metric={value}"])


@pytest.mark.parametrize("item", ["metric", "=3", "a-b=3"])
def test_what_is_no_pair_is_a_usage_error(item: str) -> None:
    with pytest.raises(DeclarationError, match="not KEY=VALUE"):
        options([item])
