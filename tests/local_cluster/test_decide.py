"""`hallmark decide`: the sealed unit of a domain decides on this machine, follows what is sealed meanwhile, and leaves nothing running."""

from __future__ import annotations

import base64
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from hallmark.artifacts.thresholds import SliceThreshold, Thresholds
from hallmark.decision import record, unit
from hallmark.decision.record import Part
from hallmark.declaration import domain as domains
from hallmark.errors import HallmarkError, NotFound
from hallmark.leash import marked
from hallmark.prompts import prompt as prompts
from hallmark.prompts import sealed
from hallmark.registry import unit_prompts
from hallmark.reviews.database import connect
from hallmark.reviews.queue import ReviewQueue
from hallmark.settings import Settings
from local_cluster import decide
from tests.inference_services.decision.deciding import SECRET, ToyNode
from tests.inference_services.reviewer.reviewing import PHOTOS, crops

ROOT = Path(__file__).parents[2]
DOMAIN, PROMPT = "authentication", "authentication-review"
INPUTS = [
    {"name": "price", "shape": [1], "datatype": "FP64", "data": [40.0]},
    {"name": "brand", "shape": [1], "datatype": "BYTES", "data": ["Aurelle"]},
    {"name": "category", "shape": [1], "datatype": "BYTES", "data": ["belt"]},
    {
        "name": "photos",
        "shape": [1],
        "datatype": "BYTES",
        "data": [base64.b64encode((PHOTOS / "item-2.png").read_bytes()).decode()],
    },
]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for part in ("domains", "prompts"):
        (tmp_path / part).symlink_to(ROOT / part)
    given = {"ROOT": tmp_path, "RELEASES": tmp_path / "releases", "STATE": tmp_path / "state"}
    return Settings.load({f"HALLMARK_{name}": str(path) for name, path in given.items()}).prepared()


@pytest.fixture
def view() -> Iterator[ToyNode]:
    node = ToyNode({"score": [0.01], "items": ["ref-1", "ref-2", "", ""]})
    yield node
    node.stop()


def sealed_unit(settings: Settings, folder: str = unit.FOLDER, *, threshold: float = 0.2) -> str:
    """A unit whose model is version 3, asked by this checkout's prompt."""
    declared = domains.load(DOMAIN, settings).decision
    assert declared is not None
    scratch = settings.state / "sealed-prompt"
    shutil.rmtree(scratch, ignore_errors=True)
    digest = sealed.seal(scratch, prompts.load(settings.prompts, PROMPT))
    unit_prompts.put(DOMAIN, settings, digest, scratch)
    place = unit.place(DOMAIN, settings, folder)
    shutil.rmtree(place, ignore_errors=True)
    held = SliceThreshold(values=("Aurelle", "belt"), threshold=threshold, examples=4000, accepted=900, counterfeits=3)
    return unit.seal(
        place,
        domain=DOMAIN,
        decision=declared,
        thresholds=Thresholds(
            score="view.score",
            at_most=0.01,
            confidence=0.95,
            fields=("brand", "category"),
            slices=(held,),
            scores=(0.0, 0.5, 1.0),
            chances=(0.001, 0.3, 0.99),
        ),
        parts={
            "view": Part(service=DOMAIN, version="3"),
            "reviewer": Part(service="authentication-reviewer", version=sealed.short(digest), digest=digest),
        },
    )


class Deciding:
    """The command, as a user starts it."""

    def __init__(self, settings: Settings, *more: str) -> None:
        self.log = settings.state / "decide.txt"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "hallmark.cli",
                    "decide",
                    DOMAIN,
                    *(() if any(each.startswith("--port") for each in more) else ("--port=0",)),
                    *more,
                ],
                env={**os.environ, **settings.environment()},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")

    def address(self) -> str:
        """Where it decides, once it does."""
        until(lambda: "next  " in self.said or self.process.poll() is not None, lambda: self.said)
        found = re.findall(r"decides +(http://127\.0\.0\.1:\d+)/", self.said)
        assert found, self.said
        return str(found[-1])

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


def until(done: Callable[[], object], told: Callable[[], object], *, seconds: float = 60) -> None:
    limit = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < limit, told()
        time.sleep(0.05)


def asked(address: str, item: str, *, price: float = 40.0) -> Mapping[str, Any]:
    inputs = [{**each, "data": [price]} if each["name"] == "price" else each for each in INPUTS]
    answer = httpx.post(
        f"{address}/v2/models/{DOMAIN}/infer", json={"id": item, "inputs": inputs}, timeout=30, trust_env=False
    )
    assert answer.status_code == 200, answer.text
    return {each["name"]: each["data"][0] if each["data"] else None for each in answer.json()["outputs"]}


def given(settings: Settings, view: ToyNode) -> list[str]:
    """Flags for what is not on this machine."""
    return ["--llm=stand-in", f"--node=view=http://{view.address}", f"--crops={crops(settings.state / 'crops')}"]


