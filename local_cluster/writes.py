"""Create, replace, patch and delete as the Kubernetes API does them: field validation, defaults, conflicts, dry runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hallmark.declaration.traffic import Mode
from hallmark.errors import HallmarkError
from hallmark.rollout.plan import merged
from local_cluster import admission, managed, problems, validation
from local_cluster import patch as patches
from local_cluster import schema as schemas
from local_cluster.body import RequestBody, check
from local_cluster.problems import ApiProblem, bad_request
from local_cluster.resources import INFERENCE_SERVICES, NAMESPACES, SERVING_RUNTIMES, Object, Resource
from local_cluster.schema import SchemaFault
from local_cluster.selectors import Selection
from local_cluster.store import Missing, ObjectStore

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
JSON = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"


@dataclass
class ApiCall:
    """One request that writes: what it is about, its options, and the warnings that it gathers."""

    resource: Resource
    namespace: str
    name: str
    subresource: str
    query: Mapping[str, str]
    agent: str
    body: RequestBody
    mode: Mode = "Knative"
    warnings: list[str] = field(default_factory=list)

    @property
    def dry_run(self) -> bool:
        """Should nothing be kept?"""
        wanted = self.query.get("dryRun", "")
        if wanted not in ("", "All"):
            fault = SchemaFault(
                "dryRun", "FieldValueNotSupported", f'Unsupported value: "{wanted}": supported values: "All"'
            )
            raise problems.invalid(self.resource, self.name, [fault])
        return wanted == "All"

    @property
    def manager(self) -> str:
        """Name of the writer, for managedFields."""
        return (self.query.get("fieldManager") or self.agent.partition("/")[0] or "unknown")[:128]


def create(store: ObjectStore, call: ApiCall) -> Object:
    """POST of a new object."""
    dry_run = call.dry_run
    obj = _object(call)
    meta = obj["metadata"]
    if meta.get("resourceVersion"):
        raise bad_request("resourceVersion should not be set on objects to be created")
    if not meta.get("name") and not meta.get("generateName"):
        fault = SchemaFault("metadata.name", "FieldValueRequired", "Required value: name or generateName is required")
        raise problems.invalid(call.resource, "", [fault])
    return _create(store, call, obj, dry_run=dry_run)


def replace(store: ObjectStore, call: ApiCall) -> Object:
    """PUT of a whole object, or of its status."""
    dry_run = call.dry_run
    obj = _object(call)
    with store.lock:
        before = store.get(call.resource.plural, call.namespace, call.name)
        if call.resource.custom and not obj["metadata"].get("resourceVersion"):
            fault = SchemaFault(
                "metadata.resourceVersion", "FieldValueInvalid", "Invalid value: 0x0: must be specified for an update"
            )
            raise problems.invalid(call.resource, call.name, [fault])
        return _update(store, call, before, obj, dry_run=dry_run)


def patch(store: ObjectStore, call: ApiCall, media: str) -> tuple[Object, bool]:
    """PATCH; the object and whether it was made (only an apply makes one)."""
    kinds = [MERGE, JSON, APPLY, *([] if call.resource.custom else [STRATEGIC])]
    if media not in kinds:
        raise ApiProblem(
            "UnsupportedMediaType",
            "the body of the request was in an unknown format - accepted media types include: " + ", ".join(kinds),
        )
    dry_run = call.dry_run
    with store.lock:
        try:
            before = store.get(call.resource.plural, call.namespace, call.name)
        except Missing:
            if media != APPLY or call.subresource or "create" not in call.resource.verbs:
                raise
            return _apply_new(store, call, dry_run=dry_run), True
        wanted = _applied(call, before) if media == APPLY else _patched(call, before, media)
        _identify(call, wanted)
        return _update(store, call, before, wanted, dry_run=dry_run, apply=media == APPLY), False


def delete(store: ObjectStore, call: ApiCall) -> Object:
    """DELETE: the object where it only was marked, else a Status of success."""
    options = _options(call)
    if call.resource is NAMESPACES and call.name == "default":
        raise ApiProblem("Forbidden", 'namespaces "default" is forbidden: this namespace may not be deleted')
    dry_run = call.dry_run or options.get("dryRun") == ["All"]
    conditions = options.get("preconditions")
    conditions = conditions if isinstance(conditions, dict) else {}
    gone = store.delete(
        call.resource.plural,
        call.namespace,
        call.name,
        uid=conditions.get("uid"),
        resource_version=conditions.get("resourceVersion"),
        dry_run=dry_run,
    )
    if gone["metadata"].get("finalizers") or call.resource is NAMESPACES:
        return gone
    details = {
        "name": call.name,
        "group": call.resource.group,
        "kind": call.resource.plural,
        "uid": gone["metadata"]["uid"],
    }
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}


def delete_all(store: ObjectStore, call: ApiCall, selection: Selection) -> list[Object]:
    """DELETE of all that a selection matches; what they were."""
    options = _options(call)
    dry_run = call.dry_run or options.get("dryRun") == ["All"]
    with store.lock:
        found, _ = store.list(call.resource.plural, namespace=call.namespace or None, labels=selection)
        for obj in found:
            meta = obj["metadata"]
            store.delete(call.resource.plural, meta.get("namespace", ""), meta["name"], dry_run=dry_run)
    return found


def _object(call: ApiCall) -> Object:
    obj = call.body.value
    resource = call.resource
    if not isinstance(obj, dict):
        raise bad_request(f"the body is not a {resource.kind}")
    if not resource.custom:
        # Clients of the core kinds leave these out: the path has them.
        obj = {
            **obj,
            "kind": obj.get("kind") or resource.kind,
            "apiVersion": obj.get("apiVersion") or resource.api_version,
        }
    if not obj.get("kind"):
        raise bad_request("Object 'Kind' is missing in the body")
    if obj.get("apiVersion") != resource.api_version or obj.get("kind") != resource.kind:
        raise bad_request(
            f"{resource.kind} in version {resource.version!r} cannot be handled as a {resource.kind}: "
            f"the object provided is {obj.get('apiVersion')}, Kind={obj.get('kind')}, expected {resource.api_version}, "
            f"Kind={resource.kind}"
        )
    _strict(call, obj, call.body.repeated)
    wanted = _pruned(obj, resource)
    if wanted.get("metadata") is None:
        wanted["metadata"] = {}
    _shapely(call, wanted)
    _identify(call, wanted)
    return wanted


def _strict(call: ApiCall, obj: Any, repeated: tuple[str, ...] = ()) -> None:
    level = call.query.get("fieldValidation") or "Warn"
    if level not in ("Strict", "Warn", "Ignore"):
        raise bad_request(
            f'fieldValidation: Unsupported value: "{level}": supported values: "Ignore", "Strict", "Warn"'
        )
    if level == "Ignore":
        return
    found = [f'duplicate field "{name}"' for name in repeated]
    unknown = admission.unknown(obj, call.resource)
    if unknown is None:
        unknown = list(schemas.unknown(obj, schemas.of(call.resource)))
    found += [f'unknown field "{path}"' for path in unknown]
    if found and level == "Strict":
        kind = call.resource.kind
        raise bad_request(
            f"{kind} in version {call.resource.version!r} cannot be handled as a {kind}: "
            f"strict decoding error: {', '.join(found)}".replace("'", '"')
        )
    call.warnings += found


def _pruned(obj: Object, resource: Resource) -> Object:
    kept = admission.pruned(obj, resource)
    found: Object = schemas.prune(obj, schemas.of(resource)) if kept is None else kept
    return found


def _around(store: ObjectStore, resource: Resource) -> list[Object]:
    """What an object of this kind is judged together with: of an InferenceService, the serving runtimes."""
    return store.list(SERVING_RUNTIMES.plural)[0] if resource is INFERENCE_SERVICES else []


def _shapely(call: ApiCall, obj: Object) -> None:
    """Metadata has to be well-typed before anything is looked up by it; kinds of the core are read like that as a whole."""
    part = obj["metadata"] if call.resource.custom else obj
    at = "metadata" if call.resource.custom else ""
    schema = schemas.step(schemas.of(call.resource), "metadata") if call.resource.custom else schemas.of(call.resource)
    for fault in schemas.faults(part, schema, at):
        if fault.reason == "FieldValueTypeInvalid":
            raise bad_request(
                f'{call.resource.kind} in version "{call.resource.version}" cannot be handled: {fault.message}'
            )


def _identify(call: ApiCall, obj: Object) -> None:
    meta = obj["metadata"]
    if call.resource.namespaced:
        if meta.get("namespace") not in (None, "", call.namespace):
            raise bad_request("the namespace of the provided object does not match the namespace sent on the request")
        meta["namespace"] = call.namespace
    else:
        meta.pop("namespace", None)
    if call.name:
        if meta.get("name") not in (None, "", call.name):
            raise bad_request(
                f"the name of the object ({meta.get('name')}) does not match the name on the URL ({call.name})"
            )
        meta["name"] = call.name


def _create(store: ObjectStore, call: ApiCall, obj: Object, *, dry_run: bool, apply: bool = False) -> Object:
    status = obj.pop("status", None) if call.resource.status else None
    obj = validation.default(obj, call.resource)
    named = obj if obj["metadata"].get("name") else {**obj, "metadata": {**obj["metadata"], "name": "generated"}}
    around = _around(store, call.resource)
    call.warnings += validation.check(named, call.resource, around=around, mode=call.mode, left_out=status)
    if not apply:
        managed.written(None, obj, manager=call.manager, schema=schemas.of(call.resource))
    return store.create(obj, dry_run=dry_run)


def _update(
    store: ObjectStore, call: ApiCall, before: Object, wanted: Object, *, dry_run: bool, apply: bool = False
) -> Object:
    resource, meta = call.resource, wanted["metadata"]
    given = meta.get("resourceVersion")
    if given and given != before["metadata"]["resourceVersion"]:
        raise problems.conflict(
            resource,
            call.name,
            f'Operation cannot be fulfilled on {resource.qualified} "{call.name}": the object has been modified; '
            "please apply your changes to the latest version and try again",
        )
    if meta.get("uid") and meta["uid"] != before["metadata"]["uid"]:
        raise problems.conflict(
            resource,
            call.name,
            f'Operation cannot be fulfilled on {resource.qualified} "{call.name}": Precondition failed: UID in '
            f"precondition: {meta['uid']}, UID in object meta: {before['metadata']['uid']}",
        )
    schema = schemas.of(resource)
    if call.subresource == "status":
        changed = {**before, "metadata": dict(before["metadata"]), "status": wanted.get("status") or {}}
        validation.check(changed, resource, before, around=_around(store, resource), mode=call.mode)
        return store.update_status(resource.plural, call.namespace, call.name, changed["status"], dry_run=dry_run)
    if resource.status:
        wanted.pop("status", None)
        if "status" in before:
            wanted["status"] = before["status"]
    wanted = validation.default(wanted, resource)
    call.warnings += validation.check(wanted, resource, before, around=_around(store, resource), mode=call.mode)
    if "managedFields" not in meta and before["metadata"].get("managedFields"):
        meta["managedFields"] = before["metadata"]["managedFields"]
    if not apply:
        managed.written(before, wanted, manager=call.manager, schema=schema)
    return store.update(wanted, dry_run=dry_run)


def _patched(call: ApiCall, before: Object, media: str) -> Object:
    document = call.body.value
    try:
        if media == JSON:
            wanted = patches.json_patch(before, document)
        elif not isinstance(document, dict):
            raise patches.PatchMalformed("a merge patch is an object")
        elif media == MERGE:
            wanted = merged(before, document)
        else:
            wanted = patches.strategic(before, document, schemas.of(call.resource))
        check(wanted)
    except patches.PatchMalformed as error:
        raise bad_request(f"error decoding patch: {error.message}") from error
    except patches.PatchRejected as error:
        raise ApiProblem(
            "Invalid", f"the server rejected our request due to an error in our request: {error.message}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise ApiProblem(
            "Invalid", "the server rejected our request: the patch makes an object that cannot be kept"
        ) from error
    if not isinstance(wanted, dict) or not isinstance(wanted.get("metadata"), dict):
        raise ApiProblem("Invalid", "the server rejected our request: the patch leaves no object")
    for key in ("apiVersion", "kind"):
        if wanted.get(key) != before[key]:
            raise bad_request(f"{key} of an object cannot be patched: expected {before[key]}, got {wanted.get(key)}")
    if wanted["metadata"].get("name") != before["metadata"]["name"]:
        fault = SchemaFault(
            "metadata.name",
            "FieldValueInvalid",
            f'Invalid value: "{wanted["metadata"].get("name")}": field is immutable',
        )
        raise problems.invalid(call.resource, call.name, [fault])
    _strict(call, wanted, call.body.repeated)
    pruned = _pruned(wanted, call.resource)
    _shapely(call, pruned)
    return pruned


def _applied(call: ApiCall, before: Object | None) -> Object:
    if not call.query.get("fieldManager"):
        fault = SchemaFault("fieldManager", "FieldValueRequired", "Required value: is required for apply patch")
        raise problems.invalid(call.resource, call.name, [fault])
    applied = _object(call)
    if applied["metadata"].get("managedFields"):
        raise bad_request("metadata.managedFields must be nil")
    schema = schemas.of(call.resource)
    if call.subresource != "status" and call.resource.status:
        applied.pop("status", None)
    applied = validation.default(applied, call.resource)
    validation_faults = [each for each in schemas.faults(applied, schema) if each.reason == "FieldValueTypeInvalid"]
    if validation_faults:
        raise problems.invalid(call.resource, call.name, validation_faults)
    force = call.query.get("force", "") in ("true", "1")
    try:
        return managed.apply(before, applied, manager=call.manager, force=force, schema=schema)
    except managed.Owned as owned:
        raise _conflicts(owned) from owned


def _apply_new(store: ObjectStore, call: ApiCall, *, dry_run: bool) -> Object:
    wanted = _applied(call, None)
    if wanted["metadata"].pop("resourceVersion", None) or wanted["metadata"].pop("uid", None):
        raise problems.conflict(
            call.resource,
            call.name,
            f'{call.resource.qualified} "{call.name}" is not there, and the apply names a version of it',
        )
    return _create(store, call, wanted, dry_run=dry_run, apply=True)


def _conflicts(owned: managed.Owned) -> ApiProblem:
    causes = [
        {"reason": "FieldManagerConflict", "message": f'conflict with "{manager}"', "field": managed.shown(path)}
        for manager, path in owned.conflicts
    ]
    managers = sorted({manager for manager, _ in owned.conflicts})
    words = ", ".join(f'conflict with "{name}"' for name in managers)
    listed = "".join(f"\n- {cause['field']}" for cause in causes)
    plural = "s" if len(causes) > 1 else ""
    return ApiProblem(
        "Conflict", f"Apply failed with {len(causes)} conflict{plural}: {words}:{listed}", details={"causes": causes}
    )


def _options(call: ApiCall) -> Object:
    options = call.body.value
    if options is None:
        return {}
    if not isinstance(options, dict) or options.get("kind") not in (None, "", "DeleteOptions"):
        raise bad_request("the body of a delete is a DeleteOptions")
    policy = options.get("propagationPolicy")
    if policy not in (None, "Orphan", "Background", "Foreground"):
        raise bad_request(f"propagationPolicy: Unsupported value: {policy!r}")
    return options


def refused(error: HallmarkError, call: ApiCall) -> ApiProblem:
    """The store's refusal, as an answer."""
    name = call.name
    if isinstance(call.body.value, dict) and not name:
        meta = call.body.value.get("metadata")
        name = str(meta.get("name", "")) if isinstance(meta, dict) else ""
    return problems.of(error, call.resource, name)
