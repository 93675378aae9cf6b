"""Traffic adapters: what carries a candidate's share on each kind of cluster, and what it can do.

Found on real controllers (docs/rollout.md, "By cluster"); the local cluster's is Envoy with our own routes.
"""

from __future__ import annotations

from hallmark.section import Frozen


class TrafficAdapter(Frozen):
    """One way of dividing traffic between stable and a candidate.

    mirrors:    copies of stable's requests can go to a candidate whose answers nobody gets: a shadow.
    fails_over: what a candidate does not answer, stable answers, in the same request.
    build:      what the local cluster's API server calls itself in its version where it can do just this; none of a real one.
    """

    name: str
    mirrors: bool
    fails_over: bool
    build: str = ""


LOCAL = TrafficAdapter(name="the local cluster", mirrors=True, fails_over=True, build="hallmark")
KNATIVE = TrafficAdapter(name="KServe's Knative mode", mirrors=False, fails_over=False, build="hallmark.knative")
STANDARD = TrafficAdapter(name="KServe's Standard mode", mirrors=False, fails_over=False)
BUILDS = {each.build: each for each in (LOCAL, KNATIVE)}
"""What the local cluster carries traffic as (`hallmark up --mode`), by the build that its API server's version names."""
