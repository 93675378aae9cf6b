"""The command line, `python -m tests.shortened …`, whose demo and drill take a version that is there for the first they train."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from hallmark import cli

TRAINED = "SHORTENED_TRAINED"
DATABASE = "SHORTENED_DATABASE"


def shortened() -> None:
    """Put it in their place, and let them draw fewer requests."""
    from tests.hallmark.rollout.candidates import Trained
    from tools import demo, drill
    from tools.rehearsal import World

    trained = Trained(Path(os.environ[TRAINED]), Path(os.environ[DATABASE]))
    real = demo._train

    def train(domain: Any, settings: Any, lines: Any, *, as_of: Any, seed: int) -> None:
        if as_of != demo.FIRST:
            real(domain, settings, lines, as_of=as_of, seed=seed)
            return
        with lines.task("train version 1"):
            trained.register(settings)

    demo._train, drill._BODIES = train, 500
    demo._ORDERS.update(clean=500, shifted=500)
    World.train = lambda self, report: trained.register(self.settings)  # type: ignore[method-assign]


def run(arguments: Sequence[str] | None) -> None:
    """A command, with what stands in others' place put there first."""
    shortened()
    importlib.import_module("hallmark.cli.app").run(arguments)


if __name__ == "__main__":
    # Within what `main` handles signals for: one while this imports is the same as one while the command line imports.
    cli.app = SimpleNamespace(run=run)  # type: ignore[assignment]
    sys.exit(cli.main())
