"""Declarations of retrieval: what an index would be built of, and by whose encoder, which other files have to give."""

from __future__ import annotations

from collections.abc import Iterator

from hallmark.declaration import corpus
from hallmark.declaration.retrieval import Retrieval
from hallmark.lint.declarations import Declaration
from hallmark.lint.objects import LintContext
from hallmark.lint.reading import text
from hallmark.lint.rules import RuleMatch, rule

_ODCS = "https://bitol-io.github.io/open-data-contract-standard/v3.1.0/schema/"


def _retrieval(declaration: Declaration) -> Retrieval | None:
    """The section, where nothing is wrong with the declaration."""
    if declaration.problems or declaration.data.get("retrieval") is None:
        return None
    return Retrieval.model_validate(declaration.data["retrieval"])


@rule(
    "HM709",
    "A corpus of which no contract tells",
    on=Declaration,
    reason="nobody knows what an item is: an index of it can be neither built nor filled in",
    fix="name a contract of contracts/, name@version, that declares a string or an integer as primary key",
    link=_ODCS,
)
def unknown_corpus(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/declaration/corpus.py."""
    found = _retrieval(declaration)
    if found is None:
        return
    if found.corpus not in world.sources:
        if world.domains is not None:
            yield declaration.hit(f"there is no contract {found.corpus}", "retrieval", "corpus")
    elif source := world.sources[found.corpus]:
        for each in corpus.faults(found, source):
            if each.fault == "id":
                yield declaration.hit(each.text, "retrieval", *each.path)


@rule(
    "HM710",
    "A column that the corpus does not have",
    on=Declaration,
    reason="the index cannot hold it: its training fails once every item has been encoded",
    fix="name a column of the contract; words are of texts, all else is filtered by",
    link=_ODCS,
)
def column(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/declaration/corpus.py."""
    found = _retrieval(declaration)
    source = world.sources.get(found.corpus) if found else None
    if found and source:
        for each in corpus.faults(found, source):
            if each.fault != "id":
                yield declaration.hit(f"{'.'.join(map(str, each.path))}: {each.text}", "retrieval", *each.path)


@rule(
    "HM711",
    "An encoder of no domain",
    on=Declaration,
    reason="its version is looked for in the registry at the end of a training, and is not there",
    fix="name a declared domain and a version that `hallmark versions` lists, or write own",
    link="https://sre.google/sre-book/simplicity/",
)
def encoder(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """retrieval.encoder, against the declared domains."""
    found = _retrieval(declaration)
    if found and found.borrowed and world.domains is not None and found.borrowed[0] not in world.domains:
        said = f"{text(declaration.data, 'retrieval', 'encoder')}: {found.borrowed[0]} is no declared domain"
        yield declaration.hit(said, "retrieval", "encoder")
