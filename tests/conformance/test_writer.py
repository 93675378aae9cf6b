"""The InferenceService writer on the real API server and KServe, with the watch's own account and its token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hallmark.artifacts.release import Target
from hallmark.errors import Conflict, Refused
from hallmark.rollout import operations
from hallmark.rollout import record as records
from hallmark.rollout.record import RolloutRecord
from hallmark.rollout.writer import InferenceServiceWriter, live_target, predictor_status, share
from hallmark.settings import Settings
from tests.conformance import installed, services
from tests.conformance.stack import Stack
from tests.hallmark.rollout.tiny import CONFIG
from tests.manifests.builds import declared

Object = dict[str, Any]
NAME = "fraud"
ROOT = Path(__file__).parents[2]


def target(version: int) -> Target:
    uri = f"s3://hallmark-dev-artifacts/{NAME}/models/{version}/"
    return Target(version=version, storageUri=uri, digest=f"sha256:{version:064}", config=CONFIG)


def connected(kubeconfig: Path, folder: Path) -> InferenceServiceWriter:
    settings = Settings.load({"HALLMARK_ROOT": str(ROOT), "HALLMARK_STATE": str(folder)})
    return InferenceServiceWriter.connect(settings, kubeconfig=kubeconfig)


@pytest.fixture(scope="module")
def writer(watch_kubeconfig: Path, tmp_path_factory: pytest.TempPathFactory) -> InferenceServiceWriter:
    """A writer that is the watch, as far as the API server can tell."""
    return connected(watch_kubeconfig, tmp_path_factory.mktemp("watch"))


@pytest.fixture(scope="module")
def administrator(cluster: Stack, tmp_path_factory: pytest.TempPathFactory) -> InferenceServiceWriter:
    """The writer of a person who may do everything, as `hallmark apply` has it."""
    return connected(cluster.credentials.kubeconfig("admin"), tmp_path_factory.mktemp("administrator"))


@pytest.fixture(params=services.MODES)
def served(request: pytest.FixtureRequest, cluster: Stack) -> Iterator[Object]:
    """fraud at rest, stable and ready as KServe sees it."""
    argo_cd, wanted = installed.argo_cd(cluster.api), services.service(NAME, request.param)
    argo_cd.apply(wanted)
    made = services.made_of(wanted)
    installed.until(lambda: bool(cluster.api.live(made)), what="what KServe makes")
    yield wanted
    argo_cd.delete(wanted)
    # Both: what is applied to an object that is still being deleted goes with it.
    installed.until(
        lambda: installed.gone(cluster.api, wanted) and installed.gone(cluster.api, made), what=f"{NAME} gone"
    )


def now(writer: InferenceServiceWriter) -> Object:
    live = writer.live(NAME)
    assert live is not None
    return live


def quiet(_: str) -> None:
    """Nobody reads the progress."""


def test_release_percent_and_promotion_are_admitted_one_after_the_other(
    writer: InferenceServiceWriter, served: Object
) -> None:
    stable = live_target(now(writer))
    writer.shift(now(writer), percent=10, target=target(4), notes=RolloutRecord(stable=stable).note)
    assert (share(now(writer)), live_target(now(writer))) == (10, target(4))
    writer.shift(now(writer), percent=25)
    assert share(now(writer)) == 25
    promoted = RolloutRecord(stable=target(4), previous=stable)
    writer.shift(now(writer), percent=None, notes=promoted.note)
    assert (share(now(writer)), live_target(now(writer))) == (None, target(4))
    assert records.written(now(writer)) == promoted


def test_a_roll_back_keeps_the_order_that_the_policy_wants(writer: InferenceServiceWriter, served: Object) -> None:
    stable = live_target(now(writer))
    back = RolloutRecord(stable=stable, returning=True)
    writer.shift(now(writer), percent=10, target=target(4))
    writer.shift(now(writer), percent=0, notes=back.note)
    if "canary" in now(writer)["spec"]:
        writer.shift_away(now(writer), notes=back.settled.note, minimum=2)
    else:
        writer.shift(now(writer), percent=0, target=stable)
        writer.shift(now(writer), percent=None, notes=back.settled.note)
    assert (share(now(writer)), live_target(now(writer))) == (None, stable)
    assert records.written(now(writer)) == RolloutRecord(stable=stable)


@pytest.mark.parametrize("served", ["Knative"], indirect=True)
def test_whole_rollouts_run_on_real_kserve(cluster: Stack, writer: InferenceServiceWriter, served: Object) -> None:
    """Release, a larger share, a promotion, a second release and its roll-back; what KServe asks of Knative at each step."""
    stable, domain = live_target(now(writer)), declared(NAME)
    with services.Revisions(cluster.api.as_("knative", "system:masters"), served) as knative:
        first = knative.name(1)
        installed.until(lambda: predictor_status(now(writer)).get("latestRolledoutRevision") == first, what="stable")
        for percent in (10, 25):
            operations.release(writer, domain, target(4), percent=percent, note=quiet)
            assert knative.asked() == {"newest": percent, first: 100 - percent}
        assert operations.promote(writer, domain, note=quiet) == target(4)
        assert knative.asked() == {"newest": 100}
        second = knative.name(2)
        assert predictor_status(now(writer))["latestRolledoutRevision"] == second
        operations.release(writer, domain, target(5), percent=10, note=quiet)
        assert knative.asked() == {"newest": 10, second: 90}
        assert operations.rollback(writer, domain, note=quiet) == target(4)
        assert knative.asked() == {"newest": 100}
    record = records.written(now(writer))
    assert record is not None
    assert (record.stable, record.previous, record.returning) == (target(4), None, False)
    assert (share(now(writer)), live_target(now(writer))) == (None, target(4))
    assert stable not in (record.stable, record.previous)


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
def test_force_does_not_go_round_the_order(
    writer: InferenceServiceWriter, administrator: InferenceServiceWriter, served: Object
) -> None:
    """`hallmark apply --force` while a candidate has a share would remove it and change the model at once."""
    writer.shift(now(writer), percent=10, target=target(4))
    assert administrator.apply(served) == "kept"
    with pytest.raises(Refused, match="first canaryTrafficPercent 0"):
        administrator.apply(served, force=True)
    assert (share(now(writer)), live_target(now(writer))) == (10, target(4))


def test_applying_a_file_again_changes_nothing_and_says_so(
    administrator: InferenceServiceWriter, served: Object
) -> None:
    before = now(administrator)
    assert [administrator.apply(served) for _ in range(3)] == ["unchanged"] * 3
    assert now(administrator)["metadata"]["generation"] == before["metadata"]["generation"]


@pytest.mark.parametrize("served", ["Standard"], indirect=True)
def test_a_candidate_gets_a_deployment_beside_stable(
    cluster: Stack, writer: InferenceServiceWriter, served: Object
) -> None:
    writer.shift(now(writer), percent=10, target=target(4))
    path = f"/apis/apps/v1/namespaces/{NAME}/deployments"
    installed.until(lambda: len(cluster.api.get(path)["items"]) == 2, what="a second Deployment")
