"""Statements of a Python file: what each binds, and what it refers to, imports and reads."""

from __future__ import annotations

import functools
from typing import Literal

from hallmark.section import Frozen


class Reference(Frozen):
    """A name with the attributes that follow it: of `module`, or of the file that says it where that is empty."""

    module: str = ""
    chain: tuple[str, ...] = ()


class DomainModuleUse(Frozen):
    """A domain's own module, as `domains.module(name, part)` gives it, and the attributes that follow; empty `part`: any."""

    callee: Reference
    part: str
    chain: tuple[str, ...] = ()


class Decorator(Frozen):
    """The function that decorates a definition, and what its arguments refer to."""

    callee: Reference
    references: tuple[Reference, ...]


class Handed(Frozen):
    """A name that a call at the top of a file is given under a keyword, as in `SPEC = ModelSpec(fit=fit)`."""

    callee: Reference
    keyword: str
    reference: Reference


class Statement(Frozen):
    """One statement at the top of a file, with all that is inside.

    kind:       a definition counts where its name is used; all else runs when the file is imported.
    first, last: its lines, from 1.
    names:      what it binds; imported: those of them that are imported.
    runs:       what it imports, as (module, name) pairs; the name is empty for a whole module.
    attributes: `a` or `a.b`, of anything.
    words:      constants that look like a module's name or a file's path.
    handed:     what it gives to a call as it is; no part of `references`.
    """

    kind: Literal["definition", "run"]
    first: int
    last: int
    digest: str
    names: tuple[str, ...]
    imported: dict[str, Reference]
    references: tuple[Reference, ...]
    parts: tuple[DomainModuleUse, ...]
    runs: tuple[tuple[str, str], ...]
    attributes: tuple[str, ...]
    words: tuple[str, ...]
    handed: tuple[Handed, ...]
    decorators: tuple[Decorator, ...]

    @functools.cached_property
    def read(self) -> frozenset[str]:
        """The names of the attributes."""
        return frozenset(attribute.partition(".")[0] for attribute in self.attributes)


class Module(Frozen):
    """The statements of one file, in order; type checkers' imports, docstrings and comments between statements left out."""

    name: str
    statements: tuple[Statement, ...]

    @functools.cached_property
    def binding(self) -> dict[str, list[tuple[int, Statement]]]:
        """The statements that bind a name, with their places."""
        found: dict[str, list[tuple[int, Statement]]] = {}
        for index, statement in enumerate(self.statements):
            for name in statement.names:
                found.setdefault(name, []).append((index, statement))
        return found
