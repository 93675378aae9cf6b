"""What a server chooses for a single entity, and the chance with which it did, so that the answers it gave are a log by which a policy can be judged.

A batch decides about all rows at once, within budget and caps of a run. A server sees one entity: it keeps the hold-out (the batch's own), the
treatments an entity may get in a month, and lots; of the others it treats whoever is worth more than that costs.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hallmark.declaration.policy import Policy
from hallmark.features.fields import Field, Output
from hallmark.policy import lot
from hallmark.section import Frozen
from hallmark.tasks.uplift import Uplift

if TYPE_CHECKING:
    from hallmark.declaration.domain import Domain

TREATMENT, PROPENSITY = "treatment", "propensity"
OUTPUTS: tuple[Output, ...] = (
    Output(name=TREATMENT, datatype="INT64", minimum=0),
    Output(name=PROPENSITY, datatype="FP64", minimum=0, maximum=1),
)
"""What is added to an answer: the same names as a batch's columns."""
DAY = 86_400


class ServedChoice(Frozen):
    """How a server chooses, as its model's signature has it.

    entity: the field that says whom a record is about: hold-out and lots go by it.
    """

    domain: str
    entity: str
    costs: tuple[float, ...]
    policy: Policy

    @property
    def whom(self) -> Field:
        """The field that callers send besides those of the model, which nothing else reads."""
        told = "whom the record is about: hold-out and lots go by it; who has none is left alone"
        return Field(name=self.entity, datatype="BYTES", optional=True, description=told)

    def of(
        self, uplifts: NDArray[Any], columns: Mapping[str, NDArray[Any]], *, day: int | None = None
    ) -> dict[str, NDArray[Any]]:
        """`treatment` (n,), 0 for none, and `propensity` (n,), its chance over the lots of hold-out and exploration.

        uplifts: (n,) or (n, treatments).   day: since the epoch, which names the lots: an entity gets the same one all day, from any pod and version.
        An entity that no record names, and one that had its month's treatments, gets none for sure (1.0), which no policy can be judged by.
        """
        worth = np.asarray(uplifts, dtype=np.float64).reshape(len(uplifts), -1) * self.policy.value - self.costs
        k = worth.shape[1]
        ids = ["" if each is None else str(each) for each in columns[self.entity].tolist()]
        sure = np.array([not each for each in ids], dtype=np.bool_)
        policy = self.policy
        if policy.messages is not None and policy.caps.month is not None and policy.messages in columns:
            sure |= ~(columns[policy.messages].astype(np.float64) < policy.caps.month)
        greedy = np.where(worth.max(axis=1) > 0, worth.argmax(axis=1) + 1, 0)
        topic = f"{self.domain}/served/{int(time.time() // DAY) if day is None else day}"
        drawn = lot.drawn(ids, f"{topic}/explore") < policy.explore
        which = np.minimum((lot.drawn(ids, f"{topic}/which") * (k + 1)).astype(np.int64), k)
        held = lot.held_out(ids, domain=self.domain, share=policy.holdout)
        treatment = np.where(sure | held, 0, np.where(drawn, which, greedy))
        chance = np.where(treatment == greedy, 1 - policy.explore, 0.0) + policy.explore / (k + 1)
        chance = (1 - policy.holdout) * chance + policy.holdout * (treatment == 0)
        return {TREATMENT: treatment.astype(np.int64), PROPENSITY: np.where(sure, 1.0, chance)}


def declared(domain: Domain) -> ServedChoice | None:
    """How a server of the domain chooses; None without a policy."""
    if domain.policy is None or not isinstance(domain.task, Uplift):
        return None
    costs = domain.task.cost or (0.0,) * domain.task.treatments
    return ServedChoice(domain=domain.name, entity=domain.data.entity, costs=costs, policy=domain.policy)
