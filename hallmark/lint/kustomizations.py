"""Kustomizations among the files: which of them list a file, and what they add to the objects in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from hallmark.lint.objects import ClusterObject, LintContext
from hallmark.lint.reading import listing, text


def listing_it(each: ClusterObject, world: LintContext) -> Iterator[ClusterObject]:
    """The kustomizations whose resources name the object's file."""
    file = PurePosixPath(each.document.shown)
    for kustomization in world.of("Kustomization", "Component"):
        folder = PurePosixPath(kustomization.document.shown).parent
        listed = {joined(folder, item) for item in listing(kustomization.data, "resources") if isinstance(item, str)}
        if str(file) in listed:
            yield kustomization


def namespaced(each: ClusterObject, world: LintContext) -> bool:
    """True where a kustomization gives the object its namespace."""
    for kustomization in listing_it(each, world):
        # A strategic merge patch cannot: kustomize takes its metadata for the target's and keeps what the target has.
        added = [text(patch, "patch") for patch in listing(kustomization.data, "patches")]
        if kustomization.get("namespace") or any("/metadata/namespace" in patch for patch in added):
            return True
    return False


def patched(each: ClusterObject, world: LintContext) -> bool:
    """True where a kustomization lays patches over what it lists: a field that the file lacks may come from there."""
    return any(listing(kustomization.data, "patches") for kustomization in listing_it(each, world))


def joined(folder: PurePosixPath, item: str) -> str:
    """Path of `item`, as a kustomization in `folder` names it."""
    parts: list[str] = []
    for part in (folder / item).parts:
        if part == ".." and parts:
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)
