"""The common form of REST and gRPC requests: each can be decoded, answered or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from inference_services.protocol.errors import ServeError
from inference_services.protocol.schema import Outputs
from inference_services.protocol.v2 import InferenceRequest


class Ask(Protocol):
    """One inference request, as its protocol knows it.

    size:    bytes of the request;  timeout: seconds that the client gives, if it names any.
    headers: with names in lower case, as they came.
    """

    protocol: str

    @property
    def size(self) -> int: ...

    @property
    def timeout(self) -> float | None: ...

    @property
    def headers(self) -> Mapping[bytes, bytes]: ...

    def decode(self) -> InferenceRequest:
        """The checked request; `BadRequest` where it is none."""

    def answer(self, request: InferenceRequest, outputs: Outputs) -> int:
        """Encode and send; the bytes of it."""

    def refuse(self, error: ServeError) -> None:
        """Send an answer without tensors."""
