"""A small version of the real domain with its index: an hour of learning less, and every part that a large one has."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from domains.search import data, synthetic
from hallmark.artifacts.index_report import IndexReport
from hallmark.data import dataset
from hallmark.declaration import domain as domains
from hallmark.learners.model import Trained, examples, spec
from hallmark.training import export, index

AT = datetime(2026, 9, 10, tzinfo=UTC)


class Small(NamedTuple):
    """A sealed model folder, what it was made of, and what its index was measured at."""

    folder: Path
    corpus: pd.DataFrame
    test: pd.DataFrame
    trained: Trained
    report: IndexReport


def make(folder: Path, *, seed: int = 7, rounds: int = 8) -> None:
    """Learn from a few hundred searches, index some two thousand items, seal it in `folder`/model, and keep what it was made of."""
    declared = domains.load("search")
    frame = data._told(synthetic.searches(AT - timedelta(days=2), AT, seed=seed, per_day=150, listed=90))
    days = frame["searched_at"] < pd.Timestamp(AT - timedelta(hours=12))
    train, test = frame[days].reset_index(drop=True), frame[~days].reset_index(drop=True)
    parts = examples("search", train), examples("search", test)
    trained = spec(declared).fit(*parts, seed=seed, progress=None, rounds=rounds, epochs=1)
    items = synthetic.corpus(AT, seed=seed, listed=90)[0]
    dataset.write(items, folder / "corpus")
    index.embed(declared, trained, folder / "vectors", items=items, queries=index.golden(declared, test))
    index.build(declared, folder / "vectors", folder / "corpus", folder / "index")
    report = index.measure(declared, folder / "index", folder / "vectors", corpus_items=len(items))
    export.export(declared, trained, folder / "model", test=test, reference=test, index=folder / "index")
    dataset.write(test, folder / "test")
    (folder / "trained").mkdir()
    trained.save(folder / "trained")
    (folder / "report.json").write_text(report.model_dump_json(), encoding="utf-8")


def read(folder: Path) -> Small:
    """What `make` wrote into `folder`."""
    return Small(
        folder / "model",
        dataset.read(folder / "corpus"),
        dataset.read(folder / "test"),
        spec(domains.load("search")).restore(folder / "trained"),
        IndexReport.model_validate_json((folder / "report.json").read_bytes()),
    )
