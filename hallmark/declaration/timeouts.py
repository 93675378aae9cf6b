"""Timeouts of a served model, all derived from `serving.timeout`; each is longer than the one inside it.

So whoever is nearest to the fault says what it was: the server refuses before the gateway gives up, and a pod that was told to end
has answered before it is killed. docs/decisions/0026 lists who reads which.
"""

from __future__ import annotations

import math
from datetime import timedelta

from pydantic import Field

from hallmark.section import Frozen

NOTICE = 0.5
"""Seconds after SIGTERM in which a server takes new requests: gateways learn within them that its pod is to end."""
FLUSH = 0.4
"""Seconds at the end of a server for what was captured and is not sent yet; below half a second, so that whole ones need one more."""
SECOND_TRY = 0.5
"""Seconds of a gateway that tries stable after a candidate, beside the two tries: its pauses and its own work."""
UNSET = 60
"""Seconds of a revision that names no timeout: Knative's revision-timeout-seconds, and KServe's for an HTTPRoute."""
MOST = 110
"""Seconds that an attempt may last on our platform: its gateway closes a stream on which nothing came for two minutes."""
POD = MOST
"""terminationGracePeriodSeconds in Standard mode, one for all, since a server ends as soon as it may; in Knative mode it is `attempt`."""


class ServingTimeouts(Frozen):
    """Seconds, from the innermost outwards.

    deadline: of a request in the model server, from its arrival to its answer or its refusal; what `serving.timeout` says.
    notice:   after SIGTERM, in which the server takes new requests.
    end:      after SIGTERM, when the server has ended: those had their deadline, and what was captured is sent.
    attempt:  the revision's timeoutSeconds: queue-proxy, an HTTPRoute and a gateway's single try cut off there. In Knative mode it is also
              the pod's grace period, so that it lies after `end`. Whole seconds.
    gateway:  of a request that may be tried on stable as well.
    """

    deadline: float = Field(gt=0)
    notice: float
    end: float
    attempt: int
    gateway: float


def of(timeout: timedelta) -> ServingTimeouts:
    """The timeouts of a model whose declaration has `serving.timeout`."""
    deadline = timeout.total_seconds()
    end = NOTICE + deadline + FLUSH
    attempt = math.floor(end) + 1
    return ServingTimeouts(deadline=deadline, notice=NOTICE, end=end, attempt=attempt, gateway=gateway(attempt))


def gateway(attempt: float) -> float:
    """Seconds of a request in a gateway that gives a candidate `attempt` seconds, and stable as many after it."""
    return 2 * attempt + SECOND_TRY