@pytest.mark.slow
def test_the_sealed_unit_decides_here_and_what_is_sealed_meanwhile_is_served(settings: Settings, view: ToyNode) -> None:
    first = sealed_unit(settings)
    kept = settings.state / "decisions" / DOMAIN
    kept.mkdir(parents=True)
    (kept / "draws.secret").write_text(SECRET)
    running = Deciding(settings, *given(settings, view))
    try:
        address = running.address()
        assert "a stand-in that looks at no picture" in running.said
        found = asked(address, "i1")
        assert (found["action"], found["score"]) == ("accept", 0.01)
        view.outputs = {"score": [0.6], "items": ["ref-1", "ref-2", "", ""]}
        found = asked(address, "i2", price=4000.0)
        (reviewed,) = [each for each in record.read(kept) if each.given.id == "i2"]
        assert reviewed.unit == first
        assert reviewed.given.answers["reviewer"].fate == "answered", reviewed.given.answers
        assert "i2" in found["case"]
        place = unit.place(DOMAIN, settings)
        place.rename(place.with_name("away"))
        until(lambda: "what was served before is served on: nothing decides in" in running.said, lambda: running.said)
        assert asked(address, "i4")["action"], "it decides meanwhile"
        place.with_name("away").rename(place)
        until(lambda: "all is there again" in running.said, lambda: running.said)
        with_people = ReviewQueue(connect(settings.reviews))
        assert [each.item for each in with_people.waiting()] == ["i2"]
        with_people.close()
        second = sealed_unit(settings, unit.CANDIDATE, threshold=0.05)
        until(lambda: running.said.count("next  ") == 2, lambda: running.said)
        assert f"candidate    unit {sealed.short(second)}" in running.said
        asked(running.address(), "i3")
        candidates = settings.state / "decisions" / DOMAIN / record.CANDIDATE
        until(lambda: any(each.unit == second for each in record.read(candidates)), lambda: running.said)
    finally:
        code = running.end()
    assert code == 143 and f"nothing decides in {DOMAIN} here any more" in running.said
    assert not [each for each in marked() if each.place.is_relative_to(settings.state)]


@pytest.mark.slow
def test_a_process_that_ends_by_itself_is_told_with_what_it_said(settings: Settings, view: ToyNode) -> None:
    sealed_unit(settings)
    running = Deciding(settings, *given(settings, view))
    running.address()
    (reviewer,) = [
        each
        for each in marked()
        if "inference_services.reviewer" in str(each) and each.place.is_relative_to(settings.state)
    ]
    os.kill(reviewer.pid, signal.SIGKILL)
    assert running.process.wait(60) == 1
    assert "the reviewer of authentication has ended" in running.said and "exit code -9" in running.said
    assert not [each for each in marked() if each.place.is_relative_to(settings.state)]


@pytest.mark.slow
def test_a_port_that_is_taken_is_told(settings: Settings, view: ToyNode) -> None:
    sealed_unit(settings)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        running = Deciding(settings, *given(settings, view), f"--port={other.getsockname()[1]}")
        assert running.process.wait(60) == 2
    assert "is taken" in running.said and "--port, or 0" in running.said


def test_a_node_of_another_service_has_that_ones_address(
    settings: Settings, view: ToyNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    sealed_unit(settings)
    other = sealed_unit(settings, unit.CANDIDATE)
    found = unit.there(DOMAIN, settings, unit.CANDIDATE)
    assert found is not None and found.digest == other
    views = found.parts["view"].model_copy(update={"service": "bags"})
    moved = found.model_copy(update={"parts": {**found.parts, "view": views}, "digest": f"sha256:{1:064}"})
    monkeypatch.setattr(unit, "there", lambda *given: moved if given[2:] == (unit.CANDIDATE,) else found)
    monkeypatch.setattr(decide, "_served", lambda service, _: iter([f"http://{service}"]))
    asked = decide.plan(DOMAIN, settings, llm="stand-in", nodes={}, crops=[Path("crops")], ports=(1, 2, 3))
    flags = set(asked.processes[-1].arguments)
    assert {"--node=view=http://authentication", "--candidate-node=view=http://bags"} <= flags
    assert "--candidate-node=view=http://authentication" not in flags


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({}, "--llm stand-in looks at no picture"),
        ({"llm": "stand-in"}, "--crops with a folder"),
        ({"llm": "stand-in", "crops": [Path("crops")]}, "hallmark up"),
        ({"llm": "stand-in", "nodes": {"views": "http://127.0.0.1:1"}}, "expected: view, reviewer"),
    ],
)
def test_what_is_missing_is_told_before_anything_is_started(settings: Settings, more: Any, said: str) -> None:
    sealed_unit(settings)
    with pytest.raises(HallmarkError, match=re.escape(said)):
        decide.plan(DOMAIN, settings, **{"llm": "", "nodes": {}, "ports": (1, 2, 3), **more})


def test_without_a_unit_it_says_how_one_is_sealed(settings: Settings) -> None:
    with pytest.raises(NotFound, match="hallmark decision seal authentication"):
        decide.plan(DOMAIN, settings, llm="stand-in", nodes={}, ports=(1, 2, 3))


def test_processes_get_the_flags_that_pods_have(settings: Settings) -> None:
    stable, other = sealed_unit(settings), sealed_unit(settings, unit.CANDIDATE, threshold=0.05)
    found = decide.plan(
        DOMAIN,
        settings,
        llm="http://127.0.0.1:8000",
        nodes={"view": "http://127.0.0.1:1"},
        crops=[Path("crops")],
        ports=(11, 12, 13),
    )
    reviewer, deciding = found.processes
    assert "--llm=http://127.0.0.1:8000" in reviewer.arguments and reviewer.port == 12
    assert deciding.environment["HALLMARK_UNIT_DIGEST"] == stable
    assert deciding.environment["HALLMARK_CANDIDATE_DIGEST"] == other
    flags = set(deciding.arguments)
    assert {"--node=view=http://127.0.0.1:1", "--candidate-node=reviewer=http://127.0.0.1:12"} <= flags
    assert f"--share={settings.releases / DOMAIN / 'share.yaml'}" in flags
