"""Errors that the server answers instead of tensors, as one tree; HTTP and gRPC codes stand here only.

ServeError                          base
├── BadRequest         400          the client sent what no model takes; the message names the field and the reason
│   ├── UnknownPath    404          no such model, version or route
│   ├── WrongMethod    405          the route is there, the method is not
│   ├── WrongMedia     415          a content type or encoding that is not read here
│   ├── TooLarge       413          a body over the limit
│   └── Forbidden      403          the route is known and closed on purpose
├── Overloaded         503          refused at once: it would not be done in time; with a Retry-After
├── NotReady           503          still loading, or draining
└── ModelFault         500          the model or its feature code failed, or gave what its signature does not allow

A message never repeats what the client sent: it names the place and what was expected there.
"""

from __future__ import annotations

from enum import IntEnum


class Grpc(IntEnum):
    """gRPC's codes, those that are answered here."""

    INVALID_ARGUMENT = 3
    NOT_FOUND = 5
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14


class ServeError(Exception):
    """An answer without tensors."""

    status = 500
    grpc = Grpc.INTERNAL
    reason = "internal"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadRequest(ServeError):
    """The client sent what no model takes."""

    status = 400
    grpc = Grpc.INVALID_ARGUMENT
    reason = "malformed"


class UnknownPath(BadRequest):
    """No such model, version or route."""

    status = 404
    grpc = Grpc.NOT_FOUND
    reason = "not_found"


class WrongMethod(BadRequest):
    """The route is there, the method is not."""

    status = 405
    grpc = Grpc.UNIMPLEMENTED
    reason = "method"


class WrongMedia(BadRequest):
    """A content type or encoding that is not read here."""

    status = 415
    reason = "media"


class TooLarge(BadRequest):
    """A body over the limit."""

    status = 413
    grpc = Grpc.RESOURCE_EXHAUSTED
    reason = "too_large"


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


class NotReady(ServeError):
    """Still loading, or draining."""

    status = 503
    grpc = Grpc.UNAVAILABLE
    reason = "not_ready"


class ModelFault(ServeError):
    """The model or its feature code failed, or gave what its signature does not allow."""

    reason = "model"


def _reasons(kind: type[ServeError]) -> set[str]:
    return {kind.reason}.union(*map(_reasons, kind.__subclasses__()))


REASONS = tuple(sorted(_reasons(ServeError)))
"""Why requests are answered without tensors, as the metrics name it."""
