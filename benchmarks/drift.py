"""The drift monitor: what it costs, how often it cries wolf, what it finds. `python benchmarks/drift.py`, about two minutes.

`--power` prints the second table alone. With PYTHONPATH at another commit's tree that is the power of that commit.
"""

from __future__ import annotations

import argparse
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
from hallmark.artifacts.signature import Signature
from hallmark.declaration.domain import load, module
from hallmark.drift import profile
from hallmark.drift.profile import Profile
from hallmark.drift.verdict import judge
from hallmark.features.fields import Output
from hallmark.tasks import Binary
from hallmark.training import source

ROOT = Path(__file__).parents[1]
START = datetime(2026, 9, 1, tzinfo=UTC)
DOMAIN = load("fraud")
FEATURES = module("fraud", "features")
Frame = dict[str, NDArray[Any]]


def orders(days: int, *, after: int, shift: str | None = None) -> Frame:
    """Raw columns of the synthetic marketplace, with a score that stands for a model's."""
    first = START + timedelta(days=after)
    end = first + timedelta(days=days)
    drawn = source.load("fraud", source=source.SYNTHETIC, start=first, end=end, seed=7, shift=shift)
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
    score = Output(name="score", datatype="FP32", minimum=0, maximum=1)
    signature = Signature(domain="fraud", task=Binary(), fields=FEATURES.FIELDS, outputs=(score,))
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


def words(count: int, form: str, *, first: int = 0) -> NDArray[Any]:
    """So many different words."""
    return np.array([form.format(at) for at in range(first, first + count)], dtype=object)


AGENT = "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/{}.0 Safari/537.36"
CITIES, SKUS, BRANDS, AGENTS = words(320, "city {}"), words(3000, "sku {}"), words(2000, "brand {}"), words(80, AGENT)


def tails(rows: int, *, seed: int) -> Frame:
    """Clean columns with long tails: 300 cities have 40% of the rows, brands are Zipf's, orders never come again."""
    random = np.random.default_rng(seed)
    rank = 1 / np.arange(1, len(BRANDS) + 1)
    city = np.where(random.random(rows) < 0.6, random.choice(CITIES[:20], rows), random.choice(CITIES[20:], rows))
    return {
        "city": city,
        "sku": random.choice(SKUS, rows),
        "brand": random.choice(BRANDS, rows, p=rank / rank.sum()),
        "agent": random.choice(AGENTS, rows),
        "order": words(rows, f"order {seed}-{{}}"),
        "score": random.beta(0.5, 8.0, rows).astype(np.float32),
    }


def retailed(*to: str) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """A change of cities: those of the tail are these now, in turn."""
    known = set(CITIES[:20].tolist())
    return lambda values: np.array(
        [value if value in known else to[at % len(to)] for at, value in enumerate(values.tolist())], dtype=object
    )


def quarter(values: NDArray[Any]) -> NDArray[Any]:
    """Every fourth value one of 200 new ones."""
    out = values.copy()
    out[::4] = np.resize(words(200, "new brand {}"), len(out[::4]))
    return out


def power(windows: int) -> None:
    """Print the share of windows that are DRIFT, of the marketplace's columns and of columns with long tails."""
    reference, after = orders(14, after=0), orders(7, after=14)
    learned = learn({name: values[:20_000] for name, values in reference.items()})
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
    known, frame = tails(20_000, seed=1), tails(20_000, seed=2)
    outputs = {"score": known.pop("score")}
    tailed: list[tuple[str, Frame, Callable[[Frame], Frame]]] = [
        ("tails: nothing", frame, same),
        (
            "tails: SKUs of which none was ever seen",
            frame,
            changed("sku", lambda v: np.resize(words(2000, "n {}"), len(v))),
        ),
        ("tails: 300 cities become 5", frame, changed("city", retailed(*CITIES[20:25].tolist()))),
        ("tails: 300 cities become one new word", frame, changed("city", retailed("nowhere"))),
        ("tails: one brand in four is new", frame, changed("brand", quarter)),
        (
            "tails: the next versions of all browsers",
            frame,
            changed("agent", lambda v: np.resize(words(80, AGENT, first=80), len(v))),
        ),
    ]
    print(f"share of {windows} windows that are DRIFT{300:>26} rows{2000:>10} rows")
    for profiled, part in ((learned, rows), (profile.build(known, scores=outputs), tailed)):
        for name, drawn, change in part:
            shares = [alarms(profiled, drawn, rows=size, windows=windows, change=change) for size in (300, 2000)]
            print(f"  {name:46}  {shares[0]:9.1%}      {shares[1]:9.1%}", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--power", action="store_true", help="only what is found, not what the process costs")
    parser.add_argument("--windows", type=int, default=200, help="windows of each kind (%(default)s)")
    given = parser.parse_args()
    if given.power:
        power(given.windows)
        return
    reference, after = orders(14, after=0), orders(7, after=14)
    learned = learn({name: values[:20_000] for name, values in reference.items()})
    print("the process, 17 columns, one record per request")
    with tempfile.TemporaryDirectory() as folder:
        process(sealed(Path(folder), learned), after)
    print()
    power(given.windows)


if __name__ == "__main__":
    main()
