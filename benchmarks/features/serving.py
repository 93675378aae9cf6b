"""Order in, score out: a model whose features come from views beside the same model whose callers send them.

`python -m benchmarks.features.serving`, two minutes. Four of an order's 17 fields are given by three views (counts and numbers of different values, over an
hour to 90 days, of a buyer, a device and an address), read from SQLite and from Redis; a forest of 300 trees answers. Three servers, one worker each, asked in
turn: by 32 clients that each wait for their answer, and 1,000 times a second, sent on time. Asked for: half the rate without lookup at least, and a
99th percentile that is 3 ms later at most.

Rates are answers a second; `cpu` is what a request costs the server's processes, by the kernel's count, whose ratio is steadier where the machine is
shared. Redis and the load generator have the rest of the cores.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.features.online import redis_server, say
from benchmarks.serving import load, models
from benchmarks.serving.bodies import Body
from benchmarks.serving.processes import Contender, Served
from hallmark.artifacts.signature import ViewUse
from hallmark.declaration.feature_view import FeatureView
from hallmark.declaration.serving_config import FeatureReading, ServingConfig
from hallmark.declaration.source import Datatype
from hallmark.feature_store.online.address import connect
from hallmark.feature_store.online.keys import SHARED
from hallmark.feature_store.payload import Payload
from hallmark.feature_store.stream import Published, Written
from hallmark.feature_store.tiles import TYPES, Plan, Tiles
from hallmark.features.fields import Field, Output

SHARE, LATER, RATE = 0.5, 3.0, 1000.0
PATIENCE = 1.0
"""Seconds that a request may wait for its features: a busy machine shows as time, not as refusals."""
ENTITIES, ASKED = 5000, 2000
SOURCE: dict[str, Datatype] = {
    **{"order_id": "BYTES", "buyer_id": "BYTES", "device_id": "BYTES", "ip": "BYTES", "card_id": "BYTES"},
    **{"ordered_at": "TIME", "known_at": "TIME"},
}
VIEWS: dict[str, tuple[str, dict[str, dict[str, Any]]]] = {
    "buyers": (
        "buyer_id",
        {
            "buyer_orders": {"take": "count", "window": "30d"},
            "buyer_cards": {"take": "distinct", "of": "card_id", "window": "90d"},
        },
    ),
    "devices": ("device_id", {"device_accounts": {"take": "distinct", "of": "buyer_id", "window": "90d"}}),
    "addresses": ("ip", {"ip_orders": {"take": "count", "window": "1h"}}),
}
NUMBERS = ("amount", "item_age", "seller_age", "buyer_age", "password_age", "distance", "discount", "hour")
WORDS = {name: tuple(f"{name}{number}" for number in range(6)) for name in ("category", "payment", "tier")}
GIVEN = tuple(name for _, columns in VIEWS.values() for name in columns)
FIELDS = (
    *(Field(name=name, datatype="FP64") for name in NUMBERS),
    *(Field(name=name, datatype="INT64", minimum=0) for name in GIVEN),
    *(Field(name=name, datatype="BOOL") for name in ("moved", "express")),
    *(Field(name=name, datatype="BYTES", categories=words) for name, words in WORDS.items()),
)
FEATURES = f"""import numpy as np

NUMBERS, FLAGS, WORDS = {(*NUMBERS, *GIVEN)!r}, ("moved", "express"), {WORDS!r}


def encode(columns):
    parts = [np.log1p(columns[name].astype(np.float64)) for name in NUMBERS]
    parts += [columns[name].astype(np.float64) for name in FLAGS]
    parts += [(columns[name] == word).astype(np.float64) for name, words in WORDS.items() for word in words]
    return np.stack(parts, axis=1).astype(np.float32)
