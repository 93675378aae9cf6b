"""A Python file taken apart into its statements, without running it."""

from __future__ import annotations

import ast
import functools
import hashlib
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

from pydantic import ValidationError

from hallmark.declaration import domain as domains
from hallmark.files import replace
from hallmark.training.statement import Decorator, DomainModuleUse, Handed, Module, Reference, Statement

_PARSING = threading.Lock()
"""Python 3.11 loses count of its depth where two threads parse at once."""
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+|[\w.-]+(/[\w.-]+)+")
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)
_COMPREHENSION = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
_SCOPE = (*_FUNCTION, *_COMPREHENSION, ast.ClassDef, ast.Lambda)


@functools.lru_cache(maxsize=1024)
def read(source: bytes, name: str, *, package: bool = False, kept: Path | None = None) -> Module:
    """The module `name` in `source`; one that was read before is found in the folder `kept`, by content.

    Parsing takes ten times as long as reading what was found; an own process for each step would do it again for each.
    """
    if kept is None:
        return _parsed(source, name, package)
    path = kept / f"{hashlib.sha256(b'%b %s %d ' % (_format(), name.encode(), package) + source).hexdigest()}.json"
    try:
        return Module.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        module = _parsed(source, name, package)
        replace(path, module.model_dump_json())
        return module


@functools.cache
def _format() -> bytes:
    """The digest of what reads a file and of what it is read into: what another version of them has kept is not read."""
    here = Path(__file__)
    return hashlib.sha256(here.read_bytes() + here.with_name("statement.py").read_bytes()).digest()


def _parsed(source: bytes, name: str, package: bool) -> Module:
    with _PARSING:
        tree = ast.parse(source)
    lines = source.splitlines(keepends=True)
    lazy = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    inside = name if package else name.rpartition(".")[0]
    found = [_Reader(inside, lazy).statement(node, lines) for node in tree.body if not _idle(node)]
    return Module(name=name, statements=tuple(found))


def _idle(node: ast.stmt) -> bool:
    """A docstring, or imports that a type checker alone makes."""
    if isinstance(node, ast.If):
        return ast.unparse(node.test).rpartition(".")[2] == "TYPE_CHECKING" and not node.orelse
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


Bound: TypeAlias = "Reference | DomainModuleUse | None"


