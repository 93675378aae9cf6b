"""The request of a search as the command line says it: its fields, and values and bounds that filter."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from hallmark.errors import DeclarationError, Refused

if TYPE_CHECKING:
    from hallmark.artifacts.signature import Signature
    from hallmark.features.fields import Columns, Field
    from hallmark.retrieval.filters import Filter


def sent(signature: Signature, asked: Mapping[str, str]) -> dict[str, Any]:
    """The fields of one request that are known; `DeclarationError` where one may not be what was given."""
    known: dict[str, Any] = {"at": datetime.now(UTC).timestamp(), **asked}
    made = {field.name: known[field.name] for field in signature.asked if field.name in known}
    for field in signature.asked:
        value = made.get(field.name)
        if value is None and not field.optional:
            raise DeclarationError(
                f"a request of {signature.domain} has a field {field.name}, which nothing here says",
                expected="query and locale alone",
                got=field.name,
                fix=f"ask the server: hallmark call {signature.domain}",
            )
        if isinstance(value, str):
            _allowed(field, value)
    return made


def record(signature: Signature, sent: Mapping[str, Any]) -> Columns:
    """The same as columns of one row, with nothing of what is not known."""
    import numpy as np

    from hallmark.features import arrays

    return {
        field.name: np.array([sent[field.name]], dtype=field.dtype) if field.name in sent else arrays.empty(field, 1)
        for field in signature.asked
    }


def _allowed(field: Field, value: str) -> None:
    if field.categories is not None and value not in field.categories:
        raise DeclarationError(
            f"{field.name} is none that the model knows", expected=" or ".join(field.categories), got=repr(value)
        )
    if field.longest is not None and len(value) > field.longest:
        raise DeclarationError(
            f"{field.name} is too long", expected=f"at most {field.longest} characters", got=f"{len(value)} characters"
        )
    if not value.strip():
        raise DeclarationError(f"{field.name} is empty", expected="some words", got=repr(value))


def wanted(signature: Signature, given: list[str]) -> dict[str, Any]:
    """Values and bounds by column that --filter says; `DeclarationError` where it says none."""
    by = {each.column: each.by for each in signature.retriever.corpus.filters} if signature.retriever else {}
    made: dict[str, Any] = {}
    for each in given:
        column, equals, value = each.partition("=")
        if not equals or column not in by:
            raise DeclarationError(
                "--filter names no column that filters",
                expected=f"one of {', '.join(by) or 'none'}, then = and a value",
                got=each,
            )
        if by[column] == "value":
            made.setdefault(column, []).append({"true": True, "false": False}.get(value, value))
            continue
        least, dots, most = value.partition("..")
        made[column] = {
            end: _bound(each, end_value)
            for end, end_value in (("min", least), ("max", most if dots else least))
            if end_value
        }
    return made


def where(wanted: Mapping[str, Any]) -> Filter | None:
    """The filter of these; `DeclarationError` where it has no shape."""
    from hallmark.retrieval import filters

    try:
        return filters.parse(wanted)
    except Refused as error:
        raise DeclarationError(error.message, expected=error.expected, got=error.got) from error


def _bound(shown: str, value: str) -> float | str:
    if value[:4].isdecimal() and value[4:5] == "-":  # a day
        return value
    try:
        return float(value)
    except ValueError:
        raise DeclarationError(
            "--filter has no such bound", expected="a number, or a day such as 2026-10-01", got=shown
        ) from None


def filtered(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a request that filter as an index does by these values, and bounds by `min` and `max`."""
    made: dict[str, Any] = {}
    for column, value in wanted.items():
        if isinstance(value, Mapping):
            made |= {f"filter_{column}_{end}": _seconds(bound) for end, bound in value.items()}
        else:
            made[f"filter_{column}"] = value[0] if value in ([True], [False]) else value
    return made


def _seconds(bound: Any) -> float:
    """A bound as requests have it: a day in seconds since 1970."""
    if not isinstance(bound, str):
        return float(bound)
    try:
        at = datetime.fromisoformat(bound)
    except ValueError as error:
        raise DeclarationError(
            "--filter has no such bound", expected="a day such as 2026-10-01, or a time in ISO 8601", got=bound
        ) from error
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
