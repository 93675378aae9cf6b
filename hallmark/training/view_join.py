"""Fields that feature views give, beside a domain's examples: what was known before each of them, from events of the views' sources.

Synthetic examples have synthetic events, which `events` of the domain's data.py draws. A team's own have those of the offline stores,
here or in a bucket, which `hallmark features ingest` has taken in.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hallmark.artifacts import views
from hallmark.artifacts.model_card import FeatureOrigin
from hallmark.declaration import domain as domains
from hallmark.declaration import feature_view
from hallmark.declaration import source as contracts
from hallmark.errors import Conflict, ContractBroken, DeclarationError, HallmarkError, NotFound
from hallmark.feature_store import offline, snapshots, sources
from hallmark.section import spelled
from hallmark.settings import Settings
from hallmark.training.source import SYNTHETIC

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.artifacts.signature import ViewUse
    from hallmark.declaration.domain import Domain
    from hallmark.feature_store.sources import Snapshot
    from hallmark.features.fields import Field

_LONGER = 25 / 24
"""A window is at most so many times as long as it says (docs/decisions/0036)."""


def held(domain: Domain, source: str, settings: Settings) -> dict[str, str]:
    """Digests of all that decides the views' fields besides code: of views and contracts, and for own data of the rows that are stored.

    A source of which nothing is stored is not named. Where the set is kept is told too: it is made again for another place.
    """
    found: dict[str, str] = {}
    for reference in domain.features.views if domain.features else ():
        view = feature_view.load(reference, settings)
        found[f"view {reference}"] = snapshots.declared(view)
        found[f"contract {view.source}"] = snapshots.declared(contracts.load(view.source, settings))
        if source != SYNTHETIC and (store := sources.there(sources.place(settings, view.source))):
            found[f"rows {view.source}"] = store.digest
    if found and settings.training_sets:
        found["kept in"] = settings.training_sets
    return found


def joined(
    domain: Domain,
    frame: pd.DataFrame,
    *,
    source: str,
    seed: int,
    shift: str | None,
    settings: Settings,
    held: Mapping[str, str] | None = None,
) -> tuple[pd.DataFrame, FeatureOrigin]:
    """`frame` with the fields that the domain's views give, each as it was known before the row's event time; and where they come from.

    Rows that the server would refuse for want of a value are left out, and counted. What a view gives is never read from the
    frame itself.

    held: what the function of that name said; `Conflict` where other rows are stored by now.
    """
    fields = domains.module(domain.name, "features", settings).FIELDS
    uses = views.uses(domain, fields, settings)
    time = _time(domain)
    frame = frame.drop(columns=[name for use in uses for name in use.fields], errors="ignore")
    for use in uses:
        if use.view.entity not in frame.columns:
            raise DeclarationError(
                f"the examples of {domain.name} do not say whose {use.view.name} they have",
                expected=f"a column {use.view.entity}",
                got=", ".join(map(str, frame.columns)),
                fix=f"let `draw` and `read` of domains/{domain.name}/data.py give it",
            )
    with tempfile.TemporaryDirectory(prefix="hallmark_views_") as folder:
        work, stores = Path(folder), dict[str, "Snapshot"]()
        for reference in dict.fromkeys(use.view.source for use in uses):
            mine = [use for use in uses if use.view.source == reference]
            if source == SYNTHETIC:
                stores[reference] = _drawn(domain, frame[time], mine, work, seed=seed, shift=shift, settings=settings)
            else:
                stores[reference] = _stored(frame[time], mine, settings, held)
        frame, refused = _filled(domain, frame, fields, uses, stores, work)
    origin = FeatureOrigin(
        views={use.view.reference: snapshots.declared(use.view) for use in uses},
        sources={reference: store.digest for reference, store in stores.items()},
        refused=refused,
    )
    return frame, origin


def _time(domain: Domain) -> str:
    if domain.data.event_time is None:
        raise DeclarationError(
            f"{domain.name}: features.views needs data.event_time",
            expected="the column that says when an example happened, since its features are those of that moment",
            got="none",
            fix="name it in domain.yaml",
        )
    return domain.data.event_time


def _filled(
    domain: Domain,
    frame: pd.DataFrame,
    fields: Sequence[Field],
    uses: Sequence[ViewUse],
    stores: Mapping[str, Snapshot],
    work: Path,
) -> tuple[pd.DataFrame, int]:
    """The rows that the server would answer, with the views' fields, and how many it would refuse."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    assert domain.features is not None  # noqa: S101  without it there are no uses
    time, views_ = _time(domain), [use.view for use in uses]
    parts = offline.training_frame(
        frame[list(dict.fromkeys([time, *(view.entity for view in views_)]))],
        views_,
        {reference: store.files() for reference, store in stores.items()},
        work / "joined",
        time=time,
        limits=offline.Limits(folder=work),
    )
    table = pa.concat_tables([pq.read_table(part) for part in parts])
    told: list[tuple[views.GivenField, list[Any]]] = []
    kept = np.ones(len(frame), dtype=np.bool_)
    for use in uses:
        for given in views.given(use, fields):
            values, lacking, _ = given.filled(table.column(given.field.name).to_pylist(), domain.features.missing)
            kept[list(lacking)] = False
            told.append((given, values))
    places = np.flatnonzero(kept)
    if len(frame) and not len(places):
        raise ContractBroken(
            f"no example of {domain.name} has all that its views give",
            expected="a value for every field that is not optional, in some rows at least",
            got=f"none of {len(frame)} rows",
            fix="features.missing: default, with a default in the view; or optional=True for the field",
        )
    made = {given.field.name: given.array([values[at] for at in places]) for given, values in told}
    return frame.iloc[places].reset_index(drop=True).assign(**made), len(frame) - len(places)


