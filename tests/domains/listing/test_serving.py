"""Answers of the listing beside the probabilities."""

from __future__ import annotations

import numpy as np

from domains.listing import serving


def test_the_answer_names_the_likeliest_garment_and_how_sure_it_is() -> None:
    probabilities = np.array([[0.2, 0.7, 0.1], [0.5, 0.1, 0.4]], dtype=np.float32)
    answer = serving.answer({"probabilities": probabilities}, ("Dress", "Hat", "Shoes"))
    assert list(answer["label"]) == ["Hat", "Dress"]
    assert answer["label"].dtype == object
    assert answer["confidence"].dtype == np.float32
    assert answer["confidence"].tolist() == np.array([0.7, 0.5], dtype=np.float32).tolist()


def test_an_empty_batch_has_an_empty_answer() -> None:
    answer = serving.answer({"probabilities": np.zeros((0, 3), dtype=np.float32)}, ("Dress", "Hat", "Shoes"))
    assert answer["label"].shape == answer["confidence"].shape == (0,)


def test_what_is_answered_is_declared() -> None:
    answer = serving.answer({"probabilities": np.ones((2, 1), dtype=np.float32)}, ("Dress",))
    assert [output.name for output in serving.OUTPUTS] == list(answer)
    assert [output.datatype for output in serving.OUTPUTS] == ["BYTES", "FP32"]
