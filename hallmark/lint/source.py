"""YAML and Python files as data that knows the line and column of every key."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from hallmark.errors import DeclarationError

Keys = tuple[str | int, ...]
"""Path of a value in its document, such as ("spec", "containers", 0, "image")."""

_DEEPEST = 100
_LARGEST = 200_000
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_RESOLVER: Any = yaml.resolver.Resolver()
_CONSTRUCTOR: Any = yaml.constructor.SafeConstructor()
_JSON = json.JSONDecoder()
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?[eE][+-]?\d+|\t')
_ESCAPED = re.compile(
    r"\\\\|\\u(?P<high>d[89ab]\w\w)\\u(?P<low>d[c-f]\w\w)|(?P<lone>\\ud[89a-f]\w\w)|(?P<odd>[\x7f-\x9f\u2028\u2029\ufffe\uffff])",
    re.IGNORECASE,
)
_ALLOW = re.compile(r"#\s*hallmark-lint:\s*allow\s+((?:HM\d{3}[,\s]+)+)because\s+\S")


class Unreadable(DeclarationError):
    """A file that cannot be judged: not UTF-8, not YAML, not Python, or made to exhaust its reader."""


@dataclass(slots=True)
class Node:
    """A value and where it stands; of a mapping, also where each key stands."""

    line: int
    column: int
    value: Any = None
    keys: dict[str, tuple[int, int]] = field(default_factory=dict)
    size: int = 1
    depth: int = 1

    def plain(self) -> Any:
        """The data alone; what an alias shares is shared."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


@dataclass(frozen=True, eq=False)
class Document:
    """One YAML document of a file, or one Python file.

    shown:      the file as findings name it.
    background: it informs the rules and is not judged itself.
    twice:      keys written a second time in one mapping, with line, column and the first one's line.
    """

    shown: str
    data: Any
    node: Node | None = None
    lines: tuple[str, ...] = ()
    background: bool = False
    twice: tuple[tuple[str, int, int, int], ...] = ()

    def mark(self, path: Keys) -> tuple[int, int]:
        """Line and column, from 1, of the key at `path`; of the nearest key above it where there is none."""
        node = self.node
        if node is None:
            return 1, 1
        found = (node.line, node.column)
        for part in path:
            if node is None or node.value is None:
                break
            if isinstance(node.value, dict) and part in node.value:
                found, node = node.keys[str(part)], node.value[part]
            elif isinstance(node.value, list) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                found = (node.line, node.column)
            else:
                break
        return found[0] + 1, found[1] + 1

    def allowed(self, line: int) -> frozenset[str]:
        """The codes that a comment with a reason allows on this line, or on the line above it."""
        codes: set[str] = set()
        for text in self.lines[max(0, line - 2) : line]:
            if match := _ALLOW.search(text):
                codes |= set(re.findall(r"HM\d{3}", match[1]))
        return frozenset(codes)


def documents(text: str, *, shown: str, background: bool = False) -> Iterator[Document]:
    """The documents of a YAML or JSON text; `Unreadable` names the line that is neither."""
    lines = tuple(text.splitlines())
    try:
        for first, part in _parts(text):
            reader = _Reader(shown, first)
            for node in reader.documents(part):
                yield Document(shown, node.plain(), node, lines, background, tuple(reader.twice))
                reader.twice.clear()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{shown}:{first + mark.line + 1}:{mark.column + 1}" if mark else shown
        raise Unreadable(
            f"{where} is not YAML", expected="YAML", got=str(error.problem), fix="mend that line"
        ) from error
    except yaml.YAMLError as error:
        raise Unreadable(f"{shown} is not YAML", expected="YAML in UTF-8", got=str(error).splitlines()[0]) from error


def _parts(text: str) -> Iterator[tuple[int, str]]:
    """The text in parts that YAML reads alike, each after the lines before it: JSON objects one after another as kubectl takes them, then YAML."""
    at = 0
    while (start := len(text) - len(text[at:].lstrip("\ufeff \t\r\n"))) < len(text) and text[start] == "{":
        try:
            _, end = _JSON.raw_decode(text, start)
        except (ValueError, RecursionError):
            break
        line = text.count("\n", 0, start)
        yield line, " " * (start - text.rfind("\n", 0, start) - 1) + _TOKEN.sub(_as_yaml, text[start:end])
        at = end
    if at == 0 or text[at:].strip():
        yield text.count("\n", 0, at), text[at:].lstrip(" \t") if at else text


def _as_yaml(token: re.Match[str]) -> str:
    """A token of JSON that YAML reads otherwise or not at all, as one that it reads the same, and as wide where that can be."""
    text = token[0]
    if text == "\t":
        return " "
    if text[0] != '"':
        mantissa, exponent, power = repr(float(text)).partition("e")
        return f"{mantissa}.0e{power}" if exponent and "." not in mantissa else f"{mantissa}{exponent}{power}"
    made = _ESCAPED.sub(_character, text)
    return made + " " * (len(text) - len(made))


def _character(escaped: re.Match[str]) -> str:
    if escaped["high"]:
        return f"\\U{0x10000 + (int(escaped['high'], 16) - 0xD800 << 10) + int(escaped['low'], 16) - 0xDC00:08x}"
    if escaped["lone"]:
        return r"\ufffd"  # as Go reads half a pair
    return rf"\u{ord(escaped['odd']):04x}" if escaped["odd"] else escaped[0]


