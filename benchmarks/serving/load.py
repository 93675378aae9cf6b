"""The load generators: wrk, h2load for a flood, generator.py for what must be sent on time. All give a Sample.

Both C programs keep one request under way on each connection (a closed loop), so their latency is that of a server
kept as busy as it can be; generator.py is asked for a rate instead.
"""

from __future__ import annotations

import base64
import json
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.bodies import Body
from benchmarks.serving.contenders import ROUTE
from benchmarks.serving.processes import ROOT, Served

Sample = dict[str, float]
"""What one measurement gives, by quantity: see report.QUANTITIES."""

_PACKAGES = {"wrk": "wrk", "h2load": "nghttp2-client"}
_WRK = """
local requests = {}
for at = 1, %(count)d do requests[at] = io.open("%(folder)s/" .. at, "rb"):read("*all") end
if #requests > 1 then
  local next = 0
  function request() next = next %% #requests + 1; return requests[next] end
else
  wrk.init = function() wrk.request = function() return requests[1] end end
end
function done(summary, latency, requests)
  local e = summary.errors
  print(string.format("found %%d %%d %%d %%d %%d", summary.requests, summary.duration, latency:percentile(50),
    latency:percentile(99), e.connect + e.read + e.write + e.status + e.timeout))
end
"""


def check_tools() -> None:
    """End with what to install where a load generator is missing."""
    missing = [tool for tool in _PACKAGES if not shutil.which(tool)]
    if missing:
        packages = " ".join(_PACKAGES[tool] for tool in missing)
        raise SystemExit(f"expected {' and '.join(missing)} on the PATH; apt-get install {packages}")


class Meter:
    """Resources that the server and the load generator spend between `begin` and `end`."""

    def __init__(self, server: Served) -> None:
        self._server = server
        self._cpu, self._client, self._begun = server.cpu(), _children(), time.monotonic()

    def end(self, count: float) -> Sample:
        """CPU microseconds a request of the server; cores that it and the load generator had."""
        took = time.monotonic() - self._begun
        cpu = self._server.cpu() - self._cpu
        return {"cpu": 1e6 * cpu / max(count, 1), "cores": cpu / took, "client": (_children() - self._client) / took}


def wrk(server: Served, bodies: Sequence[Body], *, seconds: int, connections: int) -> Sample:
    """POST the bodies in turn over REST."""
    with tempfile.TemporaryDirectory() as folder:
        for at, body in enumerate(bodies, 1):
            Path(folder, str(at)).write_bytes(body.raw())
        script = Path(folder, "post.lua")
        script.write_text(_WRK % {"count": len(bodies), "folder": folder}, encoding="utf-8")
        url = f"http://127.0.0.1:{server.http}{ROUTE}"
        command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "--timeout", "10s", "-s", str(script), url]
        meter = Meter(server)
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"^found (\d+) (\d+) (\d+) (\d+) (\d+)$", text, re.MULTILINE)
    if found is None:
        raise SystemExit(f"wrk gave no result:\n{text}")
    count, took, p50, p99, errors = map(int, found.groups())
    rate = 1e6 * count / took
    return {"rate": rate, "p50": p50 / 1e3, "p99": p99 / 1e3, "errors": errors, **meter.end(count)}


def flood(server: Served, body: Body, *, rate: float, seconds: int, connections: int) -> Sample:
    """More than it can take, from many connections, each of which waits for its answer before it sends the next."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "body").write_bytes(body.data)
        command = ["h2load", "--h1", f"-D{seconds}", "--warm-up-time=0", "-t1", f"-c{connections}", f"-d{folder}/body"]
        command += [part for name, value in body.headers.items() for part in ("-H", f"{name}: {value}")]
        command += [f"--rps={max(1, round(rate / connections))}"] if rate else []
        meter = Meter(server)
        subprocess.run(
            [*command, f"--log-file={folder}/log", f"http://127.0.0.1:{server.http}{ROUTE}"],
            capture_output=True,
            check=True,
        )
        times, codes = _log(Path(folder, "log"))
    good, refused = times[codes == 200], times[codes == 503]
    found = {
        "rate": len(good) / seconds,
        "errors": float(len(codes) - len(good) - len(refused)),
        **meter.end(len(good)),
    }
    found |= {"refused": len(refused) / seconds}
    for name, part in (("", good), ("refusal_", refused)):
        found |= {f"{name}p{q}": float(np.percentile(part, q)) for q in (50, 99) if len(part)}
    return found


def timed(server: Served, bodies: Sequence[Body], *, mode: str, seconds: float, **options: Any) -> Sample:
    """generator.py's finding; `mode` is closed, open or drain."""
    with start(server, bodies, mode=mode, seconds=seconds, **options) as process:
        meter = Meter(server)
        found = outcome(process)
    return {**found, **meter.end(found["answered"])}


def outcome(process: subprocess.Popen[str]) -> Sample:
    """Figures of a generator, once it has ended."""
    output = process.communicate()[0]
    if process.returncode:
        raise SystemExit(f"the load generator failed:\n{output}")
    found: Sample = json.loads(output)
    return found


def start(server: Served, bodies: Sequence[Body], **options: Any) -> subprocess.Popen[str]:
    """generator.py, at work."""
    requests = [base64.b64encode(body.raw()).decode() for body in bodies]
    with tempfile.TemporaryFile("w+") as spec:
        json.dump({"port": server.http, "requests": requests, **options}, spec)
        spec.seek(0)
        command = [sys.executable, "-m", "benchmarks.serving.generator"]
        return subprocess.Popen(command, cwd=ROOT, stdin=spec, stdout=subprocess.PIPE, text=True)


def _children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _log(path: Path) -> tuple[Any, Any]:
    """Milliseconds and status of each request, of h2load's log."""
    table = np.loadtxt(path, dtype=np.int64, delimiter="\t", ndmin=2)
    return table[:, 2] / 1e3, table[:, 1]
