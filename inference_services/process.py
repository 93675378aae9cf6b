"""The process of a service: its log on standard error, and one exit code for each way that it ends, alike for every service."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from hallmark.errors import DeclarationError, HallmarkError


def ended(serve: Callable[[], int], *, at: str) -> int:
    """The exit code of a service: what `serve` gives; of an error of ours its own, such as 3 for a model that is refused; 1 where the system said no.

    at: what the system said no to, where its error names no file.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    try:
        return serve()
    except HallmarkError as error:
        sys.stderr.write(f"{type(error).__name__}: {' '.join(str(error).split())}\n")
        return error.exit_code
    except OSError as error:
        sys.stderr.write(f"{error.filename or at}: {error.strerror or error}\n")
        return 1


def expected_digests(
    variable: str, environment: Mapping[str, str], folders: Sequence[Path], *, flag: str
) -> list[str | None]:
    """The digest that each of a flag's folders must have, by a variable with commas between them; None for each where it is not set."""
    found = [each.strip() for each in environment.get(variable, "").split(",") if each.strip()]
    if found and len(found) != len(folders):
        raise DeclarationError(
            variable,
            expected=f"a digest for each {flag}, {len(folders)} in all",
            got=f"{len(found)}: {', '.join(found)}",
            fix="name as many of one as of the other, in the same order",
        )
    return [*found] or [None] * len(folders)
