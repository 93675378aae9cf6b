"""Base of declarations: frozen sections without unknown keys, durations, quantities, and errors that name the key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from difflib import get_close_matches
from typing import Annotated, Any, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError
from pydantic.json_schema import WithJsonSchema
from pydantic_core import PydanticCustomError

from hallmark import cron
from hallmark.errors import DeclarationError

EXACT = 2**53
"""Whole numbers up to here, both ways, are exact in a float64."""
LARGEST_SEED = 2**31 - 1
"""LightGBM keeps the last 32 bits of a larger seed, and Kubeflow's numbers end at 2**53: neither says so."""

M = TypeVar("M", bound=BaseModel)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"^(\d+(?:\.\d+)?)(ms|s|m|h|d)$")
_QUANTITY = r"^\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
_SCALES = {
    "": 1,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
_CONTRADICTION = "contradiction"
_TOGETHER = "keys that work together"
_FIX = re.compile(r"(?P<reason>.+)(?:; |: )(?P<fix>.+)", re.DOTALL)
_KEY = re.compile(r"[a-z_]+(\.[\w@]+)*")


def duration(value: object) -> timedelta:
    """A duration such as 500ms, 30s, 10m, 12h or 30d; `ValueError` says so where it is none."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.match(value) if isinstance(value, str) else None
    if not match:
        raise ValueError("expected a duration such as 500ms, 30s, 10m, 12h or 30d")
    number, unit = float(match.group(1)), match.group(2)
    return timedelta(milliseconds=number) if unit == "ms" else timedelta(seconds=number * _UNITS[unit])


def amount(quantity: str) -> float:
    """A Kubernetes quantity such as 500m, 2 or 64Mi as a number."""
    number, unit = parted(quantity)
    return number * _SCALES[unit]


def parted(quantity: str) -> tuple[float, str]:
    """A Kubernetes quantity as its number and its unit, such as 64.0 and Mi."""
    match = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", quantity)
    if match is None or match[2] not in _SCALES:
        raise ValueError(f"expected a quantity such as 500m, 2 or 64Mi; got {quantity!r}")
    return float(match[1]), match[2]


def spelled(value: timedelta) -> str:
    """A duration in the largest unit that needs no fraction, as `duration` reads it."""
    milliseconds = round(value.total_seconds() * 1000)
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def _cron(value: str) -> str:
    try:
        cron.parsed(value)
    except DeclarationError as error:
        raise ValueError(f"{error.expected}; not {error.got}") from error
    return value


Duration = Annotated[
    timedelta,
    BeforeValidator(duration),
    PlainSerializer(spelled, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _DURATION.pattern, "examples": ["500ms", "30s", "10m", "12h", "30d"]}),
]
Quantity = Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, int) else v), Field(pattern=_QUANTITY)]
Cron = Annotated[str, AfterValidator(_cron)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,28}[a-z0-9])?$")]


class Frozen(BaseModel):
    """Data that nobody changes, with no key that nobody reads."""

    model_config = ConfigDict(defer_build=True, frozen=True, extra="forbid")


class Section(Frozen):
    """A part of the declaration."""


def validated(
    model: type[M],
    raw: object,
    shown: str,
    *,
    place: str = "",
    line: Callable[[Sequence[str | int]], int] | None = None,
) -> M:
    """`raw` as `model`; every wrong key on its own line, as file: key, expected, got.

    place: where a person mends it, if that is not `shown`.   line: the line of a key's path, where it is known.
    """
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        found = error.errors()
        told = [
            each
            for item in found
            if not _follows(item, found)
            for each in _explain(shown if line is None else f"{shown}:{line(item['loc'])}", item, model)
        ]
        (message, expected, got, fix), *rest = told
        more = "".join(f"\n  also {m}: expected {e}, got {g}{f and f'; {f}'}" for m, e, g, f in rest)
        where = f"mend {place or shown}"
        raise DeclarationError(
            message, expected=expected, got=got + more, fix=f"{fix}; {where}" if fix else where
        ) from error


def contradicting(found: Sequence[str]) -> PydanticCustomError:
    """The error of keys that cannot work together; each of `found` begins with one of the keys, and ends with the fix."""
    return PydanticCustomError(_CONTRADICTION, "{text}", {"text": "; also ".join(found), "found": list(found)})


def contradictions_in(item: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Key and text of each contradiction that one of pydantic's errors tells; none of any other error."""
    if item["type"] != _CONTRADICTION:
        return []
    keys = [(match[0] if (match := _KEY.match(text)) else "", text) for text in item["ctx"]["found"]]
    return [(".".join([*map(str, item["loc"]), *([key] if key else [])]), text) for key, text in keys]


def _follows(item: Any, found: Sequence[Any]) -> bool:
    """Is a list too short only because items of it are wrong, which are told themselves? Its input may hold what they hide, such as a secret."""
    place = item["loc"]
    return item["type"] == "too_short" and any(
        len(each["loc"]) > len(place) and each["loc"][: len(place)] == place for each in found
    )


def _explain(shown: str, item: Any, model: type[BaseModel]) -> list[tuple[str, str, str, str]]:
    """Message, expected, got and fix of each mistake that one of pydantic's errors tells."""
    key = ".".join(str(part) for part in item["loc"]) or "(whole file)"
    kind, given = item["type"], item["input"]
    if contradictory := contradictions_in(item):
        section = "".join(f"{part}." for part in item["loc"])  # texts begin with the key below it
        return [
            (f"{shown}: {each}", _TOGETHER, *_parted(text.removeprefix(f"{each.removeprefix(section)}: ")))
            for each, text in contradictory
        ]
    if kind == "extra_forbidden":
        known, wrong = _keys(model, item["loc"][:-1]), str(item["loc"][-1])
        near = get_close_matches(wrong, known, 1)
        expected = f"one of {', '.join(known)}" if known else "a key that is declared"
        return [
            (f"{shown}: {key}", expected, f"no such key {wrong!r}", f"did you mean {near[0]}?" if near else ""),
        ]
    if kind == "missing":
        return [(f"{shown}: {key}", "a value", "nothing", "")]
    text = item["msg"].removeprefix("Value error, ")
    if isinstance(given, dict) and not text.startswith("expected "):
        return [(f"{shown}: {key}", _TOGETHER, *_parted(text))]
    expected, _, got = text.removeprefix("Input should be ").removeprefix("expected ").partition("; got ")
    expected = expected.replace("a valid tuple", "a list, such as [a, b]")
    return [(f"{shown}: {key}", expected, got or repr(given), "")]


def _keys(model: type[BaseModel], place: Sequence[str | int]) -> list[str]:
    """Keys that a section may have; none where the place is no section, or may be one of several."""
    kinds: list[Any] = [model]
    for part in place:
        found = [
            each.model_fields[part].annotation for each in kinds if isinstance(part, str) and part in each.model_fields
        ]
        below = [each for annotation in found for each in _models(annotation)]
        kinds = below or [each for each in kinds if isinstance(part, int) or len(kinds) > 1]
    return [field.alias or name for name, field in kinds[0].model_fields.items()] if len(kinds) == 1 else []


def _models(annotation: Any) -> list[type[BaseModel]]:
    """The sections within a type, such as those of an optional one or of a list."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [each for part in get_args(annotation) for each in _models(part)]


def _parted(text: str) -> tuple[str, str]:
    """A reason, and the fix that it ends with."""
    found = _FIX.fullmatch(text)
    return (found["reason"], found["fix"]) if found else (text, "")
