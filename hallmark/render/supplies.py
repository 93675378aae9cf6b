"""What a tenant's pods are handed: where a run's artifacts and logs go, where MLflow is, and the secrets for both."""

from __future__ import annotations

import json
from typing import Any

import yaml

from hallmark import names
from hallmark.declaration.domain import Domain

STORE = "hallmark"
"""The ClusterSecretStore."""
MLFLOW_ADDRESS = f"http://{names.MLFLOW}.{names.SYSTEM}.svc.cluster.local:5000"
ONLINE_STORE = "online-store"

Object = dict[str, Any]


def objects(domain: Domain) -> list[Object]:
    """ConfigMaps and ExternalSecrets of one tenant."""
    return [
        launcher(domain),
        archive(domain),
        _config(domain, names.MLFLOW, {"MLFLOW_TRACKING_URI": MLFLOW_ADDRESS, "MLFLOW_WORKSPACE": domain.name}),
        _secret(domain, names.MLFLOW, MLFLOW_TRACKING_USERNAME="username", MLFLOW_TRACKING_PASSWORD="password"),  # noqa: S106
        _secret(domain, ONLINE_STORE, username="username", password="password"),  # noqa: S106
    ]


def launcher(domain: Domain) -> Object:
    """Where Kubeflow's launcher puts artifacts. `fromEnv` is the AWS chain, Pod Identity in it; region and address are its too."""
    providers = {"s3": {"default": {"forcePathStyle": False, "credentials": {"fromEnv": True}}}}
    return _config(
        domain,
        "kfp-launcher",
        {
            "defaultPipelineRoot": names.storage(domain.name, "pipelines"),
            "providers": yaml.safe_dump(providers, sort_keys=False),
        },
    )


def archive(domain: Domain) -> Object:
    """Where Argo puts the steps' logs; without it, the same place for every tenant, which ours may not write.

    JSON on one line, with the bucket first: a cluster replaces the fifth part between quotation marks.
    """
    repository = {
        "s3": {
            "bucket": names.BUCKET,
            "endpoint": "s3.amazonaws.com",
            "useSDKCreds": True,
            "keyFormat": f"{names.prefix(domain.name)}logs/{{{{workflow.name}}}}/{{{{pod.name}}}}",
        },
        "archiveLogs": True,
    }
    found = _config(domain, "artifact-repositories", {"hallmark": json.dumps(repository)})
    found["metadata"]["annotations"] = {"workflows.argoproj.io/default-artifact-repository": "hallmark"}
    return found


def _secret(domain: Domain, name: str, **properties: str) -> Object:
    """An ExternalSecret of the domain's own `name`, each key of it by the property that holds its value."""
    return {
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": _metadata(domain, name),
        "spec": {
            "refreshInterval": "1h",
            "secretStoreRef": {"kind": "ClusterSecretStore", "name": STORE},
            "target": {"name": name, "creationPolicy": "Owner", "deletionPolicy": "Delete"},
            "data": [
                {
                    "secretKey": key,
                    "remoteRef": {"key": f"hallmark/{names.prefix(domain.name)}{name}", "property": value},
                }
                for key, value in properties.items()
            ],
        },
    }


def _config(domain: Domain, name: str, data: dict[str, str]) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": _metadata(domain, name), "data": data}


def _metadata(domain: Domain, name: str) -> Object:
    return {"name": name, "namespace": domain.namespace, "labels": names.labels(domain.name)}
