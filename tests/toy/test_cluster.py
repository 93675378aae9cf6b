"""The six small domains on one local cluster: released, shadowed, labelled and drifted with every real part."""

from __future__ import annotations

import csv
import json
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from hallmark.artifacts import model_card as model_cards
from hallmark.artifacts.release import Target
from hallmark.cli import verdict
from hallmark.cli.app import app
from hallmark.declaration import domain as domains
from hallmark.declaration import serving_config
from hallmark.errors import NotFound, Unavailable
from hallmark.registry.store import Registry
from hallmark.render import files
from hallmark.rollout import operations
from hallmark.rollout.followers import ChampionAlias, ReleaseFile
from hallmark.rollout.operator import Operator
from hallmark.rollout.timeline import TimelineEntry
from hallmark.rollout.writer import InferenceServiceWriter
from hallmark.settings import Settings
from hallmark.training.runs_here import RunsHere
from local_cluster import cluster
from local_cluster.scrape import Scrape
from tests.hallmark.rollout import candidates
from tests.seeds import seeds
from tests.toy.test_tasks import Trained, six
from tests.toy.whole_way import KINDS, ROOT, Asked, requests, shifted
from tools.rehearsal import SHORT
from tools.traffic import Traffic

__all__ = ["six"]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
LABELS = 400


@dataclass
class Stage:
    """One cluster, version 1 of all six in its registry."""

    settings: Settings
    writer: InferenceServiceWriter

    def operator(self, name: str, told: list[TimelineEntry]) -> Operator:
        changes = [
            *SHORT,
            "rollout.shadow.minimum=100",
            "rollout.deadline=5m",
            "drift.minimum=200",
            "drift.labels.minimum=100",
        ]
        return Operator(
            domains.overridden(domains.load(name, self.settings), changes),
            writer=self.writer,
            source=Scrape(self.writer, gateway=lambda: cluster.state(self.settings).admin),  # type: ignore[union-attr]
            registry=Registry(self.settings),
            runner=RunsHere(self.settings),
            followers=[ReleaseFile(self.settings, self.writer), ChampionAlias(Registry(self.settings))],
            tell=told.append,
        )

    def url(self, name: str) -> str:
        live = self.writer.live(name) or {}
        return f"{live['status']['url']}/v2/models/{name}/infer"

    def stable(self, name: str) -> verdict.VariantVerdict:
        return verdict.choose(verdict.collect(self.writer, name), variant="stable", name=name)

    def state(self, name: str) -> str:
        """Stable's; "" while a monitor is on its way up, or one of the version before went down."""
        try:
            return self.stable(name).state
        except (Unavailable, NotFound):
            return ""


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, six: Trained, empty_registry: Path) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("six-on-one")
    shutil.copytree(six.settings.domains, folder / "root" / "domains")
    for part in ("hallmark", "inference_services", "components", "pipelines"):
        (folder / "root" / part).symlink_to(ROOT / part)
    settings = Settings.load(
        {
            "HALLMARK_ROOT": str(folder / "root"),
            "HALLMARK_STATE": str(folder / "state"),
            "HALLMARK_RELEASES": str(folder / "releases"),
        }
    ).prepared()
    for name in KINDS:
        path = settings.domains / name / "domain.yaml"
        text = path.read_text(encoding="utf-8").replace("drift: {window: 2000, minimum: 300, threshold: 0.2}\n", "")
        path.write_text(f"{text}\ndrift: {{window: 1000, minimum: 200, labels: {{minimum: 100}}}}\n", encoding="utf-8")
    shutil.copyfile(empty_registry, settings.state / "mlflow.db")
    registry = Registry(settings)
    for name in KINDS:
        registry.register(six.folder(name), model_cards.read(six.folder(name)))
    with pytest.MonkeyPatch.context() as patch:
        for key, value in settings.environment().items():
            patch.setenv(key, value)
        cluster.up(settings, port=0)
        try:
            writer = InferenceServiceWriter.connect(settings, kubeconfig=settings.kubeconfig)
            for item in files.runtime(settings):
                writer.apply(item)
            yield Stage(settings, writer)
        finally:
            cluster.down(settings)


