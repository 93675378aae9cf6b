"""Feature views as a model takes them along: whole, with the types of what they read, so that its server asks no repository.

What a missing value means is said here once, for the rows that a model learns from and for the requests that it answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from hallmark.artifacts import signature
from hallmark.artifacts.signature import ViewUse
from hallmark.declaration import feature_view, source
from hallmark.declaration.features import Missing
from hallmark.declaration.view_types import term_types, view_types
from hallmark.errors import DeclarationError
from hallmark.features import arrays
from hallmark.features.fields import Field
from hallmark.policy import served

if TYPE_CHECKING:
    from hallmark.declaration.domain import Domain
    from hallmark.settings import Settings


class Filled(NamedTuple):
    """Values of a field, one a record. lacking: the places of records that have none and get none; defaulted: whether others got one."""

    values: list[Any]
    lacking: tuple[int, ...]
    defaulted: bool


class GivenField:
    """A field that a view gives, and what stands in where the view has no value: the declared default, else that of no events."""

    def __init__(self, use: ViewUse, field: Field) -> None:
        column = use.view.columns[field.name]
        self.field = field
        self.default = column.empty if column.default is None else column.default

    def filled(self, values: list[Any], missing: Missing) -> Filled:
        """What the view says, None for nothing, with what the domain's `features.missing` makes of None."""
        if self.field.optional or None not in values:
            return Filled(values, (), defaulted=False)
        if missing == "refuse" or self.default is None:
            return Filled(values, tuple(at for at, value in enumerate(values) if value is None), defaulted=False)
        return Filled([self.default if value is None else value for value in values], (), defaulted=True)

    def array(self, values: list[Any]) -> NDArray[Any]:
        """Values as `Columns` have them; None only where the field is optional."""
        if self.field.datatype == "BYTES":
            return arrays.objects(values)
        if self.field.optional:
            values = [np.nan if value is None else value for value in values]
        return np.array(values, dtype=self.field.dtype)


def given(use: ViewUse, fields: Sequence[Field]) -> tuple[GivenField, ...]:
    """Those of a model's fields that a view gives, in the view's order."""
    declared = {field.name: field for field in fields}
    return tuple(GivenField(use, declared[name]) for name in use.fields)


def sent(domain: Domain, fields: Sequence[Field], settings: Settings | None = None) -> tuple[Field, ...]:
    """What callers of the domain's model send, of a model that is trained now with these `fields`."""
    return signature.sent(fields, uses(domain, fields, settings), served.declared(domain))


def uses(domain: Domain, fields: Sequence[Field], settings: Settings | None = None) -> tuple[ViewUse, ...]:
    """Every view of the domain with those of the model's `fields` that are its columns; none where the domain declares no features.

    `DeclarationError` where a view gives no field, gives one of another type, or gives one that another view gives too.
    """
    found: list[ViewUse] = []
    given: dict[str, str] = {}
    declared = {field.name: field for field in fields}
    for reference in domain.features.views if domain.features else ():
        view = feature_view.load(reference, settings)
        contract = source.load(view.source, settings)
        types = view_types(view, contract)
        names = tuple(name for name in types if name in declared)
        if not names:
            raise DeclarationError(
                f"{domain.name}: features.views names {reference}, which gives no field of the model",
                expected=f"one of {', '.join(types)} in FIELDS of features.py",
                got=", ".join(declared),
                fix="declare the field under the column's name, or leave the view out",
            )
        for name in names:
            _fits(domain.name, declared[name], reference, types[name], given.get(name))
            given[name] = reference
        column = contract.columns[view.entity]
        if (own := declared.get(view.entity)) is not None and (own.datatype != column.datatype or own.shape):
            raise DeclarationError(
                f"{domain.name}: FIELDS of features.py has {view.entity} in another type than {view.source}",
                expected=f"{column.datatype}, one a record: {reference} is read by it",
                got=f"{own.datatype}{list(own.shape) if own.shape else ''}",
                fix="write the contract's type into FIELDS, or nothing would be known of anybody",
            )
        entity = Field(
            name=view.entity,
            datatype=column.datatype,  # type: ignore[arg-type]  # view_types refuses other entities
            optional=not column.required and column.datatype == "BYTES",  # a column of whole numbers cannot hold a null
            description=f"whose {view.name} is read",
        )
        found.append(
            ViewUse(
                view=view,
                entity=declared.get(view.entity, entity),
                fields=names,
                types=term_types(view, contract),
            )
        )
    return tuple(found)


def _fits(domain: str, field: Field, reference: str, datatype: str, other: str | None) -> None:
    if other:
        raise DeclarationError(
            f"{domain}: both {other} and {reference} give {field.name}",
            expected="one view for each field",
            got=f"{other}, {reference}",
            fix="leave one of the views out, or give the column another name in a new version",
        )
    if field.datatype != datatype or field.shape:
        raise DeclarationError(
            f"{domain}: {reference} gives {field.name} in another type than FIELDS of features.py",
            expected=f"{datatype}, one a record",
            got=f"{field.datatype}{list(field.shape) if field.shape else ''}",
            fix="write the column's type into FIELDS, and let encode turn it into what the model takes",
        )
