"""What Prometheus and Grafana need of a domain: recording and alert rules and a dashboard, from its declaration."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hallmark.domain import Domain
from hallmark.settings import Settings


def files(settings: Settings, declared: Sequence[Domain]) -> dict[Path, str]:
    """The generated files of this kind, by path."""
    return {}
