"""Errors that the server answers instead of tensors, as one tree; HTTP and gRPC codes stand here only.

ServeError                          base
├── BadRequest         400          the client sent what no model takes; the message names the field and the reason
│   ├── UnknownPath    404          no such model or route
│   │   └── UnknownMethod           no such gRPC method
│   ├── WrongMethod    405          the route is there, the method is not; with Allow
│   ├── WrongMedia     415          a content type or coding that is not read here; with Accept-Encoding
│   ├── TooLarge       413          a body over the limit
│   ├── NoFeatures     422          nothing is known of the entity that the request is about
│   ├── NoReview       422          the language model gave no answer about this item that its schema and its evidence hold
│   └── Forbidden      403          the route is known and closed on purpose
├── Overloaded         503          refused at once: it would not be done in time; with a Retry-After
├── NotReady           503          still loading, or draining
├── ReviewerDown       503          the server of a language model did not answer in time, or not at all
├── StoreDown          503          the features of the entity could not be read in time
└── ModelFault         500          the model or its feature code failed, or gave what its signature does not allow

A message never repeats what the client sent: it names the place and what was expected there. Over gRPC a client's mistake is never a
status for which the gateway asks stable too, or blames a candidate.
"""

from __future__ import annotations

from enum import IntEnum


class Grpc(IntEnum):
    """gRPC's codes, those that are answered here."""

    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


OF_HTTP = {503: Grpc.RESOURCE_EXHAUSTED, 408: Grpc.DEADLINE_EXCEEDED, 501: Grpc.UNIMPLEMENTED}
"""Statuses of what is refused before a handler gets it, as gRPC has them; others are INVALID_ARGUMENT."""


class ServeError(Exception):
    """An answer without tensors; `headers` are further lines of it, each with its line end."""

    status = 500
    grpc = Grpc.INTERNAL
    reason = "internal"
    headers = b""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadRequest(ServeError):
    """The client sent what no model takes."""

    status = 400
    grpc = Grpc.INVALID_ARGUMENT
    reason = "malformed"


class UnknownPath(BadRequest):
    """No such model or route."""

    status = 404
    grpc = Grpc.NOT_FOUND
    reason = "not_found"


class UnknownMethod(UnknownPath):
    """No such gRPC method."""

    grpc = Grpc.UNIMPLEMENTED


class WrongMethod(BadRequest):
    """The route is there, the method is not."""

    status = 405
    grpc = Grpc.UNIMPLEMENTED
    reason = "method"

    def __init__(self, *allowed: str) -> None:
        super().__init__(f"expected {allowed[0]}")
        self.headers = f"allow: {', '.join(allowed)}\r\n".encode("ascii")


class WrongMedia(BadRequest):
    """A content type or coding that is not read here."""

    status = 415
    grpc = Grpc.UNIMPLEMENTED
    reason = "media"
    headers = b"accept-encoding: gzip, deflate\r\n"


class TooLarge(BadRequest):
    """A body over the limit."""

    status = 413
    reason = "too_large"


class NoFeatures(BadRequest):
    """Nothing is known of the entity that the request is about, and the model needs it."""

    status = 422
    reason = "no_features"


class NoReview(BadRequest):
    """The language model gave no answer about this item that its schema and its evidence hold."""

    status = 422
    reason = "no_review"


class Forbidden(BadRequest):
    """The route is known and closed on purpose."""

    status = 403
    grpc = Grpc.PERMISSION_DENIED
    reason = "forbidden"


class Overloaded(ServeError):
    """It would not be done in time; `retry_after` is in seconds."""

    status = 503
    grpc = Grpc.RESOURCE_EXHAUSTED
    reason = "overloaded"

    def __init__(self, message: str, *, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.headers = b"retry-after: %d\r\n" % retry_after


class NotReady(ServeError):
    """Still loading, or draining."""

    status = 503
    grpc = Grpc.UNAVAILABLE
    reason = "not_ready"


class ReviewerDown(ServeError):
    """The server of a language model did not answer in time, or not at all."""

    status = 503
    grpc = Grpc.UNAVAILABLE
    reason = "reviewer_down"


class StoreDown(ServeError):
    """What the answer depends on could not be read in time: the features of an entity, or the changes of items."""

    status = 503
    grpc = Grpc.UNAVAILABLE
    reason = "store_down"
    headers = b"retry-after: 1\r\n"


class ModelFault(ServeError):
    """The model or its feature code failed, or gave what its signature does not allow."""

    reason = "model"


def _reasons(kind: type[ServeError]) -> set[str]:
    return {kind.reason}.union(*map(_reasons, kind.__subclasses__()))


REASONS = tuple(sorted(_reasons(ServeError)))
"""Why requests are answered without tensors, as the metrics name it."""
