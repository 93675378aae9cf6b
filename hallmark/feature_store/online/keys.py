"""Keys of the online stores: the entity's value as bytes, the view it is of, and the domain that both belong to."""

from __future__ import annotations

import operator
import re
from functools import lru_cache
from typing import Any, NamedTuple, NewType

from hallmark.declaration.feature_view import parted
from hallmark.errors import DeclarationError

EntityKey = NewType("EntityKey", bytes)
"""What `entity_key` gives: a letter for the type (i, s, b), then an int in decimal digits, a str in UTF-8, or bytes as they are."""
SHARED = "features"
"""The namespace of the declared views, which every domain may read and one job writes."""
LONGEST = 1024
"""Bytes of the longest entity key: what DynamoDB's sort key holds."""
_NAMESPACE = re.compile(r"[a-z]([a-z0-9-]{0,28}[a-z0-9])?")


class Key(NamedTuple):
    """Where a row stands: a view, name@version, and an entity."""

    view: str
    entity: EntityKey


def entity_key(value: Any) -> EntityKey:
    """An entity's value as bytes; 1, "1" and b"1" differ, and so do the two spellings of é that Unicode has.

    value: int of any size, or what numpy makes of one; str; bytes. `DeclarationError` for anything else, a bool too.
    """
    if isinstance(value, str):
        encoded = _text(value)
    elif isinstance(value, bytes):
        encoded = b"b" + value
    else:
        encoded = _number(value)
    if len(encoded) > LONGEST:
        raise _refused(f"at most {LONGEST} bytes", f"{len(encoded)} bytes")
    return EntityKey(encoded)


def entity_of(key: EntityKey) -> int | str | bytes:
    """The value that `entity_key` was given."""
    kind, content = key[:1], bytes(key[1:])
    if kind == b"i":
        return int(content)
    return content.decode("utf-8") if kind == b"s" else content


@lru_cache(maxsize=1024)
def prefix(namespace: str, view: str) -> bytes:
    """What stands before the entity key of each row of a view: domain/view@1/; `DeclarationError` for names that are none."""
    parted(view)
    return f"{checked(namespace)}/{view}/".encode("ascii")


def checked(namespace: str) -> str:
    """The namespace itself, where it is a domain's name: rights in Redis and DynamoDB go by it."""
    if _NAMESPACE.fullmatch(namespace) is None:
        raise DeclarationError(
            "this is no namespace of an online store",
            expected="a domain's name: a to z, digits and '-', beginning with a letter, at most 30",
            got=repr(namespace),
        )
    return namespace


def _text(value: str) -> bytes:
    try:
        return b"s" + value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise _refused("text that UTF-8 can hold", ascii(value)) from error


def _number(value: Any) -> bytes:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)
    except TypeError as error:
        raise _refused("int, str or bytes", f"{type(value).__name__}: {value!r}"[:200]) from error
    if number.bit_length() > 8 * LONGEST:  # Python writes no number of more than 4300 digits
        raise _refused(f"at most {LONGEST} bytes", f"a number of {number.bit_length()} bits")
    return b"i%d" % number


def _refused(expected: str, got: str) -> DeclarationError:
    return DeclarationError(
        "this cannot be the key of an entity",
        expected=expected,
        got=got,
        fix="see what the entity's column holds where it comes from",
    )
