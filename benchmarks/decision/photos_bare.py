"""No server at all: `python -m benchmarks.decision.photos_bare FOLDER ITEMS SECONDS` decodes photos and runs the model in a loop, one thread.

Waits for a line on stdin, so that several start together; prints the milliseconds of each item.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.contenders import encoder, session
from hallmark.features.arrays import objects


def columns(item: Path) -> dict[str, Any]:
    """An item's columns, as the model's feature code takes them."""
    facts = json.loads((item / "facts.json").read_text(encoding="utf-8"))
    photos = objects([path.read_bytes() for path in sorted(item.glob("*.jpg"))])
    words = {name: np.array([facts[name]], dtype=object) for name in ("brand", "category")}
    return {"photos": objects([photos]), "price": np.array([facts["price"]]), **words}


def main(folder: Path, items: Path, seconds: float) -> None:
    """The loop."""
    asked = [columns(item) for item in sorted(items.iterdir())]
    encode, run = encoder(folder), session(folder).run
    for each in asked[:3]:
        run(None, encode(each))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    times: list[float] = []
    end = time.perf_counter() + seconds
    while (begun := time.perf_counter()) < end:
        run(None, encode(asked[len(times) % len(asked)]))
        times.append(1e3 * (time.perf_counter() - begun))
    json.dump(times, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]))
