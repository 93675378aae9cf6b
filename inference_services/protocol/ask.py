"""The common form of REST and gRPC requests: each can be decoded, answered or refused."""

from __future__ import annotations

from typing import Protocol

from inference_services.protocol.errors import ServeError
from inference_services.protocol.schema import Outputs
from inference_services.protocol.v2 import InferenceRequest


class Ask(Protocol):
    """One inference request, as its protocol knows it.

    size:    bytes of the request;  timeout: seconds that the client gives, if it names any.
    marks:   W3C traceparent and tracestate, the gateway's own id of the request, and b"1" where it is a mirrored copy, as they came.
    """

    protocol: str

    @property
    def size(self) -> int: ...

    @property
    def timeout(self) -> float | None: ...

    @property
    def marks(self) -> tuple[bytes, bytes, bytes, bytes]: ...

    def decode(self) -> InferenceRequest:
        """The checked request; `BadRequest` where it is none."""

    def answer(self, request: InferenceRequest, outputs: Outputs) -> int:
        """Encode and send; the bytes of it."""

    def refuse(self, error: ServeError) -> None:
        """Send an answer without tensors."""
