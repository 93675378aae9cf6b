"""Installed libraries: their versions, the additions of packages beside this one, and what libraries warn of."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint


class _Known(NamedTuple):
    """A warning, by the beginning of its text, or a logger that says one, which nobody here can act on."""

    message: str = ""
    category: type[Warning] = Warning
    logger: str = ""


_KNOWN = {
    # how pandera puts its own table of failures together; nothing here reads that table
    "pandera": _Known("The behavior of DataFrame concatenation", FutureWarning),
    # torch 2.13 uses what it has itself deprecated, and says at each export that torchvision, which nothing needs, is missing
    "torch": _Known(".*treespec", FutureWarning, "torch.onnx._internal.exporter._registration"),
    # of its own classes for chat, when models are imported
    "mlflow": _Known(".*Any type hint is inferred as AnyType", UserWarning),
    # what Evidently imports, and scipy on columns with one value
    "evidently": _Known(),
}
_OURS = ("hallmark", "components", "domains", "inference_services", "local_cluster", "pipelines", "synthetic", "tools")


@contextlib.contextmanager
def unwarned(library: str) -> Iterator[None]:
    """Leave out what `library` is known to warn of while it is called."""
    known = _KNOWN[library]
    if known.logger:
        logging.getLogger(known.logger).setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=known.message, category=known.category)
        yield


class _Told(logging.Handler):
    """A warning of ours, and an error of a library, in one line without its source."""

    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        package = record.name.partition(".")[0]
        if package in (*_OURS, "__main__"):
            self._say(record.getMessage())
        elif record.levelno >= logging.ERROR:
            self._say(f"{package}: {record.getMessage().strip().splitlines()[0]}")


def hush(say: Callable[[str], None]) -> None:
    """For the rest of this process: libraries show nobody a warning, and their log lines go to `say`, errors alone.

    Warnings that are errors, as in tests, stay so; a process whose logging is set up keeps it.
    """
    warnings.showwarning = lambda *_, **__: None
    if not logging.getLogger().handlers:
        logging.getLogger().addHandler(_Told(say))


def version(distribution: str) -> str:
    """The installed version of a library; empty where it is not installed."""
    from importlib import metadata  # what it imports costs each command 15 ms, and few ask

    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def additions(group: str) -> list[EntryPoint]:
    """The entry points of a group whose package is here; an image has neither the local cluster nor the tools."""
    from importlib import metadata

    return [each for each in metadata.entry_points(group=group) if find_spec(each.module.partition(".")[0])]
