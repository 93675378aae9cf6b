"""Refusals of MLflow as what they are, each with its fix: not as a registry that does not answer, which is tried again for ever."""

from __future__ import annotations

import sqlite3
import urllib.error
from typing import NamedTuple

from hallmark.errors import HallmarkError, Refused


class _Refusal(NamedTuple):
    said: str
    fix: str


_ACCOUNT = _Refusal(
    "the registry does not know this account; nothing was changed in it",
    "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, to an account that it knows",
)
_PERMISSION = _Refusal(
    "the registry does not let this account do that; nothing was changed in it",
    "give the account the permission EDIT on the domain's experiment and registered model, or use one that has it",
)
_READ_ONLY = _Refusal(
    "the registry cannot be written; nothing was changed in it",
    "make its file and folder writable for this account, or name another with MLFLOW_TRACKING_URI",
)
_LIMIT = _Refusal(
    "the registry takes no more from this account now; nothing was changed in it",
    "wait, or have its limit raised; then run it again",
)
_FULL = _Refusal(
    "the registry has no space left; nothing was changed in it", "free space where it keeps its data, then run it again"
)
_OTHER = _Refusal(
    "the registry refuses this; nothing was changed in it",
    "what it says names the object: mend that in MLflow, then run it again",
)
_CODES = {
    "CUSTOMER_UNAUTHORIZED": _ACCOUNT,
    "UNAUTHENTICATED": _ACCOUNT,
    "PERMISSION_DENIED": _PERMISSION,
    "REQUEST_LIMIT_EXCEEDED": _LIMIT,
    "RESOURCE_EXHAUSTED": _LIMIT,
    "QUOTA_EXCEEDED": _LIMIT,
}
_STATUS = {401: _ACCOUNT, 403: _PERMISSION, 429: _LIMIT, 507: _FULL}
_SILENT = frozenset(
    {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "ABORTED", "DATA_LOSS"}
)
_WORDS = {
    "readonly database": _READ_ONLY,
    "Permission denied": _READ_ONLY,
    "is full": _FULL,
    "No space left": _FULL,
    "too many 429": _LIMIT,
}


def of(error: Exception, where: str) -> HallmarkError | None:
    """The refusal that an error of MLflow, of its database or of HTTP stands for; none where nobody answered.

    where: what was asked, as people know it.
    """
    text = str(error).splitlines()[0] if str(error) else type(error).__name__
    code = str(getattr(error, "error_code", "") or "")
    # MLflow's own code comes first: its words for an account's permission are those of a disk for a file's.
    found = _CODES.get(code) or next((refusal for words, refusal in _WORDS.items() if words in str(error)), None)
    if found is None and isinstance(error, urllib.error.HTTPError):
        found = _STATUS.get(error.code)
    if found is None and code and code not in _SILENT and not _of_database(error):
        found = _CODES.get(code, _OTHER)
    return Refused(found.said, expected=where, got=text[:300], fix=found.fix) if found else None


def deleted(domain: str, experiment: str) -> HallmarkError:
    """The refusal of a domain whose experiment was deleted."""
    return Refused(
        f"the experiment {domain} of MLflow is deleted, so nothing can be registered there",
        expected=f"an experiment {domain} that is active, or none",
        got=f"experiment {experiment}, deleted",
        fix=f"restore it in MLflow's page, or by `mlflow experiments restore --experiment-id {experiment}`",
    )


def _of_database(error: Exception) -> bool:
    """True where MLflow wrapped an error of its database, which it calls a bad request."""
    cause = error.__cause__
    return isinstance(cause, sqlite3.Error) or type(cause).__module__.partition(".")[0] == "sqlalchemy"
