"""A changed prompt beside the one that is served: pairs, slices, and how often a gate is wrong by chance."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from hallmark.prompts import golden
from hallmark.prompts.chat import Outcome
from hallmark.prompts.golden import GoldenAnswer, by_chance, compare
from hallmark.prompts.prompt import GoldenItem, Judged, Prompt
from hallmark.prompts.sealed import SealedPrompt
from tests.hallmark.prompts.test_prompt import RAW

RULES = Judged(right=0.5, tolerance=0.1)


def told(*slices: tuple[str, str]) -> list[GoldenAnswer]:
    """Answers from words such as ("bags", "1101"): 1 is right."""
    return [
        GoldenAnswer(item=f"{name}-{at}", slice=name, right=mark == "1")
        for name, marks in slices
        for at, mark in enumerate(marks)
    ]


@pytest.mark.parametrize(("losses", "either"), [(0, 0), (0, 5), (3, 5), (5, 5), (9, 10)])
def test_the_chance_is_that_of_a_fair_coin(losses: int, either: int) -> None:
    wanted = binomtest(losses, either, 0.5, alternative="greater").pvalue if either else 1.0
    assert by_chance(losses, either) == pytest.approx(wanted)


def test_the_same_answers_pass_and_a_better_prompt_does() -> None:
    same = told(("a", "1110"), ("b", "1101"))
    assert compare(same, same, RULES).passed
    assert compare(told(("a", "0011"), ("b", "1001")), told(("a", "1111"), ("b", "1101")), RULES).passed


def test_a_loss_in_one_slice_is_not_hidden_by_wins_elsewhere() -> None:
    stable = told(("common", "0" * 20 + "1" * 60), ("rare", "1" * 10))
    candidate = told(("common", "1" * 80), ("rare", "0" * 9 + "1"))
    found = compare(stable, candidate, RULES)
    assert (found.overall.losses, found.overall.wins) == (9, 20)
    assert [each.worse for each in found.slices] == [False, True]
    assert not found.passed and "slice rare" in found.reasons[0]


def test_it_is_refused_where_it_is_wrong_too_often_or_loses_a_whole_slice() -> None:
    assert "golden.right" in compare(told(("a", "0000")), told(("a", "1000")), RULES).reasons[0]
    assert "golden.tolerance" in compare(told(("a", "1" * 10)), told(("a", "1" * 8 + "00")), RULES).reasons[0]
    lost = compare(told(("a", "1" * 40), ("b", "1")), told(("a", "1" * 40), ("b", "0")), RULES)
    assert lost.reasons == ("slice b: answers none of 1 items right, where stable answers 1",)


def test_answers_to_other_items_are_no_pairs() -> None:
    with pytest.raises(ValueError, match="the same items"):
        compare(told(("a", "11")), told(("b", "11")), RULES)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize("slices", [1, 3, 7])
def test_a_slice_with_fewer_items_than_needed_is_never_called_worse(slices: int, confidence: float) -> None:
    rules = Judged(right=0, tolerance=1, confidence=confidence)
    least = golden.needed(slices, rules)

    def worst(items: int) -> bool:
        """Is a slice worse that loses each item, beside others that lose none?"""
        others = [(f"s{at}", "11") for at in range(slices - 1)]
        found = compare(told(("lost", "1" * items), *others), told(("lost", "0" * items), *others), rules)
        return next(each.worse for each in found.slices if each.slice == "lost")

    assert worst(least) and not (least > 1 and worst(least - 1))


def test_equal_prompts_are_called_worse_by_a_slice_as_seldom_as_promised() -> None:
    rng, wrong = np.random.default_rng(17), 0
    for _ in range(150):
        drawn = [[("".join(map(str, rng.binomial(1, 0.7, 30)))) for _ in range(4)] for _ in range(2)]
        pair = [told(*zip("abcd", each, strict=True)) for each in drawn]
        wrong += any(each.worse for each in compare(pair[0], pair[1], Judged(tolerance=1, right=0)).slices)
    assert wrong <= 150 * 0.05 + 3 * (150 * 0.05 * 0.95) ** 0.5


def test_an_item_without_an_answer_is_wrong_and_orders_are_judged_by_what_was_said() -> None:
    prompt = SealedPrompt(digest="sha256:0", prompt=Prompt.model_validate(RAW))
    items = [GoldenItem(id=name, given={}, right={"orders": True, "cites": ["b", "a"]}) for name in "xyz"]
    answers = {
        "x": Outcome({"orders": True, "cites": ("a", "b")}, "orders"),
        "y": Outcome(None, "schema"),
        "z": Outcome({"orders": False, "cites": ("a", "b")}),
    }
    found = golden.answers(prompt, items, lambda _, item: answers[item.id])
    assert [(each.right, each.cause) for each in found] == [(True, "orders"), (False, "schema"), (False, "")]
