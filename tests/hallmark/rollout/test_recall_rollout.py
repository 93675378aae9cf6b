"""Whole rollouts of a model with an index, by the recall of live queries: one that loses behind a narrow filter is stopped, a good one is promoted."""

from __future__ import annotations

import itertools
import json
import random
import shutil
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hallmark.artifacts.folder import INDEX, seal
from hallmark.artifacts.release import Target
from hallmark.declaration import domain as domains
from hallmark.declaration import serving_config
from hallmark.declaration.domain import Domain
from hallmark.drift import profile
from hallmark.files import digest_file
from hallmark.registry.store import Registry
from hallmark.render import files
from hallmark.retrieval.card import UNIT, IndexOptions
from hallmark.rollout import operations
from hallmark.rollout.followers import ChampionAlias, ReleaseFile
from hallmark.rollout.operator import Operator
from hallmark.rollout.timeline import TimelineEntry
from hallmark.rollout.writer import InferenceServiceWriter
from hallmark.settings import Settings
from hallmark.training.runs_here import RunsHere
from local_cluster import cluster
from local_cluster.scrape import Scrape
from tests.hallmark.registry.conftest import model_card
from tools.rehearsal import SHORT
from tools.traffic import Traffic

sys.path.insert(0, str(Path(__file__).parents[2] / "inference_services" / "runtime"))

from stock import CATEGORIES, COLOURS, FEATURES, MATERIALS, items, stock_folder

ROOT = Path(__file__).parents[3]
NAME = "places"
STOCK = items(3000)
CHEAP = 9.0
"""Some 1% of the items cost as much at most."""
CHANGES = (
    *SHORT,
    "rollout.shadow=null",
    "rollout.deadline=10m",
    "rollout.dwell=20s",
    "serving.timeout=5s",
    "serving.latency_objective=4s",  # a busy machine is slow, and that is not what ends these
    "retrieval.corpus=stock@1",
    "retrieval.live=1.0",
    "retrieval.filters=[category, price]",
    "retrieval.words=[title]",
    "retrieval.candidates=50",
)
OBSERVED = (
    '\n\ndef observe(columns):\n    return {"letters": np.array([len(str(each)) for each in columns["query"]])}\n'
)
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def version(folder: Path, *, seed: int = 3, without: Sequence[int] = ()) -> Path:
    """A model folder with an index by a graph; `without`: rows that no link of the graph leads to."""
    stock_folder(folder, STOCK, seed=seed, options=IndexOptions(kind="hnsw"), features=FEATURES + OBSERVED, domain=NAME)
    lengths = np.array([len(query) for query in queries(500)])
    (folder / "profile.json").write_text(profile.build({"letters": lengths}).model_dump_json(), encoding="utf-8")
    if without:
        unlink(folder / INDEX, without)
    seal(folder)
    return folder


def unlink(index: Path, rows: Sequence[int]) -> None:
    """Take every link to these rows out of the graph, and have filtered queries go by the graph, as a build with a fault would."""
    import faiss

    graph = faiss.read_index(str(index / "graph.faiss"))
    links, starts = faiss.vector_to_array(graph.hnsw.neighbors), faiss.vector_to_array(graph.hnsw.offsets)
    layers = np.diff(np.append(0, faiss.vector_to_array(graph.hnsw.cum_nneighbor_per_level)))[1:]
    assert graph.hnsw.entry_point not in rows
    for start, end in itertools.pairwise(starts):
        at = int(start)
        for width in layers.tolist():
            if at >= end:
                break
            kept = [link for link in links[at : at + width].tolist() if link not in rows]
            links[at : at + width] = kept + [-1] * (width - len(kept))
            at += width
    faiss.copy_array_to_vector(links, graph.hnsw.neighbors)
    faiss.write_index(graph, str(index / "graph.faiss"), faiss.IO_FLAG_SKIP_STORAGE)
    card = json.loads((index / UNIT).read_text())
    card["crossover"] = 0
    card["files"]["graph.faiss"] = digest_file(index / "graph.faiss")
    (index / UNIT).write_text(json.dumps(card))


def queries(count: int) -> list[str]:
    draw = random.Random(5)
    return [
        f"{draw.choice(COLOURS)} {draw.choice(MATERIALS)} {draw.choice(CATEGORIES)[:-1]} {draw.randrange(3000)}"
        for _ in range(count)
    ]


