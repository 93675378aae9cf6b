"""`python -m benchmarks.serving`: this server beside the stock KServe server and others, in turn, on one machine.

Prints requests a second, the 99th percentile and the server's own CPU time a request (which a busy machine disturbs
least), each with its ratio to stock, and writes JSON with --json. Needs wrk for REST.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving import models

_TICKS = os.sysconf("SC_CLK_TCK")
_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}


@dataclass
class Result:
    """One contender under one load; times in milliseconds, CPU in microseconds a request, memory in MiB."""

    work: str
    contender: str
    rate: float
    p99: float
    cpu: float
    errors: int
    ready: float
    memory: float


@dataclass
class Served:
    """A running contender."""

    process: subprocess.Popen[bytes]
    http: int
    grpc: int
    ready: float

    def family(self) -> list[int]:
        """Its process and its workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text(encoding="ascii")
        return [self.process.pid, *map(int, children.split())]

    def cpu(self) -> float:
        """Seconds of CPU it has used."""
        total = 0
        for pid in self.family():
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            total += int(fields[11]) + int(fields[12])
        return total / _TICKS

    def memory(self) -> float:
        """Resident MiB, all processes."""
        texts = [Path(f"/proc/{pid}/status").read_text(encoding="ascii") for pid in self.family()]
        return sum(int(text.split("VmRSS:")[1].split()[0]) for text in texts) / 1024


def free_port() -> int:
    """A port that nobody has now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(contender: str, folder: Path) -> Iterator[Served]:
    """The contender as a process, once it is ready."""
    http, grpc = free_port(), free_port()
    name, _, workers = contender.partition("x")
    if name == "hallmark":
        command = ["-m", "inference_services.runtime", "--model-name=bench", f"--model-dir={folder}"]
        command += ["--host=127.0.0.1", f"--http-port={http}", f"--grpc-port={grpc}", f"--workers={workers or 1}"]
    else:
        command = ["-m", "benchmarks.serving.contenders", name, str(folder), str(http), str(grpc)]
    begun = time.monotonic()
    process = subprocess.Popen([sys.executable, *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        while not _answers(http):
            if process.poll() is not None or time.monotonic() - begun > 60:
                raise SystemExit(f"{contender} did not start")
            time.sleep(0.02)
        yield Served(process, http, grpc, time.monotonic() - begun)
    finally:
        process.terminate()
        process.wait(20)


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/ready", timeout=1) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def json_body(rows: int, width: int) -> tuple[bytes, dict[str, str]]:
    """Floats as JSON."""
    data = [round(float(value), 4) for value in np.random.default_rng(1).normal(0, 1, rows * width)]
    tensor = {"name": "input", "shape": [rows, width], "datatype": "FP32", "data": data}
    return json.dumps({"id": "1", "inputs": [tensor]}).encode(), {"content-type": "application/json"}


def binary_body(*shape: int) -> tuple[bytes, dict[str, str]]:
    """Floats as a binary tensor, and the answer too."""
    blob = np.random.default_rng(1).normal(0, 1, shape).astype(np.float32).tobytes()
    tensor = {"name": "input", "shape": shape, "datatype": "FP32", "parameters": {"binary_data_size": len(blob)}}
    text = json.dumps({"id": "1", "inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(text))}
    return text + blob, headers


def rest(server: Served, body: bytes, headers: dict[str, str], *, seconds: float, connections: int) -> dict[str, float]:
    """wrk against the infer route."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "body").write_bytes(body)
        lines = ["wrk.method = 'POST'", f"wrk.body = io.open('{folder}/body', 'rb'):read('*all')"]
        lines += [f"wrk.headers['{name}'] = '{value}'" for name, value in headers.items()]
        Path(folder, "post.lua").write_text("\n".join(lines), encoding="utf-8")
        url = f"http://127.0.0.1:{server.http}/v2/models/bench/infer"
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--latency", "-s", f"{folder}/post.lua", url]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    value, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", text).groups()  # type: ignore[union-attr]
    count = int(re.search(r"(\d+) requests in", text).group(1))  # type: ignore[union-attr]
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    errors = int(bad.group(1)) if bad else 0
    errors += sum(map(int, broken.groups())) if broken else 0
    return {"count": count, "p99": float(value) * _UNITS[unit], "errors": errors}


