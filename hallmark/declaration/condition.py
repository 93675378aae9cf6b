"""Conditions of a decision: comparisons of an item's fields and nodes' outputs, typed when they are read, and interpreted, never compiled.

    view.counterfeit < 0.2 and not (item.brand in ["a", "b"] or nearest.distance >= 0.5)

`or` binds less than `and`, that less than `not`; a comparison has two sides of one kind; numbers are finite. A server needs nothing else to
read them, as it would for the SQL of feature views (expression.py).
"""

from __future__ import annotations

import json
import math
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple

Kind = Literal["number", "text", "truth", "texts"]
"""Kinds of values; texts is a list, which a condition asks only whether it holds one."""
Value = float | str | bool | tuple[str, ...]
ITEM = "item"
LONGEST = 500
"""Characters of a condition."""
_DEEPEST = 20
_TOKEN = re.compile(
    r"""\s*(?:(?P<number>-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?)|(?P<text>"(?:[^"\\]|\\.)*")"""
    r"""|(?P<name>[a-z_]\w*(?:\.[a-z_]\w*)?)|(?P<sign><=|>=|==|!=|[<>()\[\],]))""",
    re.ASCII,
)
_COMPARED: Mapping[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "==": operator.eq, "!=": operator.ne,
}  # fmt: skip
_ORDERED = ("<", "<=", ">", ">=")
_TURNED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}
_WORDS = ("and", "or", "not", "in", "true", "false")
_GRAMMAR = 'comparisons (< <= > >= == !=, in) of node.output, item.field, numbers, "texts", true and false, with and, or, not and parentheses'


class Wrong(ValueError):
    """A text that is no condition, or means nothing here; it says what was expected, and ends with what it got or with the fix."""


class Unowned(Wrong):
    """A name without whose it is."""

    def __init__(self, name: str) -> None:
        super().__init__(f"expected {_GRAMMAR}; got {name}")
        self.name = name


@dataclass(frozen=True)
class Literally:
    """A value that stands in the text; a tuple for a list."""

    value: float | str | bool | tuple[float | str, ...]


@dataclass(frozen=True)
class Named:
    """An output of a node, or a field of the item."""

    owner: str
    name: str

    @property
    def shown(self) -> str:
        """The name as it is written."""
        return f"{self.owner}.{self.name}"


@dataclass(frozen=True)
class Compared:
    """Two values and the sign between them; `in` where the right side is a list."""

    sign: str
    left: Literally | Named
    right: Literally | Named


@dataclass(frozen=True)
class Joined:
    """and, or: of two parts; not: of one."""

    word: Literal["and", "or", "not"]
    parts: tuple[Condition, ...]


Condition = Joined | Compared | Named | Literally


@lru_cache(maxsize=4096)
def parsed(text: str) -> Condition:
    """The condition that a text is, or `Wrong`."""
    if len(text) > LONGEST:
        raise Wrong(f"expected at most {LONGEST} characters; got {len(text)}")
    return _Reader(text).whole()


def checked(text: str, kinds: Mapping[str, Kind]) -> Condition:
    """The condition that a text is among these values (by `node.output`), or `Wrong`."""
    try:
        found = parsed(text)
    except Unowned as error:
        meant = [each for each in kinds if each.partition(".")[2] == error.name]
        if not meant:
            raise
        raise Wrong(f"expected item.field or node.output; got {error.name} (write {' or '.join(meant)})") from None
    check(found, kinds)
    return found


def names(condition: Condition) -> frozenset[Named]:
    """Every value that the condition reads."""
    if isinstance(condition, Joined):
        return frozenset().union(*map(names, condition.parts))
    sides = (condition.left, condition.right) if isinstance(condition, Compared) else (condition,)
    return frozenset(each for each in sides if isinstance(each, Named))


class Beside(NamedTuple):
    """A comparison of a named value with values in the text, the name on the left; `in` for a list on either side."""

    sign: str
    named: Named
    values: tuple[float | str | bool, ...]
    shown: str


def comparisons(condition: Condition) -> Iterator[Beside]:
    """Every comparison of a named value with what stands in the text."""
    if isinstance(condition, Joined):
        for part in condition.parts:
            yield from comparisons(part)
    elif isinstance(condition, Compared):
        sign, left, right = condition.sign, condition.left, condition.right
        shown = f"{_shown(left)} {sign} {_shown(right)}"
        if isinstance(left, Literally) and isinstance(right, Named):
            sign, left, right = _TURNED.get(sign, sign), right, left
        if isinstance(left, Named) and isinstance(right, Literally):
            yield Beside(sign, left, right.value if isinstance(right.value, tuple) else (right.value,), shown)


def certain(found: Beside, low: float, high: float) -> bool | None:
    """Whether a comparison with numbers holds of every number from `low` to `high`, or of none; None where it depends on the number."""
    if found.sign in _ORDERED:
        ends = [bool(_COMPARED[found.sign](end, found.values[0])) for end in (low, high)]
        return ends[0] if ends[0] == ends[1] else None
    within = any(low <= float(each) <= high for each in found.values)
    return None if within else found.sign == "!="


def check(condition: Condition, kinds: Mapping[str, Kind]) -> None:
    """`Wrong` where the condition reads what is not among `kinds` (by `node.output`), or compares unlike things."""
    if isinstance(condition, Joined):
        for part in condition.parts:
            check(part, kinds)
    elif isinstance(condition, Compared):
        _compared(condition, kinds)
    elif (kind := _kind(condition, kinds)) != "truth":
        raise Wrong(f"expected a condition; got {_shown(condition)}, which is a {kind}: compare it with a value")


