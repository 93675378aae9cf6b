"""Contest of servers, one after the other: started together, each measured while the others are frozen."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from benchmarks.serving.bodies import Body
from benchmarks.serving.load import Sample
from benchmarks.serving.processes import Contender, Served
from benchmarks.serving.report import EARLIER, Figure
from hallmark.declaration.serving_config import ServingConfig

STOCK = Contender("stock KServe", "stock")
HALLMARK = Contender("hallmark", "hallmark")
CORES = "hallmark, one worker per core"
NO_SERVER = "no server"


@dataclass(frozen=True)
class Checkout:
    """Another checkout of this repository: its folder, its interpreter, and its model folders by model."""

    root: Path
    python: str
    folders: dict[str, Path]


@dataclass(frozen=True)
class Setting:
    """Length, rounds and inputs of a contest: folders by model, photos as bytes and as base64,
    interpreters by rival."""

    scratch: Path
    folders: dict[str, Path]
    photos: list[Body]
    texts: list[Body]
    cores: int
    rounds: int
    seconds: int
    pythons: dict[str, str] = field(default_factory=dict)
    earlier: Checkout | None = None
    begun: float = field(default_factory=time.monotonic)

    @property
    def few(self) -> int:
        """Rounds of what takes long."""
        return max(1, self.rounds * 3 // 5)

    def report(self, *words: object) -> None:
        """A progress line."""
        print(f"[{time.monotonic() - self.begun:4.0f} s]", *words, file=sys.stderr, flush=True)

    def hallmark(self, name: str, config: ServingConfig | None = None, *, workers: int = 1) -> list[Contender]:
        """This server, with a serving config."""
        return [Contender(name, "hallmark", workers=workers, config=config)]

    def paired(self, contenders: Sequence[Contender]) -> list[Contender]:
        """The contenders, each of this server followed by the same of the earlier checkout, where one is named."""
        if self.earlier is None:
            return list(contenders)
        takes = partial(_takes, self.earlier.root)
        place = {"python": self.earlier.python, "home": self.earlier.root}
        pairs = [
            [each, replace(each, name=each.name + EARLIER, **place)]
            if each.kind == "hallmark" and takes(each)
            else [each]
            for each in contenders
        ]
        return [each for pair in pairs for each in pair]

    def folder(self, contender: Contender, model: str) -> Path:
        """The model as the contender's checkout writes it: the same weights."""
        if self.earlier is not None and contender.home == self.earlier.root:
            return self.earlier.folders[model]
        return self.folders[model]

    def taken(self, contender: Contender) -> list[Body]:
        """The photos in the form that a contender takes: the stock server knows base64 only."""
        return self.texts if contender.kind == "stock" else self.photos

    @contextlib.contextmanager
    def serving(self, contenders: Sequence[Contender], model: str, body: Body | None = None) -> Iterator[list[Served]]:
        """All of them, ready and frozen; photos are sent where no `body` is given."""
        with contextlib.ExitStack() as stack:
            servers = []
            for contender in contenders:
                self.report(f"starting {contender.name} with the model {model!r}")
                log = self.scratch / f"{contender.kind}.log"
                server = Served(contender, self.folder(contender, model), body or self.taken(contender)[0], log=log)
                stack.callback(server.end)
                server.freeze()
                servers.append(server)
            yield servers


def figures(work: str, samples: dict[str, list[Sample]]) -> list[Figure]:
    """Samples of rounds as figures."""
    return [
        Figure(work=work, contender=name, values={key: tuple(each[key] for each in rounds) for key in rounds[0]})
        for name, rounds in samples.items()
        if rounds
    ]


def only(sample: Sample, wanted: str) -> Sample:
    return {key: sample[key] for key in wanted.split() if key in sample}


def common(work: str, samples: dict[str, list[Sample]], wanted: str) -> list[Figure]:
    """Figures of the quantities that every round has: a round without a refusal has no time of one."""
    shared = {
        name: " ".join(key for key in wanted.split() if all(key in each for each in rounds))
        for name, rounds in samples.items()
    }
    return figures(work, {name: [only(each, shared[name]) for each in rounds] for name, rounds in samples.items()})


def contest(
    setting: Setting,
    work: str,
    model: str,
    contenders: Sequence[Contender],
    body: Body | None,
    measure: Callable[[Served, int], Sample],
    *,
    alone: Callable[[], Sample] | None = None,
    least: int = 1,
) -> list[Figure]:
    """Rounds of each contender in turn, warmed up, while the others are frozen; `alone` is the loop without a server."""
    seconds, contenders = max(least, setting.seconds), setting.paired(contenders)
    samples: dict[str, list[Sample]] = {NO_SERVER: [], **{contender.name: [] for contender in contenders}}
    with setting.serving(contenders, model, body) as servers:
        for number in range(setting.rounds):
            if alone is not None:
                samples[NO_SERVER].append(alone())
                setting.report(work, f"round {number + 1}: {NO_SERVER} {samples[NO_SERVER][-1]['rate']:,.0f}/s")
            for server in servers:
                server.thaw()
                if number == 0 or seconds > 1:
                    measure(server, 1)
                    server.settle()
                sample = measure(server, seconds) | {"loaded": server.memory()}
                server.settle()
                server.freeze()
                samples[server.contender.name].append(sample)
                setting.report(work, f"round {number + 1}: {server.contender.name} {sample['rate']:,.0f}/s")
    return figures(work, samples)


def _takes(checkout: Path, contender: Contender) -> bool:
    """Can a checkout's server be told what this contender's is told?"""
    return contender.config is None or (checkout / "hallmark" / "declaration" / "serving_config.py").is_file()
