"""Entity keys: what differs stays different, what is no key is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallmark.errors import DeclarationError
from hallmark.feature_store.online.keys import LONGEST, checked, entity_key, entity_of, prefix

VALUES = st.integers() | st.text(st.characters(codec="utf-8"), max_size=200) | st.binary(max_size=200)


@given(VALUES, VALUES)
def test_keys_are_equal_where_the_values_are_and_have_one_type(one: Any, other: Any) -> None:
    assert (entity_key(one) == entity_key(other)) == (one == other and type(one) is type(other))
    assert entity_of(entity_key(one)) == one and type(entity_of(entity_key(one))) is type(one)


def test_a_number_and_its_text_differ() -> None:
    assert len({entity_key(1), entity_key("1"), entity_key(b"1")}) == 3


def test_two_spellings_of_a_letter_differ() -> None:
    assert entity_key("\u00e9") != entity_key("e\u0301")


def test_numpys_values_are_those_of_python() -> None:
    assert entity_key(np.int64(2**53 + 1)) == entity_key(2**53 + 1) and entity_key(np.str_("a")) == entity_key("a")


@pytest.mark.parametrize(
    "value",
    [True, np.bool_(1), 1.0, np.float64(1), None, (1,), "\ud800", "x" * LONGEST, 10**LONGEST, 10**9999],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_key_is_refused(value: Any) -> None:
    with pytest.raises(DeclarationError, match="cannot be the key of an entity") as caught:
        entity_key(value)
    assert caught.value.expected and caught.value.got and len(str(caught.value)) < 600


def test_the_longest_key_is_taken() -> None:
    assert len(entity_key("x" * (LONGEST - 1))) == LONGEST


@pytest.mark.parametrize("name", ["", "Fraud", "a/b", "a:b", "*", "a" * 31, "-a", "a-", "fraud\n"])
def test_a_namespace_is_a_domains_name(name: str) -> None:
    with pytest.raises(DeclarationError, match="no namespace"):
        checked(name)


def test_no_view_begins_with_another() -> None:
    assert prefix("fraud", "buyer@1") == b"fraud/buyer@1/"
    assert not prefix("fraud", "buyer@11").startswith(prefix("fraud", "buyer@1"))
    with pytest.raises(DeclarationError):
        prefix("fraud", "buyer")