def holds(condition: Condition, values: Mapping[str, Value]) -> bool:
    """Whether a condition that was checked holds of these values, by `node.output`; all that it reads are there."""
    if isinstance(condition, Joined):
        if condition.word == "not":
            return not holds(condition.parts[0], values)
        every = condition.word == "and"
        return (all if every else any)(holds(part, values) for part in condition.parts)
    if isinstance(condition, Compared):
        left, right = _value(condition.left, values), _value(condition.right, values)
        if condition.sign == "in":
            return isinstance(right, tuple) and left in right
        return bool(_COMPARED[condition.sign](left, right))
    return _value(condition, values) is True


def _value(side: Literally | Named, values: Mapping[str, Value]) -> object:
    return side.value if isinstance(side, Literally) else values[side.shown]


def _kind(side: Literally | Named, kinds: Mapping[str, Kind]) -> Kind:
    if isinstance(side, Named):
        if side.shown not in kinds:
            raise Wrong(
                f"expected one of {', '.join(sorted(kinds)) or 'nothing, as nothing was asked yet'}; got {side.shown}"
            )
        return kinds[side.shown]
    if isinstance(side.value, bool):
        return "truth"
    return "number" if isinstance(side.value, float) else "text"


def _compared(condition: Compared, kinds: Mapping[str, Kind]) -> None:
    left, sign, right = condition.left, condition.sign, condition.right
    kind = _kind(left, kinds)
    if sign == "in":
        if isinstance(right, Literally) and isinstance(right.value, tuple):
            wanted = {"number" if isinstance(each, float) else "text" for each in right.value}
        else:
            wanted = {"text"} if _kind(right, kinds) == "texts" else {"a list"}
        if wanted != {kind}:
            raise Wrong(f"expected a list of values such as {_shown(left)}, a {kind}, behind in; got {_shown(right)}")
        return
    other = _kind(right, kinds)
    if kind != other or kind == "texts":
        raise Wrong(f"expected values of one kind on both sides of {sign}; got a {kind} and a {other}")
    if sign in _ORDERED and kind != "number":
        raise Wrong(f"expected numbers on both sides of {sign}; got a {kind}")


def _shown(side: Literally | Named) -> str:
    return side.shown if isinstance(side, Named) else json.dumps(side.value)


class _Reader:
    """Reads one text by recursive descent."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        self._at = self._depth = 0
        place = 0
        while text[place:].strip():
            match = _TOKEN.match(text, place)
            if match is None or match.lastgroup is None:
                raise Wrong(f"expected {_GRAMMAR}; got {text[place:].strip()[:30]!r}")
            self._tokens.append((match.lastgroup, match[match.lastgroup]))
            place = match.end()

    def whole(self) -> Condition:
        found = self._any_of()
        if self._at < len(self._tokens):
            raise self._wrong()
        return found

    def _any_of(self) -> Condition:
        found = self._all_of()
        while self._taken("or"):
            found = Joined("or", (found, self._all_of()))
        return found

    def _all_of(self) -> Condition:
        found = self._one()
        while self._taken("and"):
            found = Joined("and", (found, self._one()))
        return found

    def _one(self) -> Condition:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise Wrong(f"expected parentheses and not at most {_DEEPEST} deep; got more")
        try:
            if self._taken("not"):
                return Joined("not", (self._one(),))
            if self._taken("("):
                found = self._any_of()
                self._demand(")")
                return found
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Condition:
        left = self._side()
        for sign in _COMPARED:
            if self._taken(sign):
                return Compared(sign, left, self._side())
        if self._taken("in"):
            return Compared("in", left, self._list() if self._taken("[") else self._side())
        return left

    def _list(self) -> Literally:
        found: list[float | str] = []
        while True:
            side = self._side()
            if not isinstance(side, Literally) or isinstance(side.value, bool | tuple):
                raise Wrong(f"expected numbers or texts in a list; got {_shown(side)}")
            found.append(side.value)
            if self._taken("]"):
                return Literally(tuple(found))
            self._demand(",")

    def _side(self) -> Literally | Named:
        kind, text = self._tokens[self._at] if self._at < len(self._tokens) else ("", "")
        self._at += 1
        if kind == "number" and math.isfinite(number := float(text)):
            return Literally(number)
        if kind == "text":
            return Literally(_unquoted(text))
        if text in ("true", "false"):
            return Literally(text == "true")
        owner, dot, name = text.partition(".")
        if kind == "name" and dot:
            return Named(owner, name)
        if kind == "name" and text not in _WORDS:
            raise Unowned(text)
        self._at -= 1
        raise self._wrong()

    def _taken(self, text: str) -> bool:
        kind, found = self._tokens[self._at] if self._at < len(self._tokens) else ("", "")
        if kind in ("name", "sign") and found == text:
            self._at += 1
            return True
        return False

    def _demand(self, text: str) -> None:
        if not self._taken(text):
            raise self._wrong(text)

    def _wrong(self, wanted: str = "") -> Wrong:
        got = self._tokens[self._at][1] if self._at < len(self._tokens) else "the end of the text"
        return Wrong(f"expected {wanted or _GRAMMAR}; got {got}")


def _unquoted(text: str) -> str:
    try:
        return str(json.loads(text))
    except ValueError:
        raise Wrong(f"expected a text in double quotes, as JSON has it; got {text[:30]}") from None
