"""Every metric that Hallmark's programs export, declared once: what exports and reads them is written from this, and rules are held to it.

A family's name is the one in `# TYPE`; `samples` are the names that carry its values. Labels are those that the program itself
writes; a scrape adds its own (namespace, pod, instance, job), and rules read those too. Edges of histograms of time hold the
`serving.latency_objective` of every declared domain: between two edges nobody can count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

Kind = Literal["counter", "gauge", "histogram"]


class Family(NamedTuple):
    """One metric: its name as `# TYPE` has it, what it means, its labels, and a histogram's edges."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def samples(self) -> tuple[str, ...]:
        """The names of its series, without those of a client library (`_created`)."""
        if self.kind == "histogram":
            return (f"{self.name}_bucket", f"{self.name}_sum", f"{self.name}_count")
        return (self.name,)


SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.03, 0.05, 0.06, 0.08),
    *(0.1, 0.2, 0.25, 0.3, 0.5, 1.0, 1.5, 2.5, 5.0),
)
"""Edges of the model server's times. Add an objective that is none of them here and to `MILLISECONDS`; it costs a series."""
MILLISECONDS = (
    *(1, 2, 5, 10, 20, 30, 35, 50, 60, 75, 80, 100, 150, 200, 250, 300, 350, 500, 750),
    *(1000, 1500, 2500, 5000, 10000, 30000, 60000),
)
"""Edges of the gateway's times: of the local cluster, and by `ISTIO_EDGES` of Istio's gateways."""
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096)

# The model server: inference_services/runtime. Short name, as its code counts -> family.

RUNTIME_LABELS = ("model", "version", "revision", "variant")
"""On every series of the model server: who answers. `variant` is the revision where nothing else is set."""


def _runtime(*families: tuple[str, Kind, str, str, tuple[float, ...]]) -> dict[str, Family]:
    found = {}
    for short, kind, shown, label, buckets in families:
        name = f"hallmark_{short}_total" if kind == "counter" else f"hallmark_{short}"
        found[short] = Family(name, kind, shown, (*RUNTIME_LABELS, *([label] if label else [])), buckets)
    return found


RUNTIME: dict[str, Family] = _runtime(
    ("rest_requests", "counter", "Answers over REST, by HTTP status.", "code", ()),
    ("grpc_requests", "counter", "Answers over gRPC, by the HTTP status that means the same.", "code", ()),
    ("refused", "counter", "Requests answered without tensors, by reason.", "reason", ()),
    ("model_calls", "counter", "Calls of the model.", "", ()),
    ("request_seconds", "histogram", "Time from the whole request to its answer.", "protocol", SECONDS),
    ("stage_seconds", "histogram", "Time of a request by stage.", "stage", SECONDS),
    ("batch_rows", "histogram", "Records in one call of the model.", "", _ROWS),
    ("in_flight", "gauge", "Requests that wait for the model or are in it.", "", ()),
    ("cache_requests", "counter", "Requests looked up in the response cache.", "result", ()),
    ("cache_bytes", "gauge", "Bytes of answers in the response cache.", "", ()),
    ("access_dropped", "counter", "Lines of the access log that could not be written.", "", ()),
    ("connections", "gauge", "Open connections.", "", ()),
    ("capture_offered", "counter", "Answered requests offered to the capture.", "", ()),
    ("capture_sent", "counter", "Captured requests that the sink took.", "", ()),
    ("capture_dropped", "counter", "Captured requests that were dropped, by reason.", "reason", ()),
    ("capture_queued", "gauge", "Captured requests that wait to be sent.", "", ()),
    ("capture_queued_bytes", "gauge", "Bytes of captured requests that wait to be sent.", "", ()),
    ("items", "gauge", "Items that the index finds, of a model that answers with items.", "", ()),
    ("items_waiting", "gauge", "Items of the log of changes that wait for their vectors.", "", ()),
    ("item_changes", "counter", "Changes of items that the index took, by kind.", "kind", ()),
    ("item_seconds", "histogram", "Time from an item's being put in until searches find it.", "", SECONDS),
    (
        "recall_checked",
        "counter",
        "Live queries that were run again exactly, by what their filters left.",
        "selectivity",
        (),
    ),
    (
        "recall_wanted",
        "counter",
        "Items that those queries should have found among their first ten.",
        "selectivity",
        (),
    ),
    ("recall_found", "counter", "Items of these that they found.", "selectivity", ()),
    ("recall_dropped", "counter", "Queries that were to be run again, and were not.", "", ()),
)
RUNTIME_ANSWERS = (RUNTIME["rest_requests"].name, RUNTIME["grpc_requests"].name)
RUNTIME_RECALL = tuple(RUNTIME[f"recall_{each}"].name for each in ("checked", "wanted", "found"))
RUNTIME_REFUSED = RUNTIME["refused"].name
RUNTIME_BUCKETS = RUNTIME["request_seconds"].samples[0]
FAULT = "model"
"""The model server's reason for an answer that it held back: NaN, a wrong shape, out of range, or an error in feature code."""
OVERLOADED = "overloaded"
"""Its reason for a request that it refused at once, because it would not be done in time."""

