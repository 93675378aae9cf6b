"""A reader of the Prometheus text format that keeps only what it is asked for.

https://prometheus.io/docs/instrumenting/exposition_formats (text format 0.0.4)
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

from hallmark.errors import Unavailable
from hallmark.rollout.samples import Sample

_BLANK = r"[ \t]*"
_NAME, _TEXT = r"[a-zA-Z_][a-zA-Z0-9_]*", r'(?:[^"\\\n]|\\[\\"n])*'
_NUMBER = r"[+-]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|(?i:nan|inf(?:inity)?))"
_PAIR = rf'{_BLANK}{_NAME}{_BLANK}={_BLANK}"{_TEXT}"{_BLANK}'
_REST = re.compile(
    rf"{_BLANK}(?:\{{((?:{_PAIR}(?:,{_PAIR})*,?)?{_BLANK})\}})?{_BLANK}({_NUMBER})(?:[ \t]+-?[0-9]+)?{_BLANK}\r?"
)
_ONE = re.compile(rf'({_NAME}){_BLANK}={_BLANK}"({_TEXT})"')
_ESCAPED = re.compile(r"\\(.)")
_PLAIN = {"n": "\n", '"': '"', "\\": "\\"}


def parse(text: str, names: Sequence[str]) -> list[Sample]:
    """The samples called one of `names` (whole names, `_bucket` and the like included), in the order of `text`.

    Lines of other names are not read. `Unavailable` where a line of these names is broken, or the text is cut off:
    a value that lost its last digits is a wrong one.
    """
    if text and not text.endswith("\n"):
        raise _broken("a line end after the last line", text[text.rfind("\n") + 1 :])
    if not names:
        return []
    starts = re.compile(rf"^{_BLANK}({'|'.join(map(re.escape, names))})(?![a-zA-Z0-9_:])([^\n]*)$", re.MULTILINE)
    known: dict[str, dict[str, str]] = {}
    found = []
    for name, rest in starts.findall(text):
        match = _REST.fullmatch(rest)
        if match is None:
            raise _broken('name{label="value", ...} number', name + rest)
        written, number = match.groups()
        value = float(number)
        if not math.isfinite(value):
            continue
        if written not in known:
            known[written] = _labels(written or "", name + rest)
        found.append(Sample(name, dict(known[written]), value))
    return found


def _labels(written: str, line: str) -> dict[str, str]:
    pairs = _ONE.findall(written)
    labels = {name: _ESCAPED.sub(_unescaped, value) if "\\" in value else value for name, value in pairs}
    if len(labels) != len(pairs):
        raise _broken("each label once", line)
    return labels


def _unescaped(match: re.Match[str]) -> str:
    return _PLAIN[match[1]]


def _broken(expected: str, line: str) -> Unavailable:
    return Unavailable(
        "the metrics cannot be read",
        expected=expected,
        got=repr(line[:200]),
        fix="ask again; if it stays so, see what the address answers",
    )
