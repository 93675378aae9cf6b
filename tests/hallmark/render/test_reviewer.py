"""The vision-language reviewers: KServe's strict schema, what it refuses, and Pod Security at restricted."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hallmark.declaration import domain as domains
from hallmark.declaration.serving import Replicas
from hallmark.render import reviewer
from hallmark.settings import Settings
from tests import strict

ROOT = Path(__file__).parents[3]
SETTINGS = Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_RELEASES": str(ROOT / "inference_services")})
DECLARED = [domains.load(name, SETTINGS) for name in domains.names(SETTINGS)]
REVIEWED = [domain for domain in DECLARED if domain.reviewer]


def test_authentication_has_a_reviewer_and_nobody_else() -> None:
    found = reviewer.files(SETTINGS, DECLARED)
    assert {path.parent.name for path in found} == {"authentication"}
    assert {path.name for path in found} == {"reviewer.yaml"}


def test_reviewers_keep_kserves_strict_schema() -> None:
    validator = strict.validator("serving.kserve.io", "LLMInferenceService", "v1alpha2")
    for text in reviewer.files(SETTINGS, DECLARED).values():
        (service,) = yaml.safe_load_all(text)
        validator.validate(service)


@pytest.mark.parametrize("domain", REVIEWED, ids=lambda domain: str(domain.name))
def test_a_reviewer_is_what_its_domain_declares(domain: domains.Domain) -> None:
    (service,) = reviewer.objects(domain)
    declared, spec = domain.reviewer, service["spec"]
    assert declared is not None
    assert service["metadata"]["namespace"] == domain.namespace
    assert spec["model"] == {"uri": declared.model, "name": declared.served_name}
    (container,) = spec["template"]["containers"]
    assert container["name"] == "main", "the container of KServe's template that this one is merged with"
    limits = container["resources"]["limits"]
    assert limits == {"cpu": declared.cpu, "memory": declared.memory, "nvidia.com/gpu": str(declared.gpu)}
    assert spec["template"]["nodeSelector"] == {"hallmark.dev/pool": "gpu-inference"}
    assert [each["key"] for each in spec["template"]["tolerations"]] == ["nvidia.com/gpu"]
    assert "router" not in spec, "nothing outside the cluster reaches it"


@pytest.mark.parametrize("domain", REVIEWED, ids=lambda domain: str(domain.name))
def test_kserve_finds_what_it_made_for_a_reviewer(domain: domains.Domain) -> None:
    """Its controller looks for app.kubernetes.io/part-of: llminferenceservice, and spec.labels would replace that."""
    labels = reviewer.objects(domain)[0]["spec"]["labels"]
    assert labels["hallmark.dev/domain"] == domain.name
    assert not any(label.startswith("app.kubernetes.io/") for label in labels)


@pytest.mark.parametrize("domain", REVIEWED, ids=lambda domain: str(domain.name))
def test_a_reviewers_weights_are_fetched_as_models_are(domain: domains.Domain) -> None:
    """KServe gives the container that fetches them no securityContext, and our ClusterStorageContainer is not asked there."""
    path = ROOT / "manifests" / "platform" / "storage-container.yaml"
    wanted = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]["container"]
    (container,) = reviewer.objects(domain)[0]["spec"]["template"]["initContainers"]
    assert container == {key: value for key, value in wanted.items() if not key.startswith("image")}


@pytest.mark.parametrize("domain", REVIEWED, ids=lambda domain: str(domain.name))
def test_a_reviewers_pod_is_restricted_and_pinned(domain: domains.Domain) -> None:
    template = reviewer.objects(domain)[0]["spec"]["template"]
    assert template["serviceAccountName"] == "predictor" and template["automountServiceAccountToken"] is False
    (container,) = template["containers"]
    context = container["securityContext"]
    assert context["runAsNonRoot"] and context["readOnlyRootFilesystem"] and not context["allowPrivilegeEscalation"]
    assert context["capabilities"] == {"drop": ["ALL"]} and context["seccompProfile"] == {"type": "RuntimeDefault"}
    _, _, tag = container["image"].rpartition(":")
    assert tag and tag != "latest" and "/" not in tag


def test_a_reviewer_that_may_sleep_stays_up_since_nothing_would_wake_it() -> None:
    (domain, *_) = REVIEWED
    assert domain.reviewer is not None
    for minimum, replicas in ((0, 1), (1, 1), (2, 2)):
        declared = domain.reviewer.model_copy(update={"replicas": Replicas(minimum=minimum, maximum=3)})
        (service,) = reviewer.objects(domain.model_copy(update={"reviewer": declared}))
        assert service["spec"]["replicas"] == replicas
        assert "scaling" not in service["spec"], "replicas and scaling are mutually exclusive"


@pytest.mark.parametrize("caching", ["off", "salted", "shared"])
def test_prefixes_are_cached_only_where_that_is_declared(caching: str) -> None:
    """vllm-project/vllm#20261; KServe's command takes VLLM_ADDITIONAL_ARGS after its own."""
    (domain, *_) = REVIEWED
    assert domain.reviewer is not None and domain.reviewer.prefix_caching == "off"
    declared = domain.reviewer.model_copy(update={"prefix_caching": caching})
    (service,) = reviewer.objects(domain.model_copy(update={"reviewer": declared}))
    strict.validator("serving.kserve.io", "LLMInferenceService", "v1alpha2").validate(service)
    (container,) = service["spec"]["template"]["containers"]
    off = [{"name": "VLLM_ADDITIONAL_ARGS", "value": "--no-enable-prefix-caching"}]
    assert container.get("env", []) == (off if caching == "off" else [])


def test_several_gpus_share_the_model() -> None:
    (domain, *_) = REVIEWED
    assert domain.reviewer is not None
    wide = domain.model_copy(update={"reviewer": domain.reviewer.model_copy(update={"gpu": 4})})
    assert reviewer.objects(wide)[0]["spec"]["parallelism"] == {"tensor": 4}
    assert "parallelism" not in reviewer.objects(domain)[0]["spec"]
