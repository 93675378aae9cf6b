"""A decision on six photos of one megapixel beside a bare loop that decodes the same photos and runs the same model.

`python -m benchmarks.decision.photos --model FOLDER`, where FOLDER is a version of authentication, such as the one under `hallmark train`'s
`models/`; two minutes on two cores. In each round, in turn: the bare loop (feature code and session, one process per core), our model server alone
(one worker per core), and the decision service in front of that server: the graph of domains/authentication without a reviewer, so that what is
not accepted goes to a person; a version names the nearest authentic items with its score in all three. Each of the servers is first kept as busy as it can be, which gives its highest rate, then asked at half of
that rate, on time (benchmarks/serving/generator.py). Ends with 1 where the decision has under 0.8 of the bare loop's rate, or where its p99 at
half of its own highest rate is over 2.5 times what the bare loop needs for an item, by the median of the rounds.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.serving import load
from benchmarks.serving.bodies import Body
from benchmarks.serving.processes import ROOT, Contender, Served, free_port
from hallmark.artifacts import folder, model_card
from hallmark.decision import unit
from hallmark.decision.record import Part
from hallmark.declaration.decision import Decision
from hallmark.declaration.domain import load as declared
from hallmark.declaration.serving_config import ServingConfig

PHOTOS, SIDES = 6, (1152, 868)
ITEMS = 16
LATENCY, RATE = 2.5, 0.8
LANES = 8
CORES = 2
Sample = dict[str, float]


def main() -> int:
    """Measure, print, and give 1 where a mark is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", type=Path, required=True, help="folder of a version of authentication")
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument("--seconds", type=int, default=4, help="of each measurement (%(default)s)")
    parser.add_argument(
        "--capture", action="store_true", help="with the server's capture, whose events are read and forgotten"
    )
    parser.add_argument("--json", action="store_true", help="photos as base64 in JSON, not as a binary tensor")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        items = drawn(Path(work) / "items")
        sizes = [len(each) for item in items for each in item["photos"]]
        print(
            f"{ITEMS} items of {PHOTOS} photos of {SIDES[0] * SIDES[1] / 1e6:.2f} MP, {statistics.mean(sizes) / 1024:.0f} KiB each"
        )
        found = rounds(given, Path(work), [body(item, text=given.json) for item in items])
    return told(found)


def drawn(to: Path) -> list[dict[str, Any]]:
    """Items of the synthetic marketplace that have six photos or more, their photos enlarged, with the noise of a sensor; also as files."""
    from domains.authentication import synthetic

    start, random = datetime(2026, 6, 1, tzinfo=UTC), np.random.default_rng(7)
    offered = synthetic.items(start, start + timedelta(days=2), seed=11)
    found = []
    for row in offered[offered["photos"].map(len) >= PHOTOS].head(ITEMS).to_dict("records"):
        photos = [enlarged(photo, random) for photo in row["photos"][:PHOTOS]]
        found.append({"photos": photos, **{name: row[name] for name in ("brand", "category", "price")}})
    for at, item in enumerate(found):
        (to / str(at)).mkdir(parents=True)
        for place, photo in enumerate(item["photos"]):
            (to / str(at) / f"{place}.jpg").write_bytes(photo)
        (to / str(at) / "facts.json").write_text(
            json.dumps({name: item[name] for name in ("brand", "category", "price")})
        )
    return found


def enlarged(photo: bytes, random: np.random.Generator) -> bytes:
    """The photo at one megapixel, as a phone would save it."""
    with Image.open(io.BytesIO(photo)) as small:
        large = np.asarray(small.convert("RGB").resize(SIDES, Image.Resampling.BICUBIC), dtype=np.float32)
    noisy = (large + random.normal(0, 4, large.shape)).clip(0, 255).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(noisy).save(stream, "JPEG", quality=85)
    return stream.getvalue()


