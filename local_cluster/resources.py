"""The kinds that the local cluster keeps, and how the Kubernetes API names them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Object = dict[str, Any]

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
LISTED_VERBS = ("get", "list", "watch")


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One kind: `plural` is its key in the store and in paths.

    custom:      defined by KServe's CRDs: generation is kept, strategic merge patches are not known.
    status:      `status` is written through the status subresource only.
    stored:      False where it is another resource's second name (events.k8s.io), found in the store under `plural`.
    """

    plural: str
    kind: str
    version: str
    group: str = ""
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    namespaced: bool = True
    custom: bool = False
    status: bool = False
    stored: bool = True
    verbs: tuple[str, ...] = ALL_VERBS
    subresources: tuple[tuple[str, str, tuple[str, ...]], ...] = field(default=())

    @property
    def api_version(self) -> str:
        """`group/version`, as objects carry it."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        """The lower-case name of one."""
        return self.kind.lower()

    @property
    def qualified(self) -> str:
        """`plural.group`, as error messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


KSERVE = "serving.kserve.io"
FINALIZERS = frozenset({"inferenceservice.finalizers", "foregroundDeletion", "orphan"})
"""Finalizers of an InferenceService that are let go of here, in the place of KServe and of the garbage collector."""

NAMESPACES = Resource(plural="namespaces", kind="Namespace", version="v1", short=("ns",), namespaced=False, status=True)
CONFIGMAPS = Resource(plural="configmaps", kind="ConfigMap", version="v1", short=("cm",))
SECRETS = Resource(plural="secrets", kind="Secret", version="v1")
SERVICE_ACCOUNTS = Resource(plural="serviceaccounts", kind="ServiceAccount", version="v1", short=("sa",))
EVENTS = Resource(plural="events", kind="Event", version="v1", short=("ev",))
PODS = Resource(
    plural="pods",
    kind="Pod",
    version="v1",
    short=("po",),
    categories=("all",),
    status=True,
    verbs=("delete", "deletecollection", "get", "list", "patch", "update", "watch"),
    subresources=(("log", "Pod", ("get",)), ("proxy", "PodProxyOptions", ("create", "get"))),
)
NEW_EVENTS = Resource(
    plural="events",
    kind="Event",
    version="v1",
    group="events.k8s.io",
    short=("ev",),
    stored=False,
    verbs=LISTED_VERBS,
)
LEASES = Resource(plural="leases", kind="Lease", version="v1", group="coordination.k8s.io")
INFERENCE_SERVICES = Resource(
    plural="inferenceservices",
    kind="InferenceService",
    version="v1beta1",
    group=KSERVE,
    short=("isvc",),
    custom=True,
    status=True,
)
SERVING_RUNTIMES = Resource(
    plural="clusterservingruntimes",
    kind="ClusterServingRuntime",
    version="v1alpha1",
    group=KSERVE,
    namespaced=False,
    custom=True,
)
HTTP_ROUTES = Resource(
    plural="httproutes", kind="HTTPRoute", version="v1", group="gateway.networking.k8s.io", custom=True, status=True
)

RESOURCES: tuple[Resource, ...] = (
    NAMESPACES,
    CONFIGMAPS,
    SECRETS,
    SERVICE_ACCOUNTS,
    EVENTS,
    PODS,
    NEW_EVENTS,
    LEASES,
    INFERENCE_SERVICES,
    SERVING_RUNTIMES,
    HTTP_ROUTES,
)

BY_PLURAL: dict[str, Resource] = {item.plural: item for item in RESOURCES if item.stored}
BY_KIND: dict[tuple[str, str], Resource] = {(item.api_version, item.kind): item for item in RESOURCES if item.stored}


def dicts(value: Any) -> list[Object]:
    """The objects in what should be a list of objects; none where it is something else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def find(group: str, version: str, plural: str) -> Resource | None:
    """The resource served at this place of the API; none where there is none."""
    for item in RESOURCES:
        if (item.group, item.version, item.plural) == (group, version, plural):
            return item
    return None


def of(obj: Object) -> Resource:
    """The resource that `obj` is one of; `KeyError` for a kind that is not kept here."""
    return BY_KIND[(str(obj.get("apiVersion")), str(obj.get("kind")))]
