"""The drift monitor: what it costs, how often it cries wolf, what it finds. `python benchmarks/drift.py`, about a minute."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.artifacts import folder as folders
from hallmark.declaration.domain import load, module
from hallmark.drift import profile
from hallmark.drift.profile import Profile
from hallmark.drift.verdict import judge
from hallmark.tasks import Binary

ROOT = Path(__file__).parents[1]
START = datetime(2026, 9, 1, tzinfo=UTC)
DOMAIN = load("fraud")
FEATURES = module("fraud", "features")
Frame = dict[str, NDArray[Any]]


def orders(days: int, *, after: int, shift: str | None = None) -> Frame:
    """Raw columns of the synthetic marketplace, with a score that stands for a model's."""
    first = START + timedelta(days=after)
    drawn = module("fraud", "data").draw(start=first, end=first + timedelta(days=days), seed=7, shift=shift)
    columns = {field.name: drawn[field.name].to_numpy() for field in FEATURES.FIELDS}
    risk = np.log1p(columns["shipping_distance_km"]) - np.log1p(columns["password_age_hours"]) / 2
    return {**columns, "score": (1 / (1 + np.exp(4 - risk))).astype(np.float32)}


def learn(frame: Frame) -> Profile:
    """The profile of reference rows."""
    inputs = {name: values for name, values in frame.items() if name != "score"}
    return profile.build(FEATURES.observe(inputs), scores={"score": frame["score"]})


def alarms(learned: Profile, frame: Frame, *, rows: int, windows: int, change: Callable[[Frame], Frame]) -> float:
    """The share of windows, drawn anew from `frame`, whose verdict is DRIFT."""
    random, found = np.random.default_rng(3), 0
    for _ in range(windows):
        chosen = random.integers(0, len(frame["score"]), rows)
        window = change({name: values[chosen] for name, values in frame.items()})
        found += judge(learned, window, DOMAIN.drift).state == "DRIFT"
    return found / windows


def sealed(folder: Path, learned: Profile) -> Path:
    """A model folder for the monitor, without a model in it."""
    (folder / "features.py").write_bytes((ROOT / "domains/fraud/features.py").read_bytes())
    (folder / "profile.json").write_text(learned.model_dump_json(), encoding="utf-8")
    score = folders.Output(name="score", datatype="FP32", minimum=0, maximum=1)
    signature = folders.Signature(domain="fraud", task=Binary(), fields=FEATURES.FIELDS, outputs=(score,))
    (folder / "signature.json").write_text(signature.model_dump_json(), encoding="utf-8")
    folders.seal(folder)
    return folder


def batches(frame: Frame, count: int, *, size: int = 64) -> list[bytes]:
    """The runtime's posts: batches of `size` exchanges of one record each."""
    bodies = []
    for at in range(0, count, size):
        items = [event(frame, row, half) for row in range(at, at + size) for half in ("request", "response")]
        bodies.append(json.dumps(items).encode())
    return bodies


def event(frame: Frame, row: int, half: str) -> dict[str, Any]:
    """One event."""
    names = ["score"] if half == "response" else [field.name for field in FEATURES.FIELDS]
    tensors = [
        {"name": name, "shape": [1], "datatype": "FP64", "data": frame[name][row : row + 1].tolist()} for name in names
    ]
    return {
        "specversion": "1.0",
        "id": f"bench-{row}",
        "type": f"org.kubeflow.serving.inference.{half}",
        "source": "/bench",
        "inferenceservicename": "fraud",
        "namespace": "fraud",
        "revision": "fraud-00001",
        "data": {"outputs" if half == "response" else "inputs": tensors},
    }


def process(folder: Path, frame: Frame) -> None:
    """The real process: seconds to its first answer, exchanges a second, memory."""
    port = 18_900 + os.getpid() % 1000
    command = [sys.executable, "-m", "inference_services.drift_monitor", f"--model-dir={folder}", f"--port={port}"]
    began = time.perf_counter()
    with subprocess.Popen([*command, "--host=127.0.0.1"], cwd=ROOT) as monitor:
        url = f"http://127.0.0.1:{port}"
        while not answers(url):
            time.sleep(0.01)
        print(f"  ready after            {time.perf_counter() - began:8.2f} s")
        bodies = batches(frame, 6400)
        began = time.perf_counter()
        for body in bodies:
            headers = {"content-type": "application/cloudevents-batch+json"}
            urllib.request.urlopen(urllib.request.Request(url, body, headers)).close()
        print(f"  exchanges a second     {6400 / (time.perf_counter() - began):8,.0f}")
        began = time.perf_counter()
        urllib.request.urlopen(f"{url}/verdict").close()
        print(f"  a verdict              {1000 * (time.perf_counter() - began):8.1f} ms")
        status = Path(f"/proc/{monitor.pid}/status")
        if status.exists():
            peak = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
            print(f"  memory, peak           {int(peak.split()[1]) / 1024:8.0f} MiB")
        monitor.terminate()


def answers(url: str) -> bool:
    """True once the monitor answers."""
    try:
        urllib.request.urlopen(f"{url}/healthz", timeout=1).close()
    except OSError:
        return False
    return True


def changed(name: str, edit: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[[Frame], Frame]:
    """A change of one column."""
    return lambda frame: {**frame, name: edit(frame[name])}


def tenth(values: NDArray[Any]) -> NDArray[Any]:
    """Every tenth value lost."""
    out = values.astype(object)
    out[::10] = None
    return out


def main() -> None:
    """Print the tables."""
    reference, after = orders(14, after=0), orders(7, after=14)
    learned = learn({name: values[:20_000] for name, values in reference.items()})
    print("the process, 17 columns, one record per request")
    with tempfile.TemporaryDirectory() as folder:
        process(sealed(Path(folder), learned), after)
    same: Callable[[Frame], Frame] = lambda frame: frame  # noqa: E731
    rows: list[tuple[str, Frame, Callable[[Frame], Frame]]] = [
        ("nothing, bootstrap of the reference", reference, same),
        ("nothing, the next week", after, same),
        ("nothing, ten weeks later", orders(7, after=75), same),
        ("amounts up by 20 %", after, changed("amount", lambda values: values * 1.2)),
        ("amounts up by 50 %", after, changed("amount", lambda values: values * 1.5)),
        ("amounts doubled", after, changed("amount", lambda values: values * 2)),
        ("one value in ten missing", after, changed("amount", tenth)),
        ("scores half as high again", after, changed("score", lambda values: values * 1.5)),
        ("a new fraud pattern", orders(7, after=14, shift="new_fraud_pattern"), same),
        ("a season", orders(7, after=14, shift="season"), same),
    ]
    print("\nshare of 200 windows that are DRIFT         300 rows   2000 rows")
    for name, frame, change in rows:
        shares = [alarms(learned, frame, rows=size, windows=200, change=change) for size in (300, 2000)]
        print(f"  {name:40}  {shares[0]:9.1%}  {shares[1]:9.1%}")


if __name__ == "__main__":
    main()
