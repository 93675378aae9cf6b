"""Rows as `kubectl get` prints them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from local_cluster.resources import EVENTS, INFERENCE_SERVICES, PODS, SECRETS
from local_cluster.table import age, duration, table


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (310, "5m10s"),
        (3599, "59m"),
        (3 * 3600, "3h"),
        (3 * 3600 + 1200, "3h20m"),
        (47 * 3600, "47h"),
        (50 * 3600, "2d2h"),
        (9 * 86400, "9d"),
        (731 * 86400, "2y1d"),
    ],
)
def test_ages_are_written_as_kubectl_writes_them(seconds: int, shown: str) -> None:
    assert duration(seconds) == shown


def test_an_age_that_is_no_time_is_unknown() -> None:
    assert age("yesterday") == age(None) == "<unknown>"
    assert age("2026-01-01T00:00:00Z", now=datetime(2026, 1, 1, 0, 1, tzinfo=UTC)) == "60s"


def cells(obj: dict[str, Any], resource: Any) -> dict[str, Any]:
    shown = table([obj], resource, version="7")
    names = [column["name"] for column in shown["columnDefinitions"]]
    return dict(zip(names, shown["rows"][0]["cells"], strict=True))


def test_an_inference_service_has_the_columns_of_kserve() -> None:
    traffic = [
        {"latestRevision": True, "percent": 10, "revisionName": "fraud-predictor-00002"},
        {"latestRevision": False, "tag": "prev", "percent": 90, "revisionName": "fraud-predictor-00001"},
    ]
    row = cells(
        {
            "metadata": {"name": "fraud", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "status": {
                "url": "http://fraud",
                "conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}],
                "components": {"predictor": {"traffic": traffic}},
            },
        },
        INFERENCE_SERVICES,
    )
    assert list(row)[1:7] == ["URL", "Ready", "Prev", "Latest", "PrevRolledoutRevision", "LatestReadyRevision"]
    assert list(row.values())[:7] == [
        "fraud",
        "http://fraud",
        "True",
        90,
        10,
        "fraud-predictor-00001",
        "fraud-predictor-00002",
    ]


@pytest.mark.parametrize(
    "status", [{}, {"conditions": "none"}, {"components": {"predictor": {"traffic": [None, 7]}}}, None]
)
def test_a_status_of_any_shape_has_a_row(status: Any) -> None:
    row = cells({"metadata": {"name": "fraud"}, "status": status}, INFERENCE_SERVICES)
    assert row["Ready"] is None


def test_a_pod_that_is_started_again_and_again_says_so() -> None:
    states = [
        {"ready": True, "restartCount": 0},
        {"ready": False, "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff"}}},
    ]
    row = cells(
        {
            "metadata": {"name": "p"},
            "spec": {"containers": [{}, {}]},
            "status": {"phase": "Running", "containerStatuses": states},
        },
        PODS,
    )
    assert (row["Ready"], row["Status"], row["Restarts"]) == ("1/2", "CrashLoopBackOff", "3")


def test_a_secret_shows_how_much_and_not_what() -> None:
    secret = {"metadata": {"name": "s"}, "type": "Opaque", "data": {"key": "c2VjcmV0"}}
    assert cells(secret, SECRETS)["Data"] == 1
    assert "c2VjcmV0" not in str(table([secret], SECRETS, version="1"))


def test_an_event_names_its_object() -> None:
    event = {"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "name": "p"}, "message": " text "}
    row = cells(event, EVENTS)
    assert (row["Object"], row["Message"]) == ("pod/p", "text")
