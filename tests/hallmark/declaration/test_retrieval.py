"""The section `retrieval:`: its defaults, what it refuses, and the corpus that it makes with a contract."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from hallmark.declaration import corpus, source
from hallmark.declaration.retrieval import Retrieval
from hallmark.errors import DeclarationError
from hallmark.settings import Settings

ROOT = Path(__file__).parents[3]


def test_it_requires_the_default_of_every_selectivity_that_filters_make() -> None:
    assert Retrieval(corpus="orders@1").required == {"overall": 0.95}
    found = Retrieval(corpus="orders@1", filters=("category",), floors={"1%": 0.9})
    assert found.required == {"overall": 0.95, "10%": 0.95, "1%": 0.9, "0.1%": 0.95}


def test_an_encoder_is_its_own_or_a_version_of_another_domain() -> None:
    assert Retrieval(corpus="orders@1").borrowed is None
    assert Retrieval(corpus="orders@1", encoder="search@12").borrowed == ("search", 12)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"corpus": "orders"}, "String should match pattern"),
        ({"encoder": "search"}, "expected own, or domain@version"),
        ({"encoder": "search@0"}, "expected own, or domain@version"),
        ({"words": ["title", "title"]}, "expected each column once"),
        ({"fresh": "1ms"}, "expected 100ms to 1h"),
        ({"fresh": "2h"}, "expected 100ms to 1h"),
        ({"floors": {"5%": 0.9}}, "Input should be"),
        ({"floors": {"overall": 1.5}}, "less than or equal to 1"),
        ({"golden": {"file": "../queries.parquet"}}, "String should match pattern"),
        ({"k": 0}, "greater than or equal to 1"),
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Retrieval.model_validate({"corpus": "orders@1", **changes})


def test_a_duration_is_read_and_written_alike() -> None:
    found = Retrieval.model_validate({"corpus": "orders@1", "fresh": "1s"})
    assert found.fresh == timedelta(seconds=1)
    assert Retrieval.model_validate(found.model_dump(mode="json")) == found


def test_a_corpus_has_the_contracts_key_types_and_sets() -> None:
    settings = Settings.load({"HALLMARK_ROOT": str(ROOT)})
    declared = Retrieval(corpus="orders@1", filters=("category", "amount", "express"), words=("brand_tier",))
    found = corpus.load(declared, settings)
    assert (found.id, found.datatype, found.words) == ("order_id", "BYTES", ("brand_tier",))
    category, amount, express = found.filters
    assert (category.by, amount.by, express.by) == ("value", "range", "value")
    assert "coats" in category.values and amount.values == () and amount.datatype == "FP64"


def test_a_corpus_names_what_its_contract_does_not_give() -> None:
    settings = Settings.load({"HALLMARK_ROOT": str(ROOT)})
    with pytest.raises(DeclarationError, match=r"retrieval\.filters\.0: orders@1 has no column colour"):
        corpus.load(Retrieval(corpus="orders@1", filters=("colour",)), settings)
    found = corpus.faults(Retrieval(corpus="orders@1", words=("amount",)), source.load("orders@1", settings))
    assert [each.fault for each in found] == ["words"]
