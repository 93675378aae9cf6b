"""Each alert fires when it should and for nothing else: real `promtool test rules` over what the exporters would say."""

from __future__ import annotations

import re
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hallmark.declaration import source
from hallmark.declaration.domain import overridden
from hallmark.feature_store.log import FileLog
from hallmark.feature_store.online.address import connect
from hallmark.feature_store.online.keys import SHARED
from hallmark.feature_store.stream import Published, Stream, encoded
from hallmark.feature_store.tile_stream import TileStream
from hallmark.feature_store.tiles import TYPES
from hallmark.render import monitoring
from tests.hallmark.render.prometheus import (
    MINUTES,
    Case,
    alerts_of,
    buyers,
    declared,
    drift,
    groups_of,
    healthy,
    istio,
    named,
    needs_promtool,
    replicas,
    run,
    runtime,
    stream,
    times,
    watch,
)

pytestmark = needs_promtool
DAY_US = 86_400_000_000
FRAUD = healthy("fraud")
OK, FAILED = istio("fraud", response_code="200"), istio("fraud", response_code="503")
WITHIN, INSIDE = times("fraud", "50"), runtime("fraud", "capture_offered_total")
VERDICTS = {state: drift("fraud", "verdict", state=state) for state in ("OK", "DRIFT", "INSUFFICIENT")}
LOOKED = watch("fraud", "watch_last_look_timestamp_seconds")
UNDECIDED = {VERDICTS["OK"]: f"0x{MINUTES}", VERDICTS["INSUFFICIENT"]: f"1x{MINUTES}"}
STANDARD = {istio("fraud", revision="fraud-v2-predictor", response_code="200"): f"0+600x{MINUTES}"}


def without(series: dict[str, str], *parts: str) -> dict[str, str]:
    return {name: values for name, values in series.items() if not any(part in name for part in parts)}


def days(count: int, series: dict[str, str]) -> dict[str, str]:
    """The same steps, an hour each: what grows by 60 a minute as time does grows by 3600 then."""
    return {
        name: values.replace("0+60x", "0+3600x").replace(f"x{MINUTES}", f"x{24 * count}")
        for name, values in series.items()
    }


def scaled_to_zero(name: str, **more: str) -> dict[str, str]:
    return {
        replicas(name): f"0x{MINUTES}",
        **{watch(name, "watch_last_look_timestamp_seconds"): f"0+60x{MINUTES}"},
        **more,
    }


AGE = stream("event_age_seconds")
ANSWERED = drift("fraud", "feature_age_seconds", view="buyer_orders@1", quantile="0")
SCHEDULED, COMPARED, CREATED = (
    named(f"kube_cronjob_{name}", namespace="fraud", cronjob="parity")
    for name in ("status_last_schedule_time", "status_last_successful_time", "created")
)
GPU = "authentication"
ON_GPU = overridden(declared(GPU), ["serving.gpu=1", "serving.replicas.minimum=0"])
"""That domain with its own model on a GPU, which comes up with a request."""
ASKED = istio(GPU, response_code="503")
FRESH = declared("fraud", "drift.freshness={column: ordered_at, limit: 5m}")
LENIENT = declared("fraud", "serving.availability=0.9")
PRICES, PRICING = declared("pricing", "serving.latency_objective=50ms"), healthy("pricing")
KEPT, PROMISED = (drift("pricing", f"promise_{name}") for name in ("kept_ratio", "labels"))
POD = re.findall(r'pod="([^"]+)"', KEPT)[0]
BY_HAND = declared("fraud", "retrain.on_drift=false")
SEARCHED = declared(
    "search",
    "retrieval.corpus=orders@1",
    "retrieval.filters=[category]",
    "retrieval.fresh=1s",
    'retrieval.floors={"1%": 0.9}',
    "serving.latency_objective=50ms",  # the edge that `healthy` counts at
)
SEARCH = healthy("search")


def recall(kind: str, selectivity: str) -> str:
    return runtime("search", f"recall_{kind}_total", selectivity=selectivity)


THREE = tuple(declared(name) for name in ("fraud", "pricing", "search"))

