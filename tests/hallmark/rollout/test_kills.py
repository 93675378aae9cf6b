"""A watch that is killed just before or just after any of its writes: the next one ends with one stable version, everywhere the same."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hallmark.artifacts import release as releases
from hallmark.artifacts.release import Target
from hallmark.rollout import record as records
from hallmark.rollout.operator import Operator
from hallmark.rollout.writer import live_target, share
from tests.hallmark.rollout.test_operator import World, target, world
from tests.hallmark.rollout.tiny import NAME

__all__ = ["world"]
ENDINGS = {"promoted": (0.0, 2), "rolled back": (1.0, 1)}
WRITES = 12
"""More than any of these rollouts makes; a kill at one that never comes is a run without a kill."""


class Killed(BaseException):
    """As kill -9: nothing of the watch runs any more."""


class Trap:
    """Wraps each write of a world; the one at `place` is not made, or is the last thing that the watch did."""

    def __init__(self, world: World, place: int, *, after: bool) -> None:
        self.numbers, self.place, self.after = itertools.count(), place, after
        self._undo: list[Callable[[], None]] = []
        for owner, name in (
            (world.cluster, "shift"),
            (world.cluster, "note"),
            (world.versions, "alias"),
            (releases, "write"),
        ):
            self._wrap(owner, name)

    def _wrap(self, owner: Any, name: str) -> None:
        write = getattr(owner, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            number = next(self.numbers)
            if number == self.place and not self.after:
                raise Killed
            made = write(*args, **kwargs)
            if number == self.place:
                raise Killed
            return made

        setattr(owner, name, wrapped)
        self._undo.append(lambda: setattr(owner, name, write))

    def open(self) -> None:
        """Let everything through again."""
        for undo in self._undo:
            undo()


@pytest.fixture
def trapped(world: World) -> Iterator[Callable[[int, bool], Trap]]:
    made: list[Trap] = []

    def trap(place: int, after: bool) -> Trap:
        made.append(Trap(world, place, after=after))
        return made[-1]

    yield trap
    for each in made:
        each.open()


def ended(live: Any, champion: int, world: World, stable: Target) -> None:
    """Is `stable` the one that is stable: in the traffic, in the record and in what follows it?"""
    record = records.written(live)
    assert record is not None and record.rollout is None and not record.returning
    assert share(live) is None
    assert (live_target(live), record.stable) == (stable, stable)
    assert releases.read(world.cluster.name, world.settings) == record.release
    assert champion == stable.version


def until_the_end(world: World, operator: Operator, *, failing: float) -> None:
    world.pass_time(operator, 60, failing=failing)
    operator.close()


@pytest.mark.slow
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("place", range(WRITES))
@pytest.mark.parametrize("ending", ENDINGS)
def test_whatever_write_a_watch_is_killed_at_the_next_one_ends_the_same(
    world: World, trapped: Callable[[int, bool], Trap], ending: str, place: int, after: bool
) -> None:
    failing, version = ENDINGS[ending]
    first = world.operator("retrain.on_drift=false")
    world.pass_time(first, 1)  # the record is written
    trap = trapped(place, after)
    try:
        first.begin(target(2))
        until_the_end(world, first, failing=failing)
    except Killed:
        pass
    trap.open()
    begun = world.cluster.version == 2 or world.cluster.percent is not None
    second = world.operator("retrain.on_drift=false", fence=2)
    until_the_end(world, second, failing=failing)
    version = version if begun else 1
    ended(world.cluster.live(NAME), world.versions.champion, world, target(version))


def test_each_write_that_follows_a_promotion_may_fail_and_all_at_once(world: World, tmp_path: Path) -> None:
    operator = world.operator()
    operator.begin(target(2))
    world.versions.down = True
    file = releases.path(NAME, world.settings)
    file.unlink()
    file.mkdir()
    world.pass_time(operator, 60)
    assert (world.cluster.version, world.cluster.percent) == (2, None)
    record = records.written(world.cluster.object)
    assert record is not None and record.stable == target(2)
    world.versions.down = False
    file.rmdir()
    world.pass_time(operator, 15)
    assert world.versions.champion == 2 and releases.read(NAME, world.settings) == record.release
