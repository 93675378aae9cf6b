"""Grafana dashboards as data: panels that flow over a grid of 24 columns, and the ConfigMap that Grafana's sidecar loads.

The JSON is Grafana's classic schema, version 41; newer ones read it and migrate it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from hallmark import names, templates
from hallmark.render.manifest import Block
from hallmark.render.rules import Json, dashboard_uid
from hallmark.section import Section, validated

SCHEMA_VERSION = 41
COLUMNS = 24
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
Kind = Literal["timeseries", "stat", "state-timeline"]


class PanelQuery(Section):
    """A line of a panel; `legend` may name labels as {{label}}."""

    expr: str
    legend: str = ""


class ThresholdLine(Section):
    """A line across a panel at a declared value."""

    value: int | float
    colour: str = "red"


class ValueName(Section):
    """A value that has a name and a colour, such as 3, DRIFT, red."""

    value: int | float
    text: str
    colour: str


class DashboardPanel(Section):
    """One panel: what it shows, in which unit, how wide, and where its limits are."""

    title: str
    queries: tuple[PanelQuery, ...]
    unit: str = "short"
    kind: Kind = "timeseries"
    width: int = 8
    height: int = 8
    help: str = ""
    limits: tuple[ThresholdLine, ...] = ()
    words: tuple[ValueName, ...] = ()
    stacked: bool = False


class DashboardRow(Section):
    """A heading with panels under it."""

    title: str
    panels: tuple[DashboardPanel, ...]


class Dashboard(Section):
    """A dashboard as templates/dashboards write it. annotations: a query above 0 where a vertical line belongs."""

    title: str
    tags: tuple[str, ...]
    annotations: str
    rows: tuple[DashboardRow, ...]


def dashboard(name: str, template: str, **values: Any) -> Json:
    """The dashboard of a template of templates/dashboards with these values, in Grafana's form."""
    (raw,) = templates.objects(template, **values)
    found = validated(Dashboard, raw, f"hallmark/{template}")
    source = {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus", "current": {}}
    link = {"type": "dashboards", "title": "Hallmark", "tags": ["hallmark"], "asDropdown": True, "keepTime": True}
    return {
        "uid": dashboard_uid(name),
        "title": found.title,
        "tags": ["hallmark", *found.tags],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": False,
        "graphTooltip": 1,
        "time": {"from": "now-6h", "to": "now"},
        "refresh": "30s",
        "timezone": "utc",
        "templating": {"list": [source]},
        "annotations": {"list": [_annotation(found.annotations)]},
        "links": [link],
        "panels": _laid_out(found.rows),
    }


def config_map(name: str, content: Json, *, labels: Mapping[str, str]) -> Json:
    """The ConfigMap with the dashboard, where the sidecar of Grafana looks for it."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": f"hallmark-dashboard-{name}",
            "namespace": names.MONITORING,
            "labels": {**labels, "grafana_dashboard": "1"},
            "annotations": {"grafana_folder": "Hallmark"},
        },
        "data": {f"hallmark-{name}.json": Block(_text(content))},
    }


def _text(content: Json) -> str:
    """JSON with a line for each key and each panel, so that a change of one panel is a change of one line."""
    lines = []
    for key, value in content.items():
        if key == "panels":
            inner = ",\n".join(f"  {json.dumps(panel)}" for panel in value)
            lines.append(f' "panels": [\n{inner}\n ]')
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(value)}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _laid_out(rows: Sequence[DashboardRow]) -> list[Json]:
    """Panels from left to right, in lines as high as their highest; each row begins a line of its own."""
    found: list[Json] = []
    top = 0
    for row in rows:
        found.append(
            _placed(
                {"type": "row", "title": row.title, "collapsed": False, "panels": []}, len(found), 0, top, COLUMNS, 1
            )
        )
        top += 1
        left = line = 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left, line = top + line, 0, 0
            found.append(_placed(_panel(panel), len(found), left, top, panel.width, panel.height))
            left, line = left + panel.width, max(line, panel.height)
        top += line
    return found


def _placed(panel: Json, before: int, left: int, top: int, width: int, height: int) -> Json:
    return {"id": before + 1, "gridPos": {"x": left, "y": top, "w": width, "h": height}, **panel}


def _panel(panel: DashboardPanel) -> Json:
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.help,
        "datasource": SOURCE,
        "fieldConfig": {"defaults": _defaults(panel), "overrides": []},
        "options": _OPTIONS[panel.kind],
        "targets": [
            {
                "refId": chr(ord("A") + at),
                "datasource": SOURCE,
                "expr": query.expr,
                "legendFormat": query.legend or "__auto",
                **({"instant": True, "range": False} if panel.kind == "stat" else {"range": True}),
            }
            for at, query in enumerate(panel.queries)
        ],
    }


def _defaults(panel: DashboardPanel) -> Json:
    steps: list[Json] = [{"color": "green", "value": None}]
    steps += [
        {"color": limit.colour, "value": limit.value} for limit in sorted(panel.limits, key=lambda limit: limit.value)
    ]
    found: Json = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.words:
        options = {f"{word.value:g}": {"text": word.text, "color": word.colour} for word in panel.words}
        found["mappings"] = [{"type": "value", "options": options}]
    if panel.kind == "timeseries":
        found["min"] = 0
        found["custom"] = {
            "lineWidth": 1,
            "fillOpacity": 20 if panel.stacked else 0,
            "stacking": {"mode": "normal" if panel.stacked else "none"},
            "thresholdsStyle": {"mode": "line" if panel.limits else "off"},
        }
    return found


_OPTIONS: dict[Kind, Json] = {
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {"reduceOptions": {"calcs": ["lastNotNull"], "values": False}, "colorMode": "value", "graphMode": "none"},
    "state-timeline": {"mergeValues": True, "showValue": "auto", "rowHeight": 0.9, "legend": {"showLegend": False}},
}


def _annotation(expr: str) -> Json:
    return {
        "name": "Timeline",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "blue",
        "expr": expr,
        "step": "60s",
        "titleFormat": "{{kind}}",
        "textFormat": "{{domain}}: {{kind}}",
    }
