"""Environments among the files, and the traffic adapter of each: the kustomizations of clusters, in the mode that a component sets."""

from __future__ import annotations

from pathlib import PurePosixPath

from hallmark.declaration.traffic import KNATIVE, STANDARD, TrafficAdapter
from hallmark.lint.kustomizations import joined
from hallmark.lint.objects import MODE, ClusterObject, LintContext
from hallmark.lint.reading import listing, text

_CLUSTERS = "clusters"


def adapters(world: LintContext) -> dict[str, TrafficAdapter]:
    """The adapter of each environment, by its name; of --mode where that is given, and none where no file is one."""
    if world.options.mode is not None:
        return {f"--mode {world.options.mode.lower()}": STANDARD if world.options.mode == "Standard" else KNATIVE}
    known = {_folder(each): each for each in world.of("Kustomization", "Component")}
    return {
        folder.name: STANDARD if _is_standard(each, known, frozenset()) else KNATIVE
        for folder, each in known.items()
        if each.kind == "Kustomization" and folder.parent.name == _CLUSTERS
    }


def _folder(each: ClusterObject) -> PurePosixPath:
    return PurePosixPath(each.document.shown).parent


def _is_standard(
    each: ClusterObject, known: dict[PurePosixPath, ClusterObject], seen: frozenset[PurePosixPath]
) -> bool:
    """Does it or a component that it takes put InferenceServices into Standard mode?"""
    patches = [text(item, "patch") for item in listing(each.data, "patches")]
    if any(MODE.replace("/", "~1") in patch and "Standard" in patch for patch in patches):
        return True
    taken = {PurePosixPath(joined(_folder(each), item)) for item in listing(each.data, "components")} - seen
    return any(_is_standard(known[path], known, seen | taken) for path in taken if path in known)
