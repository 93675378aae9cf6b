"""Program of every node in a distributed training: the domain's `fit` on its part of the data; node one leaves the model.

Started by torchrun: `python -m torch.distributed.run --module hallmark.training.distributed_worker --domain …`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hallmark.declaration import domain as domains
from hallmark.training import distributed_store as store
from hallmark.training.distributed import Ranks, joined

_EVERY = 5.0


def work(arguments: argparse.Namespace, ranks: Ranks) -> None:
    """Bring the examples, fit, and put the model where the step looks for it."""
    from hallmark.data import dataset
    from hallmark.learners.model import examples, spec
    from hallmark.training.steps import whole

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        parts = [
            examples(arguments.domain, dataset.read(store.bring(address, folder / f"{name}.parquet")))
            for name, address in (("training", arguments.training), ("validation", arguments.validation))
        ]
        fitted = spec(domains.load(arguments.domain)).fit(
            *parts,
            seed=arguments.seed,
            progress=_speaker(arguments.place) if ranks.first else None,
            ranks=ranks,
            **whole(json.loads(arguments.options)),
        )
        if ranks.first:
            (folder / "model").mkdir()
            fitted.save(folder / "model")
            store.put(folder / "model", arguments.place)


def _speaker(place: str) -> Any:
    last = -_EVERY

    def speak(done: int, total: int, note: str) -> None:
        nonlocal last
        if done == total or time.monotonic() - last >= _EVERY:
            last = time.monotonic()
            sys.stdout.write(f"{done}/{total} {note}\n")
            sys.stdout.flush()
            store.tell(place, done, total, note)

    return speak


def main(given: Sequence[str] | None = None) -> None:
    """Run as the process that torchrun's environment says this is."""
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("domain", "training", "validation", "place"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--options", default="{}")
    arguments = parser.parse_args(given)
    with joined() as ranks:
        work(arguments, ranks)


if __name__ == "__main__":
    main()
