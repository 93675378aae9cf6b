"""Looking into data that may be anything: never raises, gives nothing where the shape is another."""

from __future__ import annotations

import re
from typing import Any

from hallmark.section import amount

_GO = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_GO_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def dig(data: Any, *path: str | int) -> Any:
    """The value at `path`, or None."""
    for part in path:
        inside = part in data if isinstance(data, dict) else isinstance(data, list) and part in range(len(data))
        if not inside:
            return None
        data = data[part]
    return data


def mapping(data: Any, *path: str | int) -> dict[str, Any]:
    """The mapping at `path`, or an empty one."""
    found = dig(data, *path)
    return found if isinstance(found, dict) else {}


def listing(data: Any, *path: str | int) -> list[Any]:
    """The list at `path`, or an empty one."""
    found = dig(data, *path)
    return found if isinstance(found, list) else []


def text(data: Any, *path: str | int) -> str:
    """The string at `path`, or an empty one."""
    found = dig(data, *path)
    return found if isinstance(found, str) else ""


def integer(data: Any, *path: str | int) -> int | None:
    """The whole number at `path`, or None; true is none."""
    found = dig(data, *path)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def quantity(value: Any) -> float | None:
    """A Kubernetes quantity, such as 500m, 2 or 64Mi, as a number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return amount(str(value))
    except ValueError:
        return None


def go_duration(value: Any) -> float | None:
    """Seconds of a duration as Go writes it, such as 1h30m; None where Go would refuse it."""
    if not isinstance(value, str):
        return None
    if value == "0":
        return 0.0
    sign, rest = (-1.0, value[1:]) if value.startswith("-") else (1.0, value)
    parts = _GO.findall(rest)
    if not parts or "".join(number + unit for number, unit in parts) != rest:
        return None
    return sign * sum(float(number) * _GO_UNITS[unit] for number, unit in parts)


def version(value: Any) -> tuple[int, ...] | None:
    """The numbers of a version such as v0.21.0 or 0.21.*; None where there are none."""
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", value) if isinstance(value, str) else None
    return tuple(int(part) for part in match.groups(default="0")) if match else None
