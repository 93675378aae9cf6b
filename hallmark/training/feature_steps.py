"""The step that brings a domain's feature views up to date with batches of events, as a plain function: what its component calls."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated

from hallmark.declaration import domain as domains
from hallmark.declaration import feature_view
from hallmark.errors import DeclarationError
from hallmark.settings import Settings
from hallmark.training.signature import Writes
from hallmark.training.step import step

STORE, LOG = "store", "log"


@step(kept=False, summary=True)
def materialize(
    domain: str,
    *,
    events: dict[str, str],
    into: str,
    summary: Annotated[Path, Writes("Markdown")],
) -> str:
    """Take batches of events in, for the views that the domain reads; say in a line what came of it.

    events: a file or folder by source, such as {"orders@1": "/data/orders"}; for the store all events of each source that may still count.
    into:   store: the online store gets what all of them say, where no stream keeps a view. log: the sources' event logs get them, from
            which the streams go on. `ContractBroken` where a batch breaks its contract: nothing of it is taken.
    The offline store gets them too where `HALLMARK_FEATURE_OFFLINE` says where it is, and the online store then what all of that says.
    """
    from hallmark.feature_store.place import FeatureStore

    settings = Settings.load()
    declared = domains.load(domain, settings).features
    views = [feature_view.load(each, settings) for each in (declared.views if declared else ())]
    sources = list(dict.fromkeys(view.source for view in views))
    if not views or into not in (STORE, LOG) or sorted(events) != sorted(sources):
        raise DeclarationError(
            f"there is nothing to materialize for {domain}, or something else",
            expected=f"features.views in its domain.yaml, events of {', '.join(sources) or 'their sources'}, into {STORE} or {LOG}",
            got=f"{len(views)} views, events of {', '.join(sorted(events)) or 'nothing'}, into {into}",
            fix="name a file or folder for each source of its views, and no other",
        )
    (settings.prepared().state / "features").mkdir(exist_ok=True)  # where an online store in a file is
    with tempfile.TemporaryDirectory(dir=settings.state) as alone:  # what an earlier run took in is not there
        apart = settings.model_copy(update={"state": Path(alone)})
        place = FeatureStore(apart, log=settings.feature_log if into == LOG else "")
        lines = [f"{place.ingest(source, Path(events[source])).rows} rows of {source}" for source in sources]
        if into == STORE:
            lines += [
                f"{each.events} events in {each.view}" for each in place.apply([view.reference for view in views])
            ]
    found = ", ".join(lines)
    summary.parent.mkdir(parents=True, exist_ok=True)
    summary.write_text(
        f"# {domain}: views into the {into}\n\n" + "".join(f"- {line}\n" for line in lines), encoding="utf-8"
    )
    return found
