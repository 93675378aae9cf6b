"""The common form of what answers a request: a model alone, or a model that retrieves items and ranks them."""

from __future__ import annotations

from typing import Protocol

from hallmark.artifacts.signature import Signature
from hallmark.features.fields import Columns
from inference_services.protocol.schema import Outputs, Schema


class Executor(Protocol):
    """Answers batches of records.

    names:      fields that an answer depends on.
    blocking:   it waits for more than the processor, so it never runs on the event loop.
    generation: another number once an answer to the same request may be another.
    """

    digest: str
    signature: Signature
    schema: Schema
    names: list[str]

    @property
    def blocking(self) -> bool: ...

    @property
    def generation(self) -> int: ...

    def predict(self, columns: Columns, rows: int) -> Outputs:
        """The checked outputs for `rows` records; `ServeError` where there are none."""
        ...

    def cost(self, *, rows: int = 1, repeats: int = 5) -> float:
        """Seconds that one call with `rows` records takes now: the best of a few; raises what `predict` raises."""
        ...