def requests(count: int) -> list[bytes]:
    """Requests of which two thirds want what is cheap."""
    draw = random.Random(6)
    found = []
    for query in queries(count):
        record: dict[str, Any] = {"query": query}
        if draw.random() < 2 / 3:
            record["filter_price_max"] = CHEAP
        found.append(json.dumps({"instances": [record]}).encode())
    return found


@dataclass
class Stage:
    """A local cluster on which version 1 answers."""

    settings: Settings
    domain: Domain
    writer: InferenceServiceWriter

    def register(self, folder: Path) -> Target:
        registry = Registry(self.settings)
        digest = seal(folder)
        card = model_card(digest, NAME).model_copy(
            update={
                "features": digest_file(folder / "features.py"),
                "profile": digest_file(folder / "profile.json"),
            }
        )
        (folder / "model_card.json").write_text(card.model_dump_json(), encoding="utf-8")
        return Target.of(
            registry.resolve(NAME, registry.register(folder, card)), serving_config.of(self.domain).reference
        )

    def roll(self, target: Target, *, seconds: float) -> tuple[list[TimelineEntry], list[int]]:
        """Roll it out under load; what happened, and the status of every answer."""
        told: list[TimelineEntry] = []
        operator = Operator(
            self.domain,
            writer=self.writer,
            source=Scrape(self.writer, gateway=lambda: cluster.state(self.settings).admin),  # type: ignore[union-attr]
            registry=Registry(self.settings),
            runner=RunsHere(self.settings),
            followers=[ReleaseFile(self.settings, self.writer), ChampionAlias(Registry(self.settings))],
            tell=told.append,
        )
        live = self.writer.live(NAME) or {}
        with Traffic(f"{live['status']['url']}/v1/models/{NAME}:predict", requests(2000), rate=40) as traffic:
            operator.begin(target)
            ends = time.monotonic() + seconds
            while time.monotonic() < ends and told[-1].kind not in ("promote", "rollback"):
                operator.tick()
                time.sleep(0.5)
            operator.close()
            return told, [answer.status for answer in traffic.since(0)]


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, empty_registry: Path) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("recall")
    shutil.copytree(ROOT / "tests" / "toy" / "domains", folder / "root" / "domains")
    for part in ("hallmark", "inference_services", "components", "pipelines"):
        (folder / "root" / part).symlink_to(ROOT / part)
    settings = Settings.load(
        {
            "HALLMARK_ROOT": str(folder / "root"),
            "HALLMARK_STATE": str(folder / "state"),
            "HALLMARK_RELEASES": str(folder / "releases"),
        }
    ).prepared()
    shutil.copyfile(empty_registry, settings.state / "mlflow.db")
    domain = domains.overridden(domains.load(NAME, settings), CHANGES)
    with pytest.MonkeyPatch.context() as patch:
        for key, value in settings.environment().items():
            patch.setenv(key, value)
        cluster.up(settings, port=0)
        try:
            writer = InferenceServiceWriter.connect(settings, kubeconfig=settings.kubeconfig)
            for item in files.runtime(settings):
                writer.apply(item)
            made = Stage(settings, domain, writer)
            first = made.register(version(folder / "first"))
            operations.release(writer, domain, first, percent=100, note=lambda _: None)
            Registry(settings).alias(NAME, "champion", 1)
            yield made
        finally:
            cluster.down(settings)


def test_an_index_that_loses_behind_a_narrow_filter_is_stopped_though_its_overall_recall_passes(
    stage: Stage, tmp_path: Path
) -> None:
    cheap = [row for row, each in enumerate(STOCK) if each["price"] <= CHEAP]
    assert 0.005 < len(cheap) / len(STOCK) < 0.015
    lost = cheap[:: len(cheap) // 3][:3]
    told, answered = stage.roll(stage.register(version(tmp_path / "model", without=lost)), seconds=300)
    assert told[-1].kind == "rollback", [(each.kind, each.text) for each in told][-3:]
    assert "at 1%" in told[-1].text and "recall" in told[-1].text
    assert set(answered) == {200} and len(answered) > 100


def test_a_good_index_of_another_encoder_is_promoted(stage: Stage, tmp_path: Path) -> None:
    told, answered = stage.roll(stage.register(version(tmp_path / "model", seed=11)), seconds=400)
    assert told[-1].kind == "promote", [(each.kind, each.text) for each in told][-3:]
    assert ("recall", "ok") in {(reason.rule, reason.outcome) for each in told for reason in each.reasons}
    assert set(answered) == {200}
