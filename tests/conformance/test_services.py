"""Each domain's InferenceService past KServe's real webhooks and our policies, and what KServe makes of it past everything else."""

from __future__ import annotations

import pytest

from tests.conformance import installed, services
from tests.conformance.api import Refusal
from tests.conformance.stack import Stack
from tests.manifests import policies
from tests.manifests.builds import DOMAINS


@pytest.mark.parametrize("mode", services.MODES)
@pytest.mark.parametrize("domain", DOMAINS)
def test_a_domains_service_is_admitted_and_made(cluster: Stack, domain: str, mode: str) -> None:
    """In Knative mode by Knative's webhook; in Standard mode with a pod, by Pod Security, quota and limits."""
    argo_cd, wanted = installed.argo_cd(cluster.api), services.service(domain, mode)
    argo_cd.apply(wanted)
    made = services.made_of(wanted)
    try:
        installed.until(lambda: bool(cluster.api.live(made)), what=f"{made['kind']} of {domain}")
        if mode == "Standard":
            selector = f"labelSelector=serving.kserve.io/inferenceservice={domain}"
            pods = f"/api/v1/namespaces/{domain}/pods?{selector}"
            installed.until(lambda: bool(cluster.api.get(pods)["items"]), what=f"a pod of {domain}")
    finally:
        argo_cd.delete(wanted)
        installed.until(
            lambda: installed.gone(cluster.api, wanted) and installed.gone(cluster.api, made), what=f"{domain} gone"
        )


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.predictor.minReplicas", "2"),
        ("spec.predictor.minReplicas", -1),
        ("spec.predictor.model.env", [{"name": "ONE", "value": 1}]),
    ],
)
def test_kserves_own_webhooks_are_the_ones_that_answer(cluster: Stack, path: str, value: object) -> None:
    bad = policies.changed(services.service("fraud", "Knative"), path, value)
    with pytest.raises(Refusal, match="kserve-webhook-server"):
        installed.argo_cd(cluster.api).create(bad, dry_run=True)


def test_knatives_own_webhook_is_the_one_that_answers(cluster: Stack) -> None:
    bad = {
        "apiVersion": "serving.knative.dev/v1",
        "kind": "Service",
        "metadata": {"name": "one", "namespace": "fraud"},
        "spec": {"template": {"spec": {"timeoutSeconds": 601, "containers": [{"image": "one:1"}]}}},
    }
    with pytest.raises(Refusal, match=r"(?s)webhook.serving.knative.dev.*601"):
        cluster.api.create(bad, dry_run=True)