def _drawn(
    domain: Domain,
    times: pd.Series,
    uses: Sequence[ViewUse],
    work: Path,
    *,
    seed: int,
    shift: str | None,
    settings: Settings,
) -> Snapshot:
    """The events of the synthetic world that questions at these times can see, as a source's store of its own."""
    reference = uses[0].view.source
    code = domains.module(domain.name, "data", settings)
    if not hasattr(code, "events"):
        raise DeclarationError(
            f"domains/{domain.name}/data.py draws no events",
            expected=f"events({reference!r}, start=…, end=…, seed=…, shift=…), of which the views' fields are computed",
            got="no such function",
            fix="write it, as domains/fraud/data.py has it, or train on data of your own",
        )
    begin = times.min() - max(use.view.ttl for use in uses) * _LONGER
    events = code.events(
        reference, start=begin.to_pydatetime(), end=times.max().to_pydatetime(), seed=seed, shift=shift
    )
    read = sorted({name for use in uses for name in use.view.reads})
    folder = work / reference
    sources.append(folder, events[read], source=reference, batch=SYNTHETIC)
    return sources.snapshot(folder)


def _stored(times: pd.Series, uses: Sequence[ViewUse], settings: Settings, held: Mapping[str, str] | None) -> Snapshot:
    """The stored rows of a source, which reach over all of these times and as far back as the views look."""
    reference = uses[0].view.source
    place = sources.place(settings, reference)
    store = sources.there(place)
    if store is None or not store.rows:
        raise NotFound(
            f"no rows of {reference} are stored " + ("here" if isinstance(place, Path) else f"in {place}"),
            expected=f"the events of which {', '.join(use.view.reference for use in uses)} are computed",
            got="none",
            fix=f"`hallmark features ingest {reference} FILE`",
        )
    if held is not None and held.get(f"rows {reference}") != store.digest:
        raise Conflict(
            f"a batch of {reference} came in while the examples were about to be read",
            expected=held.get(f"rows {reference}", "none"),
            got=store.digest,
            fix="run it again",
        )
    for use in uses:
        _reaching(store, use, times.min().to_pydatetime(), times.max().to_pydatetime(), settings)
    return store


def _reaching(store: Snapshot, use: ViewUse, first: datetime, last: datetime, settings: Settings) -> None:
    """`HallmarkError` where a source's rows begin after the view's longest window before `first`, or end before `last`.

    Nothing is older than the contract says that event times are, so a source may begin there.
    """
    view, back = use.view, max(map(use.view.window, use.view.computed))
    span = store.span(view.event_time)
    assert span is not None  # noqa: S101  the contract demands a time of every event
    lowest = contracts.load(view.source, settings).columns[view.event_time].low[0]
    begin = max(first - back, lowest) if lowest else first - back
    if span[0] <= begin + view.freshness and span[1] >= last - view.freshness:
        return
    late = span[0] > begin + view.freshness
    raise HallmarkError(
        f"the stored rows of {view.source} do not reach over what {view.reference} needs to know of the examples",
        expected=f"{view.event_time} from {begin:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M}, within {spelled(view.freshness)}",
        got=f"{span[0]:%Y-%m-%d %H:%M} to {span[1]:%Y-%m-%d %H:%M}",
        fix=f"`hallmark features ingest {view.source} FILE` with the {'older' if late else 'newer'} rows, or take examples that "
        + (
            f"begin at {span[0] + back:%Y-%m-%d}; where nothing is older, let the contract say so: minimum of {view.event_time}"
            if late
            else "end earlier"
        ),
    )
