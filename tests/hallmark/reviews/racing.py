"""A person who takes cases and says what they are, in a process of their own that may be killed at any moment.

python -m tests.hallmark.reviews.racing ADDRESS NAME: each verdict that was acknowledged is a line. Now and then they leave with a case, say
the same twice, or come back too late.
"""

from __future__ import annotations

import random
import sys
import time

from hallmark.errors import Conflict, Unavailable
from hallmark.reviews.case import Reason, Verdict, Word
from hallmark.reviews.database import connect
from hallmark.reviews.queue import ReviewQueue

LEASE = 0.5


def work(address: str, name: str) -> None:
    """Until nothing is left."""
    queue = ReviewQueue(connect(address), lease=LEASE, undo=3600.0, second=0.0)
    chance = random.Random(name)
    number = 0
    while True:
        number += 1
        who = f"{name}-{number}"
        try:
            claim = queue.claim(who)
            if claim is None:
                if not queue.counts()["claimed"]:
                    return
                time.sleep(0.05)
                continue
            what = chance.random()
            if what < 0.01:
                continue  # leaves with it
            if what < 0.02:
                time.sleep(LEASE + 0.05)
            verdict = Verdict(word=Word.counterfeit, reason=Reason.other, note=who)
            for _ in range(1 + (what > 0.97)):
                queue.give(claim.token, verdict, who=who)
        except Conflict:
            continue
        except Unavailable as error:
            sys.stderr.write(f"{error}\n")
            continue
        sys.stdout.write(f"{claim.case.id} {who}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    work(sys.argv[1], sys.argv[2])
