"""What the pods of a decision take beside its models': the service that decides, and the one that asks its reviewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from hallmark.declaration.domain import Domain


class PodShape(NamedTuple):
    """Pods of one kind: how many there are, how many more while they are replaced, and what each requests."""

    replicas: int
    surge: int
    cpu: str
    memory: str

    @property
    def most(self) -> int:
        """Pods that there may be at once."""
        return self.replicas + self.surge


DECISION = PodShape(replicas=1, surge=0, cpu="1", memory="1Gi")
"""One: it counts the experts' minutes, and two would each count all of them."""
PAGE = PodShape(replicas=1, surge=0, cpu="100m", memory="512Mi")
"""The page that people work on, in the decision's pod."""
SWEEP = PodShape(replicas=1, surge=0, cpu="100m", memory="512Mi")
"""What deletes photos of cases that nobody needs any more, once a day."""
REVIEWER = PodShape(replicas=2, surge=1, cpu="500m", memory="512Mi")


def of(domain: Domain) -> dict[str, PodShape]:
    """The pods that a domain's decision has, by what they do."""
    if domain.decision is None:
        return {}
    asked = domain.reviewer is not None and any(
        node.kind == "reviewer" and node.prompt for node in domain.decision.nodes.values()
    )
    person = {"page of reviews": PAGE, "deletion of photos": SWEEP} if domain.decision.persons else {}
    return {"decision": DECISION, **person, **({"reviewer's service": REVIEWER} if asked else {})}