def body(item: Mapping[str, Any], *, text: bool) -> Body:
    """A request on an item: photos as a binary tensor, or as base64."""
    import base64

    facts = [
        {"name": name, "shape": [1], "datatype": "FP64" if name == "price" else "BYTES", "data": [item[name]]}
        for name in ("brand", "category", "price")
    ]
    photos: dict[str, Any] = {"name": "photos", "shape": [1, PHOTOS], "datatype": "BYTES"}
    if text:
        photos["data"] = [base64.b64encode(each).decode() for each in item["photos"]]
        return Body(json.dumps({"inputs": [photos, *facts]}).encode())
    blob = b"".join(struct.pack("<I", len(each)) + each for each in item["photos"])
    photos["parameters"] = {"binary_data_size": len(blob)}
    head = json.dumps({"inputs": [photos, *facts]}).encode()
    kind = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
    return Body(head + blob, kind)


def sealed(model: Path, to: Path) -> None:
    """The release unit of the declared graph, without what nobody serves here: the model decides, or a person."""
    card = model_card.read(model)
    if card.thresholds is None:
        raise SystemExit("expected a version with thresholds: hallmark train authentication")
    decision = declared("authentication").decision
    assert decision is not None
    graph = decision.model_dump(mode="json", exclude_none=True)
    view = {**graph["nodes"]["view"], "service": "bench"}
    graph["nodes"] = {"view": view, **{name: each for name, each in graph["nodes"].items() if each["kind"] == "person"}}
    (expert,) = (name for name, each in graph["nodes"].items() if each["kind"] == "person")
    first = graph["steps"][graph["start"]]["routes"][0]
    graph["steps"] = {graph["start"]: {"ask": ["view"], "routes": [first, {"to": expert}]}}
    part = Part(service="bench", version="1", digest=folder.verify(model))
    unit.seal(
        to, domain="bench", decision=Decision.model_validate(graph), thresholds=card.thresholds, parts={"view": part}
    )


@dataclass(frozen=True)
class Capturing(Contender):
    """Our model server with a capture."""

    sink: int = 0

    def command(self, folder: Path, http: int, grpc: int) -> list[str]:
        """Its command line."""
        more = [f"--capture-url=http://127.0.0.1:{self.sink}/"] if self.sink else []
        return [*super().command(folder, http, grpc), *more]


@dataclass(frozen=True)
class Deciding(Contender):
    """The decision service, whose node is at `port`."""

    port: int = 0

    def command(self, folder: Path, http: int, grpc: int) -> list[str]:
        """Its command line."""
        command = [
            self.python,
            "-m",
            "inference_services.decision",
            f"--unit={folder}",
            f"--records={folder.parent / 'records'}",
        ]
        return [
            *command,
            f"--node=view=http://127.0.0.1:{self.port}",
            "--host=127.0.0.1",
            f"--http-port={http}",
            "--name=bench",
        ]


class Chain:
    """The decision service and the server behind it, as one that is measured."""

    def __init__(self, front: Served, behind: Served) -> None:
        self._both, self.http = (front, behind), front.http

    def cpu(self) -> float:
        """Seconds of CPU of both."""
        return sum(each.cpu() for each in self._both)


def rounds(given: argparse.Namespace, work: Path, bodies: list[Body]) -> dict[str, list[Sample]]:
    """Samples of each contender by round."""
    found: dict[str, list[Sample]] = {name: [] for name in ("bare", "server", "decision")}
    sealed(given.model, work / "unit")
    with contextmanager(sinking)(given.capture) as sink:
        server = Capturing("hallmark", "hallmark", workers=CORES, config=ServingConfig(), sink=sink)
        behind = Served(server, given.model.resolve(), bodies[0], log=work / "server.log")
        try:
            deciding = Deciding("decision", "decision", port=behind.http)
            front = Served(deciding, work / "unit", bodies[0], log=work / "decision.log")
            try:
                for turn in range(given.rounds):
                    behind.freeze()
                    found["bare"].append(bare(given.model, work / "items", given.seconds))
                    behind.thaw()
                    for name, target in (("server", behind), ("decision", Chain(front, behind))):
                        found[name].append(asked(target, bodies, given.seconds))  # type: ignore[arg-type]
                    print(
                        f"round {turn + 1}: " + "; ".join(f"{name} {shown(each[-1])}" for name, each in found.items()),
                        flush=True,
                    )
            finally:
                front.end()
        finally:
            behind.end()
    return found


