"""The keys of domain.yaml that a step's code asks for, and their values."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from hallmark.declaration.domain import Domain
from hallmark.section import Section
from hallmark.training.statement import Statement


def asked(found: Iterable[tuple[str, Statement]]) -> set[str]:
    """The keys of domain.yaml that code asks for, by the attributes that it reads: `x.data` or `x.serving.precision`, whatever x is."""
    sections = {name: _section(item.annotation) for name, item in Domain.model_fields.items()}
    derived = {
        name: set(each.fget.__code__.co_names) & set(sections)
        for name, each in vars(Domain).items()
        if isinstance(each, property) and isinstance(each.fget, types.FunctionType)
    }
    declaring = Domain.__module__.rpartition(".")[0]  # which checks every key, and for whoever reads any
    keys: set[str] = set()
    for attribute in {each for module, it in found if not module.startswith(declaring) for each in it.attributes}:
        name, _, after = attribute.partition(".")
        section = sections.get(name)
        if section is not None and after in section.model_fields:
            keys.add(attribute)
        elif name in sections and (section is None or not after or hasattr(section, after)):
            keys.add(name)
        keys |= derived.get(name, set())
    return {key for key in keys if key.partition(".")[0] not in keys or "." not in key}


def _section(annotation: Any) -> type[Section] | None:
    """The section that a key of domain.yaml holds; none for plain values, and where it is one of several: then all of it counts."""
    found = [
        it for it in (annotation, *typing.get_args(annotation)) if isinstance(it, type) and issubclass(it, Section)
    ]
    return found[0] if len(found) == 1 else None


def value(declared: Domain, key: str) -> Any:
    """The value of a key of domain.yaml, as plain JSON; none where an optional section is not there."""
    found: Any = declared
    for name in key.split("."):
        found = getattr(found, name, None)
    return found.model_dump(mode="json") if isinstance(found, BaseModel) else found
