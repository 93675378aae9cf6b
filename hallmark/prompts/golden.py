"""A prompt judged on golden items, and a changed one beside the one that is served: paired by item, by slice.

Both are asked the same items. What only one of them answers right is what a difference is made of: under equal prompts each such item
goes either way with the same chance, so that the number of losses among them is binomial (McNemar's exact test).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from hallmark.prompts.chat import Outcome
from hallmark.prompts.prompt import GoldenItem, Judged
from hallmark.prompts.sealed import SealedPrompt
from hallmark.section import Frozen

Ask = Callable[[SealedPrompt, GoldenItem], Outcome]
"""Gives what the model answers to an item under a prompt; `Unavailable` where its server is at fault, which says nothing of a prompt."""


class GoldenAnswer(Frozen):
    """What came of one item. cause: why there was no answer; empty where there was."""

    item: str
    slice: str
    right: bool
    cause: str = ""


class SliceComparison(Frozen):
    """One slice, or all items: how many were answered right, and what only one prompt answered right.

    chance: of as many losses, were both prompts alike.
    """

    slice: str
    items: int
    stable: int
    candidate: int
    losses: int
    wins: int
    chance: float
    worse: bool


class PromptComparison(Frozen):
    """A candidate beside stable. reasons: why it is refused; none where it may be served."""

    stable: str
    candidate: str
    overall: SliceComparison
    slices: tuple[SliceComparison, ...]
    reasons: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """May it be served?"""
        return not self.reasons


def answers(prompt: SealedPrompt, items: Sequence[GoldenItem], ask: Ask) -> list[GoldenAnswer]:
    """What each item is answered."""
    found = []
    for item in items:
        outcome = ask(prompt, item)
        given = outcome.answer or {}
        right = outcome.answer is not None and all(
            _plain(given.get(key)) == _plain(value) for key, value in item.right.items()
        )
        found.append(GoldenAnswer(item=item.id, slice=item.slice, right=right, cause=outcome.cause or ""))
    return found


def _plain(value: object) -> object:
    return sorted(map(str, value)) if isinstance(value, list | tuple) else value


def compare(
    stable: Sequence[GoldenAnswer],
    candidate: Sequence[GoldenAnswer],
    rules: Judged,
    *,
    names: tuple[str, str] = ("", ""),
) -> PromptComparison:
    """The candidate's answers beside stable's, to the same items; `ValueError` where they are not."""
    before = {each.item: each for each in stable}
    if sorted(before) != sorted(each.item for each in candidate):
        raise ValueError("expected answers to the same items")
    groups: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for each in candidate:
        groups[each.slice].append((before[each.item].right, each.right))
    alone = {name: _compared(name, pairs, confidence=1.0) for name, pairs in groups.items()}
    shares = _holm({name: each.chance for name, each in alone.items()}, 1 - rules.confidence)
    slices = tuple(alone[name].model_copy(update={"worse": shares[name]}) for name in sorted(groups))
    overall = _compared("all", [pair for pairs in groups.values() for pair in pairs], confidence=rules.confidence)
    return PromptComparison(
        stable=names[0],
        candidate=names[1],
        overall=overall,
        slices=slices,
        reasons=tuple(_reasons(overall, slices, rules)),
    )


def _reasons(overall: SliceComparison, slices: Sequence[SliceComparison], rules: Judged) -> list[str]:
    found = []
    if overall.candidate < rules.right * overall.items:
        found.append(
            f"answers {overall.candidate} of {overall.items} items right, and golden.right asks for {rules.right:g} of them"
        )
    if overall.losses - overall.wins > rules.tolerance * overall.items:
        found.append(
            f"loses {overall.losses} items and wins {overall.wins}, more than golden.tolerance {rules.tolerance:g} allows"
        )
    for each in slices:
        if each.worse:
            found.append(
                f"slice {each.slice}: loses {each.losses} and wins {each.wins} of {each.items}, by chance {each.chance:.2g}"
            )
        elif each.stable and not each.candidate:
            found.append(
                f"slice {each.slice}: answers none of {each.items} items right, where stable answers {each.stable}"
            )
    return found


def _compared(name: str, pairs: Sequence[tuple[bool, bool]], *, confidence: float) -> SliceComparison:
    losses, wins = sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)
    chance = by_chance(losses, losses + wins)
    return SliceComparison(
        slice=name,
        items=len(pairs),
        stable=sum(a for a, _ in pairs),
        candidate=sum(b for _, b in pairs),
        losses=losses,
        wins=wins,
        chance=chance,
        worse=chance < 1 - confidence,
    )


def by_chance(losses: int, either: int) -> float:
    """Chance of at least so many losses among items that one prompt alone answers right, were it a coin that says which."""
    return float(sum(math.comb(either, each) for each in range(losses, either + 1)) / (1 << either))


def needed(slices: int, rules: Judged) -> int:
    """Items that a slice needs at least, of so many slices, for the test to call it worse where no other is: with fewer even the loss of each may be chance."""
    found = 1
    while by_chance(found, found) >= (1 - rules.confidence) / slices:
        found += 1
    return found


def _holm(chances: Mapping[str, float], error: float) -> dict[str, bool]:
    """Which of several are worse, with this error for all of them together (Holm's steps)."""
    found, going = {}, True
    for at, (name, chance) in enumerate(sorted(chances.items(), key=lambda each: each[1])):
        going = going and chance < error / (len(chances) - at)
        found[name] = going
    return found
