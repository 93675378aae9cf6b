"""The OpenAPI documents that `kubectl apply`, `explain` and `diff` read: v3 one a group, v2 in one piece."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import Any

from local_cluster import discovery
from local_cluster import schema as schemas
from local_cluster.resources import LEASES, NEW_EVENTS, Object, Resource

_ACTIONS = {"get": "get", "post": "post", "put": "put", "patch": "patch", "delete": "delete"}
_PATCHES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
)
_STRATEGIC = "application/strategic-merge-patch+json"


@cache
def index() -> Object:
    """`/openapi/v3`: where each group's document is, with a hash that changes with it."""
    paths: Object = {}
    for group, version in [("", "v1"), *discovery.groups()]:
        path = f"apis/{group}/{version}" if group else f"api/{version}"
        text = json.dumps(document(group, version), sort_keys=True)
        digest = hashlib.sha256(text.encode()).hexdigest().upper()
        paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={digest}"}
    return {"paths": paths}


@cache
def document(group: str, version: str) -> Object:
    """`/openapi/v3/apis/<group>/<version>`."""
    components = {_component(item): _published(schemas.of(item), item) for item in discovery.served(group, version)}
    for item in discovery.served(group, version):
        components[_component(item) + "List"] = _list(item)
    components |= {name: schema for name, schema in schemas.definitions().items() if name not in _KINDS}
    paths: Object = {}
    for item in discovery.served(group, version):
        paths |= _paths(item)
    return {
        "openapi": "3.0.0",
        "info": {"title": "Hallmark's local cluster", "version": str(discovery.VERSION["gitVersion"])},
        "paths": paths,
        "components": {"schemas": components},
    }


@cache
def version_two() -> Object:
    """`/openapi/v2`, for clients that know no other (JSON only)."""
    definitions: Object = {}
    paths: Object = {}
    for group, version in [("", "v1"), *discovery.groups()]:
        whole = document(group, version)
        definitions |= whole["components"]["schemas"]
        paths |= whole["paths"]
    swagger = {
        "swagger": "2.0",
        "info": {"title": "Hallmark's local cluster", "version": str(discovery.VERSION["gitVersion"])},
        "paths": {path: _old_path(methods) for path, methods in paths.items()},
        "definitions": definitions,
    }
    text = json.dumps(swagger).replace(schemas.REF, "#/definitions/")
    old: Object = json.loads(text)
    return old


_KINDS = frozenset(
    {
        "Namespace",
        "ConfigMap",
        "Secret",
        "ServiceAccount",
        "Event",
        "NewEvent",
        "Pod",
        "Lease",
        "InferenceService",
        "ClusterServingRuntime",
    }
)


def _component(item: Resource) -> str:
    if item.group == "":
        return f"io.k8s.api.core.{item.version}.{item.kind}"
    if item in (NEW_EVENTS, LEASES):
        return f"io.k8s.api.{item.group.partition('.')[0]}.{item.version}.{item.kind}"
    return f"io.kserve.serving.{item.version}.{item.kind}"


def _identity(item: Resource) -> Object:
    return {"group": item.group, "version": item.version, "kind": item.kind}


def _published(schema: Object, item: Resource) -> Object:
    return {**schema, "x-kubernetes-group-version-kind": [_identity(item)]}


def _list(item: Resource) -> Object:
    return {
        "description": f"A list of {item.kind}.",
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object", schemas.ANY: True},
            "items": {"type": "array", "items": {"$ref": schemas.REF + _component(item)}},
        },
        "x-kubernetes-group-version-kind": [{**_identity(item), "kind": item.kind + "List"}],
    }


def _paths(item: Resource) -> Object:
    base = f"/apis/{item.group}/{item.version}" if item.group else f"/api/{item.version}"
    if item.namespaced:
        base += "/namespaces/{namespace}"
    many, one = f"{base}/{item.plural}", f"{base}/{item.plural}/{{name}}"
    paths: Object = {many: {"get": _operation(item, "list", many=True)}, one: {"get": _operation(item, "get")}}
    if "create" in item.verbs:
        paths[many]["post"] = _operation(item, "post")
    for verb, method in (("update", "put"), ("patch", "patch"), ("delete", "delete")):
        if verb in item.verbs:
            paths[one][method] = _operation(item, method)
    if item.namespaced:
        paths[many]["parameters"] = [_parameter("namespace", place="path")]
    paths[one]["parameters"] = [*paths[many].get("parameters", []), _parameter("name", place="path")]
    return paths


def _operation(item: Resource, action: str, *, many: bool = False) -> Object:
    ref = {"$ref": schemas.REF + _component(item) + ("List" if many else "")}
    operation: Object = {
        "operationId": f"{action}{item.kind}{item.group.partition('.')[0].title()}{item.version.title()}",
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": ref}}}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": _identity(item),
    }
    if action in ("post", "put", "patch"):
        operation["parameters"] = [_parameter(name) for name in ("dryRun", "fieldManager", "fieldValidation")]
        # kubectl sends strategic patches to whatever declares here that it takes them.
        patches = _PATCHES if item.custom else (*_PATCHES, _STRATEGIC)
        kinds = patches if action == "patch" else ("application/json", "application/yaml")
        body: Any = {"type": "object"} if action == "patch" else ref
        operation["requestBody"] = {"required": True, "content": {kind: {"schema": body} for kind in kinds}}
    if action == "delete":
        operation["parameters"] = [_parameter(name) for name in ("dryRun", "propagationPolicy")]
    return operation


def _parameter(name: str, *, place: str = "query") -> Object:
    return {"name": name, "in": place, "required": place == "path", "schema": {"type": "string", "uniqueItems": True}}


def _old_path(methods: Object) -> Object:
    old: Object = {}
    for method, operation in methods.items():
        if method not in _ACTIONS:
            old[method] = [_old_parameter(each) for each in operation]
            continue
        answer = operation["responses"]["200"]["content"]["application/json"]["schema"]
        parameters = [_old_parameter(each) for each in operation.get("parameters", [])]
        if "requestBody" in operation:
            body = next(iter(operation["requestBody"]["content"].values()))["schema"]
            parameters.append({"name": "body", "in": "body", "required": True, "schema": body})
        old[method] = {
            **{key: value for key, value in operation.items() if key not in ("requestBody", "responses", "parameters")},
            "parameters": parameters,
            "responses": {"200": {"description": "OK", "schema": answer}},
        }
    return old


def _old_parameter(parameter: Object) -> Object:
    return {"name": parameter["name"], "in": parameter["in"], "required": parameter["required"], "type": "string"}
