"""A fresh start and room: what a release names stays, whoever asks."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path

import pytest

from hallmark.artifacts import release as releases
from hallmark.artifacts.release import Release, Target
from hallmark.errors import Unavailable
from hallmark.files import locked
from hallmark.registry import clearing
from hallmark.registry.store import CHAMPION, Registry
from hallmark.settings import Settings
from tests.hallmark.registry.conftest import Make


def registered(settings: Settings, make: Make, count: int) -> Registry:
    registry = Registry(settings)
    for number in range(count):
        folder, card = make(f"m{number}")
        registry.register(folder, card)
    return registry


def released(settings: Settings, registry: Registry, version: int) -> None:
    found = registry.resolve("toy", version)
    target = Target(version=version, storageUri=found.storage_uri, digest=found.digest)
    releases.write("toy", Release(stable=target), settings)


@pytest.mark.slow
def test_a_reset_leaves_what_is_released_and_says_what_goes(settings: Settings, make: Make) -> None:
    registry = registered(settings, make, 3)
    registry.alias("toy", CHAMPION, 2)
    released(settings, registry, 2)
    gone = registry.resolve("toy", 1).path
    assert gone is not None
    found = clearing.reset("toy", registry)
    assert [(each.kind, each.name) for each in found.goes] == [("version", "3"), ("version", "1")]
    assert [(each.name, each.why) for each in found.stays] == [("2", "release.yaml names it as stable")]
    assert [each.version for each in registry.versions("toy")] == [3, 2, 1], "it was only looked at"
    clearing.carry_out(found, registry)
    assert [(each.version, each.aliases) for each in registry.versions("toy")] == [(2, (CHAMPION,))]
    assert not gone.exists()
    registry.resolve("toy", CHAMPION).fetch()
    assert registry.repair(dry=True).lost == (), "doctor misses nothing"
    folder, card = make("another")
    assert registry.register(folder, card) == 4, "a number is never given twice"


def test_searches_go_with_their_domain_and_one_under_way_stays(settings: Settings, make: Make) -> None:
    registry = registered(settings, make, 1)
    searches = settings.state / "tuning" / "toy"
    for name in ("over", "going"):
        (searches / name).mkdir(parents=True)
        (searches / name / "study.db").write_text("")
    with locked(searches / "going" / "running", patience=0):
        found = clearing.reset("toy", registry)
        assert [each.path for each in found.goes if each.path and "tuning" in str(each.path)] == [searches / "over"]
    long_ago = time.time() - 40 * 86400
    for name in ("over", "going"):
        os.utime(searches / name, (long_ago, long_ago))
    gone = clearing.collect(("toy",), registry, days=30, keep=10)
    assert {each.path for each in gone.goes} == {searches / "over", searches / "going"}
    clearing.carry_out(gone, registry)
    assert not list(searches.iterdir())


def test_a_version_that_is_released_while_somebody_looks_stays(settings: Settings, make: Make) -> None:
    registry = registered(settings, make, 2)
    found = clearing.reset("toy", registry)
    assert len(found.goes) == 2
    released(settings, registry, 1)
    clearing.carry_out(found, registry)
    assert [each.version for each in registry.versions("toy")] == [1]


def test_what_the_local_cluster_would_bring_back_stays(settings: Settings, make: Make) -> None:
    registry = registered(settings, make, 1)
    settings.cluster.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(settings.cluster / "objects.db")) as link, link:
        link.execute("CREATE TABLE objects (kind, namespace, name, text)")
        text = f'{{"env": [{{"name": "MODEL_DIGEST", "value": "{registry.resolve("toy", 1).digest}"}}]}}'
        link.execute("INSERT INTO objects VALUES ('inferenceservices', 'toy', 'toy', ?)", (text,))
    found = clearing.reset("toy", registry)
    assert not found.goes and "local cluster" in found.stays[0].why


def test_what_a_running_cluster_serves_stays(settings: Settings, make: Make) -> None:
    registry = registered(settings, make, 1)
    settings.cluster.mkdir(parents=True)
    with contextlib.closing(sqlite3.connect(settings.cluster / "objects.db", isolation_level=None)) as link:
        link.execute("PRAGMA locking_mode = EXCLUSIVE")  # as local_cluster/store.py holds it
        link.execute("PRAGMA journal_mode = WAL")
        link.execute("CREATE TABLE objects (kind, namespace, name, text)")
        link.execute("INSERT INTO objects VALUES ('a', 'toy', 'toy', ?)", (registry.resolve("toy", 1).digest,))
        found = clearing.reset("toy", registry)
    assert not found.goes and "local cluster" in found.stays[0].why


def test_nothing_goes_where_the_cluster_cannot_be_read(settings: Settings, make: Make) -> None:
    registry = registered(settings, make, 1)
    settings.cluster.mkdir(parents=True)
    (settings.cluster / "objects.db").write_text("this is no database, and long enough to be looked at" * 40)
    with pytest.raises(Unavailable, match="cannot be read"):
        clearing.reset("toy", registry)


def test_gc_keeps_what_is_new_has_an_alias_or_is_released(settings: Settings, make: Make) -> None:
    registry = registered(settings, make, 4)
    registry.alias("toy", CHAMPION, 1)
    released(settings, registry, 2)
    assert clearing.collect(("toy",), registry, days=30, keep=1).goes == ()
    orphan = settings.models / "toy" / "models" / "m-cutoff"
    orphan.mkdir(parents=True)
    old(orphan)
    step = settings.runs / "cache" / "entries" / "train-abc"
    step.mkdir(parents=True)
    (step / "entry.json").write_text("{}")
    old(step / "entry.json")
    found = clearing.collect(("toy",), registry, days=0, keep=1)
    assert [(each.kind, each.name) for each in found.goes] == [
        ("version", "3"),
        ("folder", "m-cutoff"),
        ("folder", "train-abc"),
    ]
    assert [each.name for each in found.stays] == ["2"]
    clearing.carry_out(found, registry)
    assert [each.version for each in registry.versions("toy")] == [4, 2, 1]
    assert not orphan.exists() and not step.exists()


def old(path: Path) -> None:
    at = time.time() - 2 * 86400
    os.utime(path, (at, at))
