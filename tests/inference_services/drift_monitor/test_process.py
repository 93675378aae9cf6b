"""The monitor as a process: what it takes, what it says, what it refuses, how it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import psutil
import pytest
from sidecar import ROOT, Sidecar, draw, event, events, exchange

Start = Callable[..., Sidecar]
SMALL = json.dumps({"window": 600, "minimum": 100})


def test_clean_traffic_is_ok_and_shifted_traffic_is_drift(start: Start) -> None:
    sidecar = start(config=SMALL)
    sidecar.send(events(600, seed=2))
    clean = sidecar.verdict()
    sidecar.send(events(600, seed=3, factor=3.0))
    shifted = sidecar.verdict()
    assert (clean["state"], clean["rows"], clean["requests"]) == ("OK", 600, 600)
    assert (shifted["state"], shifted["rows"], shifted["requests"]) == ("DRIFT", 600, 1200)
    assert {column["name"] for column in shifted["columns"] if column["drifted"]} == {"amount", "score"}
    assert any(reason.startswith("amount: ") for reason in shifted["reasons"])


def test_few_requests_are_insufficient(start: Start) -> None:
    sidecar = start(config=SMALL)
    sidecar.send(events(99, seed=2))
    assert sidecar.verdict()["state"] == "INSUFFICIENT"
    assert "100 are needed" in sidecar.verdict()["reasons"][0]


def test_variants_are_judged_apart(start: Start) -> None:
    sidecar = start(config=json.dumps({"window": 2000, "minimum": 300}))
    sidecar.send(events(1600, seed=2))
    sidecar.send(events(400, seed=3, factor=4.0, revision="shop-00002"))
    assert sidecar.verdict("shop-00001")["state"] == "OK"
    assert sidecar.verdict("shop-00002")["state"] == "DRIFT"


def test_kserves_own_form_an_event_a_call_counts_the_same(start: Start) -> None:
    sidecar = start()
    for item in events(20, seed=2):
        assert sidecar.single(item).status_code == 202
    assert sidecar.verdict()["rows"] == 20


def test_an_id_sent_a_thousand_times_counts_once(start: Start) -> None:
    sidecar = start()
    pair = events(1, seed=2)
    sidecar.send(pair * 1000)
    assert sidecar.counts()["joined"] == 1 and sidecar.verdict()["rows"] == 1
    assert sidecar.counts()["duplicate"] == 1998


def test_a_response_may_come_before_its_request(start: Start) -> None:
    sidecar = start()
    request, response = events(1, seed=2)
    sidecar.send([response])
    sidecar.send([request])
    assert sidecar.counts()["joined"] == 1


def test_another_services_events_do_not_count(start: Start) -> None:
    sidecar = start()
    sidecar.send(events(30, seed=2, service="other"))
    answer = sidecar.client.get("/verdict").json()
    assert answer["variants"] == {} and answer["events"]["foreign"] == 60


def test_halves_that_contradict_each_other_do_not_count(start: Start) -> None:
    sidecar = start()
    columns, scores = draw(4, seed=2)
    request, _ = exchange(columns, scores, slice(0, 1))
    _, response = exchange(columns, scores, slice(0, 3))
    sidecar.send([event("a", "request", request), event("a", "response", response)])
    assert sidecar.counts()["mismatched"] == 1 and sidecar.counts()["joined"] == 0


def test_one_large_request_cannot_fill_the_window(start: Start) -> None:
    sidecar = start(config=SMALL)
    columns, scores = draw(5000, seed=2, factor=9.0)
    request, response = exchange(columns, scores, slice(0, 5000))
    sidecar.send([event("large", "request", request), event("large", "response", response)])
    assert sidecar.verdict()["rows"] == 30


def test_broken_values_are_missing_and_the_rest_of_the_row_counts(start: Start) -> None:
    sidecar = start(config=SMALL)
    items = events(204, seed=2)
    for at, item in enumerate(items[::2]):
        if at % 3 == 0:
            item["data"]["inputs"][0]["data"] = [["12.5"], [None], [True], [10**400]][at % 4]
            item["data"]["inputs"][3]["data"] = [[7], [None], [{}], [[]]][at % 4]
    sidecar.send(items)
    columns = {column["name"]: column for column in sidecar.verdict()["columns"]}
    assert columns["amount"]["missing"] == columns["payment"]["missing"] == pytest.approx(68 / 204, abs=1e-4)
    assert columns["orders"]["missing"] == 0
    assert columns["amount"]["drifted"] and "missing" in columns["amount"]["note"]


def test_a_column_that_stops_coming_is_drift_with_its_name(start: Start) -> None:
    sidecar = start(config=SMALL)
    items = events(200, seed=2)
    for item in items[::2]:
        del item["data"]["inputs"][0]
    sidecar.send(items)
    assert "amount: the column is missing" in sidecar.verdict()["reasons"]


BAD_DATA: list[Any] = [
    {},
    [],
    "text",
    None,
    {"inputs": []},
    {"inputs": {}},
    {"inputs": [1]},
    {"inputs": [{"name": "amount"}]},
    {"inputs": [{"name": "amount", "shape": [], "data": [1]}]},
    {"inputs": [{"name": "amount", "shape": [-7], "data": [1]}]},
    {"inputs": [{"name": "amount", "shape": ["1"], "data": [1]}]},
    {"inputs": [{"name": "amount", "shape": [0], "data": []}]},
    {"inputs": [{"name": "amount", "shape": [999999999], "data": [1]}]},
    {"inputs": [{"name": "amount", "shape": [1000], "data": [1]}]},
    {"inputs": [{"name": ["amount"], "shape": [1], "data": [1]}]},
    {"inputs": [{"name": "amount", "shape": [2], "data": [1, 2]}, {"name": "orders", "shape": [1], "data": [1]}]},
]


@pytest.mark.filterwarnings("ignore:unclosed")
def test_malformed_events_are_refused_and_counted(start: Start) -> None:
    sidecar = start()
    whole = event("x", "request", {})
    bad = [event(f"bad-{at}", "request", data) for at, data in enumerate(BAD_DATA)]
    bad += [{**whole, "id": ""}, {**whole, "id": "x" * 300}, {**whole, "id": 7}, {**whole, "type": "org.example"}]
    bad += [{**whole, "type": ["x"]}, {**whole, "specversion": "0.3"}, {**whole, "source": ""}]
    bad += [{**whole, "revision": 'a"}\n'}]
    statuses = [sidecar.batch([item]).status_code for item in bad]
    raw = [b"", b"{", b"[" * 100_000, b"\xff\xfe", b"{}", b"7", b"[" + b"0," * 5000 + b"0]"]
    for body in raw:
        batch = sidecar.client.post("/", content=body, headers={"content-type": "application/cloudevents-batch+json"})
        structured = sidecar.client.post("/", content=body, headers={"content-type": "application/cloudevents+json"})
        plain = sidecar.client.post("/", content=body)
        statuses += [batch.status_code, structured.status_code, plain.status_code]
    assert statuses == [400] * len(statuses)
    assert sidecar.counts()["malformed"] == len(statuses)
    sidecar.send(events(20, seed=2))
    assert sidecar.verdict()["rows"] == 20


def test_good_events_beside_a_malformed_one_count(start: Start) -> None:
    sidecar = start()
    answer = sidecar.batch([*events(2, seed=2), {"broken": True}])
    assert (answer.status_code, answer.json()["accepted"], answer.json()["malformed"]) == (202, 4, 1)


def test_a_body_that_is_too_large_is_413_and_not_read(start: Start) -> None:
    sidecar = start()
    before = psutil.Process(sidecar.process.pid).memory_info().rss
    declared = sidecar.client.post("/", content=b"0" * (33 << 20))
    streamed = sidecar.client.post("/", content=(b"0" * (1 << 20) for _ in range(33)))
    assert {declared.status_code, streamed.status_code} == {413}
    assert psutil.Process(sidecar.process.pid).memory_info().rss - before < 96 << 20
    sidecar.send(events(1, seed=2))


@pytest.mark.slow
def test_memory_stays_bounded_whatever_comes(start: Start) -> None:
    sidecar = start(config=json.dumps({"window": 50, "minimum": 20}))
    columns, scores = draw(1, seed=2)
    request, _ = exchange(columns, scores, slice(0, 1))
    for at in range(0, 5000, 500):
        sidecar.send([event(f"lonely-{at + row}", "request", request) for row in range(500)])
    for revision in range(20):
        sidecar.send(events(2, seed=2, prefix=f"{revision}-", revision=f"shop-{revision:05d}"))
    answer = sidecar.client.get("/verdict").json()
    assert answer["events"]["unpaired"] == 5000 - 2048
    assert sorted(answer["variants"]) == [f"shop-{revision:05d}" for revision in range(12, 20)]


def test_the_window_can_be_read(start: Start) -> None:
    sidecar = start()
    sidecar.send(events(30, seed=2))
    columns, scores = draw(30, seed=2)
    window = sidecar.client.get("/window", params={"variant": "shop-00001", "limit": "10"}).json()
    assert window["rows"] == 10
    assert window["columns"]["amount"] == columns["amount"][-10:].tolist()
    assert window["columns"]["payment"] == columns["payment"][-10:].tolist()
    assert window["columns"]["express"] == ["true" if value else "false" for value in columns["express"][-10:]]
    assert window["columns"]["score"] == pytest.approx(scores["score"][-10:].tolist())
    assert sidecar.client.get("/window", params={"variant": "no"}).status_code == 404
    assert sidecar.client.get("/window", params={"variant": "shop-00001", "limit": "-1"}).status_code == 400


def test_metrics_are_prometheus_text(start: Start) -> None:
    from prometheus_client.parser import text_string_to_metric_families

    sidecar = start(config=SMALL)
    sidecar.send(events(150, seed=2))
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(sidecar.client.get("/metrics").text)
        for sample in family.samples
    }
    assert samples["hallmark_drift_verdict", "OK", "shop-00001"] == 1
    assert samples["hallmark_drift_events_total", "joined"] == 150
    assert samples["hallmark_drift_window_rows", "shop-00001"] == 150
    assert ("hallmark_drift_psi", "amount", "shop-00001") in samples


def test_captured_under_95_percent_of_the_served_proves_nothing(start: Start) -> None:
    served = {"offered": 0, "queued": 0, "asked": 0}

    class Runtime(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served["asked"] += 1
            self.send_response(200)
            self.end_headers()
            text = (
                f'hallmark_capture_offered_total{{model="m",revision="r"}} {served["offered"]:.1f}\n'
                f'hallmark_capture_queued{{model="m",revision="r"}} {served["queued"]:.1f}\n'
            )
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Runtime) as runtime:
        threading.Thread(target=runtime.serve_forever, daemon=True).start()
        sidecar = start(f"--runtime-metrics-url=http://127.0.0.1:{runtime.server_port}/metrics", config=SMALL)
        wait_for(lambda: served["asked"])
        sidecar.send(events(200, seed=2))
        served.update(offered=305, queued=100)
        wait_for(lambda: sidecar.verdict()["captured"] is not None)
        full = sidecar.verdict()
        served.update(offered=305, queued=0)
        wait_for(lambda: sidecar.verdict()["captured"] < 0.9)
        lost = sidecar.verdict()
        runtime.shutdown()
    assert (full["state"], full["captured"]) == ("OK", pytest.approx(200 / 205, abs=0.001))
    assert (lost["state"], lost["captured"]) == ("INSUFFICIENT", pytest.approx(200 / 305, abs=0.001))
    assert "66% of the served requests were captured" in lost["reasons"][0]


def test_counters_that_cannot_be_read_prove_nothing(start: Start) -> None:
    sidecar = start("--runtime-metrics-url=http://127.0.0.1:9/metrics", config=SMALL)
    sidecar.send(events(200, seed=2))
    assert sidecar.verdict()["state"] == "INSUFFICIENT"
    assert "loss is unknown" in sidecar.verdict()["reasons"][0]


def test_sigterm_ends_it_cleanly_and_its_windows_outlive_it(start: Start, tmp_path: Path) -> None:
    state = tmp_path / "windows.json"
    first = start(f"--state={state}", config=SMALL)
    pairs = events(204, seed=2)
    first.send(pairs)
    before = first.verdict()
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(timeout=10) == 0
    second = start(f"--state={state}", config=SMALL)
    second.send(pairs[:20])
    after = second.verdict()
    assert (after["state"], after["rows"], after["columns"]) == ("OK", 204, before["columns"])
    assert second.counts()["duplicate"] == 20


@pytest.mark.slow
def test_a_restarted_container_tells_the_fleet_what_it_told_before(start: Start, tmp_path: Path) -> None:
    asked = {"format": "1", "variant": "shop-00001"}
    state = tmp_path / "windows.json"
    first = start(f"--state={state}", config=SMALL)
    first.send(events(204, seed=2))
    told, reference = (first.client.get(path, params=asked).json() for path in ("/sketch", "/reference"))
    first.process.send_signal(signal.SIGTERM)
    assert first.process.wait(timeout=10) == 0
    second = start(f"--state={state}", config=SMALL)
    assert second.client.get("/sketch", params=asked).json() == told and len(told["sketch"]["times"]) == 204
    assert second.client.get("/reference").json() == reference
    assert second.client.get("/sketch", params={**asked, "variant": "other"}).json()["sketch"] is None
    for wrong in ({"format": "2"}, {**asked, "since": "x", "until": "7"}, {**asked, "until": "7"}):
        assert second.client.get("/sketch", params=wrong).status_code == 400


@pytest.mark.slow
@pytest.mark.parametrize("text", ["", "[]", "{", '{"digest": 1}', '{"digest":"D","variants":{"a":[]},"ids":7}'])
def test_a_broken_state_file_is_left_alone(start: Start, tmp_path: Path, sealed: Path, text: str) -> None:
    from hallmark.artifacts import folder as folders

    path = tmp_path / "windows.json"
    path.write_text(text.replace('"D"', json.dumps(folders.verify(sealed))), encoding="utf-8")
    sidecar = start(f"--state={path}")
    assert sidecar.client.get("/verdict").json()["variants"] == {}


def run(*arguments: str, environment: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "inference_services.drift_monitor", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, timeout=60, env={**os.environ, **(environment or {})}
    )


def test_a_changed_folder_is_refused_before_its_code_runs(model: Path, tmp_path: Path) -> None:
    (model / "features.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')", encoding="utf-8")
    done = run(f"--model-dir={model}")
    assert done.returncode == 3 and "features.py of the model was changed" in done.stderr
    assert not (tmp_path / "ran").exists() and "Traceback" not in done.stderr


def test_another_model_than_was_released_is_refused(model: Path) -> None:
    done = run(f"--model-dir={model}", environment={"HALLMARK_MODEL_DIGEST": "sha256:" + "0" * 64})
    assert done.returncode == 3 and "not the one that was released" in done.stderr


def test_a_wrong_configuration_names_the_key(model: Path, tmp_path: Path) -> None:
    (tmp_path / "serving.json").write_text('{"drift": {"threshold": -1}}', encoding="utf-8")
    done = run(f"--model-dir={model}", f"--config={tmp_path / 'serving.json'}")
    assert done.returncode == 2 and "threshold" in done.stderr


def test_a_config_that_is_not_there_is_an_error(model: Path, tmp_path: Path) -> None:
    done = run(f"--model-dir={model}", f"--config={tmp_path / 'none.json'}")
    assert done.returncode == 2 and "none.json cannot be read" in done.stderr


def test_a_config_that_says_nothing_means_the_defaults(start: Start) -> None:
    sidecar = start()
    sidecar.send(events(1, seed=2))
    assert (sidecar.verdict()["minimum"], sidecar.verdict()["threshold"]) == (300, 0.2)


def test_its_process_loads_nothing_heavy(sealed: Path) -> None:
    code = (
        "import sys, json; sys.argv = ['x', '--model-dir', sys.argv[1]]\n"
        "from inference_services.drift_monitor import __main__ as m, options, app\n"
        "monitor = m.build(options.read()); app.app(monitor)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(sealed)], capture_output=True, text=True, cwd=ROOT)
    modules = json.loads(done.stdout)
    heavy = {"torch", "pandas", "evidently", "sklearn", "scipy", "mlflow", "onnxruntime", "kfp", "kserve"}
    assert not heavy & set(modules)
    assert "inference_services.drift_monitor.app" in modules


@pytest.mark.slow
def test_it_stays_small_with_a_full_window(start: Start) -> None:
    sidecar = start()
    sidecar.send(events(2000, seed=2))
    assert sidecar.verdict()["rows"] == 2000
    assert psutil.Process(sidecar.process.pid).memory_info().rss < 128 << 20


def wait_for(condition: Callable[[], object], *, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)
