"""A real control plane in a network namespace of its own, with every definition that our platform takes.

An API server takes half a minute of CPU to create the definitions one by one, and a few seconds to start with them: they are created once, and the
data of its etcd is kept (build.definitions).
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hallmark.files import locked
from hallmark.leash import Leash
from tests.conformance import build, installed, namespace
from tests.conformance.api import Api
from tests.conformance.stack import Stack

Object = dict[str, Any]


@contextlib.contextmanager
def stack(folder: Path) -> Iterator[Stack]:
    """A control plane."""
    data = kept()
    with namespace.private():
        made = Stack(folder, Leash(folder))
        try:
            shutil.copytree(data, folder / "etcd")
            made.begin()
            _served(made.api)
            yield made
        finally:
            made.close()


def kept() -> Path:
    """An etcd's data with the definitions, made where it is not there yet."""
    place = build.definitions()
    with locked(build.CACHE / "lock", patience=3600):
        if not place.is_dir():
            with tempfile.TemporaryDirectory(dir=build.CACHE, prefix="draft-") as folder, namespace.private():
                made = Stack(Path(folder), Leash(Path(folder)))
                try:
                    made.begin(controllers=False)
                    for each in definitions():
                        each.pop("status", None)
                        made.api.create(each)
                    _served(made.api)
                    for name in ("kube-apiserver", "etcd"):
                        made.stop(name)
                finally:
                    made.close()
                (made.folder / "etcd").rename(place)
    return place


def definitions() -> Iterator[Object]:
    """Every CustomResourceDefinition that tests/conformance/definitions.yaml names."""
    for each in build.documents("**/*.json"):
        if each["kind"] == "CustomResourceDefinition":
            yield each


def _served(api: Api) -> None:
    """Wait until each version of each definition is served."""
    for each in definitions():
        spec = each["spec"]
        for version in (one["name"] for one in spec["versions"] if one["served"]):
            served = {"apiVersion": f"{spec['group']}/{version}", "kind": spec["names"]["kind"]}
            installed.until(lambda served=served: api.known(served), what=f"{served} is served")