def rpc(server: Served, *, seconds: float, connections: int) -> dict[str, float]:
    """Two client processes against ModelInfer, 32 floats a request."""
    from inference_services.runtime.rpc import protobufs

    request = protobufs().ModelInferRequest(model_name="bench", id="1")
    values = np.random.default_rng(1).normal(0, 1, 32).astype(np.float32)
    request.inputs.add(name="input", datatype="FP32", shape=[1, 32]).contents.fp32_contents.extend(values.tolist())
    command = [sys.executable, "-m", "benchmarks.serving.rpc_client", str(server.grpc), str(seconds)]
    command += [str(connections // 2), request.SerializeToString().hex()]
    clients = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    times = sorted(float(line) for client in clients for line in client.communicate()[0].split())
    return {"count": len(times), "p99": 1e3 * times[int(len(times) * 0.99)], "errors": 0}


def measure(work: str, contender: str, folder: Path, load: Any, *, seconds: float, connections: int) -> Result:
    """One row: warmed up, then measured."""
    with served(contender, folder) as server:
        load(server, seconds=min(1.0, seconds), connections=connections)
        cpu, begun = server.cpu(), time.monotonic()
        found = load(server, seconds=seconds, connections=connections)
        spent = server.cpu() - cpu
        count = max(1, int(found["count"]))
        rate = count / min(time.monotonic() - begun, seconds)
        cost = 1e6 * spent / count
        return Result(work, contender, rate, found["p99"], cost, int(found["errors"]), server.ready, server.memory())


def works(root: Path) -> dict[str, tuple[Path, Any, int, tuple[str, ...]]]:
    """What is measured: folder, load, connections, contenders."""
    models.write(root / "small", models.small(), shape=(32,), output=(1,))
    models.write(root / "cnn", models.cnn(), shape=(3, 224, 224), output=(10,))

    def over_rest(body: bytes, headers: dict[str, str]) -> Any:
        return lambda server, **options: rest(server, body, headers, **options)

    cores = f"hallmarkx{len(os.sched_getaffinity(0))}"
    return {
        "32 floats, JSON": (
            root / "small",
            over_rest(*json_body(1, 32)),
            32,
            ("stock", "fastapi", "asgi", "hallmark", cores),
        ),
        "64 rows, binary": (root / "small", over_rest(*binary_body(64, 32)), 32, ("stock", "hallmark")),
        "3x224x224, binary": (root / "cnn", over_rest(*binary_body(1, 3, 224, 224)), 8, ("stock", "hallmark", cores)),
        "32 floats, gRPC": (root / "small", rpc, 32, ("stock", "hallmark")),
    }


def main() -> None:
    """The table."""
    flags = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    flags.add_argument("--seconds", type=float, default=5.0, help="each measurement (%(default)s)")
    flags.add_argument("--work", default="", help="only the rows that contain this")
    flags.add_argument("--json", type=Path, help="write the results here")
    options = flags.parse_args()
    if not shutil.which("wrk"):
        raise SystemExit("wrk is needed: apt-get install wrk")
    results = []
    print(f"{'work':20} {'server':12} {'req/s':>8} {'x stock':>8} {'p99 ms':>8} {'cpu us':>8} {'x stock':>8} errors")
    with tempfile.TemporaryDirectory() as root:
        for work, (folder, load, connections, contenders) in works(Path(root)).items():
            if options.work not in work:
                continue
            base: Result | None = None
            for contender in contenders:
                row = measure(work, contender, folder, load, seconds=options.seconds, connections=connections)
                base = base or row
                results.append(row)
                print(
                    f"{work:20} {contender:12} {row.rate:8.0f} {row.rate / base.rate:8.2f} {row.p99:8.1f} "
                    f"{row.cpu:8.0f} {base.cpu / max(row.cpu, 1):8.2f} {row.errors:6d}",
                    flush=True,
                )
    for name in ("stock", "hallmark"):
        found = [row for row in results if row.contender == name]
        if found:
            print(f"{name}: ready in {min(row.ready for row in found):.2f} s, {found[0].memory:.0f} MiB")
    if options.json:
        options.json.write_text(json.dumps([asdict(row) for row in results], indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
