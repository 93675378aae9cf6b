"""Numbers in the place of photos, made where the photos were decoded: what a capture sends of records that have some (docs/decisions/0073)."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np

from hallmark.artifacts.bundle import EMBEDDINGS, Bundle
from hallmark.features.fields import Columns
from inference_services.capture.observing import EMBEDDED, OBSERVED, Observing
from inference_services.protocol.schema import Outputs, Schema

_WORD = 64
"""Bytes of a value that is no number, about."""
_log = logging.getLogger(__name__)


class PhotoObserver:
    """Of one model: the columns of its records without their photos, and what is watched of them. size: bytes of a record, about."""

    def __init__(self, observing: Observing, *, photos: list[str], size: int) -> None:
        self._observing, self._photos = observing, frozenset(photos)
        self.size = size

    @classmethod
    def of(cls, bundle: Bundle, schema: Schema) -> PhotoObserver | None:
        """That of a model; None where records have no photo, or its code cannot observe an example: then they are sent as they came."""
        features = bundle.features
        if not schema.photos or features.observe is None:
            return None
        embed = features.embed if EMBEDDINGS in bundle.digests else None
        example = schema.example(1)
        try:
            columns = {name: np.asarray(values) for name, values in features.observe(example).items()}
            width = 0 if embed is None else int(np.asarray(embed(example)).shape[1])
        except Exception as error:  # noqa: BLE001  the model's own code may raise anything
            _log.warning("photos are captured as they come, since an example cannot be observed: %s", error)
            return None
        names = [name for name, values in columns.items() if values.shape == (1,)]
        size = 4 * width + _WORD * (len(names) + len(schema.columns))
        return cls(
            Observing(features.observe, names=names, embed=embed, width=width),
            photos=schema.photos,
            size=size,
        )

    def watched(self, columns: Columns, rows: int) -> Columns:
        """Columns to capture of these records."""
        found = {name: values for name, values in columns.items() if name not in self._photos}
        for name, values in self._observing.observed(columns, rows).items():
            found[f"{OBSERVED}{name}"] = values
        if (embedded := self._observing.embedded(columns, rows)) is not None:
            found[EMBEDDED] = embedded
        return found

    def kept(self, outputs: Outputs, watched: Columns, rows: slice) -> Outputs:
        """An answer for the cache, with what was watched of its records."""
        return {**outputs, **{name: values[rows] for name, values in watched.items() if _made(name)}}

    def again(self, kept: Outputs, columns: Columns) -> tuple[Outputs, Columns]:
        """An answer of the cache, and the columns to capture of its records."""
        watched: dict[str, Any] = {name: values for name, values in columns.items() if name not in self._photos}
        watched.update({name: values for name, values in kept.items() if _made(name)})
        return {name: values for name, values in kept.items() if not _made(name)}, watched


def _made(name: str) -> bool:
    return name == EMBEDDED or name.startswith(OBSERVED)
