"""Capacity before traffic: how many ready pods a share needs, and how many pods each variant is to have at least.

The measure is what stable had: the most ready pods since the rollout began carried all of the traffic (`whole`), so a share needs that
part of them. Stable's pods of now are no measure: autoscalers take them away as its share falls.
"""

from __future__ import annotations

from datetime import timedelta

from hallmark.section import Frozen

RETURN_SECONDS = 30.0
"""Longest wait of a roll-back for stable's pods, and only where nothing but the deadline speaks against the candidate."""
HELD = timedelta(minutes=10)
"""What was scaled for a promotion stays so long: autoscalers judge by averages in which the new traffic has yet to count."""


class ReadyPods(Frozen):
    """Ready pods of the candidate, and as many as carry all of the traffic."""

    candidate: int
    whole: int


class Floors(Frozen):
    """Lowest number of pods of both variants, whatever their autoscalers say."""

    candidate: int
    stable: int


def pods_for(percent: int, whole: int) -> int:
    """Ready pods that `percent` of the traffic needs, where `whole` carry all of it: at least one, and none where none runs at rest."""
    return max(1, -(-percent * whole // 100)) if whole else 0


def floors(*, now: int, then: int, whole: int) -> Floors:
    """While stable still has all but `now` percent, and before the candidate gets `then` percent."""
    return Floors(candidate=max(1, pods_for(then, whole)), stable=max(1, pods_for(100 - now, whole)))
