"""A made-up afternoon of a fraud model: drift, a retraining, a candidate that is rolled back, and one that is promoted."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from hallmark.rollout.decision import Reason
from hallmark.rollout.timeline import Kind, Timeline, TimelineEntry, TimelinePoint, VariantState

BEGAN = datetime(2026, 11, 20, 14, 0, tzinfo=UTC)
FIRST, SECOND = "4bf92f3577b34da6a3ce929d0e0e4736", "00c7a1d2e3f405162738495a6b7c8d9e"
GOOD = (
    Reason(rule="samples", outcome="ok", text="5213 of 500 requests to the candidate at 50%"),
    Reason(rule="errors", outcome="ok", text="9 of 6214 (0.1%) of its requests failed, 12 of 14980 (0.1%) of stable's"),
    Reason(
        rule="latency", outcome="ok", text="51 of 6214 (0.8%) of its answers are over the objective, 0.9% of stable's"
    ),
    Reason(rule="scores", outcome="ok", text="score is 0.04 from stable's distribution, 0.2 is allowed"),
    Reason(rule="agreement", outcome="ok", text="it changes 11 of 8911 predictions (0.1%), 1.0% is allowed"),
    Reason(rule="labels", outcome="unjudged", text="NOT_ENOUGH_LABELS: 0 of 500 final labels"),
)
BAD = (
    Reason(rule="errors", outcome="against", text="61 of 1201 (5.1%) of its requests failed, 14 of 10893 (0.1%) of stable's"),
    Reason(rule="scores", outcome="wait", text="score is 0.23 from stable's distribution, 0.2 is allowed"),
    GOOD[2],
    *GOOD[4:],
)  # fmt: skip


def story(seed: int = 3) -> Timeline:
    """Two hours and a half, a point every 10 s and every 2 s while a rollout runs."""
    timeline = Timeline()
    for minute, kind, text, version, percent, reasons, correlation in _entries():
        at = BEGAN + timedelta(minutes=minute)
        entry = TimelineEntry(
            at=at, correlation=correlation, kind=kind, text=text, version=version, percent=percent, reasons=reasons
        )
        timeline = timeline.with_entry(entry)
    rng = np.random.default_rng(seed)
    second = 0
    while second < 150 * 60:
        minute = second / 60
        timeline = timeline.with_point(_point(rng, minute, BEGAN + timedelta(seconds=second)))
        second += 2 if _share(minute) is not None else 10
    return timeline


Row = tuple[float, Kind, str, int | None, int | None, tuple[Reason, ...], str]


def _entries() -> list[Row]:
    drift = "stable DRIFT: amount (PSI 0.41) and ip_orders_1h (PSI 0.33) moved away from the reference"
    return [
        (12, "drift", drift, None, None, (), FIRST),
        (12.2, "training", "started for drift of version 7: amount, ip_orders_1h", None, None, (), FIRST),
        (21, "candidate", "registered version 8", 8, None, (), FIRST),
        (21.2, "shadow", "version 8: shadow, its answers are compared and not sent", 8, 0, (), FIRST),
        (22, "hold", "holds in shadow: 210 of 1000 pairs of answers compared", 8, 0, GOOD[:2], FIRST),
        (31, "canary", "10% to version 8", 8, 10, GOOD, FIRST),
        (31.4, "hold", "holds at 10%: 12 s of 10m at this share", 8, 10, GOOD[:3], FIRST),
        (37.5, "rollback", f"version 8: {BAD[0].text}; version 7 serves everything", 8, 0, BAD, FIRST),
        (58, "trouble", "the registry does not answer: ConnectionRefusedError", None, None, (), ""),
        (60, "training", "started for drift of version 7: amount", None, None, (), SECOND),
        (71, "candidate", "registered version 9", 9, None, (), SECOND),
        (71.1, "shadow", "version 9: shadow, its answers are compared and not sent", 9, 0, (), SECOND),
        (83, "canary", "10% to version 9", 9, 10, GOOD, SECOND),
        (95, "canary", "50% to version 9", 9, 50, GOOD, SECOND),
        (109, "promote", "version 9 is stable", 9, 100, GOOD, SECOND),
        (118, "drift", "stable OK", None, None, (), SECOND),
    ]


def _share(minute: float) -> int | None:
    for begins, ends, percent in ((21.2, 31, 0), (31, 37.5, 10), (71.1, 83, 0), (83, 95, 10), (95, 109, 50)):
        if begins <= minute < ends:
            return percent
    return None


def _point(rng: np.random.Generator, minute: float, at: datetime) -> TimelinePoint:
    percent = _share(minute)
    psi = 0.05 + 0.36 / (1 + np.exp(-(minute - 10))) * (minute < 112) + 0.01 * rng.random()
    drift = "DRIFT" if 12 <= minute < 118 else "OK"
    if percent is None:
        return TimelinePoint(at=at, stable=VariantState(drift=drift, psi=psi))
    second = minute > 60
    requests = int(rng.poisson(60 * (100 - percent) / 100))
    mine = int(rng.poisson(60 * (percent or 100) / 100))
    failing = 0.05 if not second and percent == 10 and minute > 33 else 0.001
    stable = VariantState(
        requests=requests,
        failed=int(rng.binomial(requests, 0.001)),
        slow=int(rng.binomial(requests, 0.009)),
        score=0.061 + 0.001 * rng.standard_normal(),
        drift=drift,
        psi=psi,
    )
    canary = VariantState(
        requests=mine,
        failed=int(rng.binomial(mine, failing)),
        slow=int(rng.binomial(mine, 0.012)),
        score=(0.063 if second else 0.081) + 0.002 * rng.standard_normal(),
        drift="OK",
        psi=0.04 + 0.02 * rng.random(),
    )
    return TimelinePoint(at=at, percent=percent, version=9 if second else 8, stable=stable, canary=canary)
