"""Versions of feature views: one is served for as long as a domain or a released model names it, and can go afterwards."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from hallmark.lint.declarations import Declaration, declaration_of
from hallmark.lint.objects import LintContext, ViewReaders
from hallmark.lint.reading import integer, listing, mapping, text
from hallmark.lint.rules import RuleMatch, Severity, rule
from hallmark.lint.source import Document
from hallmark.lint.views import ViewFile, view_of
from hallmark.registry import readers

_VIEWS = "https://docs.feast.dev/getting-started/concepts/feature-view"


@dataclass(frozen=True, eq=False)
class ReleaseFile:
    """A release.yaml as it is written."""

    document: Document
    data: dict[str, Any]

    def hit(self, said: str, *path: str | int) -> RuleMatch:
        """A finding at `path` of the release."""
        return RuleMatch(self.document, path, said)

    def views(self, models: Path | None) -> Iterator[tuple[str, int, tuple[str, ...] | None]]:
        """Each released model: its role, its version, and the views that it reads, none where its folder is not here."""
        for role in ("stable", "candidate", "previous"):
            if target := mapping(self.data, role):
                folder = readers.folder_of(text(target, "storageUri"), models) if models else None
                yield role, integer(target, "version") or 0, readers.views_of(folder) if folder else None


def release_of(document: Document) -> ReleaseFile | None:
    """The release that a document is, by the file's name."""
    named = PurePosixPath(document.shown).name == "release.yaml" and isinstance(document.data, dict)
    return ReleaseFile(document, document.data) if named else None


def readers_of(read: Iterable[Document], models: Path | None) -> ViewReaders:
    """What these documents say of views: which versions there are, and which are read."""
    declared: set[str] = set()
    named: set[str] = set()
    complete = True
    for document in read:
        if view := view_of(document):
            declared.add(_reference(view))
        if domain := declaration_of(document):
            named |= {each for each in listing(domain.data, "features", "views") if isinstance(each, str)}
        if release := release_of(document):
            for _, _, views in release.views(models):
                named |= set(views or ())
                complete = complete and views is not None
    return ViewReaders(frozenset(declared), frozenset(named), complete)


def _reference(view: ViewFile) -> str:
    return f"{text(view.data, 'name')}@{integer(view.data, 'version')}"


@rule(
    "HM911",
    "A view that a domain reads and nobody declares",
    on=Declaration,
    reason="no training can compute its columns, and no stream keeps it up to date for the models that read it",
    fix="name a version that features/ has, or bring its file back",
    link=_VIEWS,
)
def undeclared(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/declaration/features.py; silent where no checkout is known."""
    for index, name in enumerate(listing(declaration.data, "features", "views")):
        if isinstance(name, str) and world.domains is not None and name not in world.views.declared:
            known = ", ".join(sorted(world.views.declared)) or "none yet"
            yield declaration.hit(f"there is no feature view {name}; there is {known}", "features", "views", index)


@rule(
    "HM912",
    "A view that a released model reads and nobody declares",
    on=ReleaseFile,
    reason="its stream is kept up to date by nobody, so the model that is served gets values that grow old, and then none",
    fix="bring the file of that version back, until no release names a model that reads it",
    link=_VIEWS,
)
def removed(release: ReleaseFile, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/registry/readers.py: signature.json of the folder; silent of models that lie on another machine."""
    for role, version, views in release.views(world.models):
        for name in sorted({*(views or ())} - world.views.declared) if world.domains is not None else ():
            yield release.hit(f"{role}: version {version} reads {name}, and there is no features/{_file(name)}", role)


@rule(
    "HM913",
    "A version of a view that nobody reads any more",
    on=ViewFile,
    severity=Severity.warning,
    reason="a newer one is declared, and no domain and no released model names this one: its stream is paid for by nobody's use",
    fix="remove the file, and the folder of its stream",
    link=_VIEWS,
)
def unread(view: ViewFile, world: LintContext) -> Iterator[RuleMatch]:
    """domain.yaml and release.yaml of all domains; silent while a released model lies where its views cannot be read."""
    name, number = text(view.data, "name"), integer(view.data, "version") or 0
    versions = [each.partition("@") for each in world.views.declared]
    newer = any(other == name and version.isdecimal() and int(version) > number for other, _, version in versions)
    if newer and world.domains is not None and world.views.complete and _reference(view) not in world.views.named:
        yield view.hit(f"{_reference(view)} can go: nobody reads it, and there is a newer version", "version")


def _file(reference: str) -> str:
    name, _, version = reference.partition("@")
    return f"{name}/v{version}.yaml"
