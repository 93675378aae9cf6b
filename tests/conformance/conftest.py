"""Fixtures of the tests with real controllers: one cluster for all of them, with the platform and the tenants of dev on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance import installed, needs
from tests.conformance.platform import install
from tests.conformance.stack import Stack, stack


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what lies here: `make conformance` runs it, `make test` does not."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.conformance)


@pytest.fixture(scope="package")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """etcd, API server, controller manager and scheduler."""
    if error := needs.missing(built=True):
        raise error
    with stack(tmp_path_factory.mktemp("control-plane")) as made:
        yield made


@pytest.fixture(scope="package")
def cluster(control_plane: Stack) -> Stack:
    """The control plane with the definitions, Knative's webhook, KServe, and dev's platform and tenants; no model is served yet."""
    installed.define(control_plane.api)
    install(control_plane)
    return control_plane


@pytest.fixture(scope="package")
def watch_kubeconfig(cluster: Stack) -> Path:
    """A kubeconfig of the watch's own account."""
    return installed.watch_kubeconfig(cluster)
