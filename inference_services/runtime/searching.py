"""A model that answers with items, made ready: its index opened, the changes since taken, and its recall watched."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from hallmark.artifacts.bundle import Bundle
from hallmark.declaration.serving_config import RetrievalServing
from hallmark.errors import Unavailable
from hallmark.retrieval.backends.overlaid import Overlaid
from hallmark.settings import CHANGES, COLLECTION
from inference_services.runtime import change_log, collection
from inference_services.runtime.items import ItemCodec, LiveItems
from inference_services.runtime.metrics import Metrics
from inference_services.runtime.recall import RecallCheck
from inference_services.runtime.retrieval import Looked, RetrievalModel

if TYPE_CHECKING:
    from inference_services.runtime.server import ServerOptions

_log = logging.getLogger(__name__)


def opened(
    options: ServerOptions, bundle: Bundle, *, metrics: Metrics, looked: Looked | None
) -> tuple[RetrievalModel, LiveItems | None]:
    """The model with its index, and what takes changes of its items where the domain declares `fresh` and there is a log of them.

    `ModelRefused` where the index was made by another encoder or other code, a byte of it is another, or the collection of a declared
    backend was filled from another.
    """
    logging.getLogger("faiss.loader").setLevel(logging.WARNING)  # it tells each of its builds that is not there
    config = options.config.retrieval or RetrievalServing()
    model = RetrievalModel(
        options.name, bundle, version=options.version, provider=options.config.provider, looked=looked
    )
    if config.fresh is None:
        metrics.set("items", model.index.count())
    elif not options.changes:
        _log.warning("%s is not set: changes of items are neither taken nor followed", CHANGES)
        metrics.set("items", model.index.count())
    else:
        state = options.state or Path(tempfile.mkdtemp(prefix="hallmark-index-"))
        model.live = LiveItems(
            model.index,
            codec=ItemCodec(model.signature, model.retriever),
            encode=model.item_encoder(),
            log=change_log.connect(options.changes),
            state=state,
            fresh=config.fresh,
            metrics=metrics,
        )
    if config.backend != "folder":
        if not options.collection:
            raise Unavailable(
                f"the address of {config.backend} is not set",
                expected=f"{COLLECTION} in the server's environment",
                got="none",
                fix="docs/retrieval.md, Collections",
            )
        held = collection.opened(
            config.backend, options.collection, options.name, model.index.unit, timeout=options.config.timeouts.attempt
        )
        model.near = held if model.live is None else Overlaid(held, model.index)
    if config.live:
        model.recall = RecallCheck(model.index, share=config.live, metrics=metrics, near=model.near)
    return model, model.live
