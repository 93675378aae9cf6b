"""The strict schemas of custom resources under hallmark/lint/schemas, each read once a process and made into a validator once."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

import jsonschema

from tests.schemas import refresh

SCHEMAS = refresh.HELD


def held(group: str, kind: str, version: str) -> bool:
    """True when hallmark/lint/schemas has the kind's schema."""
    return _path(group, kind, version).is_file()


@functools.cache
def schema(group: str, kind: str, version: str) -> dict[str, Any]:
    """The schema as upstream means it: what is said once there stands wherever it is meant. For all: change none of it.

    FileNotFoundError names the command that adds a kind which is not there.
    """
    path = _path(group, kind, version)
    if not path.is_file():
        raise FileNotFoundError(
            f"expected {path}; add it: python tests/schemas/refresh.py <source> --add {group}/{path.stem}"
        )
    return refresh.whole(json.loads(path.read_text(encoding="utf-8")))


@functools.cache
def validator(group: str, kind: str, version: str) -> jsonschema.Draft202012Validator:
    """Validator of objects of the kind. Made without a check of the schema itself, which takes seconds, and where one of the patterns
    is Go's and not Python's, on a field that we do not write."""
    return jsonschema.Draft202012Validator(schema(group, kind, version))


def _path(group: str, kind: str, version: str) -> Path:
    return SCHEMAS / group / f"{kind.lower()}_{version}.json"