def asked(server: Served, bodies: list[Body], seconds: int) -> Sample:
    """Highest rate, and times at half of it."""
    busy = load.timed(server, bodies, mode="closed", seconds=seconds, lanes=LANES, warm=1.0)
    if busy["errors"] or busy["lost"] or busy["refused"]:
        raise SystemExit(f"a server failed requests: {busy}")
    calm = load.timed(server, bodies, mode="open", seconds=2 * seconds, rate=busy["rate"] / 2, lanes=2, deadline=5.0)
    return {
        "rate": busy["rate"],
        "cpu": busy["cpu"] / 1e3,
        "client": busy["client"],
        "p50": calm["p50"],
        "p99": calm["p99"],
        "lag": calm["lag_p99"],
    }


def bare(model: Path, items: Path, seconds: int) -> Sample:
    """Rate of one loop per core together, and milliseconds of an item in one loop alone."""
    both = loops(model, items, seconds, count=CORES)
    (alone,) = loops(model, items, seconds, count=1)
    rate = sum(len(each) / (sum(each) / 1e3) for each in both)
    return {
        "rate": rate,
        "cpu": CORES * 1e3 / rate,
        "p50": statistics.median(alone),
        "p99": float(np.percentile(alone, 99)),
    }


def loops(model: Path, items: Path, seconds: int, *, count: int) -> list[list[float]]:
    """Milliseconds of each item in so many processes at once."""
    command = [sys.executable, "-m", "benchmarks.decision.photos_bare", str(model), str(items), str(seconds)]
    one = {**os.environ, "OMP_NUM_THREADS": "1"}  # else each would decode on all cores
    running = [
        subprocess.Popen(command, cwd=ROOT, env=one, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(count)
    ]
    for each in running:
        if each.stdout is None or each.stdout.readline() != "ready\n":
            raise SystemExit("a bare loop did not start")
    for each in running:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    return [json.loads(each.communicate()[0]) for each in running]


def sinking(wanted: bool) -> Iterator[int]:
    """The port of a sink of captured events; 0 where none is wanted."""
    if not wanted:
        yield 0
        return
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.drift_monitor", f"--child=sink,{port}"], cwd=ROOT)
    time.sleep(1.0)
    try:
        yield port
    finally:
        process.terminate()
        process.wait(10)


def shown(sample: Sample) -> str:
    """A sample on one line."""
    return (
        f"{sample['rate']:.1f}/s, {sample['cpu']:.1f} ms of CPU, p50 {sample['p50']:.1f} ms, p99 {sample['p99']:.1f} ms"
    )


def told(found: dict[str, list[Sample]]) -> int:
    """Print the table; 1 where a mark is missed."""
    print(
        "\n| | items/s | CPU ms an item | at half of its rate: p50 ms | p99 ms | of the bare loop's rate | p99 of an item in the bare loop |\n|---|---:|---:|---:|---:|---:|---:|"
    )
    marks = {}
    for name, samples in found.items():
        share = statistics.median(
            each["rate"] / loop["rate"] for each, loop in zip(samples, found["bare"], strict=True)
        )
        times = statistics.median(each["p99"] / loop["p50"] for each, loop in zip(samples, found["bare"], strict=True))
        middle = {key: statistics.median(each[key] for each in samples) for key in samples[0]}
        print(
            f"| {name} | {middle['rate']:.1f} | {middle['cpu']:.1f} | {middle['p50']:.1f} | {middle['p99']:.1f} | {share:.2f} | {times:.2f} × |"
        )
        marks[name] = share >= RATE and times <= LATENCY
    return int(not marks["decision"])


if __name__ == "__main__":
    sys.exit(main())
