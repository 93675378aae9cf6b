"""Text as numbers: words and their parts, the same wherever they stand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallmark.features import text

BUCKETS = 1 << 15


def numbers(words: str, *, slots: int = 200) -> set[int]:
    return set(text.grams([words], slots=slots, buckets=BUCKETS)[0].tolist()) - {0}


@pytest.mark.parametrize(
    ("written", "plain"),
    [
        ("Écharpe", "echarpe"),
        ("GRÖSSE", "grosse"),
        ("größe", "grosse"),
        ("  a_b-c  ", "a b c"),
        ("ﬁne!", "fine"),
        ("", ""),
    ],
)
def test_words_are_small_and_without_accents(written: str, plain: str) -> None:
    assert text.plain(written) == plain


def test_a_word_has_the_same_numbers_in_any_text_and_order() -> None:
    assert numbers("red coat") == numbers("coat, RED") == numbers("red") | numbers("coat")
    assert numbers("xx red coat yy") > numbers("red coat")


def test_a_slip_of_the_finger_changes_some_numbers_and_not_all() -> None:
    kept = numbers("turnschuhe") & numbers("turnschhe")
    assert 0.5 < len(kept) / len(numbers("turnschuhe")) < 1


def test_words_come_first_and_what_does_not_fit_is_left_out() -> None:
    full = text.grams(["red wool coat"], slots=40, buckets=BUCKETS)[0]
    short = text.grams(["red wool coat"], slots=3, buckets=BUCKETS)[0]
    assert (short == full[:3]).all() and set(full[:3]) == {full[0], *full[1:3]}
    assert all(full[at] in numbers(word) for at, word in enumerate(("red", "wool", "coat")))


def test_no_text_has_no_numbers() -> None:
    assert text.grams([], slots=4, buckets=BUCKETS).shape == (0, 4)
    assert not text.grams(["", " ", "!?"], slots=4, buckets=BUCKETS).any()
    assert text.shared([""], ["red"]).tolist() == [[0, 0]]


@given(st.lists(st.text(max_size=30), max_size=5))
def test_any_text_is_numbered_alike_alone_and_among_others(texts: list[str]) -> None:
    together = text.grams(texts, slots=24, buckets=BUCKETS)
    assert together.dtype == np.int32 and (together >= 0).all() and (together < BUCKETS).all()
    for row, each in zip(together, texts, strict=True):
        assert (text.grams([each], slots=24, buckets=BUCKETS)[0] == row).all()


def test_what_two_texts_share() -> None:
    found = text.shared(["red coat", "red coat"], ["Coat, blue", "blue shoe"])
    assert found[0].tolist() == [0.5, pytest.approx(4 / 7)] and found[1, 0] == 0


@given(st.text(alphabet="abcé<> -ß1", max_size=14), st.text(alphabet="abcé<> -ß1", max_size=20))
def test_what_is_shared_is_told_word_by_word_and_run_by_run(first: str, second: str) -> None:
    def parts(of: str) -> tuple[set[str], set[str]]:
        words = [f"<{word}>" for word in text.plain(of).split()]
        return set(words), {word[at : at + text.RUN] for word in words for at in range(len(word) - text.RUN + 1)}

    expected = [len(one & other) / max(1, len(one)) for one, other in zip(parts(first), parts(second), strict=True)]
    assert text.shared([first], [second])[0].tolist() == pytest.approx(expected)
