"""Looking into data that may be anything: never raises, gives nothing where the shape is another."""

from __future__ import annotations

import re
from typing import Any

_GO = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)")
_QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:[eE]([+-]?\d+)|([KMGTPE]i|[numkMGTPE])?)")
_SCALES = {name: 10.0 ** (3 * power) for power, name in zip((-3, -2, -1, *range(1, 7)), "numkMGTPE", strict=True)}
_SCALES |= {f"{name}i": 1024.0**power for power, name in enumerate("KMGTPE", 1)}
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
    """The whole number at `path`, or None; true is none, and 2.0 is 2, as for Go's decoders."""
    found = dig(data, *path)
    if isinstance(found, float) and found.is_integer():
        return int(found)
    return found if isinstance(found, int) and not isinstance(found, bool) else None


def quantity(value: Any) -> float | None:
    """A Kubernetes quantity, such as 500m, 2, -1, 1e3 or 64Mi, as a number."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    found = _QUANTITY.fullmatch(str(value))
    if found is None:
        return None
    number, exponent, unit = found.groups()
    return float(f"{number}e{exponent}") if exponent else float(number) * _SCALES.get(unit, 1.0)


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
