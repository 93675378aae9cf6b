"""Fields of a domain's features.py beside the columns of the feature views that its domain.yaml names."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath

from hallmark.declaration.view_types import view_types
from hallmark.errors import DeclarationError
from hallmark.lint.declarations import Declaration
from hallmark.lint.objects import DeclaredField, DeclaredFields, LintContext
from hallmark.lint.reading import listing
from hallmark.lint.rules import RuleMatch, rule
from hallmark.lint.source import Document


def fields_of(read: Iterable[Document]) -> Mapping[str, DeclaredFields]:
    """What each features.py among these documents declares in FIELDS, by its folder; nothing of one that computes them."""
    found = {}
    for document in read:
        path = PurePosixPath(document.shown)
        if path.name == "features.py" and isinstance(document.data, ast.Module):
            fields = _declared(document.data)
            if fields is not None:
                found[str(path.parent)] = DeclaredFields(document.shown, fields)
    return found


def _declared(tree: ast.Module) -> tuple[DeclaredField, ...] | None:
    """FIELDS as a tuple or list of calls with names and types that are written out; None where it is another."""
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        if any(isinstance(each, ast.Name) and each.id == "FIELDS" for each in targets):
            value = node.value  # type: ignore[attr-defined]
            calls = value.elts if isinstance(value, ast.Tuple | ast.List) else [None]
            fields = [_field(each) for each in calls]
            return None if None in fields else tuple(each for each in fields if each is not None)
    return None


def _field(node: ast.expr | None) -> DeclaredField | None:
    if not isinstance(node, ast.Call):
        return None
    given = {each.arg: each.value for each in node.keywords}
    name, datatype = (_text(given.get(key)) for key in ("name", "datatype"))
    return DeclaredField(name, datatype, "shape" in given, node.lineno) if name and datatype else None


def _text(node: ast.expr | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


@rule(
    "HM915",
    "A view that gives no field of its model, or one of another type",
    on=Declaration,
    reason="no training of the domain begins: what a view gives has to be a field of features.py, in the column's type",
    fix="declare the field under the column's name and type in FIELDS, or leave the view out",
    link="https://docs.feast.dev/getting-started/concepts/feature-view",
)
def unfitting(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/artifacts/views.py, uses; silent where views, contract or FIELDS are not at hand, or FIELDS is computed."""
    fields = world.fields.get(str(PurePosixPath(declaration.document.shown).parent))
    if fields is None:
        return
    for index, name in enumerate(listing(declaration.data, "features", "views")):
        view = world.declared.get(name) if isinstance(name, str) else None
        source = world.sources.get(view.source) if view is not None else None
        if view is None or source is None:
            continue
        try:
            types = view_types(view, source)
        except DeclarationError:
            continue  # told of the view itself
        given = [each for each in fields.fields if each.name in types]
        said = [
            f"{fields.file}:{each.line} has {each.name} as {each.datatype}{', with a shape' if each.has_shape else ''},"
            f" and {name} gives {types[each.name]}, one a record"
            for each in given
            if each.datatype != types[each.name] or each.has_shape
        ]
        if not given:
            said = [f"{name} gives {', '.join(types)}, and {fields.file} has none of them in FIELDS"]
        if said:
            yield declaration.hit("; ".join(said), "features", "views", index)
