"""Prometheus rules as the operator takes them: records, alerts with a page of docs/runbooks each, and the object that holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from hallmark import names

Json = dict[str, Any]
Severity = Literal["page", "ticket"]

REPOSITORY = "https://github.com/hallmark-marketplace/hallmark"
RUNBOOKS = f"{REPOSITORY}/blob/main/docs/runbooks"
"""Address of the pages of docs/runbooks; every alert names its own."""
GRAFANA = f"https://{names.HOST}/grafana"
"""A cluster replaces the host in it by its own."""
PLATFORM_TEAM = "platform"
KEYS = {"alert", "expr", "for", "severity", "summary", "description"}
"""An alert as it is written: severity page or ticket; what happened, and to whom, in one line; how to read the number, and what follows."""


def dashboard_uid(name: str) -> str:
    """The address of a dashboard in Grafana: a domain's, or the platform's."""
    return f"hallmark-{name}"


def dashboard_url(name: str) -> str:
    """The link to it."""
    return f"{GRAFANA}/d/{dashboard_uid(name)}"


def span(time: timedelta) -> str:
    """A duration as Prometheus writes it: 90s, 10m, 2h, 3d; whole seconds."""
    seconds = round(time.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds and seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def number(value: float) -> str:
    """A threshold in six digits, without noise of binary fractions."""
    return f"{value:.6g}"


def record(name: str, expr: str, labels: Mapping[str, str]) -> Json:
    """A rule that keeps the value of `expr` under `name`."""
    return {"record": name, "expr": expr, "labels": dict(labels)}


def alert(rule: Mapping[str, Any], *, team: str, domain: str = "") -> Json:
    """An alert in Prometheus's form, of the keys that it is written with (`KEYS`): with whose it is, its page and its dashboard."""
    if rule.keys() - {"labels"} != KEYS:
        raise ValueError(f"expected an alert of {', '.join(sorted(KEYS))}; got {', '.join(sorted(rule))}")
    owner = {"team": team, "domain": domain} if domain else {"team": team}
    return {
        "alert": rule["alert"],
        "expr": rule["expr"],
        "for": rule["for"],
        "labels": {"severity": rule["severity"], **owner, **rule.get("labels", {})},
        "annotations": {
            "summary": rule["summary"],
            "description": rule["description"],
            "runbook_url": f"{RUNBOOKS}/{rule['alert']}.md",
            "dashboard_url": dashboard_url(domain or "platform"),
        },
    }


def whole(groups: Sequence[Json], *, team: str, domain: str = "") -> list[Json]:
    """Groups of alerts as templates/alerts write them, in Prometheus's form."""
    return [{**each, "rules": [alert(rule, team=team, domain=domain) for rule in each["rules"]]} for each in groups]


def group(name: str, rules: Sequence[Json], *, interval: str = "30s") -> Json:
    """Rules that are looked at one after the other, every `interval`."""
    return {"name": name, "interval": interval, "rules": list(rules)}


def prometheus_rule(name: str, groups: Sequence[Json], *, labels: Mapping[str, str]) -> Json:
    """The object that the Prometheus operator reads.

    It lies in the monitoring namespace and not in the domain's: its rules read the gateway's and the watch's series too, and who
    may write there may silence an alert. Prometheus takes every rule of every namespace (manifests/platform/prometheus.yaml).
    """
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {
            "name": f"hallmark-{name}",
            "namespace": names.MONITORING,
            "labels": dict(labels),
        },
        "spec": {"groups": list(groups)},
    }
