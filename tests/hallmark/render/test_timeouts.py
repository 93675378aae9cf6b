"""`serving.timeout` on its way: whatever it is, each timeout that follows from it is longer than the one inside it, wherever it is read."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from hallmark.artifacts.release import Release, Target
from hallmark.declaration import domain as domains
from hallmark.declaration import timeouts
from hallmark.declaration.domain import Domain
from hallmark.declaration.serving import Serving
from hallmark.errors import DeclarationError
from hallmark.render import files, inferenceservice
from hallmark.section import validated
from hallmark.settings import Settings
from local_cluster import predictor, routes

ROOT = Path(__file__).parents[3]
SETTINGS = Settings.load({"HALLMARK_ROOT": str(ROOT)})
FRAUD = domains.load("fraud", SETTINGS)
RELEASE = Release(stable=Target(version=1, storageUri="pvc://models/fraud/one", digest="sha256:" + "1" * 64))
# To the longest whose attempt the platform takes: the others lint refuses (HM704).
LEGAL = st.integers(1, 1000 * (timeouts.MOST - 1)).map(lambda milliseconds: timedelta(milliseconds=milliseconds))


def patient(timeout: timedelta) -> Domain:
    """The fraud domain with this `serving.timeout`."""
    return FRAUD.model_copy(update={"serving": FRAUD.serving.model_copy(update={"timeout": timeout})})


@given(LEGAL)
def test_whoever_is_inside_ends_first(timeout: timedelta) -> None:
    found = timeouts.of(timeout)
    assert found.deadline == timeout.total_seconds()
    assert found.notice + found.deadline < found.end < found.attempt < found.gateway
    assert found.attempt < found.deadline + 2, "a request that hangs costs its client no more than it must"
    assert found.attempt <= timeouts.MOST <= timeouts.POD


@given(LEGAL)
def test_all_that_is_rendered_of_it_says_the_same(timeout: timedelta) -> None:
    found, domain = timeouts.of(timeout), patient(timeout)
    knative, standard = (inferenceservice.inferenceservice(domain, RELEASE, mode) for mode in ("Knative", "Standard"))
    template = predictor.template(knative, files.runtime(SETTINGS))
    service = routes.RoutedService(namespace="fraud", name="fraud", timeout=template["timeoutSeconds"], backends=())
    route = routes._action(service)
    assert template["timeoutSeconds"] == standard["spec"]["predictor"]["timeout"] == found.attempt
    assert standard["spec"]["predictor"]["terminationGracePeriodSeconds"] == timeouts.POD
    assert route["retry_policy"]["per_try_timeout"] == f"{found.attempt}.000s"
    assert float(route["timeout"].removesuffix("s")) == found.gateway == float(route["idle_timeout"].removesuffix("s"))


def test_a_gateway_waits_for_the_longest_that_the_platform_takes() -> None:
    platform = ROOT / "manifests" / "platform"
    knative = yaml.safe_load((platform / "knative-serving.yaml").read_text(encoding="utf-8"))
    assert knative["spec"]["config"]["defaults"]["max-revision-timeout-seconds"] == str(timeouts.MOST)
    assert knative["spec"]["config"]["defaults"]["revision-timeout-seconds"] == str(timeouts.UNSET)
    connections = yaml.safe_load((platform / "gateway" / "connections.yaml").read_text(encoding="utf-8"))
    limits = connections["spec"]["configPatches"][0]["patch"]["value"]["typed_config"]
    assert float(limits["stream_idle_timeout"].removesuffix("s")) > timeouts.MOST


def test_no_time_at_all_is_refused() -> None:
    with pytest.raises(DeclarationError, match="timeout") as caught:
        validated(Serving, {"timeout": "0ms", "latency_objective": "1ms"}, "domain.yaml")
    assert caught.value.expected == "more than 0s"