# The service that decides: inference_services/decision.

_OF_DECISION = ("model", "unit")
"""On every series of it: the decision's name, and the release unit in twelve digits."""


def _decision(*families: tuple[str, Kind, str, tuple[str, ...], tuple[float, ...]]) -> dict[str, Family]:
    found = {}
    for short, kind, shown, labels, buckets in families:
        name = f"hallmark_decision_{short}_total" if kind == "counter" else f"hallmark_decision_{short}"
        found[short] = Family(name, kind, shown, (*_OF_DECISION, *labels), buckets)
    return found


DECISION: dict[str, Family] = _decision(
    ("verdicts", "counter", "Items decided, by action and reason.", ("action", "reason"), ()),
    ("refused", "counter", "Requests answered without a verdict, by reason.", ("reason",), ()),
    ("seconds", "histogram", "Time from the whole request to its answer.", (), SECONDS),
    ("node_answers", "counter", "Answers of nodes, by what came of asking.", ("node", "fate"), ()),
    ("node_seconds", "histogram", "Time of asking a node, with every try.", ("node",), SECONDS),
    ("breaker_open", "gauge", "1 while a node is left alone after failures in a row.", ("node",), ()),
    ("cases", "counter", "Cases given to persons, by whether the queue took them.", ("person", "taken"), ()),
    ("spent", "counter", "Money that asking nodes has cost.", (), ()),
    (
        "minute_price",
        "gauge",
        "Money that a minute of an expert is worth beyond the wage; -1 where none is left.",
        ("person",),
        (),
    ),
    ("expired", "gauge", "1 while the guarantee does not hold, by its watch or by hand.", (), ()),
    ("guarantee_labels", "gauge", "Final labels of audited accepts of this unit.", (), ()),
    ("guarantee_counterfeits", "gauge", "Counterfeits among them.", (), ()),
    ("guarantee_evidence", "gauge", "Evidence that the guarantee is broken; at 10000 it is.", (), ()),
    (
        "candidate",
        "counter",
        "Items that the candidate in shadow decided too, by stable's action and its own.",
        ("stable", "candidate"),
        (),
    ),
    ("candidate_left_out", "counter", "Items that it did not decide, by why not.", ("reason",), ()),
    ("share", "gauge", "Share of items that the candidate decides in earnest, 0 to 1.", (), ()),
    ("share_stopped", "gauge", "1 where that share ended by itself.", (), ()),
    ("share_items", "counter", "Items of that share, by who decided them and why.", ("decided_by", "why"), ()),
    ("in_flight", "gauge", "Items that are being decided.", (), ()),
)

# The service that asks a language model: inference_services/reviewer.


