"""A real cluster in Standard mode that serves: staging's platform, a node whose pods are processes, and a gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance import needs
from tests.conformance.serving.serving import Serving, serving


@pytest.fixture(scope="package")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    """The cluster, with no model on it."""
    if error := needs.missing(built=True):
        raise error
    folder: Path = tmp_path_factory.mktemp("serving")
    with serving(folder) as made:
        yield made
