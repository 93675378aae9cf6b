"""Additions of Kubeflow's Profile controller to a tenant's namespace, by its source: they count in the matrix, since it counts in a cluster.

Its ClusterRoles are taken at their widest: `kubeflow-admin` and `kubeflow-edit` may do everything, `kubeflow-view` may read everything.
"""

from __future__ import annotations

from typing import Any

Object = dict[str, Any]
_RBAC = "rbac.authorization.k8s.io"
ROLES = [
    {
        "kind": "ClusterRole",
        "metadata": {"name": name},
        "rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": verbs}],
    }
    for name, verbs in (
        ("kubeflow-admin", ["*"]),
        ("kubeflow-edit", ["*"]),
        ("kubeflow-view", ["get", "list", "watch"]),
    )
]


def of(profile: Object, *, gateway: str) -> list[Object]:
    """The bindings and the AuthorizationPolicy of one Profile. gateway: the principal that the controller is told is the ingress."""
    namespace, owner = profile["metadata"]["name"], profile["spec"]["owner"]
    accounts = [
        (name, role, {"kind": "ServiceAccount", "namespace": namespace, "name": name})
        for name, role in (("default-editor", "kubeflow-edit"), ("default-viewer", "kubeflow-view"))
    ]
    bindings = [
        {
            "kind": "RoleBinding",
            "metadata": {"name": name, "namespace": namespace},
            "roleRef": {"apiGroup": _RBAC, "kind": "ClusterRole", "name": role},
            "subjects": [subject],
        }
        for name, role, subject in [("namespaceAdmin", "kubeflow-admin", owner), *accounts]
    ]
    front = [gateway, "cluster.local/ns/kubeflow/sa/ml-pipeline-ui"]
    policy = {
        "kind": "AuthorizationPolicy",
        "metadata": {"name": "ns-owner-access-istio", "namespace": namespace},
        "spec": {
            "action": "ALLOW",
            "rules": [
                {
                    "from": [{"source": {"principals": front}}],
                    "when": [{"key": "request.headers[kubeflow-userid]", "values": [owner["name"]]}],
                },
                {"when": [{"key": "source.namespace", "values": [namespace]}]},
                {"to": [{"operation": {"paths": ["/healthz", "/metrics", "/wait-for-drain"]}}]},
                {
                    "from": [
                        {"source": {"principals": ["cluster.local/ns/kubeflow/sa/notebook-controller-service-account"]}}
                    ],
                    "to": [{"operation": {"methods": ["GET"], "paths": ["*/api/kernels"]}}],
                },
            ],
        },
    }
    return [*bindings, policy]
