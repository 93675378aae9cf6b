"""Feature views as a model takes them along: whole, with the types of what they read, so that its server asks no repository."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hallmark.artifacts.folder import ViewUse
from hallmark.declaration import feature_view, source
from hallmark.declaration.view_types import view_types
from hallmark.errors import DeclarationError
from hallmark.features.fields import Field

if TYPE_CHECKING:
    from hallmark.declaration.domain import Domain
    from hallmark.settings import Settings


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
        entity = Field(
            name=view.entity,
            datatype=contract.columns[view.entity].datatype,  # type: ignore[arg-type]  # view_types refuses other entities
            description=f"whose {view.name} is read",
        )
        found.append(
            ViewUse(
                view=view,
                entity=declared.get(view.entity, entity),
                fields=names,
                types={name: contract.columns[name].datatype for name in view.reads},
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