"""


def main() -> int:
    """Measure, print, and give 1 where a mark is missed."""
    flags = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    flags.add_argument("--rounds", type=int, default=5, help="of each server and load (5)")
    flags.add_argument("--seconds", type=int, default=3, help="of one (3)")
    options = flags.parse_args()
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        port, _ = stack.enter_context(redis_server(folder))
        stores = {"SQLite": f"sqlite:///{name}/online.db", "Redis": f"redis://127.0.0.1:{port}/0"}
        uses = [use(*each) for each in VIEWS.items()]
        score = Output(name="score", datatype="FP32", minimum=0, maximum=1)
        for kind, views in (("sent", ()), ("views", tuple(uses))):
            models.write(folder / kind, models.forest(), fields=FIELDS, output=score, features=FEATURES, views=views)
        for address in stores.values():
            fill(address, uses)
        servers: dict[str, tuple[Served, list[Body]]] = {}
        for kind, address in {"sent": "", **stores}.items():
            bodies = orders(sent=not address)
            if address:
                os.environ["HALLMARK_FEATURE_STORE"] = address
            contender = Contender(kind, "hallmark", config=ServingConfig(features=FeatureReading(wait=PATIENCE)))
            server = Served(contender, folder / ("views" if address else "sent"), bodies[0], log=folder / f"{kind}.log")
            stack.callback(server.end)
            servers[kind] = server, bodies
        return int(any([judged(servers, "closed", options), judged(servers, "open", options)]))


def judged(servers: Mapping[str, tuple[Served, list[Body]]], mode: str, options: argparse.Namespace) -> bool:
    """Ask all servers in turn and print what they took; true where a mark is missed."""
    wanted = {"mode": mode, "seconds": options.seconds, **({"rate": RATE} if mode == "open" else {})}
    found: dict[str, list[load.Sample]] = {kind: [] for kind in servers}
    for number in range(options.rounds + 1):
        for kind, (server, bodies) in servers.items():
            sample = load.timed(server, bodies, **wanted)
            if sample["errors"]:
                raise SystemExit(f"{kind}: {sample['errors']:.0f} errors; the end of its log:\n{server.tail()}")
            if number:
                found[kind].append(sample)
    missed = False
    say(f"{RATE:,.0f} requests a second" if mode == "open" else "32 clients that wait for their answers")
    for kind, samples in found.items():
        rate, cpu, p50, p99 = (
            statistics.median(each[key] for each in samples) for key in ("rate", "cpu", "p50", "p99")
        )
        say(f"  {kind:8} {rate:8,.0f}/s  cpu {cpu:5.0f} µs  p50 {p50:6.2f} ms  p99 {p99:6.2f} ms")
    for kind in found:
        if kind == "sent":
            continue
        pairs = list(zip(found["sent"], found[kind], strict=True))
        if mode == "open":
            later = statistics.median(ours["p99"] - plain["p99"] for plain, ours in pairs)
            met = later <= LATER
            say(f"  {kind}: p99 {later:+.2f} ms, at most +{LATER:g}: {'met' if met else 'MISSED'}")
        else:
            rate = statistics.median(ours["rate"] / plain["rate"] for plain, ours in pairs)
            cpu = statistics.median(plain["cpu"] / ours["cpu"] for plain, ours in pairs)
            met = rate >= SHARE
            say(
                f"  {kind}: {rate:.2f} of the rate (by cpu {cpu:.2f}), at least {SHARE:g}: {'met' if met else 'MISSED'}"
            )
        missed |= not met
    return missed


def use(name: str, said: tuple[str, dict[str, dict[str, Any]]]) -> ViewUse:
    """A view as the model reads it."""
    entity, columns = said
    view = FeatureView.model_validate(
        {
            **{"name": name, "version": 1, "owner": {"team": "benchmarks", "contact": "benchmarks@hallmark.example"}},
            **{"description": "", "entity": entity, "source": "orders@1", "event_time": "ordered_at"},
            **{"known_at": "known_at", "event_id": "order_id", "freshness": "15m", "ttl": "90d", "columns": columns},
        }
    )
    types = {each: SOURCE[each] for each in view.reads}
    return ViewUse(view=view, entity=Field(name=entity, datatype="BYTES"), fields=tuple(columns), types=types)


def fill(address: str, uses: list[ViewUse]) -> None:
    """Payloads of `ENTITIES` of each view, of some 20 events in 60 days, a third of them within the last hour."""
    draw, now = random.Random(7), time.time_ns() // 1000
    store = connect(address, namespace=SHARED)
    for each in uses:
        plan = Plan(each.view, {name: TYPES[kind] for name, kind in each.types.items()})
        payload, rows = Payload(plan), []
        for entity in range(ENTITIES):
            name = f"{each.entity.name}-{entity}"
            events = []
            for number in range(draw.randrange(40)):
                at = now - int(draw.random() * (3600 if draw.random() < 0.3 else 60 * 86_400)) * 1_000_000
                row = {"order_id": f"{name}-{number}", "card_id": f"c{draw.randrange(3)}", "buyer_id": f"b{number % 4}"}
                events.append(plan.event({**row, "ordered_at": at, "known_at": at, each.entity.name: name}))
            if events:
                made = payload.encode(Tiles(plan, events))
                rows.append(Written(each.view.reference, name, made, (now, entity), now + 10**12))
        Published(store, [each.view]).write(rows)
    store.close()


def orders(*, sent: bool) -> list[Body]:
    """Requests of one order each, of other entities each; with the views' fields `sent` in their place."""
    draw, found = random.Random(3), []
    values: dict[str, Callable[[], Any]] = {
        **{name: lambda: round(draw.random() * 100, 2) for name in NUMBERS},
        **{name: lambda: draw.random() < 0.5 for name in ("moved", "express")},
        **{name: lambda words=words: draw.choice(words) for name, words in WORDS.items()},
    }
    kinds = {field.name: field.datatype for field in FIELDS}
    for number in range(ASKED):
        told: dict[str, tuple[str, Any]] = {name: (kinds[name], draw_one()) for name, draw_one in values.items()}
        if sent:
            told |= {name: ("INT64", draw.randrange(20)) for name in GIVEN}
        else:
            told |= {entity: ("BYTES", f"{entity}-{draw.randrange(ENTITIES)}") for entity, _ in VIEWS.values()}
        inputs = [
            {"name": name, "shape": [1], "datatype": kind, "data": [value]} for name, (kind, value) in told.items()
        ]
        found.append(Body(json.dumps({"id": str(number), "inputs": inputs}).encode()))
    return found


if __name__ == "__main__":
    sys.exit(main())
