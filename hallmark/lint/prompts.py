"""Prompts, and the reviewers that are asked by them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from pathlib import PurePosixPath
from typing import Any

from pydantic import ValidationError

from hallmark.declaration.condition import Beside
from hallmark.lint.declarations import Declaration, comparisons_in, keys_of
from hallmark.lint.objects import LintContext
from hallmark.lint.reading import listing, mapping, text
from hallmark.lint.rules import RuleMatch, rule
from hallmark.lint.source import Document, Keys
from hallmark.prompts.answer import Property
from hallmark.prompts.prompt import FILE, Prompt
from hallmark.section import contradictions_in, duration

_SCHEMA = "https://json-schema.org/understanding-json-schema/reference/object"
_CACHE = "https://github.com/vllm-project/vllm/issues/20261"


@dataclass(frozen=True, eq=False)
class PromptFile:
    """A prompt.yaml as it is written, valid or not."""

    document: Document
    data: dict[str, Any]

    @cached_property
    def read(self) -> tuple[Prompt | None, tuple[tuple[Keys, str], ...]]:
        """The prompt, or what is wrong with it: the key and the reason."""
        try:
            return Prompt.model_validate(self.data), ()
        except ValidationError as error:
            return None, tuple(each for item in error.errors() for each in _problems(item))


def _problems(item: Mapping[str, Any]) -> list[tuple[Keys, str]]:
    if found := contradictions_in(item):
        return [(keys_of(key), told) for key, told in found]
    return [(tuple(item["loc"]), item["msg"].removeprefix("Value error, "))]


def prompt_of(document: Document) -> PromptFile | None:
    """The prompt that a document is, by the file's name."""
    if PurePosixPath(document.shown).name != FILE or not isinstance(document.data, dict):
        return None
    return PromptFile(document, document.data)


def prompts_of(read: Iterable[Document]) -> dict[str, Prompt | None]:
    """The prompts among documents, by name."""
    return {text(found.data, "name"): found.read[0] for each in read if (found := prompt_of(each))}


@rule(
    "HM764",
    "A prompt that is refused",
    on=PromptFile,
    reason="it is never sealed, registered or served: a variable that nothing fills, or an answer that no schema holds, would reach a verdict",
    fix="mend the key; `hallmark prompts check` looks at its examples, golden set and pictures too",
    link=_SCHEMA,
)
def refused(prompt: PromptFile, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/prompts/prompt.py."""
    for path, why in prompt.read[1]:
        yield RuleMatch(prompt.document, path, f"{'.'.join(map(str, path)) or 'the whole'}: {why}")
    folder = PurePosixPath(prompt.document.shown).parent
    if folder.parent.name == "prompts" and folder.name != text(prompt.data, "name"):
        yield RuleMatch(prompt.document, ("name",), f"name: expected {folder.name}, as its folder is called")


def _reviewers(declaration: Declaration) -> Iterator[tuple[str, dict[str, Any]]]:
    """The nodes of a decision that are reviewers, by name."""
    for name, node in mapping(declaration.data, "decision", "nodes").items():
        if isinstance(node, dict) and text(node, "kind") == "reviewer":
            yield name, node


@rule(
    "HM765",
    "Several pictures on a reviewer that shares its prefixes",
    on=Declaration,
    reason="vLLM was seen to answer from the pictures of another request that began with the same words: one item's verdict rests on another's photos",
    fix="write reviewer.prefix_caching: off, or salted",
    link=_CACHE,
)
def shared_prefixes(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """reviewer.prefix_caching against what the domain's prompts attach."""
    if text(declaration.data, "reviewer", "prefix_caching") != "shared":
        return
    for name, node in _reviewers(declaration):
        prompt = world.prompts.get(text(node, "prompt"))
        if prompt is not None and prompt.pictures > 1:
            said = f"{prompt.name}, which {name} is asked by, has up to {prompt.pictures} pictures in a request"
            yield declaration.hit(said, "reviewer", "prefix_caching")


@rule(
    "HM766",
    "A reviewer without a prompt",
    on=Declaration,
    reason="nobody knows what it is asked, nothing says when that changes, and no golden set judges the change",
    fix="write prompt: with the name of a folder of prompts/",
    link=_SCHEMA,
)
def unprompted(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """decision.nodes, against prompts/ where a checkout is known."""
    for name, node in _reviewers(declaration):
        named = text(node, "prompt")
        if not named:
            yield declaration.hit(f"{name} names no prompt", "decision", "nodes", name, "kind")
        elif world.domains is not None and named not in world.prompts:
            known = ", ".join(sorted(world.prompts)) or "none yet"
            yield declaration.hit(f"there is no prompt {named}; there is {known}", "decision", "nodes", name, "prompt")


@rule(
    "HM767",
    "A reviewer that does not fit its prompt",
    on=Declaration,
    reason="each request of it would be refused, or an output that the graph reads would never come, so that the decision always goes to the fallback",
    fix="have reads, outputs and timeout say what the prompt's variables, answer and budget say, and reviewer what its model says",
    link=_SCHEMA,
)
def unfit(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """decision.nodes and reviewer against prompt.yaml."""
    for name, node in _reviewers(declaration):
        prompt = world.prompts.get(text(node, "prompt"))
        if prompt is None:
            continue
        place = ("decision", "nodes", name)
        reads = [each for each in listing(node, "reads") if isinstance(each, str)]
        for keys, told in prompt.misfits(name, reads, mapping(node, "outputs")):
            yield declaration.hit(told, *place, *keys)
        try:
            if duration(node.get("timeout", "1s")) < prompt.budget.timeout:
                yield declaration.hit(f"{prompt.name} has a longer budget than {name} has time", *place, "timeout")
        except ValueError:
            continue  # HM701 says so
        reviewer = mapping(declaration.data, "reviewer")
        for key, value in (("served_name", prompt.model.name), ("model", prompt.model.uri)):
            if reviewer and reviewer.get(key) != value:
                yield declaration.hit(f"{prompt.name} is written for {value}", "reviewer", key)


def asked_of_reviewers(declaration: Declaration, world: LintContext) -> Iterator[tuple[Keys, Beside, Property]]:
    """Each comparison with a reviewer's output, by the key of its condition, and what its prompt's schema says of that output."""
    prompts = {name: world.prompts.get(text(node, "prompt")) for name, node in _reviewers(declaration)}
    for keys, each in comparisons_in(declaration):
        prompt = prompts.get(each.named.owner)
        if prompt is not None and (found := prompt.outputs.get(each.named.name)) is not None:
            yield keys, each, found


@rule(
    "HM769",
    "A condition on a word that no answer has",
    on=Declaration,
    reason="a server holds the reviewer to the words of its schema: the condition never holds, or with != always, and nothing says so",
    fix="write a word of the prompt's schema, or add this one to its enum",
    link=_SCHEMA,
)
def unanswerable(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """decision.steps against answer.schema of prompt.yaml."""
    for keys, each, found in asked_of_reviewers(declaration, world):
        words = found.enum or (found.items.enum if found.items else None)
        for value in each.values if words else ():
            if isinstance(value, str) and words and value not in words:
                said = f"{each.named.shown} is never {json.dumps(value)}: it is one of {', '.join(words)}"
                close = get_close_matches(value, words, 1)
                match = declaration.hit(said, *keys)
                yield match.mended(f"did you mean {json.dumps(close[0])}?") if close else match
