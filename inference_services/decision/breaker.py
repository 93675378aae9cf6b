"""A circuit breaker: after failures in a row a node is left alone for a while, then tried by one request."""

from __future__ import annotations

_FAILURES = 5
_REST = 2.0
"""Seconds without a call once it is open."""


class Breaker:
    """Of one node. Times are seconds of one clock that only goes forward."""

    def __init__(self, *, failures: int = _FAILURES, rest: float = _REST) -> None:
        self._most, self._rest = failures, rest
        self._failed = 0
        self._until = 0.0

    def allows(self, now: float) -> bool:
        """May it be asked? After its rest one request is let through, and the others once that has gone well."""
        if self._failed < self._most:
            return True
        if now < self._until:
            return False
        self._until = now + self._rest
        return True

    def open(self, now: float) -> bool:
        """Is it left alone?"""
        return self._failed >= self._most and now < self._until

    def went(self, well: bool, now: float) -> None:
        """How a call went."""
        if well:
            self._failed = 0
            return
        self._failed += 1
        if self._failed >= self._most:
            self._until = now + self._rest
