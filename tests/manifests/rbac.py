"""Evaluation of RBAC, over Roles, ClusterRoles and their bindings as rendered: a union of grants, and nothing is ever denied by a rule."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]
_GROUP = "rbac.authorization.k8s.io"


@dataclass(frozen=True)
class Subject:
    """A caller, as the API server sees it."""

    user: str
    groups: frozenset[str] = frozenset()

    @classmethod
    def account(cls, namespace: str, name: str) -> Subject:
        """A service account, with the groups that its token brings."""
        groups = {"system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated"}
        return cls(f"system:serviceaccount:{namespace}:{name}", frozenset(groups))

    @classmethod
    def person(cls, user: str, *groups: str) -> Subject:
        return cls(user, frozenset({*groups, "system:authenticated"}))


@dataclass(frozen=True)
class Ask:
    """One request. namespace: "" where it is of the cluster, or of all namespaces. resource: with its subresource, as pods/log."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str = ""


def allowed(objects: Iterable[Object], subject: Subject, ask: Ask) -> bool:
    """Does any binding that holds in the request's namespace give the subject a role with a rule that fits?"""
    found = list(objects)
    return any(
        _fits(rule, ask)
        for binding in found
        if binding["kind"] in ("RoleBinding", "ClusterRoleBinding")
        and (binding["kind"] == "ClusterRoleBinding" or binding["metadata"]["namespace"] == ask.namespace)
        and any(_is(subject, each, binding) for each in binding.get("subjects") or [])
        for rule in _rules(found, binding)
    )


def _rules(objects: list[Object], binding: Object) -> list[Object]:
    """The rules of the role that a binding names; one that is not there grants nothing."""
    reference = binding["roleRef"]
    if binding["kind"] == "ClusterRoleBinding" and reference["kind"] != "ClusterRole":
        raise ValueError("a ClusterRoleBinding binds ClusterRoles only")
    for each in objects:
        if each["kind"] != reference["kind"] or each["metadata"]["name"] != reference["name"]:
            continue
        if each["kind"] == "ClusterRole" or each["metadata"]["namespace"] == binding["metadata"]["namespace"]:
            return list(each.get("rules") or [])
    return []


def _is(subject: Subject, named: Object, binding: Object) -> bool:
    kind, name = named["kind"], named["name"]
    if kind == "ServiceAccount":
        where = named.get("namespace") or binding["metadata"].get("namespace")
        return subject.user == f"system:serviceaccount:{where}:{name}"
    if named.get("apiGroup", _GROUP) != _GROUP:
        return False
    return name == subject.user if kind == "User" else kind == "Group" and name in subject.groups


def _fits(rule: Object, ask: Ask) -> bool:
    resources = rule.get("resources") or []
    subresource = ask.resource.partition("/")[2]
    return (
        _one_of(rule["verbs"], ask.verb)
        and _one_of(rule.get("apiGroups") or [], ask.group)
        and (_one_of(resources, ask.resource) or (bool(subresource) and f"*/{subresource}" in resources))
        and (not rule.get("resourceNames") or ask.name in rule["resourceNames"])
    )


def _one_of(listed: list[str], value: str) -> bool:
    return "*" in listed or value in listed
