"""What tests/variants.json says became of each variant is what real controllers make of it: a drawn part of them is asked again."""

from __future__ import annotations

import random

from tests import admission
from tests.conformance import variants
from tests.conformance.stack import Stack

SEED = 20261130
DRAWN = 30


def test_a_drawn_part_of_the_variants_has_the_outcome_that_is_written_down(cluster: Stack) -> None:
    variants.prepare(cluster.api)
    # One whose patience is part of the outcome would take a minute each.
    drawn = random.Random(SEED).sample([each for each in admission.variants() if each.outcome != "never ready"], DRAWN)
    found = {case.id: variants.ask(cluster.api, case.service, number) for number, case in enumerate(drawn)}
    wrong = {case.id: (case.outcome, *found[case.id]) for case in drawn if found[case.id].outcome != case.outcome}
    assert wrong == {}
