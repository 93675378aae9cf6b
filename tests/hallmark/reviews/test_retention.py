"""Photos of cases that nobody needs go, and no other: whatever the service does meanwhile, and wherever a run is killed."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from hallmark.errors import DeclarationError, NotFound, Refused
from hallmark.reviews import retention
from hallmark.reviews.case import Photo, Verdict, Word
from hallmark.reviews.database import connect
from hallmark.reviews.photos import read
from hallmark.reviews.queue import ReviewQueue
from inference_services.crops import Crops
from inference_services.decision import messages
from inference_services.decision.pictures import Pictures
from tests.hallmark.reviews.cases import case
from tests.inference_services.decision.test_cases import DECISION

DAY = 86_400.0
REAL = Verdict(word=Word.authentic)


def photo(number: int) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (8, 8), (number, 80, 40)).save(written, "png")
    return written.getvalue()


def digest(number: int) -> str:
    return hashlib.sha256(photo(number)).hexdigest()


class Bench:
    """A decision's folder of photos, its own writer, and the queue that it files cases in; its clock stands still."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "photos"
        self.pictures = Pictures(self.folder, Crops())
        self.ago = 0.0
        self.queue = ReviewQueue(
            connect(f"sqlite:///{folder / 'reviews.db'}"), second=0.0, undo=0.0, clock=lambda: time.time() - self.ago
        )

    def kept(self, number: int) -> str:
        """What the service does before it files a case: the photo's digest."""
        data = [
            {"name": "photos", "shape": [1], "datatype": "BYTES", "data": [base64.b64encode(photo(number)).decode()]}
        ]
        facts = [
            {"name": "price", "shape": [1], "datatype": "FP64", "data": [30.0]},
            {"name": "brand", "shape": [1], "datatype": "BYTES", "data": ["Alma"]},
        ]
        request = messages.read(DECISION, json.dumps({"inputs": facts + data}).encode(), None)
        (found,) = self.pictures.photos(request, DECISION)
        return found

    def filed(self, name: str, *digests: str) -> None:
        self.queue.open(case(name, evidence={"photos": [{"digest": each} for each in digests]}))

    def decided(self, name: str, number: int, *, days: float, judged: bool = True) -> None:
        """A case of so many days ago, and its photo as old."""
        self.filed(name, self.kept(number))
        if judged:
            self.ago = days * DAY
            claim = self.queue.claim("ana")
            assert claim is not None and claim.case.id == name
            self.queue.give(claim.token, REAL, who="ana")
            self.ago = 0.0
        self.age(digest(number), days=days)

    def age(self, name: str, *, days: float) -> None:
        old = time.time() - days * DAY
        os.utime(self.folder / name, (old, old))

    def names(self) -> set[str]:
        return {each.name for each in self.folder.iterdir()}

    def swept(self, *, days: float = 90.0) -> tuple[int, int]:
        return retention.carry_out(retention.look(self.folder, self.queue, days=days))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.queue.close()


def test_what_no_open_case_and_no_late_one_names_goes(bench: Bench) -> None:
    bench.decided("old", 1, days=91)
    bench.decided("late", 2, days=89)
    bench.decided("open", 3, days=400, judged=False)
    bench.kept(4)
    bench.kept(5)
    bench.age(digest(5), days=91)
    found = retention.look(bench.folder, bench.queue)
    assert {each.name for each in found.goes} == {digest(1), digest(5)}, "5 was never filed"
    assert (found.kept, found.kept_size) == (3, sum(len(photo(each)) for each in (2, 3, 4)))
    assert len(bench.names()) == 5, "a look changes nothing"
    assert retention.carry_out(found) == (2, len(photo(1)) + len(photo(5)))
    assert bench.names() == {digest(each) for each in (2, 3, 4)}
    assert bench.swept() == (0, 0)


def test_what_the_service_left_when_it_was_killed_goes_and_what_is_not_its_own_stays(bench: Bench) -> None:
    bench.decided("old", 1, days=91)
    strange = {"README", "x" * 64, digest(2).upper(), f".{digest(2)}"}
    drafts = {f".{digest(2)}.{'0' * 32}": 91, f".{digest(2)}.{'1' * 32}": 0}
    for name in (*strange, *drafts):
        (bench.folder / name).write_bytes(b"half")
    for name in strange:
        bench.age(name, days=1000)
    for name, days in drafts.items():
        bench.age(name, days=days)
    (bench.folder / digest(6)).mkdir()
    (bench.folder / digest(7)).symlink_to(bench.folder / "README")
    found = retention.look(bench.folder, bench.queue)
    assert ({each.name for each in found.goes}, found.others) == ({digest(1), f".{digest(2)}.{'0' * 32}"}, 6)
    retention.carry_out(found)
    assert bench.names() == strange | {f".{digest(2)}.{'1' * 32}", digest(6), digest(7)}


