"""Code, libraries and parts of the declaration that decide a step's result besides its inputs, found from its function.

A statement at the top of a file counts if it runs when the file is imported; a definition, if something that counts names it.
So a step's key follows each line that the step can run, in the library and in the domain's own folder, and no other.

What a domain's SPEC names (`fit`, `restore`) counts for the steps that read an attribute of that name of anything: a change of
`fit` trains again, and loads nothing again. A class counts whole: where `fit` and `restore` are methods of one, as fraud's
are, its lines count for each step that imports model.py.

The library's own folder (`hallmark.__file__`) is where a child process finds it and where templates are named from; of what
lies there, the files count that a counted statement names by path.
"""

from __future__ import annotations

import functools
import hashlib
import json
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.errors import DeclarationError
from hallmark.files import digest_file
from hallmark.learners.model import ModelSpec
from hallmark.settings import Settings
from hallmark.training import declared, libraries, statements
from hallmark.training.statement import Module, Reference, Statement

_OWN = __name__.partition(".")[0]
_DOMAINS = "domains"
Symbol: TypeAlias = tuple[str, str]
"""A module, and a name at its top."""

F = TypeVar("F", bound=Callable[..., Any])


def courier(function: F) -> F:
    """Mark a function that has a step's work done elsewhere, and brings its result.

    Its lines count for the step's key. What it asks of domain.yaml (processors, a limit of time) says where and how long the
    work runs, and counts for none.
    """
    return function


COURIER: Symbol = (courier.__module__, courier.__qualname__)
_PART: Symbol = (domains.module.__module__, domains.module.__qualname__)
_SPEC: Symbol = (ModelSpec.__module__, ModelSpec.__qualname__)


@dataclass
class Closure:
    """All that a step can run and read, for one domain.

    modules:   all that are imported.
    counted:   the statements, by module and place in it.
    files:     digests of whole files that code finds by a module's `__file__`.
    imports:   top-level names of what is imported from other distributions.
    declared:  keys of domain.yaml, such as data or serving.precision.
    """

    modules: dict[str, Module] = field(default_factory=dict)
    counted: dict[str, set[int]] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    imports: set[str] = field(default_factory=set)
    declared: set[str] = field(default_factory=set)

    def statements(self) -> Iterator[tuple[str, Statement]]:
        """Statements that count, with the module of each, in order."""
        for name in sorted(self.counted):
            yield from ((name, self.modules[name].statements[index]) for index in sorted(self.counted[name]))

    def digest(self, domain: Domain, kept: Path | None = None) -> str:
        """One digest of all of it."""
        code = [(name, statement.digest) for name, statement in self.statements()]
        versions = {"python": platform.python_version(), **libraries.installed(kept).behind(self.imports)}
        said = {key: declared.value(domain, key) for key in sorted(self.declared)}
        told = json.dumps([code, sorted(self.files.items()), versions, said], sort_keys=True, default=str)
        return hashlib.sha256(told.encode()).hexdigest()


class Finder:
    """Finds closures for one domain; what it has read of a file serves all of them, and later processes from `kept`."""

    def __init__(
        self, domain: str, settings: Settings, *, kept: Path | None = None, library: Path | None = None
    ) -> None:
        self.domain, self.settings, self.kept = domain, settings, kept
        self.library = library or Path(__file__).parents[2]
        self._modules: dict[str, Module | None] = {}
        self._paths: dict[str, Path | None] = {}

    @functools.cached_property
    def declared(self) -> Domain:
        """Current content of domain.yaml."""
        return domains.load(self.domain, self.settings)

    def find(self, function: Callable[..., Any], *, decorator: Callable[..., Any]) -> Closure:
        """The closure of a function that `decorator` made a step; the decorator's own arguments are no part of it."""
        marked = (decorator.__module__, decorator.__qualname__)
        return self.reach(function.__module__, function.__qualname__, decorator=marked)

    def reach(self, module: str, name: str, *, decorator: Symbol | None = None) -> Closure:
        """The closure of the name at the top of a module."""
        return _Search(self, decorator).run(module, name)

    def module(self, name: str) -> Module | None:
        """The project's own module `name`, taken apart; none where the name is not one, or a folder without code of its own."""
        if name not in self._modules:
            path = self.path(name)
            read = path.read_bytes() if path and path.is_file() else None
            self._modules[name] = None if path is None or read is None else self._read(path, read, name)
        return self._modules[name]

    def _read(self, path: Path, source: bytes, name: str) -> Module:
        try:
            return statements.read(source, name, package=path.name == "__init__.py", kept=self.kept)
        except (SyntaxError, ValueError) as error:
            raise DeclarationError(
                f"{path} is not Python", expected="a file that can be imported", got=str(error), fix="mend that file"
            ) from error

    def path(self, name: str) -> Path | None:
        """The file or folder of the project's own module `name`: of the library, or of the checkout that holds the domains."""
        if name not in self._paths:
            parent = name.rpartition(".")[0]
            known = not parent or self.path(parent) is not None
            self._paths[name] = self._found(*name.split(".")) if known else None
        return self._paths[name]

    def _found(self, top: str, *rest: str) -> Path | None:
        for place in [self.library] if top == _OWN else [self.settings.root, self.library]:
            if top != _OWN and place.name in ("site-packages", "dist-packages"):
                continue
            base = place.joinpath(top, *rest)
            for path in (base / "__init__.py", base.with_name(f"{base.name}.py")):
                if path.is_file():
                    return path
            if base.is_dir():
                return base
        return None


