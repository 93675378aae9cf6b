"""The benchmark of the model server: its arithmetic, its own load generator, and that the doc holds the run's numbers."""

from __future__ import annotations

import http.server
import itertools
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.serving.report import (
    BEGIN,
    END,
    Figure,
    Report,
    Target,
    ceiling,
    judge,
    markdown,
    pairs_table,
    write_doc,
)
from benchmarks.serving.targets import TARGETS
from benchmarks.serving.works import WORKS

ROOT = Path(__file__).parents[2]
ASK = Target(work="w", text="× b", of="a", against="b", quantity="rate", bound=2)


def figure(contender: str, *rates: float) -> Figure:
    return Figure(work="w", contender=contender, values={"rate": rates})


def test_a_ratio_is_taken_round_by_round() -> None:
    verdict = judge(ASK, (figure("a", 10, 40, 90), figure("b", 10, 10, 30)))
    assert verdict.values == (1, 4, 3)
    assert verdict.met


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    assert judge(ASK, (figure("a", 10),)).met is None
    assert judge(ASK.model_copy(update={"against": "", "at": "most", "bound": 5}), (figure("a", 10),)).met is False


def test_a_ratio_of_workers_has_a_ceiling_where_the_client_has_its_part() -> None:
    report = Report.model_validate_json((ROOT / "docs" / "performance.json").read_bytes())
    values = {"rate": (10.0,), "cores": (0.9, 1.0, 1.1), "client": (0.25, 0.25, 0.25)}
    base = Figure(work="w", contender="b", values=values)
    report = report.model_copy(update={"figures": (base,), "machine": report.machine.model_copy(update={"cores": 2})})
    assert ceiling(ASK, report) is None
    assert ceiling(ASK.model_copy(update={"shared": True}), report) == pytest.approx(1.6)


def test_an_earlier_checkout_is_compared_round_by_round() -> None:
    report = Report.model_validate_json((ROOT / "docs" / "performance.json").read_bytes())
    now, before = (
        {"rate": (90.0, 80.0, 110.0), "cpu": (12.0, 11.0, 13.0), "errors": (0.0, 0.0, 0.0)},
        {"rate": (100.0, 100.0, 100.0), "cpu": (10.0, 10.0, 10.0), "errors": (0.0, 0.0, 0.0)},
    )
    figures = tuple(
        Figure(work="w", contender=name, values=each) for name, each in (("a", now), ("a, earlier", before))
    )
    rows = pairs_table(report.model_copy(update={"figures": (*figures, figure("stock", 5))}))[1:]
    assert rows == [
        ["w", "a", "req/s", "0.9", "0.8 – 1.1", "level or better"],
        ["w", "a", "CPU µs", "1.2", "1.1 – 1.3", "WORSE"],
    ]


def test_every_target_is_of_a_work() -> None:
    assert {target.work for target in TARGETS} <= WORKS.keys()


def test_the_doc_holds_the_numbers_of_its_json(tmp_path: Path) -> None:
    report = Report.model_validate_json((ROOT / "docs" / "performance.json").read_bytes())
    written = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert written.partition(BEGIN)[2].partition(END)[0].strip() == markdown(report)
    assert report.verdicts == tuple(judge(target, report.figures) for target in TARGETS)
    copy = tmp_path / "doc.md"
    copy.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    write_doc(copy, report)
    assert copy.read_text(encoding="utf-8") == f"before\n{BEGIN}\n\n{markdown(report)}\n\n{END}\nafter\n"


class Third(http.server.BaseHTTPRequestHandler):
    """Refuses each third request."""

    protocol_version = "HTTP/1.1"
    numbers = itertools.count(1)

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        refused = next(self.numbers) % 3 == 0
        self.send_response(503 if refused else 200)
        if refused:
            self.send_header("Retry-After", "1")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def port() -> Iterator[int]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Third)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


def generate(**order: object) -> dict[str, float]:
    request = "UE9TVCAvIEhUVFAvMS4xDQpob3N0OiB4DQpjb250ZW50LWxlbmd0aDogMg0KDQp7fQ=="  # POST / with {} in it
    command = [sys.executable, "-m", "benchmarks.serving.generator"]
    text = json.dumps({"requests": [request], "warm": 0.2, "lanes": 4, **order})
    done = subprocess.run(command, cwd=ROOT, input=text, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def test_the_generator_sends_on_time_and_tells_refusals_from_answers(port: int) -> None:
    found = generate(port=port, mode="open", seconds=1, rate=90)
    assert found["rate"] == pytest.approx(60, abs=2)
    assert found["refused"] == pytest.approx(30, abs=2)
    assert found["errors"] == found["unanswered"] == found["lost"] == 0
    assert found["refusal_p50"] < 100


def test_the_generator_says_what_a_server_that_vanishes_has_lost(port: int) -> None:
    assert generate(port=port, mode="closed", seconds=0.5)["rate"] > 20
    found = generate(port=port + 1 if port < 65_000 else port - 1, mode="drain", seconds=1)
    assert found["turned_away"] == 4
    assert found["answered"] == 0
