"""Events before synthetic requests, moved to now: a server looks up what is known now, and synthetic orders are of other months.

Each request gets a buyer, a device, an address of its own, whose lives until then are those of the ones that it was drawn with. So
what the server looks up is distributed as in training, whenever and however often the requests are sent.
"""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hallmark.declaration import domain as domains
from hallmark.declaration import feature_view
from hallmark.declaration.feature_view import FeatureView
from hallmark.errors import Conflict, Refused, TimedOut
from hallmark.feature_store.place import FeatureStore
from hallmark.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

_LONGER = 25 / 24
_PAUSE = 0.02


@dataclass(frozen=True)
class Histories:
    """Events before requests.

    views:   those whose entities they are of.
    events:  of each source, the rows of a request together, as long before its moment as they were known.
    moments: of each source, the moment of each row's request.
    """

    settings: Settings
    views: tuple[FeatureView, ...]
    events: dict[str, pd.DataFrame]
    moments: dict[str, pd.Series]

    def happen(self, *, seconds: float = 60.0, among_real: bool = False) -> int:
        """Put them into the feature store here as if the requests were made now, and wait until they can be read; how many there are.

        `Refused` where that is another than this machine's own, or holds events that are not synthetic, unless they may be `among_real` ones.

        Where nobody keeps the views up to date, as `hallmark up` does, this does. `TimedOut` where they cannot be read in time.
        """
        store, now = FeatureStore(self.settings.prepared()), datetime.now(UTC)
        if not among_real and (reasons := store.real(list(self.events))):
            raise Refused(
                "synthetic events would be put among real ones, and trainings read what is stored",
                expected="the feature store of this machine's state folder, with synthetic events alone",
                got="; ".join(reasons),
                fix="--data FILE sends rows of your own and puts no events anywhere; --among-real-events puts them there all the same",
            )
        moved = {}
        for reference, events in self.events.items():
            mine = [view for view in self.views if view.source == reference]
            later = now - self.moments[reference]
            times = {name for view in mine for name in (view.event_time, view.known_at)}
            moved[reference] = events.assign(**{name: (events[name] + later).dt.as_unit("us") for name in times})
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "events.parquet"
                moved[reference].to_parquet(path)
                store.ingest(reference, path, synthetic=True)
        references = [view.reference for view in self.views]
        try:
            store.apply(references)
            store.catch_up(references)
        except Conflict:  # the cluster does
            for view in self.views:
                _wait(store, view, moved[view.source], seconds)
        return sum(map(len, moved.values()))


def before(
    name: str, frame: pd.DataFrame, rows: Sequence[int], *, seed: int, shift: str | None, settings: Settings
) -> tuple[pd.DataFrame, Histories | None]:
    """`frame` with ids of their own in those rows, and what was before them; none where the domain reads no views."""
    declared = domains.load(name, settings)
    if declared.features is None or declared.data.event_time is None:
        return frame, None
    import pandas as pd

    views = tuple(feature_view.load(each, settings) for each in declared.features.views)
    code, own = domains.module(name, "data", settings), secrets.token_hex(4)
    asked = frame.iloc[list(rows)].assign(_own=[f":{own}{place:x}" for place in range(len(rows))])
    moment = asked[declared.data.event_time]
    events: dict[str, pd.DataFrame] = {}
    moments: dict[str, pd.Series] = {}
    for reference in dict.fromkeys(view.source for view in views):
        mine = [view for view in views if view.source == reference]
        reach = max(view.ttl for view in mine) * _LONGER
        told = code.events(
            reference,
            start=(moment.min() - reach).to_pydatetime(),
            end=moment.max().to_pydatetime(),
            seed=seed,
            shift=shift,
        )
        seen = pd.concat([_seen(view, told, asked, moment) for view in mine]).drop_duplicates()
        found = seen.merge(told, on=mine[0].event_id)
        found = found[found[mine[0].known_at] < found["_moment"]]
        found = found.sort_values(["_own", mine[0].known_at], kind="stable", ignore_index=True)
        ids = {view.entity for view in mine} | {view.event_id for view in mine}
        moments[reference] = found["_moment"]
        events[reference] = _owned(found, ids)[list(told.columns)]
    places = np.array(rows)
    changed = _owned(asked, {view.entity for view in views})
    made = {view.entity: frame[view.entity].to_numpy(dtype=object, copy=True) for view in views}
    for entity, values in made.items():
        values[places] = changed[entity].to_numpy()
    return frame.assign(**made), Histories(settings, views, events, moments)


def _seen(view: FeatureView, events: pd.DataFrame, asked: pd.DataFrame, moment: pd.Series) -> pd.DataFrame:
    """Ids of the events of each request's entity that happened before it and were known, and may count in the view."""
    whose = asked[[view.entity, "_own"]].assign(_moment=moment).dropna(subset=[view.entity])
    pairs = events[[view.entity, view.event_id, view.event_time, view.known_at]].merge(whose, on=view.entity)
    when = pairs[view.event_time]
    near = (when < pairs["_moment"]) & (when >= pairs["_moment"] - view.ttl * _LONGER)
    return pairs[near & (pairs[view.known_at] < pairs["_moment"])][[view.event_id, "_own", "_moment"]]


def _owned(rows: pd.DataFrame, names: set[str]) -> pd.DataFrame:
    """Rows with the ids in these columns made those of their request; what has none stays so."""
    return rows.assign(**{name: (rows[name] + rows["_own"]).where(rows[name].notna(), None) for name in names})


def _wait(store: FeatureStore, view: FeatureView, events: pd.DataFrame, seconds: float) -> None:
    """Wait until what was told last of an entity of the view can be read; what is older than the view looks back never can."""
    known = events.dropna(subset=[view.entity])
    known = known[known[view.event_time] > datetime.now(UTC) - view.ttl * 0.9]
    if known.empty:
        return
    entity = known[view.entity].iloc[-1]
    newest = known[known[view.entity] == entity][view.event_time].max()
    deadline = time.monotonic() + seconds
    while (found := store.read(view.reference, [entity])[0].newest) is None or found < newest:
        if time.monotonic() > deadline:
            raise TimedOut(
                f"events of {view.source} were not to be read in {view.reference} after {seconds:g} s",
                got=str(found),
                fix="read streams.log of the local cluster",
            )
        time.sleep(_PAUSE)