CASES = (
    Case("a healthy domain is quiet", FRAUD, "75m"),
    Case("one in Standard mode too", without(FRAUD, "istio_requests") | STANDARD, "75m"),
    Case("a domain that is declared and not released is quiet", {LOOKED: f"0+60x{MINUTES}"}, "75m"),
    Case(
        "a gateway's pod that restarts is no outage",
        FRAUD | {OK: "0+600x30 0+600x100", WITHIN: "0+598x30 0+598x100"},
        "40m",
    ),
    Case(
        "two pods of the gateway are counted, and one that ends is no outage",
        FRAUD | {istio("fraud", gateway="gw-2", response_code="200"): "0+600x30 stale"},
        "34m",
    ),
    # Retrieval.
    Case(
        "an index that loses where few items match",
        SEARCH
        | {recall("wanted", "overall"): "0+100x140", recall("found", "overall"): "0+97x140"}
        | {recall("wanted", "1%"): "0+100x140", recall("found", "1%"): "0+85x140"},
        "60m",
        ("RecallLost ticket search",),
        said={
            "RecallLost": (
                {"selectivity": "1%", "variant": "search-predictor-00001"},
                "search: search-predictor-00001 finds 85% of the nearest items (selectivity 1%)",
            )
        },
        domains=(SEARCHED,),
    ),
    Case(
        "one that finds what its floors ask, and one that was asked too little to tell",
        SEARCH
        | {recall("wanted", "1%"): "0+100x140", recall("found", "1%"): "0+91x140"}
        | {recall("wanted", "0.1%"): "0+5x140", recall("found", "0.1%"): "0+1x140"},
        "70m",
        domains=(SEARCHED,),
    ),
    Case(
        "new items that are found too late",
        SEARCH
        | {
            runtime("search", "item_seconds_bucket", le=edge): f"0+{grown}x140"
            for edge, grown in (("1.0", 60), ("2.5", 90), ("+Inf", 90))
        },
        "40m",
        ("ItemsLate ticket search",),
        domains=(SEARCHED,),
    ),
    # Service levels.
    Case(
        "one in ten fails",
        FRAUD | {FAILED: "0+60x140"},
        "12m",
        ("AvailabilityBurns page fraud 1h",),
        said={"AvailabilityBurns": ({}, "fraud: 9.091% of requests fail")},
    ),
    Case("one in twenty-five fails", FRAUD | {FAILED: "0+25x140"}, "25m", ("AvailabilityBurns page fraud 6h",)),
    Case("one in a hundred fails", FRAUD | {FAILED: "0+6x140"}, "80m", ("AvailabilityBurns ticket fraud 3d",)),
    Case("one in a thousand may fail", FRAUD | {FAILED: "0+0.6x140"}, "75m"),
    Case("a burst that ended pages nobody", FRAUD | {FAILED: "0+300x10 3000x130"}, "45m"),
    Case("the client's mistakes are its own", FRAUD | {istio("fraud", response_code="422"): "0+600x140"}, "75m"),
    Case("clients that leave say nothing", FRAUD | {istio("fraud", response_code="0"): "0+300x140"}, "75m"),
    Case(
        "a gRPC status that is the server's fault fails with HTTP 200",
        FRAUD | {istio("fraud", response_code="200", grpc_response_status="14"): "0+100x140"},
        "12m",
        ("AvailabilityBurns page fraud 1h",),
    ),
    Case(
        "three failures in a quiet night are too few to tell",
        without(FRAUD, "istio_", "capture") | {OK: "0+0.1x140", FAILED: "0+0.05x140"},
        "60m",
    ),
    Case(
        "with a large budget a whole outage still pages",
        without(FRAUD, "istio_") | {FAILED: "0+600x140"},
        "12m",
        ("AvailabilityBurns page fraud 1h",),
        domains=(LENIENT,),
    ),
    Case(
        "three in ten are late",
        FRAUD | {WITHIN: "0+420x140"},
        "12m",
        ("LatencyBurns page fraud 1h",),
        said={"LatencyBurns": ({}, "fraud: 30% of answers take longer than 50 ms")},
    ),
    Case(
        "Prometheus 3 writes whole edges as 50.0",
        without(FRAUD, 'le="50"') | {times("fraud", "50.0"): "0+420x140"},
        "12m",
        ("LatencyBurns page fraud 1h",),
    ),
    Case("one in twelve is late: a ticket", FRAUD | {WITHIN: "0+550x140"}, "25m", ("LatencyBurns ticket fraud 6h",)),
    Case(
        "two in a hundred are late for hours", FRAUD | {WITHIN: "0+588x140"}, "80m", ("LatencyBurns ticket fraud 3d",)
    ),
    # The model server.
    Case(
        "the model server is full",
        FRAUD | {runtime("fraud", "refused_total", reason="overloaded"): "0+30x140"},
        "12m",
        ("ModelRefuses ticket fraud",),
        said={"ModelRefuses": ({}, "fraud: the model server refuses 4.762% of requests because it is full")},
    ),
    Case(
        "answers are NaN",
        FRAUD | {runtime("fraud", "refused_total", reason="model"): "0+5x140"},
        "25m",
        ("InvalidAnswers ticket fraud",),
        said={
            "InvalidAnswers": (
                {"revision": "fraud-predictor-00001"},
                "fraud: fraud-predictor-00001 gives NaN or broken answers to 0.8264% of requests",
            )
        },
    ),
    Case("one broken answer is none", FRAUD | {runtime("fraud", "refused_total", reason="model"): "0x10 1x130"}, "15m"),
    Case(
        "no pod is ready",
        FRAUD | {replicas("fraud"): "2x10 0x130"},
        "15m",
        ("NoPredictorReady page fraud",),
        said={"NoPredictorReady": ({}, "fraud: no pod of the model is ready, every request fails")},
    ),
    Case(
        "a new revision's pods stand for the old one's",
        FRAUD | {replicas("fraud"): "0x140", replicas("fraud", "fraud-v2-predictor"): "2x140"},
        "15m",
    ),
    Case("scaled to zero and not asked is no outage", scaled_to_zero(GPU), "75m", domains=(ON_GPU,)),
    Case(
        "scaled to zero, asked, and nothing comes up",
        scaled_to_zero(GPU) | {ASKED: "0+0.1x140"},
        "20m",
        ("NoPredictorReady page authentication",),
        domains=(ON_GPU,),
    ),
    Case(
        "a GPU may take ten minutes to come",
        scaled_to_zero(GPU) | {ASKED: "0+0.1x140", replicas(GPU): "0x9 1x130"},
        "20m",
        domains=(ON_GPU,),
    ),
    # Drift and capture.
    Case(
        "drift that the loop did not mend in five hours",
        without(days(2, FRAUD), "verdict") | {VERDICTS["DRIFT"]: "1x48", VERDICTS["OK"]: "0x48"},
        "6h",
        ("DriftLasts ticket fraud",),
        step="1h",
        said={
            "DriftLasts": (
                {"variant": "fraud-predictor-00001"},
                "fraud: fraud-predictor-00001 has been drifting for 5h",
            )
        },
    ),
    Case("drift that it still has time for", days(2, FRAUD) | {VERDICTS["DRIFT"]: "1x48"}, "4h", step="1h"),
    Case(
        "where drift trains nothing an hour is enough",
        FRAUD | {VERDICTS["DRIFT"]: "1x140"},
        "65m",
        ("DriftLasts ticket fraud",),
        domains=(BY_HAND,),
    ),
    Case(
        "a band that holds less than it promises, by more than chance",
        PRICING | {KEPT: "0.7x140", PROMISED: "500x140"},
        "65m",
        ("PromiseBroken ticket pricing",),
        domains=(PRICES,),
        said={
            "PromiseBroken": (
                {"variant": "pricing-predictor-00001"},
                "pricing: pricing-predictor-00001 promised a range that held 70% of final outcomes",
            )
        },
    ),
    Case(
        "one that is a little below, which chance explains",
        PRICING | {KEPT: "0.75x140", PROMISED: "500x140"},
        "75m",
        domains=(PRICES,),
    ),
    Case(
        "a pod with few labels counts for few",
        PRICING
        | {
            KEPT: "0.8x140",
            PROMISED: "900x140",
            KEPT.replace(POD, "pod-2"): "0.3x140",
            PROMISED.replace(POD, "pod-2"): "20x140",
        },
        "75m",
        domains=(PRICES,),
    ),
    Case(
        "no verdict for hours with thousands of requests",
        FRAUD | UNDECIDED,
        "75m",
        ("DriftUnknown ticket fraud",),
        said={"DriftUnknown": ({}, "fraud: nobody can say whether its requests drift, with 45k of them in six hours")},
    ),
    Case(
        "a monitor that does not answer gives none either",
        without(FRAUD, "hallmark_drift"),
        "75m",
        ("DriftUnknown ticket fraud",),
    ),
    Case(
        "with few requests no verdict is as it should be",
        without(FRAUD, "istio_", "capture_offered") | UNDECIDED | {INSIDE: "0+1x140"},
        "75m",
    ),
    Case(
        "a tenth is not captured",
        FRAUD | {drift("fraud", "captured_ratio"): "0.9x140"},
        "20m",
        ("CaptureLost ticket fraud",),
        said={
            "CaptureLost": (
                {"variant": "fraud-predictor-00001"},
                "fraud: only 90% of the served requests reach the drift monitor",
            )
        },
    ),
    Case(
        "a tenth is dropped",
        FRAUD | {runtime("fraud", "capture_dropped_total", reason="full"): "0+60x140"},
        "20m",
        ("CaptureLost ticket fraud",),
        said={"CaptureLost": ({}, "fraud: only 90% of the served requests reach the drift monitor")},
    ),
    Case(
        "a lull in the traffic is no loss",
        without(FRAUD, "istio_", "capture_offered") | {INSIDE: "0+600x10 6000x130"},
        "60m",
    ),
    Case(
        "inputs are old",
        FRAUD | {drift("fraud", "stale_ratio"): "0.2x140"},
        "20m",
        ("InputsStale ticket fraud",),
        domains=(FRESH,),
        said={"InputsStale": ({"variant": "fraud-predictor-00001"}, "fraud: 20% of inputs are older than 5m")},
    ),
    Case(
        "of a domain that asks for no freshness nobody asks it",
        FRAUD | {drift("fraud", "stale_ratio"): "0.2x140"},
        "20m",
    ),
    Case("the gateway does not count", without(FRAUD, "istio_"), "30m", ("GatewayCountsMissing ticket fraud",)),
    Case(
        "the gateway's times lack the objective's edge",
        without(FRAUD, 'le="50"'),
        "30m",
        ("GatewayCountsMissing ticket fraud",),
    ),
    # Rollouts and the watch.
    Case(
        "a rollout is over its deadline and still there",
        FRAUD | {watch("fraud", "rollout_deadline_timestamp_seconds"): "3600x140"},
        "75m",
        ("RolloutStuck page fraud",),
        said={"RolloutStuck": ({}, "fraud: a rollout is 15m 0s over its deadline, and not rolled back")},
    ),
    Case("one that is not over it", FRAUD | {watch("fraud", "rollout_deadline_timestamp_seconds"): "3600x140"}, "65m"),
    Case(
        "one that was rolled back in time",
        FRAUD | {watch("fraud", "rollout_deadline_timestamp_seconds"): "3600x61 stale"},
        "75m",
    ),
    Case("the watch hangs", FRAUD | {LOOKED: "0+60x10 600x130"}, "30m", ("WatchGone ticket fraud",)),
    Case(
        "the watch was never there",
        without(FRAUD, "hallmark_watch", "hallmark_rollout"),
        "30m",
        ("WatchGone ticket fraud",),
    ),
    Case(
        "another watch took over",
        FRAUD | {LOOKED: "0+60x10 stale", LOOKED.replace("watch-1", "watch-2"): "_x10 600+60x130"},
        "60m",
    ),
    Case(
        "two versions get traffic and nobody watches",
        FRAUD
        | {LOOKED: "0+60x10 stale", istio("fraud", revision="fraud-predictor-00002", response_code="200"): "0+60x140"},
        "30m",
        ("WatchGone ticket fraud", "RolloutUnwatched page fraud"),
    ),
    Case(
        "two days and no new version of a daily model",
        days(3, FRAUD),
        "52h",
        ("RetrainingOverdue ticket fraud",),
        step="1h",
        said={"RetrainingOverdue": ({}, "fraud: no new version for 2d 4h 0m 0s")},
    ),
    Case("one night without is none", days(3, FRAUD), "47h", step="1h"),
    # The platform.
    Case(
        "the gateway is gone",
        FRAUD | {replicas("istio-ingress", "istio-ingress"): f"3x5 0x{MINUTES}"},
        "10m",
        ("GatewayGone page",),
        platform=True,
    ),
    Case(
        "three domains fail at once",
        {
            name: "0+60x140"
            for domain in ("fraud", "pricing", "search")
            for name in (istio(domain, response_code="503"), istio(domain, response_code="200"))
        }
        | {watch(domain, "watch_last_look_timestamp_seconds"): "0+60x140" for domain in ("fraud", "pricing", "search")},
        "8m",
        ("ManyDomainsFail page", *(f"AvailabilityBurns page {domain} 1h" for domain in ("fraud", "pricing", "search"))),
        domains=THREE,
        platform=True,
        said={"ManyDomainsFail": ({}, "3 domains fail more than one request in ten")},
    ),
    Case(
        "MLflow is gone",
        FRAUD | {replicas("hallmark-system", "mlflow"): "0x140"},
        "15m",
        ("RegistryGone ticket",),
        platform=True,
    ),
    Case("no part of the platform is there yet", FRAUD, "75m", platform=True),
    # Feature views.
    Case(
        "fault 37: the source stalls while its job is green",
        FRAUD | {AGE: "0+15x200", stream("owed"): "0x200", stream("payloads_total"): "0+0x200"},
        "15m45s",
        ("FeaturesStale page",),
        platform=True,
        step="15s",
        said={"FeaturesStale": ({}, "buyer_orders@1: its newest event is 15m 45s old")},
    ),
    Case("a source that is within its limit", FRAUD | {AGE: "0+15x200"}, "15m", platform=True, step="15s"),
    Case("one that sends again", FRAUD | {AGE: "0+15x70 0+0x130"}, "19m", platform=True, step="15s"),
    Case(
        "a job that took over from one that ended",
        FRAUD | {AGE: "0+15x200", AGE.replace("stream-1", "stream-2"): "5x200"},
        "30m",
        platform=True,
        step="15s",
    ),
    Case(
        "the stream is fresh, and the freshest answer is not",
        FRAUD | {AGE: "5x140", ANSWERED: "1000x140", ANSWERED.replace('"0"', '"0.99"'): "90000x140"},
        "15m",
        ("AnswersOld ticket",),
        platform=True,
        said={
            "AnswersOld": (
                {"namespace": "fraud", "variant": "fraud-predictor-00001"},
                "buyer_orders@1: the freshest that fraud-predictor-00001 was given is 16m 40s old",
            )
        },
    ),
    Case(
        "entities that were quiet for long make no alert while others are fresh",
        FRAUD | {AGE: "5x140", ANSWERED: "60x140", ANSWERED.replace('"0"', '"0.5"'): "900000x140"},
        "60m",
        platform=True,
    ),
    Case(
        "features that are compared each hour and equal", FRAUD | {SCHEDULED: "5600x140", COMPARED: "5000x140"}, "60m"
    ),
    Case(
        "a parity budget that burns, or runs that fail",
        FRAUD | {SCHEDULED: "14600x140", COMPARED: "5000x140", CREATED: "0x140"},
        "10m",
        ("ParityFails ticket fraud",),
        said={"ParityFails": ({}, "fraud: for 2h 40m 0s nobody found its features to be what the offline store says")},
    ),
    Case("first runs, none of which has ended yet", FRAUD | {SCHEDULED: "5600x140", CREATED: "5000x140"}, "60m"),
    Case(
        "first runs that all failed",
        FRAUD | {SCHEDULED: "20000x140", CREATED: "5000x140"},
        "10m",
        ("ParityFails ticket fraud",),
    ),
    Case(
        "a domain that is not released has nothing to compare",
        {LOOKED: f"0+60x{MINUTES}", SCHEDULED: "20000x140", CREATED: "5000x140"},
        "10m",
    ),
    Case(
        "where the source itself is stale, one alert says so",
        FRAUD | {AGE: "2000x140", ANSWERED: "2000x140"},
        "30m",
        ("FeaturesStale page",),
        platform=True,
    ),
)
FAILING = {named("resource_manager_workflow_runs_failed", profile="fraud", workflow="a"): "0x2 1x8"}
CANARY = istio("fraud", revision="fraud-predictor-00002", response_code="200")
TELLS = {watch("fraud", "rollout_revision", variant="canary", revision="fraud-predictor-00002"): "1x140"}
SHARE = 'sum(hallmark:variant_requests:rate5m{variant="canary"}) / sum(hallmark:variant_requests:rate5m)'
BAD = 'round(sum(hallmark:variant_errors:ratio_rate5m{variant="canary"}), 0.001)'
VARIANTS = (
    Case(
        "a candidate's share and its failures are its own",
        FRAUD | TELLS | {CANARY: "0+195x140", CANARY.replace('"200"', '"503"'): "0+5x140"},
        "8m",
        values={SHARE: 0.25, BAD: 0.025, 'sum(hallmark:variant_errors:ratio_rate5m{variant="stable"})': 0},
    ),
    Case(
        "two watches that name a revision differently spoil no rule",
        FRAUD
        | TELLS
        | {CANARY: "0+200x140"}
        | {name.replace("canary", "stable").replace("watch-1", "watch-2"): values for name, values in TELLS.items()},
        "8m",
        values={"sum(hallmark:variant_requests:rate5m)": 800 / 60, "sum(hallmark:requests:rate5m)": 800 / 60},
    ),
    Case(
        "without a watch revisions are counted and nothing else is spoilt",
        without(FRAUD, "rollout_") | {CANARY: "0+200x140"},
        "8m",
        values={
            "sum(hallmark:requests:rate5m)": 800 / 60,
            'sum(hallmark:requests:rate5m{revision="fraud-predictor-00002"})': 200 / 60,
        },
    ),
)
HOURS = (
    Case(
        "a training has waited for five hours",
        {named("kueue_pending_workloads", cluster_queue="training", status="active"): "2x10"},
        "5h",
        ("TrainingQueued ticket",),
        said={
            "TrainingQueued": (
                {"cluster_queue": "training", "status": "active"},
                "2 trainings have waited in Kueue for hours (active)",
            )
        },
    ),
    Case(
        "one that came in turn",
        {named("kueue_pending_workloads", cluster_queue="training", status="active"): "2x3 0x9"},
        "5h",
    ),
    Case(
        "pods wait for a GPU",
        {
            named("kube_pod_status_phase", namespace=GPU, pod="p", phase="Pending"): "1x10",
            named(
                "kube_pod_container_resource_requests", namespace=GPU, pod="p", container="c", resource="nvidia_com_gpu"
            ): "1x10",
        },
        "2h",
        ("GpuPodsPending ticket",),
        said={"GpuPodsPending": ({"namespace": GPU}, "authentication: 1 pods wait for a GPU")},
    ),
    Case(
        "pods that wait for something else",
        {
            named("kube_pod_status_phase", namespace=GPU, pod="p", phase="Pending"): "1x10",
            named(
                "kube_pod_container_resource_requests", namespace=GPU, pod="p", container="c", resource="cpu"
            ): "1x10",
        },
        "2h",
    ),
    Case(
        "a GPU reports an error",
        {named("DCGM_FI_DEV_XID_ERRORS", Hostname="n1", gpu="0", UUID="u"): "0 79x9"},
        "2h",
        ("GpuFaulty ticket",),
        said={"GpuFaulty": ({"Hostname": "n1", "gpu": "0"}, "GPU 0 of n1 reports XID 79")},
    ),
    Case(
        "a pipeline run failed",
        FAILING,
        "2h",
        ("PipelineRunFails ticket",),
        said={"PipelineRunFails": ({"profile": "fraud"}, "fraud: 1 pipeline runs failed within an hour")},
    ),
    Case("one that failed before", FAILING, "3h"),
    Case(
        "a run of another name failed for the first time",
        FAILING | {named("resource_manager_workflow_runs_failed", profile="fraud", workflow="b"): "_x5 1x5"},
        "3h",
        ("PipelineRunFails ticket",),
    ),
    Case("the pipelines' server starts anew", {next(iter(FAILING)): "0x2 3x3 0x5"}, "3h"),
)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.why)
def test_exactly_the_right_alerts_fire(case: Case, tmp_path: Path) -> None:
    run(case, tmp_path)