def _reviewer(*families: tuple[str, Kind, str, tuple[str, ...], tuple[float, ...]]) -> dict[str, Family]:
    found = {}
    for short, kind, shown, labels, buckets in families:
        name = f"hallmark_reviewer_{short}_total" if kind == "counter" else f"hallmark_reviewer_{short}"
        found[short] = Family(name, kind, shown, ("model", "prompt", *labels), buckets)
    return found


REVIEWER: dict[str, Family] = _reviewer(
    ("reviews", "counter", "Items reviewed: answered, or the cause of the last try.", ("cause",), ()),
    ("tries", "counter", "Questions to the language model: answered, or the cause why not.", ("cause",), ()),
    ("refused", "counter", "Requests answered without a review, by reason.", ("reason",), ()),
    ("seconds", "histogram", "Time of an item's review, with every try.", (), (*SECONDS, 10.0, 20.0)),
    ("in_flight", "gauge", "Items that are being reviewed.", (), ()),
)
"""Of the reviewer; `model` is its name, `prompt` the digest of its prompt in twelve digits."""

# The drift monitor: inference_services/drift_monitor.


def _drift(*families: tuple[str, Kind, str, tuple[str, ...]]) -> dict[str, Family]:
    return {short: Family(f"hallmark_drift_{short}", kind, shown, labels) for short, kind, shown, labels in families}


_COLUMN = ("variant", "column")
DRIFT: dict[str, Family] = _drift(
    ("events_total", "counter", "Events by outcome: exchanges joined, and others.", ("fate",)),
    ("unreadable_total", "counter", "Records that cannot be observed.", ()),
    ("waiting", "gauge", "Requests and responses that wait for their counterpart.", ()),
    ("requests_total", "counter", "Requests joined with their responses.", ("variant",)),
    ("window_rows", "gauge", "Records in the window.", ("variant",)),
    ("verdict", "gauge", "1 for the state that holds.", ("variant", "state")),
    ("captured_ratio", "gauge", "Share of the served requests that the monitor received.", ("variant",)),
    ("psi", "gauge", "Population stability index against the reference, less what chance gives.", _COLUMN),
    (
        "shift",
        "gauge",
        "Shift of a number's ranks (Cliff's delta), of embeddings (2 AUC - 1), or growth of the error on labels.",
        _COLUMN,
    ),
    ("effect", "gauge", "The larger of index and shift over its threshold; drift begins at 1.", _COLUMN),
    ("input_lag_seconds", "gauge", "Time from an input's event time to its scoring.", ("variant", "quantile")),
    ("stale_ratio", "gauge", "Share of records whose input was too old when it was scored.", ("variant",)),
    ("final_labels", "gauge", "Mature labels that the error is judged on.", ("variant",)),
    ("promise_kept_ratio", "gauge", "Share of final labels that the answered ranges held.", ("variant",)),
    ("promise_labels", "gauge", "Final labels that say whether an answered range held them.", ("variant",)),
    ("missing_ratio", "gauge", "Share of records without the value.", _COLUMN),
    (
        "feature_age_seconds",
        "gauge",
        "Age of the newest event that the newest answers knew of their entities.",
        ("variant", "view", "quantile"),
    ),
)

# The gateway: Envoy in the local cluster; on a real cluster Istio's counts under these names (hallmark/render/istio.py).

GATEWAY_REQUESTS = Family(
    "envoy_hallmark_requests",
    "counter",
    "Requests that clients sent, by the revision each was meant for and who answered.",
    ("service", "revision", "answered", "code", "grpc"),
)
GATEWAY_MILLISECONDS = Family(
    "envoy_hallmark_milliseconds",
    "histogram",
    "Time from the first byte of a request to the last of its answer, tries included.",
    ("service", "revision"),
    MILLISECONDS,
)
GRPC_FAULTS = frozenset({"2", "4", "8", "13", "14", "15"})
"""Unknown, deadline exceeded, resource exhausted, internal, unavailable, data loss: the server's, not the client's."""
ISTIO_EDGES = ("sidecar.istio.io/statsHistogramBuckets", f'{{"istiocustom":[{",".join(map(str, MILLISECONDS))}]}}')
"""The annotation that gives the pods of Istio's gateways the edges above. Of the objectives declared here, its own have 50 ms only."""

