from __future__ import annotations

from hallmark.features.hashing import bucket


def test_a_word_has_one_number_wherever_it_is_asked_for_and_never_that_of_no_word() -> None:
    found = [bucket(f"brand={number}", buckets=8192) for number in range(5000)]
    assert min(found) >= 1 and max(found) <= 8191 and len(set(found)) > 3000
    assert bucket("brand=zig", buckets=8192) == 2008, "kept models were trained on these numbers"
