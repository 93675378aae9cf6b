"""Options to be searched: KEY=LOW..HIGH, or KEY=[one, another], as `hallmark tune --option` takes them."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Literal

from hallmark import key_value
from hallmark.errors import DeclarationError
from hallmark.section import EXACT, Frozen

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

_FORMS = "KEY=LOW..HIGH for numbers, KEY=[one, another] for values to choose from"
_EXAMPLE = "write it as in --option learning_rate=0.01..0.2, or --option objective=[binary, cross_entropy]"
_RANGE = re.compile(r"\s*(\S+?)\s*\.\.\s*(\S+)\s*")
_WIDE = 10.0
"""From this ratio of its ends on a range of positive numbers is searched by its logarithm."""


class Range(Frozen):
    """Numbers from `low` to `high`, both of them possible; whole ones where both ends are."""

    kind: Literal["range"] = "range"
    low: int | float
    high: int | float

    @property
    def whole(self) -> bool:
        """True where only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def by_logarithm(self) -> bool:
        """True where a factor counts and not a difference: 0.01 to 0.02 is as far as 0.1 to 0.2."""
        return self.low > 0 and self.high / self.low >= _WIDE

    def distribution(self) -> BaseDistribution:
        """The same as Optuna has it."""
        from optuna.distributions import FloatDistribution, IntDistribution

        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.by_logarithm)
        return FloatDistribution(self.low, self.high, log=self.by_logarithm)

    def __str__(self) -> str:
        return f"{self.low}..{self.high}"


class Choice(Frozen):
    """Values of which one is taken."""

    kind: Literal["choice"] = "choice"
    values: tuple[bool | int | float | str, ...]

    def distribution(self) -> BaseDistribution:
        """The same as Optuna has it."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.values)

    def __str__(self) -> str:
        return f"[{', '.join(map(str, self.values))}]"


Searched = Range | Choice


def parse(given: list[str]) -> tuple[dict[str, Searched], dict[str, Any]]:
    """What `--option` says: options that are searched, and options that are the same in every try.

    `DeclarationError` where one cannot be read, comes twice, or none is searched.
    """
    searched: dict[str, Searched] = {}
    same: dict[str, Any] = {}
    for item in given:
        key, equals, value = item.partition("=")
        if not equals or not key.isidentifier():
            raise DeclarationError("--option cannot be read", expected=_FORMS, got=repr(item), fix=_EXAMPLE)
        if key in searched or key in same:
            raise DeclarationError(
                f"--option {key} is given twice",
                expected="each option once",
                got=repr(item),
                fix="leave one of them out",
            )
        found = _range(key, value) or _choice(key, value)
        if found is not None:
            searched[key] = found
            continue
        same[key] = key_value.read("--option", key, value)
        if not isinstance(same[key], str | bool | int | float):
            raise DeclarationError(f"--option {key} cannot be read", expected=_FORMS, got=repr(value), fix=_EXAMPLE)
    if not searched:
        raise DeclarationError(
            "there is nothing to search",
            expected=f"--option {_FORMS}",
            got=" ".join(given) or "no --option",
            fix=_EXAMPLE,
        )
    return searched, same


def _range(key: str, value: str) -> Range | None:
    match = _RANGE.fullmatch(value)
    if match is None:
        return None
    low, high = (key_value.read("--option", key, each) for each in match.groups())
    plain = all(isinstance(each, int | float) and not isinstance(each, bool) for each in (low, high))
    if (
        not plain
        or not (math.isfinite(low) and math.isfinite(high))
        or not low < high
        or max(abs(low), abs(high)) > EXACT
    ):
        raise DeclarationError(
            f"--option {key} is not a range",
            expected="two numbers, the lower one first",
            got=repr(value),
            fix=_EXAMPLE,
        )
    return Range(low=low, high=high)


def _choice(key: str, value: str) -> Choice | None:
    if not value.strip().startswith("["):
        return None
    found = key_value.read("--option", key, value)
    scalar = isinstance(found, list) and all(
        isinstance(each, str | bool | int) or (isinstance(each, float) and math.isfinite(each)) for each in found
    )
    if not scalar or len({(type(each), each) for each in found}) < max(2, len(found)):
        raise DeclarationError(
            f"--option {key} is not a choice",
            expected="two or more different words, numbers, or true and false",
            got=repr(value),
            fix=_EXAMPLE,
        )
    return Choice(values=tuple(found))
