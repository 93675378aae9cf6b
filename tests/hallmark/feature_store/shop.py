"""A shop whose model reads a view: orders in, the stream, the online store, and the server's own lookup, captured as the server captures it."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from hallmark.artifacts.signature import Signature, ViewUse
from hallmark.declaration import feature_view, source
from hallmark.declaration.feature_view import FeatureView
from hallmark.declaration.serving_config import FeatureReading
from hallmark.feature_store import parity, source_batch, sources
from hallmark.feature_store.lookups import CapturedLookups
from hallmark.feature_store.online.address import connect
from hallmark.feature_store.online.keys import SHARED
from hallmark.feature_store.parity import Compared
from hallmark.feature_store.place import FeatureStore
from hallmark.features.fields import Field, Output
from hallmark.settings import Settings
from hallmark.tasks import Binary
from inference_services.capture import exchanges
from inference_services.capture.exchanges import NO_MARKS, Answered
from inference_services.capture.records import Call
from inference_services.drift_monitor.lookups import LookupRing
from inference_services.protocol.v2 import InferenceRequest
from inference_services.runtime import lookup

ROOT = Path(__file__).parents[3]
VIEW, SOURCE = "buyers@1", "orders@1"
DECLARED: dict[str, Any] = {
    **{"name": "buyers", "version": 1, "owner": {"team": "tests", "contact": "tests@hallmark.example"}},
    **{"description": "What a buyer ordered.", "entity": "buyer_id", "source": SOURCE, "event_time": "ordered_at"},
    **{"known_at": "known_at", "event_id": "order_id", "freshness": "15m", "ttl": "30d"},
    "columns": {
        "orders_1h": {"take": "count", "window": "1h"},
        "spent_30d": {"take": "sum", "of": "amount", "window": "30d"},
        "last_amount": {"take": "last", "of": "amount"},
    },
}
FIELDS = (
    Field(name="amount", datatype="FP64"),
    Field(name="orders_1h", datatype="INT64"),
    Field(name="spent_30d", datatype="FP64"),
    Field(name="last_amount", datatype="FP64", optional=True),
)
GIVEN = ("orders_1h", "spent_30d", "last_amount")
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
_REST = {
    **{"seller_id": "s1", "payment": "card", "discount": 0.0, "category": "bags", "brand_tier": "luxury"},
    **{"shipping_distance_km": 12.5, "address_changed": False, "express": True, "device_id": "d1", "ip": "10.0.0.1"},
    "card_id": "c1",
}


class Shop:
    """Everything below one folder, or its events at `offline`; `now` is when it opened."""

    def __init__(self, folder: Path, offline: str = "") -> None:
        root = folder / "root"
        for name in ("domains", "inference_services", "features/buyers"):
            (root / name).mkdir(parents=True)
        (root / "contracts").symlink_to(ROOT / "contracts")
        (root / "features/buyers/v1.yaml").write_text(yaml.safe_dump(DECLARED, sort_keys=False))
        self.folder, self.now = folder, datetime.now(UTC)
        self.settings = Settings.load(
            {"HALLMARK_ROOT": str(root), "HALLMARK_STATE": str(folder / "state"), "HALLMARK_FEATURE_OFFLINE": offline}
        ).prepared()
        self.place = FeatureStore(self.settings)
        self.view = feature_view.load(VIEW, self.settings)
        self.contract = source.load(SOURCE, self.settings)
        self._count = itertools.count()

    def order(
        self, number: int, buyer: str, *, ago: timedelta, amount: float = 10.0, known: timedelta | None = None
    ) -> dict[str, Any]:
        """An order that happened so long ago, and was known then, or so long ago."""
        told = {"order_id": f"o{number}", "buyer_id": buyer, "amount": amount, **_REST}
        return {**told, "ordered_at": self.now - ago, "known_at": self.now - (ago if known is None else known)}

    def batch(self, *orders: dict[str, Any]) -> Path:
        frame = pd.DataFrame(orders)
        for column in ("ordered_at", "known_at"):
            frame[column] = frame[column].astype("datetime64[us, UTC]")
        path = self.folder / f"{next(self._count)}.parquet"
        frame.to_parquet(path)
        return path

    def ingest(self, *orders: dict[str, Any]) -> None:
        self.place.ingest(SOURCE, self.batch(*orders))

    def ingest_past_the_log(self, *orders: dict[str, Any]) -> None:
        """Into the offline store only, as where a stream skips what training takes."""
        frame = source_batch.read(self.contract, self.batch(*orders))
        sources.append(self.place.offline(SOURCE), frame, source=SOURCE, batch=f"past-{next(self._count)}")

    def run(self) -> None:
        if not self.place.applied():
            self.place.apply([VIEW])
        self.place.catch_up([VIEW])

    def metrics(self) -> str:
        """What the view's job prints."""
        with self.place._stream(self.view) as (stream, _):
            return stream.metrics()

    def signature(self, view: FeatureView | None = None) -> Signature:
        view = view or self.view
        use = ViewUse(
            view=view,
            entity=Field(name="buyer_id", datatype="BYTES"),
            fields=GIVEN,
            types={name: self.contract.columns[name].datatype for name in view.reads},
        )
        output = Output(name="score", datatype="FP32", minimum=0, maximum=1)
        return Signature(domain="fraud", task=Binary(), fields=FIELDS, outputs=(output,), views=(use,))

    def ring(self, *requests: tuple[str, str], **given: Any) -> LookupRing:
        """What a drift monitor holds after these requests (client's id, buyer), looked up as the server does."""
        return asyncio.run(self._ring(requests, **given))

    async def _ring(
        self,
        requests: Sequence[tuple[str, str]],
        *,
        view: FeatureView | None = None,
        change: Callable[[dict[str, Any]], None] = lambda _: None,
        digest: str = "sha256:" + "0" * 64,
    ) -> LookupRing:
        signature = self.signature(view)
        reader = lookup.connected(signature, self.place.url, reading=FeatureReading(wait=5.0))
        calls = []
        for ident, buyer in requests:
            columns = {"amount": np.array([5.0]), "buyer_id": np.array([buyer], dtype=object)}
            asked = InferenceRequest(id=ident, columns=columns, rows=1)
            (wrong,) = await reader.fill([asked], within=5.0)
            assert wrong is None
            told = dict(asked.columns)
            change(told)
            calls.append(Call(told, {"score": np.array([0.25], dtype=np.float32)}, 1))
        count = len(requests)
        sent = Answered(calls, [1] * count, [100] * count, [ident for ident, _ in requests], [NO_MARKS] * count)
        found = exchanges.read(exchanges.packed([sent], prefix="p", first=0))
        ring = LookupRing(signature, digest=digest)
        ring.extend("fraud-predictor-00001", found, np.ones(count, dtype=np.bool_))
        return ring

    def ask(self, *buyers: str, **given: Any) -> CapturedLookups:
        return self.ring(*((f"r-{buyer}", buyer) for buyer in buyers), **given).after(0, limit=1000)

    def judged(self, told: CapturedLookups, **given: Any) -> list[Compared]:
        return parity.judge(told.lookups, told.views, self.place, self.settings, **given)

    def causes(self, told: CapturedLookups) -> dict[str, str]:
        """Columns that differ, each with why."""
        return {each.column: each.cause for each in self.judged(told) if each.cause}

    def online(self) -> Any:
        return closing(connect(self.place.url, namespace=SHARED))