def script(text: str, *, shown: str, background: bool = False) -> Document:
    """A Python file as its syntax tree, in `data`."""
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        raise Unreadable(f"{shown}:{line} is not Python", expected="Python 3.11", got=str(error)) from error
    return Document(shown, tree, None, tuple(text.splitlines()), background)


def text_of(path: Path, *, shown: str) -> str:
    """The text of a file; `Unreadable` where it is none."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        got = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Unreadable(f"{shown} cannot be read", expected="a file of UTF-8 text", got=got) from error


@dataclass(slots=True)
class _Frame:
    """A sequence or mapping that is not yet closed.

    key:     it waits for its value.
    merging: its key is `<<` without quotes.
    skip:    drops a value whose key is no scalar.
    """

    node: Node
    key: str | None = None
    merging: bool = False
    skip: bool = False
    merges: list[Node] = field(default_factory=list)


class _Reader:
    """Events to nodes without recursion: depth and size have limits, so that no file can exhaust the reader."""

    def __init__(self, shown: str, first: int = 0) -> None:
        self.shown = shown
        self.first = first
        self.twice: list[tuple[str, int, int, int]] = []

    def documents(self, text: str) -> Iterator[Node]:
        stack: list[_Frame] = []
        anchors: dict[str, Node] = {}
        root: Node | None = None
        events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                root, anchors = None, {}
                continue
            if isinstance(event, yaml.DocumentEndEvent):
                if root is not None:
                    yield root
                continue
            if isinstance(event, yaml.SequenceEndEvent | yaml.MappingEndEvent):
                frame = stack.pop()
                _close(frame)
                if frame.node.size > _LARGEST:
                    raise self._refused(frame.node, f"more than {_LARGEST} values once aliases are followed")
                if frame.node.depth > _DEEPEST:
                    raise self._refused(frame.node, f"nested more than {_DEEPEST} deep once aliases are followed")
                continue
            if isinstance(event, yaml.StreamStartEvent | yaml.StreamEndEvent):
                continue
            mark = (self.first + event.start_mark.line, event.start_mark.column)
            scalar: bool = isinstance(event, yaml.ScalarEvent)
            if isinstance(event, yaml.AliasEvent):
                if event.anchor not in anchors:
                    raise self._refused(Node(*mark), f"*{event.anchor}, whose anchor is not in the same document")
                node = anchors[event.anchor]
                if any(frame.node is node for frame in stack):
                    raise self._refused(Node(*mark), f"*{event.anchor} holds itself")
            elif scalar:
                node = Node(*mark, _scalar(event.value, event.tag, event.implicit[0]))
            else:
                node = Node(*mark, [] if isinstance(event, yaml.SequenceStartEvent) else {})
            if getattr(event, "anchor", None) and not isinstance(event, yaml.AliasEvent):
                anchors[event.anchor] = node
            if stack:
                raw = event.value if scalar else None
                self._attach(stack[-1], node, mark, raw, merging=raw == "<<" and event.implicit[0])
            else:
                root = node
            if isinstance(event, yaml.CollectionStartEvent):
                stack.append(_Frame(node))
                if len(stack) > _DEEPEST:
                    raise self._refused(node, f"nested more than {_DEEPEST} deep")

    def _attach(self, frame: _Frame, node: Node, mark: tuple[int, int], raw: str | None, *, merging: bool) -> None:
        parent = frame.node
        if isinstance(parent.value, list):
            parent.value.append(node)
        elif frame.skip:
            frame.skip = False
        elif frame.key is None:
            if raw is None:
                frame.skip = True
                return
            frame.key, frame.merging = raw, merging
            if raw in parent.value:
                self.twice.append((raw, mark[0] + 1, mark[1] + 1, parent.keys[raw][0] + 1))
            if not merging:
                parent.keys[raw] = mark
        else:
            key, frame.key = frame.key, None
            if frame.merging:
                frame.merges.append(node)
            else:
                parent.value[key] = node

    def _refused(self, node: Node, got: str) -> Unreadable:
        where = f"{self.shown}:{node.line + 1}:{node.column + 1}"
        return Unreadable(f"{where} cannot be read", expected="YAML that every reader takes", got=got)


@lru_cache(maxsize=65536)
def _scalar(text: str, tag: str | None, plain: bool) -> Any:
    """The value that a scalar stands for: null, true, a number, or its text; dates and unknown tags stay text."""
    if not plain and not tag:
        return text
    kind = str(_RESOLVER.resolve(yaml.ScalarNode, text, (True, False)) if plain else tag).rpartition(":")[2]
    if kind == "null":
        return None
    if kind not in {"bool", "int", "float"}:
        return text
    try:
        make = getattr(_CONSTRUCTOR, f"construct_yaml_{kind}")
        return make(yaml.ScalarNode(f"tag:yaml.org,2002:{kind}", text))
    except (ValueError, KeyError, OverflowError, IndexError):
        return text


def _close(frame: _Frame) -> None:
    node = frame.node
    for merged in frame.merges:
        for each in merged.value if isinstance(merged.value, list) else [merged]:
            if isinstance(each.value, dict):
                for key, value in each.value.items():
                    if key not in node.value:
                        node.value[key] = value
                        node.keys[key] = each.keys[key]
    children = list(node.value.values() if isinstance(node.value, dict) else node.value)
    node.size = 1 + sum(child.size for child in children)
    node.depth = 1 + max((child.depth for child in children), default=0)
