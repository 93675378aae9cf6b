"""The language of a decision's conditions: what it means, and what it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallmark.declaration import condition
from hallmark.declaration.condition import Kind, Value, Wrong

KINDS: dict[str, Kind] = {"view.risk": "number", "item.brand": "text", "near.ids": "texts", "near.found": "truth"}
VALUES: dict[str, Value] = {"view.risk": 0.25, "item.brand": "Ünlü", "near.ids": ("r1", "r2"), "near.found": True}


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("view.risk < 0.5", True),
        ("view.risk <= 0.25 and view.risk >= 2.5e-1", True),
        ("view.risk > 1 or near.found", True),
        ("not near.found or near.found and view.risk > 1", False),
        ("not (near.found and view.risk > 1)", True),
        ('item.brand == "Ünlü"', True),
        ('item.brand != "\\u00dcnl\\u00fc"', False),
        ('item.brand in ["a", "Ünlü"]', True),
        ("view.risk in [0.25, -1]", True),
        ('"r2" in near.ids', True),
        ("item.brand in near.ids", False),
        ("near.found == true", True),
        ("true", True),
    ],
)
def test_a_condition_means_what_it_says(text: str, wanted: bool) -> None:
    found = condition.parsed(text)
    condition.check(found, KINDS)
    assert condition.holds(found, VALUES) is wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "got the end of the text"),
        ("view.risk <", "got the end of the text"),
        ("view.risk < 0.5 view", "got view"),
        ("view.risk", "view.risk, which is a number: compare it"),
        ("view.risk < 1e999", "got 1e999"),
        ('view.risk < "0.5"', "one kind on both sides of <; got a number and a text"),
        ('item.brand < "b"', "expected numbers on both sides of <; got a text"),
        ("item.brand in [1]", "a text, behind in; got \\[1.0\\]"),
        ("near.ids == near.ids", "got a texts and a texts"),
        ("view.rsik < 1", "expected one of item.brand, near.found, near.ids, view.risk; got view.rsik"),
        ("__import__('os').system('x')", "got"),
        ("view.__class__.x == 1", "got"),
        ("view.risk() < 1", "got \\("),
        ("item.brand == 'a'", "got"),
        ("(" * 25 + "near.found" + ")" * 25, "at most 20 deep"),
        ("near.found or " * 60 + "near.found", "at most 500 characters"),
    ],
)
def test_what_means_nothing_is_refused(text: str, said: str) -> None:
    with pytest.raises(Wrong, match=said):
        condition.check(condition.parsed(text), KINDS)


def test_a_condition_tells_what_it_reads() -> None:
    found = condition.parsed('not (view.risk < 0.5 and item.brand in ["a"]) or near.found')
    assert {each.shown for each in condition.names(found)} == {"view.risk", "item.brand", "near.found"}


@given(st.text(max_size=60))
def test_any_text_is_a_condition_or_refused(text: str) -> None:
    try:
        found = condition.parsed(text)
        condition.check(found, KINDS)
    except Wrong:
        return
    assert condition.holds(found, VALUES) in (True, False)


_side = st.sampled_from(["view.risk < 0.5", "view.risk >= 1", "near.found", 'item.brand == "a"', "true", "false"])


@given(
    st.recursive(
        _side,
        lambda inner: st.one_of(
            st.tuples(st.just("not"), inner), st.tuples(st.sampled_from(["and", "or"]), inner, inner)
        ),
        max_leaves=6,
    ),
    st.floats(0, 2),
    st.booleans(),
)
def test_a_condition_agrees_with_python(tree: object, risk: float, found: bool) -> None:
    def written(part: object) -> str:
        if isinstance(part, str):
            return part
        assert isinstance(part, tuple)
        if part[0] == "not":
            return f"not ({written(part[1])})"
        return f"({written(part[1])}) {part[0]} ({written(part[2])})"

    def meant(part: object) -> bool:
        if isinstance(part, str):
            return {
                "view.risk < 0.5": risk < 0.5,
                "view.risk >= 1": risk >= 1,
                "near.found": found,
                'item.brand == "a"': True,
                "true": True,
                "false": False,
            }[part]
        assert isinstance(part, tuple)
        if part[0] == "not":
            return not meant(part[1])
        sides = [meant(part[1]), meant(part[2])]
        return all(sides) if part[0] == "and" else any(sides)

    read = condition.parsed(written(tree))
    assert condition.holds(read, {"view.risk": risk, "near.found": found, "item.brand": "a"}) is meant(tree)


@pytest.mark.parametrize("sign", ["<", "<=", ">", ">=", "==", "!="])
@pytest.mark.parametrize("value", [-1.0, 0.0, 0.5, 1.0, 1.5])
@pytest.mark.parametrize("turned", [False, True])
def test_a_comparison_is_certain_where_every_number_within_the_bounds_says_the_same(
    sign: str, value: float, turned: bool
) -> None:
    found = condition.parsed(f"not ({value} {sign} view.risk)" if turned else f"near.found or view.risk {sign} {value}")
    (one,) = condition.comparisons(found)
    alone = condition.parsed(f"{value} {sign} view.risk" if turned else f"view.risk {sign} {value}")
    seen = {condition.holds(alone, {"view.risk": each / 8}) for each in range(9)}
    assert condition.certain(one, 0, 1) == (seen.pop() if len(seen) == 1 else None)


def test_a_list_is_compared_from_either_side() -> None:
    found = list(
        condition.comparisons(condition.parsed('"r1" in near.ids and view.risk in [2, 3] and near.ids == near.ids'))
    )
    assert [(each.sign, each.named.shown, each.values) for each in found] == [
        ("in", "near.ids", ("r1",)),
        ("in", "view.risk", (2.0, 3.0)),
    ]
    assert condition.certain(found[1], 0, 1) is False
