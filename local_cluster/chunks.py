"""Parts of a list: `limit` and `continue`, as kubectl and client libraries ask for long ones; and resourceVersionMatch."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

from local_cluster.problems import ApiProblem, bad_request
from local_cluster.resources import Object

_MATCHES = ("Exact", "NotOlderThan")


def part(objects: list[Object], version: str, query: Mapping[str, str]) -> tuple[list[Object], Object]:
    """The part that is asked for of `objects`, sorted by namespace and name, and its list's metadata beside the version.

    A part goes on after the last name of the one before, in what is there by then: no older state is kept.
    """
    _matched(version, query)
    after = _after(query.get("continue", ""))
    left = [each for each in objects if after is None or _key(each) > after]
    limit = number(query, "limit", digits=9)
    if not limit or not int(limit) or len(left) <= int(limit):
        return left, {}
    shown = left[: int(limit)]
    told = base64.urlsafe_b64encode(json.dumps({"after": _key(shown[-1])}).encode()).decode()
    return shown, {"continue": told, "remainingItemCount": len(left) - len(shown)}


def number(query: Mapping[str, str], name: str, *, digits: int = 18) -> str:
    """A parameter that is a whole number of so many digits at most, or is not there."""
    text = query.get(name, "")
    if text and not (text.isascii() and text.isdigit() and len(text) <= digits):
        raise bad_request(f"{name}: Invalid value: {text[:60]!r}: expected a whole number")
    return text


def _key(item: Object) -> tuple[str, str]:
    meta = item["metadata"]
    return str(meta.get("namespace") or ""), str(meta["name"])


def _after(token: str) -> tuple[str, str] | None:
    if not token:
        return None
    try:
        namespace, name = json.loads(base64.urlsafe_b64decode(token))["after"]
        return str(namespace), str(name)
    except (ValueError, TypeError, KeyError) as error:
        raise bad_request("continue key is not valid: expected what a list before had in metadata.continue") from error


def _matched(version: str, query: Mapping[str, str]) -> None:
    match, wanted = query.get("resourceVersionMatch", ""), query.get("resourceVersion", "")
    if not match:
        return
    if match not in _MATCHES:
        raise bad_request(
            f"resourceVersionMatch: Unsupported value: {match[:60]!r}: supported values: {', '.join(_MATCHES)}"
        )
    if not wanted:
        raise bad_request("resourceVersionMatch is forbidden unless resourceVersion is provided")
    if query.get("continue"):
        raise bad_request("resourceVersionMatch is forbidden when continue is provided")
    number(query, "resourceVersion")
    if int(wanted) > int(version):
        raise ApiProblem("Timeout", f"Too large resource version: {wanted}, current: {version}")
    if match == "Exact" and int(wanted) != int(version):
        raise ApiProblem("Expired", f"the resourceVersion {wanted} is too old: only the newest state is kept")