def until(done: Callable[[], Any], *, seconds: float, step: Callable[[], object] = lambda: None) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < deadline, f"not so after {seconds:g} s"
        step()
        time.sleep(0.3)
    return found


def shadow(stage: Stage, name: str, kind: str, *, seconds: float) -> list[TimelineEntry]:
    """Put the candidate of this kind into shadow until it leaves it, or for so long; stable has all traffic in the end."""
    told: list[TimelineEntry] = []
    operator = stage.operator(name, told)
    operator.begin(candidates.register(kind, stage.settings, domain=name))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and told[-1].kind not in ("canary", "promote", "rollback"):
        operator.tick()
        time.sleep(0.4)
    operator.close()
    if told[-1].kind != "rollback":
        operations.rollback(stage.writer, operator.domain, note=lambda _: None)
    return told


def send(url: str, given: list[Asked]) -> None:
    """Each request once, in order, with the id that its labels name."""
    import httpx

    with httpx.Client(timeout=10, trust_env=False) as client:
        for body, _ in given:
            answer = client.post(url, content=body, headers={"content-type": "application/json"})
            assert answer.status_code == 200, answer.text


def written(given: list[Asked], path: Path) -> Path:
    """The labels as the CSV that a person would write: numbers and words as they are, lists in JSON, an uplift's in columns."""
    rows = []
    for _, labels in given:
        for known in labels:
            label = known["label"]
            beside = (
                label if isinstance(label, dict) else {"label": json.dumps(label) if isinstance(label, list) else label}
            )
            rows.append({"request": known["request"], "row": known["row"], **beside})
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, fieldnames=list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    return path


@pytest.mark.parametrize("name", seeds(tuple(KINDS), slow=3))
def test_a_task_goes_the_whole_way_on_a_cluster(stage: Stage, name: str, tmp_path: Path) -> None:
    domain = domains.load(name, stage.settings)
    registry = Registry(stage.settings)
    target = Target.of(registry.resolve(name, 1), serving_config.of(domain).reference)
    operations.release(stage.writer, domain, target, percent=100, note=lambda _: None)
    registry.alias(name, "champion", 1)

    usual = [body for body, _ in requests(name, stage.settings, count=2000)]
    with Traffic(stage.url(name), usual, rate=60) as traffic:
        good = shadow(stage, name, "good", seconds=90)
        assert "canary" in [entry.kind for entry in good], [(entry.kind, entry.text) for entry in good][-3:]
        broken = shadow(stage, name, "backwards", seconds=90)
        assert "canary" not in [entry.kind for entry in broken]
        assert "predictions" in broken[-1].text, broken[-1].text
        assert {answer.status for answer in traffic.since(0)} == {200}
        until(lambda: stage.state(name) == "OK", seconds=60)

    given = requests(name, stage.settings, count=LABELS)
    send(stage.url(name), given)
    labels = str(written(given, tmp_path / "labels.csv"))

    def counts() -> dict[str, int]:
        told = CliRunner().invoke(app, ["labels", name, labels, "-o", "json"])
        assert told.exit_code == 0, told.output
        return json.loads(told.stdout)[0]

    until(lambda: counts()["unknown"] == 0, seconds=60)  # the last answers may still be on their way
    assert counts()["labels"] == sum(len(labels) for _, labels in given)
    # Only those of the answers that have labels are judged, and nine in ten have none here.
    assert stage.stable(name).verdict["labels"]["state"] in ("OK", "NOT_ENOUGH_LABELS")

    page = tmp_path / "drift.html"
    with Traffic(stage.url(name), [body for body, _ in shifted(name, stage.settings, count=2000)], rate=100):
        until(lambda: stage.state(name) == "DRIFT", seconds=60)
        shown = CliRunner().invoke(app, ["drift", name, "--html", str(page), "--plot", str(tmp_path / "drift.png")])
    assert shown.exit_code == 0, shown.output
    assert page.stat().st_size > 10_000 and (tmp_path / "drift.png").stat().st_size > 1000