def test_another_queue_or_another_folder_is_refused_and_nothing_goes(bench: Bench, tmp_path: Path) -> None:
    bench.decided("old", 1, days=91)
    other = ReviewQueue(connect(f"sqlite:///{tmp_path / 'other.db'}"))
    with pytest.raises(Refused, match="no case names any photo") as caught:
        retention.look(bench.folder, other, where="sqlite:///other.db")
    assert "sqlite:///other.db" in str(caught.value) and "HALLMARK_REVIEWS" in caught.value.fix
    other.close()
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "front.jpg").write_bytes(photo(1))
    with pytest.raises(DeclarationError, match="no folder of photos"):
        retention.look(tmp_path / "home", bench.queue)
    with pytest.raises(NotFound, match="not there"):
        retention.look(tmp_path / "none", bench.queue)
    for days in (0.0, 0.99, -1.0, float("nan")):
        with pytest.raises(DeclarationError, match="--days"):
            retention.look(bench.folder, bench.queue, days=days)
    assert bench.swept() == (1, len(photo(1)))


def test_what_a_killed_run_had_moved_aside_comes_back_where_it_is_needed_and_goes_where_not(bench: Bench) -> None:
    for number in (1, 2, 3):
        bench.decided(f"old-{number}", number, days=100)
        (bench.folder / digest(number)).rename(bench.folder / f".{digest(number)}.gone")
    bench.filed("again", f"sha256:{digest(1)}")
    os.utime(
        bench.folder / f".{digest(2)}.gone"
    )  # the service touched it just before it was moved, and will file its case
    assert bench.swept() == (1, len(photo(3)))
    assert bench.names() == {digest(1), digest(2)}


class Killed(BaseException):
    """The run ends here, as by SIGKILL: nothing of it goes on."""


class Race:
    """A run beside a service that keeps photos and then files their cases, each at one of the points at which the run touches the disk."""

    def __init__(self, bench: Bench, chance: random.Random) -> None:
        self.bench = bench
        self.held: dict[int, str] = {}
        self.count = -1
        self.end = chance.choice((None, chance.randrange(1, 16)))
        """The point at which the run is killed."""
        self._busy = False
        self._steps: list[tuple[int, Callable[[], None]]] = []
        for number in range(4):
            bench.decided(f"old-{number}", number, days=100)
            if chance.random() < 0.6:
                keep, file = sorted(chance.sample(range(-4, 20), 2))
                self._steps += [(keep, partial(self._keep, number)), (file, partial(self._file, number))]
        bench.filed("open", bench.kept(9))

    def until(self, point: int) -> None:
        """The service's steps up to a point, once each."""
        due = [each for each in self._steps if each[0] <= point]
        self._steps = [each for each in self._steps if each[0] > point]
        for _, step in sorted(due, key=lambda each: each[0]):
            step()

    def between(self) -> None:
        """Called before each thing that the run does with a file; what the service does there is not counted."""
        if self._busy or self.count < 0:
            return
        self.count += 1
        self._busy = True
        self.until(self.count)
        self._busy = False
        if self.count == self.end:
            raise Killed

    def _keep(self, number: int) -> None:
        self.held[number] = self.bench.kept(number)

    def _file(self, number: int) -> None:
        self.bench.filed(f"new-{number}", self.held[number])


@pytest.mark.parametrize("seeds", [8, pytest.param(400, marks=pytest.mark.long)])
def test_no_filed_case_loses_a_photo_whatever_comes_between_and_wherever_a_run_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seeds: int
) -> None:
    races: list[Race] = []

    def hooked(name: str) -> None:
        real = getattr(Path, name)

        def called(path: Path, *given: Any, **more: Any) -> Any:
            if races:
                races[-1].between()
            return real(path, *given, **more)

        monkeypatch.setattr(Path, name, called)

    for name in ("rename", "stat", "unlink", "replace"):
        hooked(name)
    rescued = killed = 0
    for seed in range(seeds):
        bench = Bench(tmp_path / str(seed))
        race = Race(bench, random.Random(seed))
        races.append(race)
        race.until(-1)
        found = retention.look(bench.folder, bench.queue)
        race.until(0)
        race.count = 0
        try:
            retention.carry_out(found)
        except Killed:
            killed += 1
        race.count = -1
        race.until(99)
        bench.swept()
        for number in race.held:
            assert read(Photo(digest=f"sha256:{digest(number)}"), bench.folder).content == photo(number), seed
        rescued += len(race.held)
        assert bench.names() == {digest(number) for number in (*race.held, 9)}, "nothing is left that nobody needs"
        bench.queue.close()
    assert rescued > seeds and killed > seeds / 6
