"""A training's examples with the fields of feature views, kept as a set by digest where the installation says: a folder, or Iceberg."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hallmark.artifacts.model_card import FeatureOrigin, KeptSet
from hallmark.declaration import feature_view
from hallmark.feature_store import iceberg, snapshots
from hallmark.feature_store.source_manifest import whole

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.declaration.domain import Domain
    from hallmark.settings import Settings


def keep(domain: Domain, frame: pd.DataFrame, origin: FeatureOrigin, settings: Settings) -> FeatureOrigin:
    """The origin with where its set is kept; as it is where `HALLMARK_TRAINING_SETS` names no place. The same set is kept once."""
    import pyarrow.parquet as pq

    where, time = settings.training_sets, domain.data.event_time
    if not where or time is None:
        return origin
    views = [feature_view.load(each, settings) for each in origin.views]
    with tempfile.TemporaryDirectory(prefix="hallmark_set_") as folder:
        parts = [Path(folder) / "part.parquet"]
        pq.write_table(whole(frame), parts[0])
        if where.startswith(iceberg.SCHEME):
            place = iceberg.Place.at(where, settings.state / "features" / "iceberg")
            snapshot, digest = place.write(domain.name, parts, time=time, views=views, sources=origin.sources)
            kept = KeptSet(place=where, digest=digest, table=f"{place.namespace}.{domain.name}", snapshot=snapshot)
        else:
            digest = snapshots.write(parts, Path(where), time=time, views=views, sources=origin.sources)
            kept = KeptSet(place=where, digest=digest)
    return origin.model_copy(update={"kept": kept})
