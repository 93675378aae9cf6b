"""Throughput of one core, from the serving benchmark's JSON where there is one."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from hallmark.declaration.domain import Domain
from hallmark.errors import DeclarationError
from hallmark.section import Section

FIGURES = {
    "rows": ("an order, 17 fields, JSON", "hallmark"),
    "photos": ("JPEG 224, MobileNetV2", "hallmark, one worker per core"),
}
"""Work of a domain -> the benchmark's work and contender whose processor time a request we take."""


class Throughput(Section):
    """Processor seconds a request by kind of work, and where the figures are from."""

    rows: float
    photos: float
    source: str

    @classmethod
    def read(cls, path: Path) -> Throughput:
        """From `python -m benchmarks.serving`'s JSON; the median over its rounds. Where there is none, recorded figures."""
        if not path.is_file():
            return cls(rows=89e-6, photos=10.3e-3, source="recorded 2026-11-21, AMD EPYC: no benchmark JSON here")
        try:
            whole = json.loads(path.read_text(encoding="utf-8"))
            found = {kind: _seconds(whole, *of) for kind, of in FIGURES.items()}
            machine = whole["machine"]
            return cls(**found, source=f"{path.name}, {machine['date']}, {machine['cpu']}")
        except (ValueError, KeyError, TypeError, StopIteration, statistics.StatisticsError) as error:
            raise DeclarationError(
                f"{path} is not a serving benchmark's JSON",
                expected="what `python -m benchmarks.serving --save FOLDER` writes, with "
                + " and ".join(work for work, _ in FIGURES.values()),
                got=f"{type(error).__name__}: {error}",
                fix="run `make bench`, or leave the file out",
            ) from error

    def core_seconds(self, domain: Domain) -> float:
        """Seconds of one core that a request of this domain takes."""
        return self.photos if domain.serving.traffic.work == "photos" else self.rows


def _seconds(whole: dict[str, list[dict[str, dict[str, list[float]]]]], work: str, contender: str) -> float:
    figure = next(f for f in whole["figures"] if (f["work"], f["contender"]) == (work, contender))  # type: ignore[comparison-overlap]
    return statistics.median(figure["values"]["cpu"]) / 1e6
