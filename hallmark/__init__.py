"""Hallmark: train, serve, watch and renew the models of a second-hand fashion marketplace.

From Python: `import hallmark`, then `hallmark.train("fraud")`; hallmark/api says what there is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = (
    "check",
    "compare",
    "drift_report",
    "load",
    "predict",
    "promote",
    "release",
    "rollback",
    "status",
    "train",
)

if TYPE_CHECKING:
    from hallmark.api.models import check, compare, load, predict, train
    from hallmark.api.serving import drift_report, promote, release, rollback, status

_SERVING = frozenset({"drift_report", "promote", "release", "rollback", "status"})


def __getattr__(name: str) -> Any:
    """A function of hallmark/api, imported when it is first asked for."""
    if name not in __all__:
        raise AttributeError(f"module 'hallmark' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"hallmark.api.{'serving' if name in _SERVING else 'models'}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
