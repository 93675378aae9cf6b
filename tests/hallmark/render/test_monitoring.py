"""What is generated for Prometheus and Grafana: strict objects, levels from the declarations, dashboards that fit their grid."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from hallmark import metrics, names
from hallmark.declaration import domain as domains
from hallmark.declaration import feature_view
from hallmark.declaration.domain import Domain
from hallmark.render import alerts, monitoring, rules, slo
from hallmark.settings import Settings
from tests import strict
from tests.hallmark.render import promql
from tests.hallmark.render.prometheus import alerts_of, declared, groups_of, needs_promtool
from tests.hallmark.render.test_monitoring_names import of_dashboard

SETTINGS = Settings.load()
ROOT = SETTINGS.root
VIEWS = [feature_view.load(each, SETTINGS) for each in feature_view.references(SETTINGS)]
EVERY = tuple(declared(name) for name in domains.names(SETTINGS))
OBJECTS = {domain.name: monitoring.objects(domain) for domain in EVERY} | {"platform": monitoring.of_platform(VIEWS)}
Json = dict[str, Any]


def dashboard(name: str) -> Json:
    (found,) = (each for each in OBJECTS[name] if each["kind"] == "ConfigMap")
    (text,) = found["data"].values()
    return dict(json.loads(text))


@pytest.mark.parametrize("name", OBJECTS)
def test_rules_keep_the_operators_schema_to_the_letter(name: str) -> None:
    validator = strict.validator("monitoring.coreos.com", "PrometheusRule", "v1")
    for each in OBJECTS[name]:
        if each["kind"] == "PrometheusRule":
            validator.validate(json.loads(json.dumps(each)))
            grouped = [group["name"] for group in each["spec"]["groups"]]
            assert len(grouped) == len(set(grouped))


def test_objects_lie_where_prometheus_and_grafana_look_and_carry_the_domains_labels() -> None:
    for name, objects in OBJECTS.items():
        assert [each["kind"] for each in objects] == ["PrometheusRule", "ConfigMap"]
        assert {each["metadata"]["namespace"] for each in objects} == {names.MONITORING}
        assert objects[1]["metadata"]["labels"]["grafana_dashboard"] == "1"
        for each in objects:
            assert each["metadata"]["labels"][names.PART_OF] == "hallmark"
            assert name == "platform" or each["metadata"]["labels"][names.DOMAIN_LABEL] == name
    uids = [dashboard(name)["uid"] for name in OBJECTS]
    assert len(set(uids)) == len(uids)


def test_a_file_for_each_domain_one_for_the_platform_and_a_kustomization_that_lists_them() -> None:
    files = monitoring.files(SETTINGS, EVERY)
    wanted = {f"{domain.name}.yaml" for domain in EVERY} | {"platform.yaml"}
    assert {path.name for path in files} == wanted | {"kustomization.yaml"}
    (kustomization,) = (yaml.safe_load(text) for path, text in files.items() if path.name == "kustomization.yaml")
    assert set(kustomization["resources"]) == wanted
    assert all(text.startswith("# Generated from ") for text in files.values())
    assert files == monitoring.files(SETTINGS, EVERY)
    for path, text in files.items():
        if path.stem in OBJECTS:
            assert list(yaml.safe_load_all(text)) == json.loads(json.dumps(OBJECTS[path.stem]))


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_kustomize_builds_the_folder(tmp_path: Path) -> None:
    for path, text in monitoring.files(SETTINGS, EVERY).items():
        (tmp_path / path.name).write_text(text)
    built = subprocess.run(["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    assert len(list(yaml.safe_load_all(built.stdout))) == 2 * len(OBJECTS)


@needs_promtool
def test_prometheus_takes_every_rule_and_every_query_of_a_dashboard(tmp_path: Path) -> None:
    groups = groups_of([each for objects in OBJECTS.values() for each in objects])
    queries = [
        {"record": f"panel:{at}", "expr": expr}
        for at, (_, expr) in enumerate(
            found for objects in OBJECTS.values() for each in objects if "data" in each for found in of_dashboard(each)
        )
    ]
    assert len(queries) > 200
    path = tmp_path / "rules.json"
    path.write_text(json.dumps({"groups": [*groups, {"name": "panels", "rules": queries}]}))
    told = subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True, text=True)
    assert told.returncode == 0 and "SUCCESS" in told.stdout, told.stdout + told.stderr
    queries[0]["expr"] = "sum by (a) rate(b[5m])"
    path.write_text(json.dumps({"groups": [{"name": "panels", "rules": queries}]}))
    assert subprocess.run(["promtool", "check", "rules", str(path)], capture_output=True).returncode != 0


def test_a_domains_rules_and_panels_read_no_other_domains_series() -> None:
    own = {"namespace", "domain", "destination_service_namespace", "exported_namespace"}
    for domain in EVERY:
        found = [
            (rule.get("alert") or rule["record"], rule["expr"])
            for group in groups_of(OBJECTS[domain.name])
            for rule in group["rules"]
        ]
        found += of_dashboard(OBJECTS[domain.name][1])
        for where, expr in found:
            for selector in promql.selectors(expr):
                assert selector.equals & {(label, domain.name) for label in own}, f"{domain.name}: {where}: {selector}"


# Alerts.


def test_every_alert_says_who_what_and_where_to_read_on() -> None:
    uids = {dashboard(name)["uid"] for name in OBJECTS}
    for name, objects in OBJECTS.items():
        shared = {"platform", *(view.owner.team for view in VIEWS)}
        owners = shared if name == "platform" else {declared(name).owner.team}
        for rule in alerts_of(groups_of(objects)):
            labels, said = rule["labels"], rule["annotations"]
            assert labels["severity"] in ("page", "ticket") and labels["team"] in owners
            assert name == "platform" or labels["domain"] == name
            assert said["runbook_url"] == f"{rules.RUNBOOKS}/{rule['alert']}.md"
            assert said["dashboard_url"].rsplit("/", 1)[1] in uids
            assert name == "platform" or said["summary"].startswith(f"{name}: ")
            assert len(said["summary"]) < 140 and said["description"].endswith(".")


def test_links_go_to_the_repository_that_argo_cd_reads_and_the_host_that_a_cluster_replaces() -> None:
    assert rules.GRAFANA.split("/")[2] == names.HOST
    manifests = (path.read_text() for path in (ROOT / "manifests" / "platform").glob("*.yaml"))
    sources = {url for text in manifests for url in re.findall(r"repoURL: (\S+/hallmark)$", text, re.MULTILINE)}
    assert sources <= {rules.REPOSITORY}


def thresholds(domain: Domain, name: str) -> list[tuple[str, str, float]]:
    found = []
    for rule in alerts_of(groups_of(monitoring.objects(domain))):
        if rule["alert"] == name:
            (over,) = set(re.findall(r"} > ([0-9.]+)", rule["expr"]))
            found.append((rule["labels"]["long"], rule["labels"]["short"], float(over)))
    return found


def test_burn_rates_are_those_of_the_workbook_over_each_domains_budget() -> None:
    for domain in EVERY:
        budget = 1 - domain.serving.availability
        wanted = [("1h", "5m", 14.4 * budget), ("6h", "30m", 6 * budget), ("3d", "6h", budget)]
        for found, (long, short, over) in zip(thresholds(domain, "AvailabilityBurns"), wanted, strict=True):
            assert found[:2] == (long, short) and found[2] == pytest.approx(over, rel=1e-5)
        assert [over for _, _, over in thresholds(domain, "LatencyBurns")] == pytest.approx([0.144, 0.06, 0.01])
    assert thresholds(declared("fraud", "serving.availability=0.9"), "AvailabilityBurns")[0][2] == slo.CEILING
    # 14.4 times the budget for an hour is 2% of what 30 days may fail: the workbook's own sum.
    assert pytest.approx(0.02) == 14.4 * 1 / (30 * 24)


def test_every_objective_lies_on_an_edge_of_the_gateway_and_of_the_model_server() -> None:
    for domain in EVERY:
        objective = domain.serving.latency_objective.total_seconds()
        on = (
            slo.edge(domain.serving.latency_objective) == pytest.approx(objective * 1000)
            and objective in metrics.SECONDS
        )
        assert on, (
            f"{domain.name}: add {objective:g} s to SECONDS and MILLISECONDS of hallmark/metrics.py, or owe another"
        )


def test_an_objective_between_two_edges_is_counted_at_the_next_and_the_alert_says_so() -> None:
    domain = declared("fraud", "serving.latency_objective=42ms")
    assert slo.edge(domain.serving.latency_objective) == 50
    found = [rule for rule in alerts_of(groups_of(monitoring.objects(domain))) if rule["alert"] == "LatencyBurns"]
    assert all('le=~"50([.]0)?"' in rule["expr"] for rule in found)
    assert all("owe 42 ms (counted at the edge of 50 ms)" in rule["annotations"]["description"] for rule in found)
    assert slo.edge(timedelta(minutes=5)) == metrics.MILLISECONDS[-1]


def test_the_patience_with_drift_is_what_a_training_and_a_rollout_may_take() -> None:
    for domain in EVERY:
        (rule,) = (each for each in alerts_of(groups_of(OBJECTS[domain.name])) if each["alert"] == "DriftLasts")
        assert rule["for"] == rules.span(domain.training.timeout + domain.rollout.deadline + timedelta(hours=1))


def test_freshness_is_asked_where_it_is_declared() -> None:
    fresh = declared("fraud", "drift.freshness={column: ordered_at, limit: 5m}")
    for domain, there in ((declared("fraud"), False), (fresh, True)):
        kinds = {rule["alert"] for rule in alerts_of(groups_of(monitoring.objects(domain)))}
        assert ("InputsStale" in kinds) is there
        assert ("Stale inputs" in json.dumps(monitoring.objects(domain)[1])) is there


def test_scaled_to_zero_decides_how_no_pod_is_read() -> None:
    for domain in EVERY:
        (rule,) = (each for each in alerts_of(groups_of(OBJECTS[domain.name])) if each["alert"] == "NoPredictorReady")
        assert (metrics.GATEWAY_REQUESTS.name in rule["expr"]) is (domain.serving.replicas.minimum == 0)


# Dashboards.


@pytest.mark.parametrize("name", OBJECTS)
def test_panels_fill_the_grid_without_overlap(name: str) -> None:
    panels = dashboard(name)["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels) > 15
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        assert at["x"] >= 0 and at["x"] + at["w"] <= 24 and at["h"] >= 1
        mine = set(itertools.product(range(at["x"], at["x"] + at["w"]), range(at["y"], at["y"] + at["h"])))
        assert not mine & cells, panel["title"]
        cells |= mine


@pytest.mark.parametrize("name", OBJECTS)
def test_panels_have_titles_units_queries_and_the_chosen_prometheus(name: str) -> None:
    content = dashboard(name)
    assert content["schemaVersion"] >= 39 and content["uid"] == rules.dashboard_uid(name)
    titles = [panel["title"] for panel in content["panels"]]
    for panel in content["panels"]:
        assert panel["title"]
        if panel["type"] == "row":
            continue
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["targets"] and panel["fieldConfig"]["defaults"]["unit"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs)
    rows = [panel["title"] for panel in content["panels"] if panel["type"] == "row"]
    assert len(set(rows)) == len(rows) and len(titles) > len(rows)


def test_a_domains_lines_are_its_declarations() -> None:
    for domain in EVERY:
        panels = {panel["title"]: panel for panel in dashboard(domain.name)["panels"]}
        (budget, page) = panels["Requests that fail"]["fieldConfig"]["defaults"]["thresholds"]["steps"][1:]
        assert budget["value"] == pytest.approx(1 - domain.serving.availability)
        assert page["value"] == pytest.approx(14.4 * (1 - domain.serving.availability))
        (objective,) = panels["Time to answer"]["fieldConfig"]["defaults"]["thresholds"]["steps"][1:]
        assert objective["value"] == pytest.approx(domain.serving.latency_objective.total_seconds() * 1000)
        assert ("Answered from the cache" in panels) is (domain.serving.cache is not None)
        assert ("GPU" in panels) is bool(domain.gpus)


def test_a_pattern_for_pods_knows_both_modes_of_kserve_and_no_reviewer() -> None:
    pattern = re.compile(alerts.pods(declared("authentication")))
    for name in (
        "authentication-predictor-00002-deployment-5d9c-x",
        "authentication-v3-predictor",
        "authentication-predictor",
    ):
        assert pattern.fullmatch(name)
    assert not pattern.fullmatch("authentication-reviewer-kserve")


def test_the_table_of_what_is_owed_is_the_declarations() -> None:
    text = (ROOT / "docs" / "observability.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| ([a-z]+) \| ([\d.]+) % \| ([\d.]+) % fail \| (\d+) ms \| (\S+)(, if asked)? \|$", text, re.MULTILINE
    )
    assert rows
    for name, *told in rows:
        domain = declared(name)
        (none,) = (each for each in alerts_of(groups_of(OBJECTS[name])) if each["alert"] == "NoPredictorReady")
        budget = 1 - domain.serving.availability
        assert told == [
            f"{100 * domain.serving.availability:g}",
            f"{100 * min(14.4 * budget, slo.CEILING):.4g}",
            f"{domain.serving.latency_objective.total_seconds() * 1000:g}",
            none["for"],
            "" if domain.serving.replicas.minimum else ", if asked",
        ], f"docs/observability.md, Objectives: {name}"
