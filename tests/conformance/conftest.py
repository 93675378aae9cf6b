"""Fixtures of the tests with real controllers: one cluster for all of them, with the platform and the tenants of dev on it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from local_cluster.processes import tail
from tests.conformance import installed, needs
from tests.conformance.control_plane import stack
from tests.conformance.platform import install
from tests.conformance.stack import Stack

_SHOWN = 4000
"""Bytes of each log that are shown where a test fails."""


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies here: `make conformance` runs it, `make test` does not; and what has one cluster, which one worker runs."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.conformance)
            item.add_marker(pytest.mark.xdist_group(_cluster(item, here)))


def _cluster(item: pytest.Item, here: Path) -> str:
    """The cluster that a test runs on: dev's, one of staging's, or none."""
    given = getattr(item, "callspec", None)
    if here / "serving" in item.path.parents or (given and given.params.get("ways") == "standard"):
        return "staging"
    return "none" if item.path.name == "test_config.py" else "dev"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Show what each program of the cluster wrote during a test that failed."""
    clusters = {id(each): each for each in getattr(item, "funcargs", {}).values() if isinstance(each, Stack)}
    begun = {log: log.stat().st_size for each in clusters.values() for log in each.folder.glob("*.log")}
    try:
        yield
    except Exception:
        for log, size in begun.items():
            if said := tail(log, _SHOWN, since=size):
                item.add_report_section("call", log.name, said.decode("utf-8", "replace"))
        raise


@pytest.fixture(scope="package")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """etcd, API server, controller manager and scheduler, and the definitions."""
    if error := needs.missing(built=True):
        raise error
    with stack(tmp_path_factory.mktemp("control-plane")) as made:
        yield made


@pytest.fixture(scope="package")
def cluster(control_plane: Stack) -> Stack:
    """The control plane with Knative's webhook, KServe, and dev's platform and tenants; no model is served yet."""
    install(control_plane)
    return control_plane


@pytest.fixture(scope="package")
def watch_kubeconfig(cluster: Stack) -> Path:
    """A kubeconfig of the watch's own account."""
    return installed.watch_kubeconfig(cluster)
