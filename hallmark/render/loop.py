"""What a dashboard shows of the loop: verdicts on drift, what they rest on, and where a rollout is."""

from __future__ import annotations

from hallmark.declaration.domain import Domain
from hallmark.metrics import DRIFT, WATCH
from hallmark.render.alerts import CAPTURED, DROPPED, OFFERED, STALE, UNWATCHED
from hallmark.render.dashboard import Limit, Panel, Query, Row

STATES = ((1.0, "OK", "green"), (2.0, "INSUFFICIENT", "yellow"), (3.0, "DRIFT", "red"))


def verdicts(selector: str, by: str) -> str:
    """The worst verdict as a number (`STATES`), over all pods."""
    verdict = DRIFT["verdict"].name
    ok, insufficient, drift = (f'{verdict}{{{selector}state="{state}"}}' for _, state, _ in STATES)
    return f"max by ({by}) ({ok} or 2 * {insufficient} or 3 * {drift})"


def marks(selector: str) -> str:
    """Nought but for the minutes in which a rollout moved."""
    kinds = f'{selector}kind=~"shadow|canary|promote|rollback"'
    return f"sum by (domain, kind) (increase({WATCH['rollout_entries_total'].name}{{{kinds}}}[1m])) > 0"


def drift(domain: Domain) -> Row:
    """Verdicts, each column's distance, and how much of the traffic they rest on."""
    mine = f'namespace="{domain.namespace}"'
    lost = f"sum by (reason) (rate({DROPPED}{{{mine}}}[5m])) > 0"
    panels = [
        Panel(
            "Verdict",
            (Query(verdicts(f"{mine},", "variant"), "{{variant}}"),),
            kind="state-timeline",
            words=STATES,
            height=6,
            width=24,
        ),
        Panel(
            "Effect by column",
            (Query(f"max by (variant, column) ({DRIFT['effect'].name}{{{mine}}})", "{{variant}} {{column}}"),),
            help="The larger of population stability index and shift, over its threshold. Drift begins at 1.",
            limits=(Limit(1),),
            width=12,
        ),
        Panel(
            "Captured",
            (Query(f"min by (variant) ({DRIFT['captured_ratio'].name}{{{mine}}})", "{{variant}}"),),
            unit="percentunit",
            help=f"Under {100 * CAPTURED:g} % there is no verdict.",
            width=6,
        ),
        Panel(
            "Captured and dropped",
            (Query(f"sum(rate({OFFERED}{{{mine}}}[5m]))", "offered"), Query(lost, "dropped: {{reason}}")),
            unit="reqps",
            width=6,
        ),
        Panel(
            "Records in the window",
            (Query(f"max by (variant) ({DRIFT['window_rows'].name}{{{mine}}})", "{{variant}}"),),
            help=f"A verdict needs {domain.drift.minimum} in each pod.",
            width=12,
        ),
        Panel(
            "Records without a value",
            (Query(f"max by (column) ({DRIFT['missing_ratio'].name}{{{mine}}}) > 0", "{{column}}"),),
            unit="percentunit",
            width=12,
        ),
    ]
    if domain.drift.freshness is not None:
        limit = Limit(domain.drift.freshness.limit.total_seconds())
        lag, stale = DRIFT["input_lag_seconds"].name, DRIFT["stale_ratio"].name
        panels += [
            Panel(
                "Age of inputs",
                (Query(f"max by (quantile) ({lag}{{{mine}}})", "{{quantile}}"),),
                unit="s",
                limits=(limit,),
                width=12,
            ),
            Panel(
                "Stale inputs",
                (Query(f"max({stale}{{{mine}}})", "stale"),),
                unit="percentunit",
                limits=(Limit(STALE),),
                width=12,
            ),
        ]
    return Row("Drift", tuple(panels))


def rollout(domain: Domain) -> Row:
    """The candidate's share, who looks, and how old the newest version is."""
    mine = f'domain="{domain.name}"'
    deadline, newest = WATCH["rollout_deadline_timestamp_seconds"].name, WATCH["registry_newest_timestamp_seconds"].name
    looked = WATCH["watch_last_look_timestamp_seconds"].name
    return Row(
        "Rollout",
        (
            Panel(
                "Share of the candidate",
                (Query(f"max({WATCH['rollout_percent'].name}{{{mine}}})", "percent"),),
                unit="percent",
            ),
            Panel("Version", (Query(f"max by (variant) ({WATCH['rollout_version'].name}{{{mine}}})", "{{variant}}"),)),
            Panel(
                "What the watch did",
                (
                    Query(
                        f"sum by (kind) (increase({WATCH['rollout_entries_total'].name}{{{mine}}}[5m])) > 0", "{{kind}}"
                    ),
                ),
            ),
            Panel("Time left until the deadline", (Query(f"max({deadline}{{{mine}}}) - time()", "left"),), unit="s"),
            Panel(
                "Since the last look",
                (Query(f"time() - max({looked}{{{mine}}})", "seconds"),),
                unit="s",
                limits=(Limit(UNWATCHED.total_seconds()),),
            ),
            Panel("Age of the newest version", (Query(f"time() - max({newest}{{{mine}}})", "age"),), unit="s"),
        ),
    )