class _Reader(ast.NodeVisitor):
    """Reads one statement of a file in the package `inside`; lazy: annotations of functions are never evaluated there."""

    def __init__(self, inside: str, lazy: bool) -> None:
        self.inside, self.lazy = inside, lazy
        self.scopes: list[dict[str, Bound]] = []
        self.references: dict[Reference, None] = {}
        self.parts: dict[DomainModuleUse, None] = {}
        self.runs: dict[tuple[str, str], None] = {}
        self.attributes: set[str] = set()
        self.words: set[str] = set()

    def statement(self, node: ast.stmt, lines: list[bytes]) -> Statement:
        first, last = node.lineno, node.end_lineno or node.lineno
        decorators: list[Decorator] = []
        definition = isinstance(node, (*_FUNCTION, ast.ClassDef))
        bound = dict(self._bound([node]))
        if isinstance(node, (*_FUNCTION, ast.ClassDef)):
            first = min([first, *(each.lineno for each in node.decorator_list)])
            for each in node.decorator_list:
                reader = _Reader(self.inside, self.lazy)
                reader.visit(each)
                callee = each.func if isinstance(each, ast.Call) else each
                name, chain = _unrolled(callee)
                at = Reference(chain=(name.id, *chain)) if isinstance(name, ast.Name) else Reference()
                decorators.append(Decorator(callee=at, references=tuple(reader.references)))
            node.decorator_list = []
        handed = list(_handed(node))
        self.visit(node)
        return Statement(
            kind="definition" if definition else "run",
            first=first,
            last=last,
            digest=hashlib.sha256(b"".join(lines[first - 1 : last])).hexdigest(),
            names=tuple(bound),
            imported={name: each for name, each in bound.items() if isinstance(each, Reference)},
            references=tuple(self.references),
            parts=tuple(self.parts),
            runs=tuple(self.runs),
            attributes=tuple(sorted(self.attributes)),
            words=tuple(sorted(self.words)),
            handed=tuple(handed),
            decorators=tuple(decorators),
        )

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """Defaults and decorators belong to the scope around it; annotations count where they are evaluated."""
        for each in [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]:
            self.visit(each)
        arguments = _arguments(node.args)
        if not self.lazy:
            for annotation in [node.returns, *(each.annotation for each in arguments)]:
                if annotation is not None:
                    self.visit(annotation)
        self._scoped({each.arg: None for each in arguments} | dict(self._bound(node.body)), node.body)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.visit_FunctionDef(node)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        for each in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
            self.visit(each)
        self._scoped({each.arg: None for each in _arguments(node.args)}, [node.body])

    def generic_visit(self, node: ast.AST) -> None:
        """The targets of a comprehension are names of its own."""
        if not isinstance(node, _COMPREHENSION):
            super().generic_visit(node)
            return
        self._scoped(dict(self._bound(each.target for each in node.generators)), list(ast.iter_child_nodes(node)))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        for each in [node.target, node.value, None if self.scopes and self.lazy else node.annotation]:
            if each is not None:
                self.visit(each)

    def visit_Import(self, node: ast.Import) -> None:
        self.runs.update({(each.name, ""): None for each in node.names})

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        if node.module != "__future__":
            self.runs.update({(self._absolute(node), each.name): None for each in node.names})

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, str) and _DOTTED.fullmatch(node.value):
            self.words.add(node.value)

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self._refer(node.id, ())

    def visit_Attribute(self, node: ast.Attribute) -> None:
        base, chain = _unrolled(node)
        self.attributes.update(f"{name}.{after}" if after else name for name, after in zip(chain, (*chain[1:], "")))  # noqa: B905
        if isinstance(base, ast.Name):
            self._refer(base.id, chain)
        elif isinstance(base, ast.Call) and (part := self._part(base)):
            self.parts[part.model_copy(update={"chain": chain})] = None
            self.generic_visit(base)
        else:
            self.visit(base)

    def visit_Call(self, node: ast.Call) -> None:
        """`getattr(x, "name", default)` reads the attribute as `x.name` does."""
        if part := self._part(node):
            self.parts[part] = None
        match node:
            case ast.Call(func=ast.Name(id="getattr") as function, args=[it, ast.Constant(value=str(name)), *default]):
                for each in (function, ast.Attribute(value=it, attr=name, ctx=ast.Load()), *default):
                    self.visit(each)
            case _:
                self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        """A variable that holds a domain's module stands for it; anything else is visited whole."""
        part = self._part(node.value)
        name = node.targets[0].id if part and isinstance(node.targets[0], ast.Name) else ""
        if self.scopes and self.scopes[-1].get(name) == part is not None:
            self.generic_visit(node.value)
        else:
            self.generic_visit(node)

    def _scoped(self, names: dict[str, Bound], body: list[ast.AST] | list[ast.stmt] | list[ast.expr]) -> None:
        self.scopes.append(names)
        for each in body:
            self.visit(each)
        self.scopes.pop()

    def _refer(self, name: str, chain: tuple[str, ...]) -> None:
        for scope in reversed(self.scopes):
            if name in scope:
                bound = scope[name]
                if isinstance(bound, Reference):
                    self.references[Reference(module=bound.module, chain=(*bound.chain, *chain))] = None
                elif bound is not None:
                    self.parts[bound.model_copy(update={"chain": chain})] = None
                return
        self.references[Reference(chain=(name, *chain))] = None

    def _part(self, node: ast.AST) -> DomainModuleUse | None:
        """The part of a domain's code that a call asks for; none where it is another call."""
        if not isinstance(node, ast.Call):
            return None
        base, chain = _unrolled(node.func)
        if not isinstance(base, ast.Name) or (base.id, *chain)[-1] != domains.module.__name__:
            return None
        known = next(
            (scope[base.id] for scope in reversed(self.scopes) if base.id in scope), Reference(chain=(base.id,))
        )
        if not isinstance(known, Reference):
            return None
        asked = [*node.args[1:2], *(each.value for each in node.keywords if each.arg == "part")]
        part = asked[0].value if asked and isinstance(asked[0], ast.Constant) else ""
        return DomainModuleUse(callee=Reference(module=known.module, chain=(*known.chain, *chain)), part=str(part))

    def _absolute(self, node: ast.ImportFrom) -> str:
        above = self.inside.split(".")[: len(self.inside.split(".")) - node.level + 1] if node.level else []
        return ".".join([*above, *([node.module] if node.module else [])])

    def _bound(self, nodes: Iterator[ast.AST] | list[ast.stmt]) -> Iterator[tuple[str, Bound]]:
        """Names that these nodes bind in their own scope; twice where they bind one twice."""
        names: dict[str, list[Bound]] = {}
        for node in nodes:
            for name, bound in self._binding(node):
                names.setdefault(name, []).append(bound)
        for name, all_bound in names.items():
            if any(isinstance(each, DomainModuleUse) for each in all_bound) and len(all_bound) > 1:
                yield name, None  # then visit_Assign counts each of them whole
            else:
                yield name, next((each for each in all_bound if each is not None), None)

    def _binding(self, node: ast.AST) -> Iterator[tuple[str, Bound]]:
        if isinstance(node, ast.Import):
            for each in node.names:
                top = each.name.partition(".")[0]
                yield each.asname or top, Reference(module=each.name if each.asname else top)
        elif isinstance(node, ast.ImportFrom):
            for each in node.names if node.module != "__future__" else ():
                yield each.asname or each.name, Reference(module=self._absolute(node), chain=(each.name,))
        elif isinstance(node, ast.Assign) and (part := self._part(node.value)):
            for target in node.targets:
                yield from ((name, part if isinstance(target, ast.Name) else None) for name, _ in self._binding(target))
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node.id, None
        elif isinstance(node, (*_FUNCTION, ast.ClassDef)):
            yield node.name, None
        elif not isinstance(node, _SCOPE):
            name = getattr(node, "name", None) or getattr(node, "rest", None)  # except … as, case … as
            if isinstance(name, str) and not isinstance(node, ast.alias):
                yield name, None
            for child in ast.iter_child_nodes(node):
                yield from self._binding(child)


def _arguments(node: ast.arguments) -> list[ast.arg]:
    found = [*node.posonlyargs, *node.args, *node.kwonlyargs]
    return [*found, *(each for each in (node.vararg, node.kwarg) if each is not None)]


def _handed(node: ast.stmt) -> Iterator[Handed]:
    """The names that a statement of the form `A = B(key=name)` hands on, taken out of it."""
    if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
        return
    base, chain = _unrolled(node.value.func)
    for each in node.value.keywords if isinstance(base, ast.Name) else ():
        if isinstance(base, ast.Name) and isinstance(each.value, ast.Name) and each.arg:
            callee = Reference(chain=(base.id, *chain))
            yield Handed(callee=callee, keyword=each.arg, reference=Reference(chain=(each.value.id,)))
            each.value = ast.Constant(value=None)


def _unrolled(node: ast.expr) -> tuple[ast.expr, tuple[str, ...]]:
    """First expression of a chain of attributes, and the attributes in order."""
    chain: list[str] = []
    while isinstance(node, ast.Attribute):
        chain.append(node.attr)
        node = node.value
    return node, tuple(reversed(chain))
