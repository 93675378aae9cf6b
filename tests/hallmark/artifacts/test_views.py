"""Views as a model takes them along: what FIELDS may say of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from hallmark.artifacts import views
from hallmark.declaration import domain as domains
from hallmark.errors import DeclarationError
from hallmark.features.fields import Field
from hallmark.settings import Settings

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "field", [Field(name="buyer_id", datatype="INT64"), Field(name="buyer_id", datatype="BYTES", shape=(2,))]
)
def test_an_entity_that_is_a_field_has_its_contracts_type(field: Field) -> None:
    settings = Settings.load({"HALLMARK_ROOT": str(ROOT)})
    fraud = domains.load("fraud", settings)
    fields = domains.module("fraud", "features", settings).FIELDS
    good = views.uses(fraud, [*fields, Field(name="buyer_id", datatype="BYTES")], settings)
    assert good[0].entity.datatype == "BYTES" == good[0].types["buyer_id"]
    with pytest.raises(DeclarationError, match="buyer_id in another type than orders@1") as refused:
        views.uses(fraud, [*fields, field], settings)
    assert "buyer_orders@1 is read by it" in refused.value.expected