class _Search:
    """One walk from a step's function. A name is followed as a module, and the chain of names and attributes in it."""

    def __init__(self, finder: Finder, decorator: Symbol | None) -> None:
        self.finder, self.decorator = finder, decorator
        self.found = Closure()
        self._imported: set[str] = set()
        self._named: set[tuple[str, tuple[str, ...]]] = set()
        self._carried: list[tuple[str, int]] = []
        self._read: set[str] = set()
        self._handed: dict[str, list[tuple[str, Reference]]] = {}

    def run(self, module: str, name: str) -> Closure:
        """Code that the function `name` of `module` can run; couriers come last, when the keys of domain.yaml are known."""
        self._follow(module, (name,))
        self.found.declared = declared.asked(self.found.statements())
        for at in self._carried:
            self._count(*at, carried=True)
        return self.found

    def _import(self, name: str) -> None:
        """Count what runs when the module `name` is imported, its packages first."""
        if name in self._imported:
            return
        self._imported.add(name)
        module = self.finder.module(name)
        if module is not None:  # known before its package is looked at, which may import it in turn
            self.found.modules[name] = module
            self.found.counted.setdefault(name, set())
        if parent := name.rpartition(".")[0]:
            self._import(parent)
        top = name.partition(".")[0]
        if self.finder.path(name) is None:
            self.found.imports |= {top} - sys.stdlib_module_names
            return
        for index, statement in enumerate(module.statements if module else ()):
            if statement.kind == "run" or self._registers(name, statement):
                self._count(name, index)

    def _registers(self, module: str, statement: Statement) -> bool:
        """True if a decorator of the project's own may register what it decorates, so that others find it without its name."""
        found = [self._at(module, each.callee) for each in statement.decorators]
        return any(at and at not in (self.decorator, COURIER) and self.finder.path(at[0]) for at in found)

    def _at(self, module: str, reference: Reference) -> Symbol | None:
        """The module that defines what a reference of `module` means, and its name there; none where it is no name at a top."""
        name, chain, seen = reference.module or module, reference.chain, set[tuple[str, tuple[str, ...]]]()
        inside = not reference.module
        while chain and (name, chain) not in seen:
            seen.add((name, chain))
            bound = [each for _, each in self._binding(name, chain[0])]
            imported = next((each.imported[chain[0]] for each in bound if chain[0] in each.imported), None)
            if imported is not None:
                name, chain = imported.module, (*imported.chain, *chain[1:])
            elif not bound and not inside and self.finder.path(f"{name}.{chain[0]}"):
                name, chain = f"{name}.{chain[0]}", chain[1:]
            else:
                return None if inside and not bound else (name, chain[0])
            inside = False
        return (name, chain[0]) if chain else None

    def _count(self, module: str, index: int, *, carried: bool = False) -> None:
        known, counted = self.found.modules[module], self.found.counted[module]
        if index in counted:
            return
        statement = known.statements[index]
        decorators = [(each, self._at(module, each.callee)) for each in statement.decorators]
        if not carried and any(at == COURIER for _, at in decorators):
            self._carried.append((module, index))
            return
        counted.add(index)
        for imported, name in statement.runs:
            self._import(imported)
            inner = f"{imported}.{name}"
            if name and self.finder.path(imported) and not self._binding(imported, name) and self.finder.path(inner):
                self._import(inner)
        references = list(statement.references)
        for decorator, at in decorators:
            references += [decorator.callee, *decorator.references] if at is None or at != self.decorator else []
        for reference in references:
            self._follow(reference.module, reference.chain, within=module, words=statement.words)
        for part in statement.parts:
            if self._at(module, part.callee) == _PART:
                for name in [part.part] if part.part else self._parts():
                    self._follow(f"{_DOMAINS}.{self.finder.domain}.{name}", part.chain, words=statement.words)
        for handed in statement.handed:
            if self._at(module, handed.callee) != _SPEC or handed.keyword in self._read:
                self._follow("", handed.reference.chain, within=module, words=statement.words)
            else:
                self._handed.setdefault(handed.keyword, []).append((module, handed.reference))
        for name in statement.read - self._read:
            self._read.add(name)
            for where, reference in self._handed.pop(name, ()):
                self._follow("", reference.chain, within=where)
        for word in statement.words:
            if "/" in word:  # training/templates/trainjob.yaml
                self._lies(_OWN, word)
            elif word.partition(".")[0] in (_OWN, _DOMAINS) and self.finder.module(word):
                self._whole(word)  # python -m hallmark.training.distributed_worker

    def _follow(self, name: str, chain: tuple[str, ...], *, within: str = "", words: tuple[str, ...] = ()) -> None:
        """Count one name of a module, or all of a module that is handed on as a whole.

        within: the module that says it, where `name` is empty. words: what the same statement says besides.
        """
        if not name:
            if chain[0] == "__file__":
                self._beside(within, words)
            else:
                self._name(within, chain)
            return
        self._import(name)
        if self.finder.path(name) is None:
            return
        if not chain:
            self._whole(name)
        elif chain[0] == "__file__":
            self._beside(name, words)
        elif self._binding(name, chain[0]):
            self._name(name, chain)
        elif self.finder.path(f"{name}.{chain[0]}"):
            self._follow(f"{name}.{chain[0]}", chain[1:], words=words)
        elif self._binding(name, "__getattr__"):
            self._whole(name)
        else:
            self._name(name, chain)

    def _binding(self, module: str, name: str) -> list[tuple[int, Statement]]:
        """The statements of a module that bind a name, with their places."""
        known = self.finder.module(module)
        return known.binding.get(name, []) if known else []

    def _name(self, module: str, chain: tuple[str, ...]) -> None:
        """Count what binds a name of a module, and follow it to where it was imported from; else to whatever gave all its names."""
        if (module, chain) in self._named:
            return
        self._named.add((module, chain))
        bound = self._binding(module, chain[0])
        for _, statement in [] if bound else self._binding(module, "*"):
            self._follow(statement.imported["*"].module, chain)
        for index, statement in bound:
            self._count(module, index)
            imported = statement.imported.get(chain[0])
            if imported is not None and (imported.module, *imported.chain) != (module, chain[0]):
                self._follow(imported.module, (*imported.chain, *chain[1:]))

    def _whole(self, module: str) -> None:
        """Count every statement: somebody who has the module may ask it for any name."""
        self._import(module)
        known = self.finder.module(module)
        for index, statement in enumerate(known.statements if known else ()):
            self._count(module, index)
            for reference in statement.imported.values():
                if reference.chain == ("*",):
                    self._whole(reference.module)

    def _beside(self, module: str, words: tuple[str, ...]) -> None:
        """Count files to the byte where code asks where a module lies, to read or copy it: those it names, else the whole folder."""
        path = self.finder.path(module)
        if path is None:
            return
        folder = path.parent
        named = [word for word in words if (folder / word).is_file()]
        if not named and module != _OWN:
            named = [file.relative_to(folder).as_posix() for file in sorted(folder.rglob("*"))]
        for word in [path.name, *named] if named else ():
            self._lies(module, word)

    def _lies(self, module: str, name: str) -> None:
        """Count a file that lies beside a module, where there is one of that name."""
        path, key = self.finder.path(module), f"{module}: {name}"
        if path is None or key in self.found.files or "__pycache__" in name:
            return
        if (file := path.parent / name).is_file():
            self.found.files[key] = digest_file(file)

    def _parts(self) -> list[str]:
        return sorted(path.stem for path in (self.finder.settings.domains / self.finder.domain).glob("*.py"))