# The watch: hallmark/rollout/liveness.py. `domain` is the namespace too; a scrape's own `namespace` is the watch's.


def _watch(*families: tuple[str, Kind, str, tuple[str, ...]]) -> dict[str, Family]:
    return {
        short: Family(f"hallmark_{short}", kind, shown, ("domain", *labels)) for short, kind, shown, labels in families
    }


WATCH: dict[str, Family] = _watch(
    ("watch_lease_held", "gauge", "1 where this watch holds the domain's lease.", ()),
    ("watch_looks_total", "counter", "Checks of the domain, by result.", ("result",)),
    ("watch_last_look_timestamp_seconds", "gauge", "Time of the last check of the domain that succeeded.", ()),
    ("rollout_running", "gauge", "1 while a candidate is in shadow or gets a share.", ()),
    ("rollout_percent", "gauge", "The candidate's share of the traffic; 0 in shadow.", ()),
    ("rollout_started_timestamp_seconds", "gauge", "When the rollout under way began.", ()),
    ("rollout_step_timestamp_seconds", "gauge", "Time at which it came to its present share.", ()),
    ("rollout_deadline_timestamp_seconds", "gauge", "When it is rolled back, if it is not promoted by then.", ()),
    ("rollout_version", "gauge", "The model's version, by variant.", ("variant",)),
    ("rollout_revision", "gauge", "1 for the revision of each variant.", ("variant", "revision")),
    ("rollout_entries_total", "counter", "Entries of the timeline since this watch began, by kind.", ("kind",)),
    ("rollout_last_entry_timestamp_seconds", "gauge", "When the last entry of this kind was written.", ("kind",)),
    ("registry_newest_timestamp_seconds", "gauge", "When the domain's newest version was registered.", ()),
)

# The stream of feature views: hallmark/feature_store/stream.py. A view is name@version.


def _stream(*families: tuple[str, Kind, str, tuple[str, ...]]) -> dict[str, Family]:
    return {short: Family(f"hallmark_stream_{short}", kind, shown, labels) for short, kind, shown, labels in families}


_VIEW = ("view",)
STREAM: dict[str, Family] = _stream(
    ("rows_total", "counter", "Rows by what became of them.", ("view", "fate")),
    ("event_age_seconds", "gauge", "Time since the newest event of the source happened.", _VIEW),
    ("freshness_seconds", "gauge", "How large that may be, as the view declares.", _VIEW),
    (
        "watermark_timestamp_seconds",
        "gauge",
        "When the newest event of the partition happened.",
        ("source", "partition"),
    ),
    ("versions", "gauge", "Versions of events in the state; tiles of them, where Flink adds up.", _VIEW),
    ("payloads_total", "counter", "Payloads written to the online store.", ()),
    ("owed", "gauge", "Entities whose payloads are to be written.", ()),
    ("stalls_total", "counter", "Times when the online store did not answer.", ()),
    ("overflows_total", "counter", "Sums in payloads that int64 cannot hold, which are null.", _VIEW),
)


def exposed(family: Family, samples: Iterable[tuple[Mapping[str, object], float]]) -> str:
    """A counter or gauge in Prometheus's text format (0.0.4): each sample is its labels and its value."""
    lines = [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.kind}"]
    for labels, value in samples:
        written = ",".join(f'{name}="{_escaped(str(text))}"' for name, text in labels.items())
        lines.append(f"{family.name}{{{written}}} {_number(value)}" if written else f"{family.name} {_number(value)}")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    """Six digits; whole where that would cut off a count or a time."""
    return f"{value:g}" if abs(value) < 1e6 else repr(value)


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
