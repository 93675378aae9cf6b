"""Views of declared domains are kept up to date beside the cluster: without a command, after a kill, and no longer than it runs."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest

from hallmark.feature_store.place import FeatureStore
from hallmark.leash import Leash
from hallmark.settings import Settings
from local_cluster.streams import Streams

ROOT = Path(__file__).parents[2]
SECONDS = 30.0


def told(folder: Path, *orders: str) -> Path:
    """A batch of orders of one buyer, a minute ago."""
    at = pd.Timestamp(datetime.now(UTC) - timedelta(minutes=1)).as_unit("us")
    who = {"buyer_id": "anna", "seller_id": "s1", "device_id": "d1", "ip": "10.0.0.1", "card_id": "c1"}
    what = {"payment": "card", "amount": 10.0, "discount": 0.0, "category": "bags", "brand_tier": "luxury"}
    how = {"shipping_distance_km": 1.5, "address_changed": False, "express": True}
    rows = [{"order_id": order, "ordered_at": at, "known_at": at, **who, **what, **how} for order in orders]
    path = folder / f"{orders[0]}.parquet"
    pd.DataFrame(rows).to_parquet(path)
    return path


async def counted(store: FeatureStore, orders: int) -> None:
    until = time.monotonic() + SECONDS
    while store.read("buyer_orders@1", ["anna"])[0].values["buyer_orders_30d"] != orders:
        assert time.monotonic() < until, f"{orders} orders were not to be read"
        await asyncio.sleep(0.02)


@pytest.mark.slow
def test_what_comes_in_is_read_a_moment_later_after_a_kill_too_and_stop_leaves_nothing(tmp_path: Path) -> None:
    settings = Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(tmp_path / "state")}).prepared()
    leash, store = Leash(settings.cluster), FeatureStore(settings)

    async def live() -> None:
        streams = Streams(settings, on=leash)
        streams.prepare()
        streams.start(after=lambda: True)
        try:
            store.ingest("orders@1", told(tmp_path, "o1", "o2"))
            await counted(store, 2)
            applied = await asyncio.to_thread(store.apply, ["buyer_orders@1"])
            assert [(each.made, each.events) for each in applied] == [(False, None)], "it is followed already"
            (child,) = [each for each in leash.running() if "streams" in str(each)]
            os.kill(child.pid, signal.SIGKILL)
            store.ingest("orders@1", told(tmp_path, "o3"))
            await counted(store, 3)
        finally:
            await streams.stop()

    asyncio.run(live())
    assert leash.running() == []
    assert store.catch_up(["buyer_orders@1"]) == 0, "nothing was left unread, and nobody holds the state"
