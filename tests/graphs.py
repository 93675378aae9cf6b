"""Compiled graphs, in the time that compiling takes: kfp looks at the whole stack of its caller at each setting of each task."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


def shallow(make: Callable[[], T]) -> T:
    """The result of `make`, called at the bottom of a stack of its own: pytest's is sixty deep, and `inspect.stack()` on it, with the modules
    of a test run loaded, makes seven seconds of half a second."""
    with ThreadPoolExecutor(1) as alone:
        return alone.submit(make).result()


def compile_to(path: Path, domain: str, **options: Any) -> None:
    """`pipelines.training.compile_to`, at the bottom of a stack of its own."""
    from pipelines import training

    shallow(lambda: training.compile_to(path, domain, **options))
