"""Traffic adapters: what carries a candidate's share on each kind of cluster, what it can do, and what a policy asks beyond that.

Found on real controllers (docs/rollout.md, "By cluster"); the local cluster's is Envoy, which can do what its mode says and no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from hallmark.declaration.rollout import Rollout
from hallmark.section import Frozen, spelled

Mode = Literal["Knative", "Standard"]
"""KServe's two ways of keeping pods, as its annotation writes them."""


class TrafficAdapter(Frozen):
    """One way of dividing traffic between stable and a candidate.

    mirrors:    copies of stable's requests can go to a candidate whose answers nobody gets: a shadow.
    stands_by:  the former stable stays ready for a while after a promotion.
    fails_over: what a candidate does not answer, stable answers, in the same request. No policy can ask for it.
    build:      what the local cluster's API server calls itself in its version where it can do just this.
    mode:       KServe's, of the InferenceServices.
    """

    name: str
    mirrors: bool
    stands_by: bool
    fails_over: bool
    build: str
    mode: Mode = "Knative"

    @property
    def option(self) -> str:
        """What `hallmark up --mode` calls it."""
        return self.build.partition(".")[2] or "full"


LOCAL = TrafficAdapter(name="the local cluster", mirrors=True, stands_by=True, fails_over=True, build="hallmark")
KNATIVE = TrafficAdapter(
    name="KServe's Knative mode", mirrors=False, stands_by=True, fails_over=False, build="hallmark.knative"
)
STANDARD = TrafficAdapter(
    name="KServe's Standard mode",
    mirrors=True,
    stands_by=False,
    fails_over=False,
    build="hallmark.standard",
    mode="Standard",
)
ADAPTERS = (LOCAL, KNATIVE, STANDARD)
BUILDS = {each.build: each for each in ADAPTERS}
"""What the local cluster carries traffic as (`hallmark up --mode`), by the build that its API server's version names."""


def beyond(policy: Rollout, adapter: TrafficAdapter) -> Iterator[tuple[str, str]]:
    """Keys of `rollout:` that ask for what the adapter cannot do, and in words; not those that the policy calls optional."""
    if policy.shadow is not None and not adapter.mirrors and "shadow" not in policy.optional:
        yield "shadow", f"asks for a shadow, and {adapter.name} mirrors no requests"
    if policy.warm and not adapter.stands_by and "warm" not in policy.optional:
        yield "warm", f"asks for a standby of {spelled(policy.warm)}, and {adapter.name} keeps none"
