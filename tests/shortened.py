"""The command line, `python -m tests.shortened …`, whose demo and drill take a version that is there for the first they train."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from hallmark import interrupts
from hallmark.cli import main

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


def run() -> int:
    """A command; a signal while this imports what it puts in place is the same as one while the command line imports."""
    with interrupts.handled():
        try:
            shortened()
        except BaseException as error:
            if (stopped := interrupts.cause(error)) is None:
                raise
            sys.stderr.write(f"{stopped.told()}\n")
            return stopped.exit_code
    return main()


if __name__ == "__main__":
    sys.exit(run())
