"""Fixtures that the tests of `terraform/` share: terraform itself, a copy to work on, and moto."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.terraform.emulator import Emulator
from tests.terraform.workplace import Workplace


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker where pyproject.toml does not."""
    config.addinivalue_line("markers", "terraform: checks terraform/; `make terraform` runs it")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies here: `make terraform` runs it, `make test` does not. Waiting for AWS takes longer than other tests."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.terraform)
            item.add_marker(pytest.mark.timeout(480))


@pytest.fixture(scope="session")
def terraform() -> str:
    """The program; what needs it is skipped where it is not."""
    found = shutil.which("terraform")
    if found is None:
        pytest.skip("SKIPPED, NOT PASSED: terraform is not on the PATH; install 1.11 or later to check terraform/")
    return found


@pytest.fixture(scope="session")
def workplace(terraform: str, tmp_path_factory: pytest.TempPathFactory) -> Workplace:
    """A copy in which nothing is applied."""
    return Workplace(tmp_path_factory.mktemp("terraform"))


@pytest.fixture(scope="session")
def emulators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Emulator]]:
    """Starts a moto server for an account, and ends all of them."""
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None:
        pytest.skip("SKIPPED, NOT PASSED: moto[server] is not installed; `make install` brings it")
    started: list[Emulator] = []

    def start(account: str) -> Emulator:
        started.append(Emulator(account, tmp_path_factory.mktemp("moto") / "moto.log"))
        return started[-1]

    yield start
    for emulator in started:
        emulator.close()
