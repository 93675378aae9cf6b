"""Discovery of served kinds and paths: the answers that kubectl and the clients begin with."""

from __future__ import annotations

import re

from hallmark.declaration.traffic import TrafficAdapter
from local_cluster.resources import RESOURCES, Object, Resource

VERSION: Object = {
    "major": "1",
    "minor": "32",
    "gitVersion": "v1.32.0",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "1970-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "cpython",
    "platform": "local",
}
STATUS_VERBS = ("get", "patch", "update")


def version(adapter: TrafficAdapter) -> Object:
    """The version of a cluster whose traffic is carried so: clients tell by its build what it can do."""
    return {**VERSION, "gitVersion": f"{VERSION['gitVersion']}+{adapter.build}"}


def groups() -> list[tuple[str, str]]:
    """Every named group with each of its versions."""
    return sorted({(item.group, item.version) for item in RESOURCES if item.group})


def versions(group: str) -> list[str]:
    """The versions of a group, the preferred one first: a stable before a beta before an alpha, and the higher before the lower."""
    found = {item.version for item in RESOURCES if item.group == group}
    return sorted(found, key=_age, reverse=True)


def _age(version: str) -> tuple[int, int, int]:
    match = re.fullmatch(r"v(\d+)(?:(alpha|beta)(\d+))?", version)
    if match is None:
        return (-1, 0, 0)
    return ({"alpha": 0, "beta": 1, None: 2}[match[2]], int(match[1]), int(match[3] or 0))


def served(group: str, version: str) -> list[Resource]:
    """The resources of one group and version."""
    return [item for item in RESOURCES if (item.group, item.version) == (group, version)]


def core_versions(server: str) -> Object:
    """`/api`."""
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [{"clientCIDR": "0.0.0.0/0", "serverAddress": server}],
    }


def group_list() -> Object:
    """`/apis`."""
    named = sorted({name for name, _ in groups()})
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group(name) for name in named]}


def group(name: str) -> Object:
    """`/apis/<group>`, with all of its versions."""
    found = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions(name)]
    return {"kind": "APIGroup", "apiVersion": "v1", "name": name, "versions": found, "preferredVersion": found[0]}


def resource_list(group_name: str, version: str) -> Object:
    """`/api/v1` or `/apis/<group>/<version>`."""
    listed: list[Object] = []
    for item in served(group_name, version):
        entry: Object = {
            "name": item.plural,
            "singularName": item.singular,
            "namespaced": item.namespaced,
            "kind": item.kind,
            "verbs": list(item.verbs),
        }
        if item.short:
            entry["shortNames"] = list(item.short)
        if item.categories:
            entry["categories"] = list(item.categories)
        listed.append(entry)
        for name, kind, verbs in _subresources(item):
            listed.append(
                {
                    "name": f"{item.plural}/{name}",
                    "singularName": "",
                    "namespaced": item.namespaced,
                    "kind": kind,
                    "verbs": list(verbs),
                }
            )
    whole = f"{group_name}/{version}" if group_name else version
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": whole, "resources": listed}


def aggregated(*, core: bool, version: str) -> Object:
    """All resources of all groups in one answer, as newer clients ask for it."""
    wanted = [""] if core else sorted({name for name, _ in groups()})
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"apidiscovery.k8s.io/{version}",
        "metadata": {},
        "items": [_aggregated(name) for name in wanted],
    }


def _aggregated(name: str) -> Object:
    return {
        "metadata": {"name": name or None, "creationTimestamp": None},
        "versions": [
            {
                "version": version,
                "freshness": "Current",
                "resources": [_aggregated_resource(item) for item in served(name, version)],
            }
            for version in versions(name)
        ],
    }


def _aggregated_resource(item: Resource) -> Object:
    answer: Object = {
        "resource": item.plural,
        "responseKind": _kind(item.group, item.version, item.kind),
        "scope": "Namespaced" if item.namespaced else "Cluster",
        "singularResource": item.singular,
        "verbs": list(item.verbs),
        "subresources": [
            {"subresource": name, "responseKind": _kind(item.group, item.version, kind), "verbs": list(verbs)}
            for name, kind, verbs in _subresources(item)
        ],
    }
    if item.short:
        answer["shortNames"] = list(item.short)
    if item.categories:
        answer["categories"] = list(item.categories)
    return answer


def _kind(group_name: str, version: str, kind: str) -> Object:
    return {"group": group_name, "version": version, "kind": kind}


def _subresources(item: Resource) -> list[tuple[str, str, tuple[str, ...]]]:
    status = [("status", item.kind, STATUS_VERBS)] if item.status else []
    return [*item.subresources, *status]
