"""A race of writers for the same keys; also a program, which waits for a line before it begins."""

from __future__ import annotations

import sys

from hallmark.feature_store.online.address import connect
from hallmark.feature_store.online.keys import Key, entity_key
from hallmark.feature_store.online.store import OnlineStore, Row

VIEW = "buyer_orders@1"
RACERS, STEPS = 8, 31


def race(store: OnlineStore, racer: int, entities: int) -> None:
    """Write `STEPS` versions of each entity, each racer in another order."""
    for step in range(STEPS):
        event = (step * 11 + racer * 7) % STEPS
        store.write([Row(Key(VIEW, entity_key(each)), event, racer, b"%d" % racer) for each in range(entities)])


def winners(entities: int) -> set[Row]:
    """What stands when all racers are done."""
    last = RACERS - 1
    return {Row(Key(VIEW, entity_key(each)), STEPS - 1, last, b"%d" % last) for each in range(entities)}


if __name__ == "__main__":
    entered = connect(sys.argv[1], namespace=sys.argv[2], write_seconds=60)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    race(entered, int(sys.argv[3]), int(sys.argv[4]))
