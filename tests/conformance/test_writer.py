"""The InferenceService writer on the real API server and KServe, with the watch's own account and its token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hallmark import names
from hallmark.artifacts.release import Target
from hallmark.errors import Conflict, Refused
from hallmark.rollout.writer import OVER, ROLLOUT_NOTE, InferenceServiceWriter, live_target, predictor_status, share
from hallmark.settings import Settings
from tests.conformance import installed, services
from tests.conformance.stack import Stack

Object = dict[str, Any]
NAME = "fraud"


def target(version: int) -> Target:
    uri = f"s3://hallmark-dev-artifacts/{NAME}/models/{version}/"
    return Target(version=version, storageUri=uri, digest=f"sha256:{version:064}")


@pytest.fixture(scope="module")
def writer(cluster: Stack, tmp_path_factory: pytest.TempPathFactory) -> InferenceServiceWriter:
    """A writer that is the watch, as far as the API server can tell."""
    folder = tmp_path_factory.mktemp("watch")
    path = f"/api/v1/namespaces/{names.SYSTEM}/serviceaccounts/watch/token"
    asked = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    token = cluster.api.call("POST", path, asked)["status"]["token"]
    settings = Settings.load({"HALLMARK_ROOT": str(Path(__file__).parents[2]), "HALLMARK_STATE": str(folder)})
    kubeconfig = cluster.credentials.kubeconfig_of("watch", token)
    return InferenceServiceWriter.connect(settings, kubeconfig=kubeconfig)


@pytest.fixture(params=services.MODES)
def served(request: pytest.FixtureRequest, cluster: Stack) -> Iterator[Object]:
    """fraud at rest, stable and ready as KServe sees it."""
    argo_cd, wanted = installed.argo_cd(cluster.api), services.service(NAME, request.param)
    argo_cd.apply(wanted)
    made = services.made_of(wanted)
    installed.until(lambda: bool(cluster.api.live(made)), what="what KServe makes")
    yield wanted
    argo_cd.delete(wanted)
    installed.until(lambda: installed.gone(cluster.api, made), what=f"{NAME} gone")


def now(writer: InferenceServiceWriter) -> Object:
    live = writer.live(NAME)
    assert live is not None
    return live


def test_release_percent_and_promotion_are_admitted_one_after_the_other(
    writer: InferenceServiceWriter, served: Object
) -> None:
    stable = live_target(now(writer))
    writer.shift(now(writer), percent=10, target=target(4), notes={ROLLOUT_NOTE: "one"})
    assert (share(now(writer)), live_target(now(writer))) == (10, target(4))
    writer.shift(now(writer), percent=25)
    assert share(now(writer)) == 25
    writer.shift(now(writer), percent=None, notes=OVER)
    live = now(writer)
    assert (share(live), live_target(live)) == (None, target(4))
    assert live_target(live) != stable
    assert ROLLOUT_NOTE not in live["metadata"]["annotations"]


def test_a_roll_back_keeps_the_order_that_the_policy_wants(writer: InferenceServiceWriter, served: Object) -> None:
    stable = live_target(now(writer))
    writer.shift(now(writer), percent=10, target=target(4))
    writer.shift(now(writer), percent=0, notes=OVER)
    if "canary" in now(writer)["spec"]:
        writer.shift_away(now(writer))
    else:
        writer.shift(now(writer), percent=0, target=stable)
        writer.shift(now(writer), percent=None)
    assert (share(now(writer)), live_target(now(writer))) == (None, stable)


def test_a_change_of_what_somebody_else_changed_meanwhile_is_a_conflict(
    writer: InferenceServiceWriter, served: Object
) -> None:
    writer.shift(now(writer), percent=10, target=target(4))
    stale = now(writer)
    writer.shift(now(writer), percent=25)
    for percent in (0, 50, None):
        with pytest.raises(Conflict):
            writer.shift(stale, percent=percent)
    assert share(now(writer)) == 25


def test_a_status_that_was_written_meanwhile_is_no_conflict(
    cluster: Stack, writer: InferenceServiceWriter, served: Object
) -> None:
    stale = now(writer)
    path = f"{cluster.api.path(served)}/status"
    noted = {"status": {"annotations": {"written": "meanwhile"}}}
    cluster.api.call("PATCH", path, noted, content="application/merge-patch+json")
    assert now(writer)["metadata"]["resourceVersion"] != stale["metadata"]["resourceVersion"]
    writer.shift(stale, percent=10, target=target(4))
    assert share(now(writer)) == 10


@pytest.mark.parametrize("served", ["Knative"], indirect=True)
def test_a_share_removed_together_with_the_model_is_refused_with_the_order(
    writer: InferenceServiceWriter, served: Object
) -> None:
    stable = live_target(now(writer))
    writer.shift(now(writer), percent=10, target=target(4))
    with pytest.raises(Refused, match="first canaryTrafficPercent 0"):
        writer.shift(now(writer), percent=None, target=stable)
    assert (share(now(writer)), live_target(now(writer))) == (10, target(4))


@pytest.mark.parametrize("served", ["Knative"], indirect=True)
def test_a_share_arrives_in_knatives_service(cluster: Stack, writer: InferenceServiceWriter, served: Object) -> None:
    """KServe names the revision that was rolled out last, and gives the newest its percent."""
    first, second = f"{NAME}-predictor-00001", f"{NAME}-predictor-00002"
    made = services.made_of(served)
    services.say_ready(cluster.api, served, first)
    installed.until(
        lambda: predictor_status(now(writer)).get("latestRolledoutRevision") == first, what="the first is rolled out"
    )
    writer.shift(now(writer), percent=10, target=target(4))

    def shares() -> dict[str, int]:
        traffic = cluster.api.live(made)["spec"].get("traffic") or []
        return {one.get("revisionName", "newest"): one.get("percent", 0) for one in traffic}

    installed.until(lambda: shares() == {"newest": 10, first: 90}, what="10% in Knative's Service")
    services.say_ready(cluster.api, served, second)
    writer.shift(now(writer), percent=0)
    installed.until(lambda: shares() == {"newest": 0, first: 100}, what="0% in Knative's Service")


@pytest.mark.parametrize("served", ["Standard"], indirect=True)
def test_a_candidate_gets_a_deployment_beside_stable(
    cluster: Stack, writer: InferenceServiceWriter, served: Object
) -> None:
    writer.shift(now(writer), percent=10, target=target(4))
    path = f"/apis/apps/v1/namespaces/{NAME}/deployments"
    installed.until(lambda: len(cluster.api.get(path)["items"]) == 2, what="a second Deployment")
