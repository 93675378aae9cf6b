"""Rules at work: `promtool test rules` over series that the exporters would give, minute by minute."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from hallmark.declaration import domain as domains
from hallmark.declaration import feature_view
from hallmark.declaration.domain import Domain
from hallmark.declaration.feature_view import FeatureView
from hallmark.render import monitoring
from hallmark.settings import Settings

Json = dict[str, Any]
needs_promtool = pytest.mark.skipif(
    not shutil.which("promtool"), reason="promtool is not installed (apt-get install prometheus)"
)
MINUTES = 140


@cache
def declared(name: str, *changes: str) -> Domain:
    domain = domains.load(name, Settings.load())
    return domains.overridden(domain, changes) if changes else domain


@cache
def buyers() -> FeatureView:
    """A view that 15 minutes without an event are too long for."""
    return feature_view.load("buyer_orders@1")


def groups_of(objects: Sequence[Json]) -> list[Json]:
    return [group for each in objects if each["kind"] == "PrometheusRule" for group in each["spec"]["groups"]]


def alerts_of(groups: Sequence[Json]) -> list[Json]:
    return [rule for group in groups for rule in group["rules"] if "alert" in rule]


def named(metric: str, **labels: str) -> str:
    return metric + "{" + ",".join(f'{name}="{value}"' for name, value in labels.items()) + "}"


def istio(
    domain: str, metric: str = "requests_total", *, revision: str = "", gateway: str = "gw-1", **labels: str
) -> str:
    """A series as the proxy of a gateway's pod gives it."""
    about = {
        "reporter": "source",
        "source_workload": "istio-ingress",
        "destination_service_namespace": domain,
        "destination_service_name": revision or f"{domain}-predictor-00001",
        "pod": gateway,
        "instance": f"{gateway}:15090",
        "namespace": "istio-ingress",
    }
    return named(f"istio_{metric}", **about, **labels)


def times(domain: str, le: str = "", **more: str) -> str:
    return istio(
        domain, f"request_duration_milliseconds_{'bucket' if le else 'count'}", **({"le": le} if le else {}), **more
    )


def runtime(domain: str, metric: str, **labels: str) -> str:
    revision = f"{domain}-predictor-00001"
    about = {
        "model": domain,
        "version": "1",
        "revision": revision,
        "variant": revision,
        "namespace": domain,
        "pod": "p-1",
    }
    return named(f"hallmark_{metric}", **about, **labels)


def drift(domain: str, metric: str, **labels: str) -> str:
    about = {"variant": f"{domain}-predictor-00001", "namespace": domain, "pod": "p-1"}
    return named(f"hallmark_drift_{metric}", **about, **labels)


def stream(metric: str, **labels: str) -> str:
    return named(
        f"hallmark_stream_{metric}", view="buyer_orders@1", namespace="hallmark-system", pod="stream-1", **labels
    )


def watch(domain: str, metric: str, *, pod: str = "watch-1", **labels: str) -> str:
    return named(f"hallmark_{metric}", domain=domain, namespace="hallmark-system", pod=pod, **labels)


def replicas(domain: str, name: str = "") -> str:
    deployment = name or f"{domain}-predictor-00001-deployment"
    return named("kube_deployment_status_replicas_available", namespace=domain, deployment=deployment)


