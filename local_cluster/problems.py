"""Refusals of the Kubernetes API: a `Status` object, with the HTTP status that goes with its reason."""

from __future__ import annotations

from collections.abc import Sequence

from hallmark.errors import HallmarkError
from local_cluster import store
from local_cluster.resources import Object, Resource
from local_cluster.schema import SchemaFault

_CODES = {
    "BadRequest": 400,
    "Unauthorized": 401,
    "Forbidden": 403,
    "NotFound": 404,
    "MethodNotAllowed": 405,
    "NotAcceptable": 406,
    "AlreadyExists": 409,
    "Conflict": 409,
    "Expired": 410,
    "RequestEntityTooLarge": 413,
    "UnsupportedMediaType": 415,
    "Invalid": 422,
    "InternalError": 500,
    "BadGateway": 502,
    "ServiceUnavailable": 503,
    "Timeout": 504,
}


class ApiProblem(Exception):
    """A request that is refused."""

    def __init__(self, reason: str, message: str, *, details: Object | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.details = details

    @property
    def code(self) -> int:
        """The HTTP status."""
        return _CODES[self.reason]

    def status(self) -> Object:
        """The body of the answer."""
        answer: Object = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        }
        if self.details:
            answer["details"] = self.details
        return answer


def bad_request(message: str) -> ApiProblem:
    """400: the request cannot be read."""
    return ApiProblem("BadRequest", message)


def no_such_path() -> ApiProblem:
    """404 for a path where nothing is served; kubectl distinguishes it from a missing object by these words."""
    return ApiProblem("NotFound", "the server could not find the requested resource", details={})


def not_allowed() -> ApiProblem:
    """405: the path is right and the method is not."""
    return ApiProblem("MethodNotAllowed", "the server does not allow this method on the requested resource")


def conflict(resource: Resource, name: str, message: str) -> ApiProblem:
    """409: somebody else was faster."""
    return ApiProblem("Conflict", message, details=_about(resource, name))


def invalid(resource: Resource, name: str, faults: Sequence[SchemaFault]) -> ApiProblem:
    """422 with every fault as a cause."""
    words = [f"{fault.field}: {fault.message}" if fault.field else fault.message for fault in faults]
    listed = words[0] if len(words) == 1 else "[" + ", ".join(words) + "]"
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    causes = [{"reason": fault.reason, "message": fault.message, "field": fault.field} for fault in faults]
    return ApiProblem(
        "Invalid",
        f'{kind} "{name}" is invalid: {listed}',
        details={"name": name, "group": resource.group, "kind": resource.kind, "causes": causes},
    )


def of(error: HallmarkError, resource: Resource, name: str) -> ApiProblem:
    """The store's refusal, in HTTP's terms."""
    about = _about(resource, name)
    if isinstance(error, store.Missing):
        return ApiProblem("NotFound", error.message, details=about)
    if isinstance(error, store.AlreadyExists):
        return ApiProblem("AlreadyExists", error.message, details=about)
    if isinstance(error, store.Stale):
        return ApiProblem("Conflict", error.message, details=about)
    if isinstance(error, store.Terminating):
        return ApiProblem("Forbidden", f'{resource.qualified} "{name}" is forbidden: {error.message}', details=about)
    if isinstance(error, store.TooOld):
        return ApiProblem("Expired", error.message)
    return ApiProblem("ServiceUnavailable", str(error))


def _about(resource: Resource, name: str) -> Object:
    return {"name": name, "group": resource.group, "kind": resource.plural}
