"""What a PromQL expression names: metrics with the labels of their matchers, and the labels that it groups by or makes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_TEXT = re.compile(r"\"((?:[^\"\\]|\\.)*)\"|'((?:[^'\\]|\\.)*)'")
_RANGE = re.compile(r"\[[0-9a-z:]+\]")
_OFFSET = re.compile(r"\boffset\s+[0-9a-z]+")
_CLAUSE = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_SELECTOR = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(\{[^}]*\})?(?!\s*\()(?![a-zA-Z0-9_:])")
_MATCHER = re.compile(r"([a-zA-Z_]\w*)\s*(=~|!~|!=|=)\s*\"(\d+)\"")
_REPLACED = re.compile(r"\"(\w+)\", \"\$1\", \"(\w+)\"")
_WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}


class Selector(NamedTuple):
    """A metric, the labels that it is picked by, and of those that must equal a text, which."""

    metric: str
    labels: frozenset[str]
    equals: frozenset[tuple[str, str]]


def selectors(expr: str) -> Iterator[Selector]:
    """All of an expression's."""
    texts: list[str] = []

    def kept(match: re.Match[str]) -> str:
        texts.append(match[1] if match[1] is not None else match[2])
        return f'"{len(texts) - 1}"'

    bare = _CLAUSE.sub(" ", _OFFSET.sub(" ", _RANGE.sub(" ", _TEXT.sub(kept, expr))))
    for name, written in _SELECTOR.findall(bare):
        if name not in _WORDS:
            found = _MATCHER.findall(written)
            equals = frozenset((label, texts[int(at)]) for label, sign, at in found if sign == "=")
            yield Selector(name, frozenset(label for label, _, _ in found), equals)


def grouped(expr: str) -> set[str]:
    """The labels in by (...), on (...) and the like."""
    found = _CLAUSE.findall(_TEXT.sub('""', expr))
    return {label.strip() for clause in found for label in clause.split(",") if label.strip()}


def made(expr: str) -> set[str]:
    """The labels that label_replace gives."""
    return {label for label, _ in _REPLACED.findall(expr)}