@pytest.mark.parametrize("case", VARIANTS, ids=lambda case: case.why)
def test_what_is_recorded_by_variant(case: Case, tmp_path: Path) -> None:
    run(case, tmp_path)


@pytest.mark.parametrize("case", HOURS, ids=lambda case: case.why)
def test_alerts_on_what_domains_share(case: Case, tmp_path: Path) -> None:
    run(replace(case, domains=(), platform=True, step="30m"), tmp_path)


def test_every_alert_fires_in_a_case() -> None:
    told = [*(each for domain in (FRESH, SEARCHED, PRICES) for each in monitoring.objects(domain))]
    made = [*told, *monitoring.of_platform([buyers()])]
    generated = {rule["alert"] for rule in alerts_of(groups_of(made))}
    assert generated == {told.split()[0] for case in (*CASES, *HOURS) for told in case.fires}


@pytest.mark.parametrize("made_of", ["events", "tiles"])
def test_fault_37_a_real_stream_whose_source_stalls_alerts_within_its_limit_and_a_minute(
    tmp_path: Path, made_of: str
) -> None:
    """What the job prints every 15 s, while it goes on and its source has stopped after three minutes."""
    began, now = 1_790_000_000.0, [0.0]
    contract, limit = source.load("orders@1"), buyers().freshness.total_seconds()
    types = {name: TYPES[each.datatype] for name, each in contract.columns.items()}
    seen: dict[str, list[str]] = {}
    with (
        FileLog(tmp_path / "log") as log,
        closing(connect(f"sqlite:///{tmp_path / 'online.db'}", namespace=SHARED)) as store,
    ):
        here: dict[str, Any] = {"log": log, "store": Published(store, [buyers()]), "folder": tmp_path / "state"}
        here |= {"clock": lambda: began + now[0]}
        opened = Stream([buyers()], types, **here) if made_of == "events" else TileStream(buyers(), types, **here)
        with closing(opened) as stream:
            for tick in range(100):
                now[0] = 15.0 * tick
                if now[0] <= 180:
                    at = round((began + now[0]) * 1e6)
                    row: dict[str, Any] = {"order_id": f"o{tick}", "buyer_id": "anna", "card_id": "c"}
                    row |= {"ordered_at": at, "known_at": at}
                    if made_of == "tiles":
                        row = {"entity": "anna", "width": DAY_US, "tile": at // DAY_US, "known": at, "happened": at}
                        row |= {"m0": tick + 1, "m1": {"c": tick + 1}}
                    log.append("0", [encoded(row)])
                stream.step()
                found = re.findall(r"^(hallmark_stream_\w+(?:\{.*\})?) (\S+)$", stream.metrics(), re.MULTILINE)
                for name, value in found:
                    seen.setdefault(name, ["_"] * tick).append(value)
    series = {name: " ".join(values) for name, values in seen.items()}
    green = {name.partition("{")[0].removeprefix("hallmark_stream_"): values for name, values in seen.items()}
    assert green["owed"][-1] == green["stalls_total"][-1] == "0", "the job itself has nothing to complain of"
    stalled = 180 + limit
    quiet = Case("not before its limit", series, f"{stalled:.0f}s", domains=(), platform=True, step="15s")
    run(quiet, tmp_path)
    run(replace(quiet, at=f"{stalled + 60:.0f}s", fires=("FeaturesStale page",)), tmp_path)
