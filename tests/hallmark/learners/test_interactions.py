"""Sequences out of rows, each beginning once; popularity and neighbours by hand."""

from __future__ import annotations

import numpy as np

from hallmark.learners.interactions import Neighbours, whole


def rows(*sequences: list[int], longest: int) -> tuple[np.ndarray, np.ndarray]:
    """A row for each item of each sequence: what came before, the last `longest`, and the item."""
    history, target = [], []
    for sequence in sequences:
        for place, item in enumerate(sequence):
            before = sequence[max(0, place - longest) : place]
            history.append(before + [0] * (longest - len(before)))
            target.append(item)
    return np.array(history), np.array(target)


def test_what_one_row_begins_another_goes_on_with_is_given_once() -> None:
    history, target = rows([2, 3, 4], [2, 3], [5], longest=4)
    found = whole(history, target, np.ones(len(target), dtype=bool))
    assert sorted(map(tuple, found.tolist())) == [(2, 3, 0), (2, 3, 4), (5, 0, 0)]


def test_rows_that_are_not_relevant_are_not_learnt_from() -> None:
    history, target = rows([2, 3, 4], longest=4)
    found = whole(history, target, np.array([True, True, False]))
    assert found.tolist() == [[2, 3]]


def test_a_long_sequence_is_cut_into_pieces_that_hold_all_of_it() -> None:
    sequence = list(range(2, 25))
    history, target = rows(sequence, longest=4)
    found = whole(history, target, np.ones(len(target), dtype=bool))
    assert found.shape[1] == 5
    pieces = [[item for item in row if item] for row in found.tolist()]
    assert {item for row in pieces for item in row} == set(sequence)
    assert all(row == list(range(row[0], row[-1] + 1)) for row in pieces) and pieces[0] == sequence[-5:]


def test_a_member_who_goes_in_circles_comes_to_an_end() -> None:
    history, target = rows([2, 3] * 300, longest=4)
    assert len(whole(history, target, np.ones(len(target), dtype=bool))) < 1000


def test_neighbours_are_cosines_of_who_looked_at_both() -> None:
    sequences = np.array([[2, 3, 0], [2, 3, 4], [2, 5, 0]])
    found = Neighbours.of(sequences, items=7)
    assert found.counts.tolist() == [0, 0, 3, 2, 1, 1, 0]
    near = dict(zip(found.items[2].tolist(), found.cosines[2].tolist(), strict=True))
    assert np.isclose(near[3], 2 / np.sqrt(3 * 2)) and np.isclose(near[5], 1 / np.sqrt(3))
    assert found.popular(np.array([[2, 0], [6, 0]]), k=3).tolist() == [[3, 4, 5], [2, 3, 4]]
    assert found.near(np.array([[3, 4], [0, 0]]), k=2).tolist()[0][0] == 2
    assert found.near(np.array([[0, 0]]), k=2).tolist() == [[2, 3]], "of nobody's past the popular ones"
