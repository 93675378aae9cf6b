"""Values of KEY=VALUE on a command line, read as YAML 1.2 reads them: 1e-5 is a number, 010 is ten, and no and 12:30 are texts."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from hallmark.errors import DeclarationError

_FIRST = "-+.0123456789"
_NUMBER = r"[-+]?(?:\.\d+|\d+(?:\.\d*)?)(?:[eE][-+]?\d+)?"
_FORMS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?\d+|0x[0-9a-fA-F]+|0o[0-7]+", list(_FIRST)),
    ("float", rf"{_NUMBER}|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)", list(_FIRST)),
    ("timestamp", r"\d{4}-\d\d-\d\d", list(_FIRST)),
)


class _Loader(yaml.SafeLoader):
    """PyYAML's own reads YAML 1.1, in which 010 is eight, 12:30 is 750, no is false and 1e-5 is a text."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own name for it


for _kind, _pattern, _characters in _FORMS:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", re.compile(rf"^(?:{_pattern})$"), _characters)


def _whole(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    return int(text, 0 if text.startswith(("0x", "0o")) else 10)


def _fraction(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(str(loader.construct_scalar(node)).lower().replace(".i", "i").replace(".n", "n"))


_Loader.add_constructor("tag:yaml.org,2002:int", _whole)
_Loader.add_constructor("tag:yaml.org,2002:float", _fraction)


def read(option: str, key: str, value: str) -> Any:
    """The value that `option` gives `key`; `DeclarationError` where it is neither JSON nor YAML, or not in UTF-8."""
    try:
        found = _parsed(value)
        json.dumps(found, ensure_ascii=False, default=str).encode()  # half a surrogate pair is no text
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DeclarationError(
            f"the value of {option} {key} cannot be read",
            expected="YAML: a word, a number, [a list] or {a: map}",
            got=repr(value),
            fix="close its brackets and quotes, and quote it for the shell",
        ) from error
    return found


def _parsed(value: str) -> Any:
    """JSON first: PyYAML takes an escaped surrogate pair for two characters."""
    try:
        return json.loads(value, parse_constant=_refused)
    except ValueError:
        return yaml.load(value, Loader=_Loader)  # noqa: S506 - a SafeLoader


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")