def healthy(domain: str, *, edge: str = "50", minutes: int = MINUTES) -> dict[str, str]:
    """Ten requests a second, all well, nothing under way: what no alert may be found in."""
    up, at = f"0+600x{minutes}", f"0+60x{minutes}"
    return {
        istio(domain, response_code="200"): up,
        times(domain, edge): f"0+598x{minutes}",
        times(domain, "+Inf"): up,
        times(domain): up,
        runtime(domain, "capture_offered_total"): up,
        runtime(domain, "capture_dropped_total", reason="full"): f"0x{minutes}",
        runtime(domain, "refused_total", reason="overloaded"): f"0x{minutes}",
        runtime(domain, "refused_total", reason="model"): f"0x{minutes}",
        drift(domain, "verdict", state="OK"): f"1x{minutes}",
        drift(domain, "verdict", state="DRIFT"): f"0x{minutes}",
        drift(domain, "verdict", state="INSUFFICIENT"): f"0x{minutes}",
        drift(domain, "captured_ratio"): f"1x{minutes}",
        watch(domain, "watch_last_look_timestamp_seconds"): at,
        watch(domain, "watch_lease_held"): f"1x{minutes}",
        watch(domain, "rollout_running"): f"0x{minutes}",
        watch(domain, "rollout_revision", variant="stable", revision=f"{domain}-predictor-00001"): f"1x{minutes}",
        watch(domain, "registry_newest_timestamp_seconds"): f"0x{minutes}",
        replicas(domain): f"2x{minutes}",
    }


@dataclass(frozen=True)
class Case:
    """Series, and the alerts that fire at a time: exactly these.

    said: alert -> the labels of its series and its summary, word for word.  values: expressions, and what they are then (a sum without labels).
    """

    why: str
    series: Mapping[str, str]
    at: str
    fires: tuple[str, ...] = ()
    said: Mapping[str, tuple[Mapping[str, str], str]] = field(default_factory=dict)
    domains: tuple[Domain, ...] = field(default_factory=lambda: (declared("fraud"),))
    platform: bool = False
    step: str = "1m"
    values: Mapping[str, float] = field(default_factory=dict)


def rules_of(case: Case) -> list[Json]:
    objects = [each for domain in case.domains for each in monitoring.objects(domain)]
    return groups_of([*objects, *(monitoring.of_platform([buyers()]) if case.platform else [])])


def run(case: Case, folder: Path) -> None:
    """`promtool test rules`; fails with its words."""
    (folder / "rules.yaml").write_text(json.dumps({"groups": rules_of(case)}))
    firing = "count by (alertname, domain, severity, long) (ALERTS{alertstate='firing'})"
    tests: list[Json] = [{"expr": firing, "eval_time": case.at, "exp_samples": [_sample(each) for each in case.fires]}]
    tests += [
        {"expr": expr, "eval_time": case.at, "exp_samples": [{"labels": "{}", "value": value}]}
        for expr, value in case.values.items()
    ]
    content = {
        "rule_files": ["rules.yaml"],
        "evaluation_interval": case.step,
        "tests": [
            {
                "interval": case.step,
                "input_series": [{"series": name, "values": values} for name, values in case.series.items()],
                "promql_expr_test": tests,
                "alert_rule_test": [_told(case, name, *said) for name, said in case.said.items()],
            }
        ],
    }
    (folder / "test.yaml").write_text(json.dumps(content))
    told = subprocess.run(["promtool", "test", "rules", "test.yaml"], cwd=folder, capture_output=True, text=True)
    assert told.returncode == 0, f"{case.why}\n{told.stdout}{told.stderr}"


def _told(case: Case, name: str, labels: Mapping[str, str], summary: str) -> Json:
    long = next((word.split()[-1] for word in case.fires if word.startswith(name)), "")
    (rule,) = (
        rule for rule in alerts_of(rules_of(case)) if rule["alert"] == name and rule["labels"].get("long", long) == long
    )
    expected = {
        "exp_labels": {**labels, **rule["labels"]},
        "exp_annotations": {**rule["annotations"], "summary": summary},
    }
    return {"eval_time": case.at, "alertname": name, "exp_alerts": [expected]}


def _sample(told: str) -> Json:
    """`name severity [domain] [window]`, such as "AvailabilityBurns page fraud 1h"."""
    name, severity, *rest = told.split()
    labels = {"alertname": name, "severity": severity}
    for word in rest:
        labels["long" if re.fullmatch(r"\d+[hd]", word) else "domain"] = word
    written = ", ".join(f'{key}="{value}"' for key, value in labels.items())
    return {"labels": f"{{{written}}}", "value": 1}
