"""IAM's answer to one request, by a role's own policies: deny before allow, nothing that is not allowed.

Signs are compared as IAM compares them: * and ? in patterns, actions without regard to case. A condition that is not known here is an error.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from tests.terraform.walker import listed

Context = Mapping[str, Sequence[str]]
"""Condition key to what a request carries of it; a key that is not there is null."""


def fits(pattern: str, text: str, *, case: bool = True) -> bool:
    """Does a text match a pattern of IAM?"""
    parts = ["." if sign == "?" else ".*" if sign == "*" else re.escape(sign) for sign in pattern]
    return re.fullmatch("".join(parts), text, flags=re.DOTALL | (0 if case else re.IGNORECASE)) is not None


def _any(found: Sequence[str], wanted: Sequence[str], same: Callable[[str, str], bool]) -> bool:
    return any(same(pattern, value) for value in found for pattern in wanted)


def _all(found: Sequence[str], wanted: Sequence[str], same: Callable[[str, str], bool]) -> bool:
    return all(any(same(pattern, value) for pattern in wanted) for value in found)


_OPERATORS: dict[str, Callable[[Sequence[str], Sequence[str]], bool]] = {
    "StringEquals": lambda found, wanted: _any(found, wanted, str.__eq__),
    "StringLike": lambda found, wanted: _any(found, wanted, fits),
    "ForAllValues:StringLike": lambda found, wanted: _all(found, wanted, fits),  # true of a request that carries none
    "Null": lambda found, wanted: wanted == [str(not found).lower()],
}


def _holds(conditions: Mapping[str, Mapping[str, Any]], context: Context) -> bool:
    return all(
        _OPERATORS[operator](list(context.get(key, ())), listed(wanted))
        for operator, by_key in conditions.items()
        for key, wanted in by_key.items()
    )


def allowed(policies: Iterable[Mapping[str, Any]], action: str, resource: str, context: Context | None = None) -> bool:
    """May who has these policies do this to that, in a request that carries `context`?"""
    verdicts = {
        statement["Effect"]
        for policy in policies
        for statement in listed(policy["Statement"])
        if any(fits(each, action, case=False) for each in listed(statement["Action"]))
        and any(fits(each, resource) for each in listed(statement["Resource"]))
        and _holds(statement.get("Condition", {}), context or {})
    }
    return verdicts == {"Allow"}
