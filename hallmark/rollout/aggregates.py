"""Aggregates of answers as a drift monitor tells them to a rollout, in a form in which those of several pods add up exactly.

Counts and sums are whole numbers, over bins that no data moves: so what is merged is the same over any split of the answers over
pods, and over calls. Only answers that another pod's answers are paired with come one by one, and of those what decides alone.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hallmark.declaration.rollout import PredictionCosts, Shadow
from hallmark.rollout import columns
from hallmark.rollout.columns import Coded, Ints
from hallmark.section import Frozen

FORMAT = 1
"""Of question and answer; a change of either is another number."""
_PLACES = 8
"""Numbers of a list whose distribution is compared."""
_ONE = 2**30
"""A cost of 1 in a sum of costs."""
_LARGEST = 64 * 1024 * 1024
_LONGEST = 64
"""Characters of a gateway's id."""
_MIX = np.frombuffer(hashlib.shake_128(b"keys of evidence").digest(_LONGEST * 2 + 8), dtype="<u8") | np.uint64(1)
"""A factor for each four characters of an id, and one for the record's place."""


class EvidenceRequest(Frozen):
    """Question of a rollout to one pod: what came since the answer whose `cursor` this is, all for none.

    since, until: seconds of the epoch: answers from before the rollout do not count, and labels of later ones are not final yet.
    paired:       are answers to be told one by one?   shadow: rule by which two agree, and which columns are to come with them.
    """

    format: Literal[1] = 1
    since: float
    until: float
    cursor: str = ""
    paired: bool = False
    shadow: Shadow | None = None
    costs: PredictionCosts = PredictionCosts()

    def path(self) -> str:
        """The address of the question at a drift monitor."""
        text = self.model_dump_json(exclude_defaults=True)
        return f"evidence?format={FORMAT}&ask={base64.urlsafe_b64encode(text.encode()).decode().rstrip('=')}"

    @classmethod
    def read(cls, asked: str) -> EvidenceRequest:
        """The question in the query's `ask`; `ValueError` where it is none."""
        try:
            text = base64.urlsafe_b64decode(asked + "=" * (-len(asked) % 4))
        except ValueError as error:
            raise ValueError("expected ask: base64 of a question") from error
        return cls.model_validate_json(text)


@dataclass
class Counts:
    """(n,) bins, rising, and how often each was seen."""

    bins: Ints
    counts: Ints

    @classmethod
    def of(cls, values: Sequence[int] | Ints) -> Counts:
        """Of bins, each as often as it was seen."""
        return cls(*np.unique(np.asarray(values, dtype=np.int64), return_counts=True))

    def __add__(self, other: Counts) -> Counts:
        """Both together."""
        bins, places = np.unique(np.concatenate([self.bins, other.bins]), return_inverse=True)
        counts = np.zeros(len(bins), dtype=np.int64)
        np.add.at(counts, places, np.concatenate([self.counts, other.counts]))
        return Counts(bins, counts)

    @property
    def total(self) -> int:
        """How many values."""
        return int(self.counts.sum())

    def among(self, bins: Ints) -> Ints:
        """(m,) the counts of these bins, rising, which all of its own are among."""
        found = np.zeros(len(bins), dtype=np.int64)
        found[np.searchsorted(bins, self.bins)] = self.counts
        return found

    def told(self) -> list[str]:
        """As JSON; bins by their distance from the one before, which is short."""
        return [columns.packed(np.diff(self.bins, prepend=0)), columns.packed(self.counts)]

    @classmethod
    def read(cls, told: Sequence[str]) -> Counts:
        """What `told` gave."""
        steps, counts = map(columns.unpacked, told)
        if len(steps) != len(counts) or (steps[1:] <= 0).any():
            raise ValueError("expected bins that rise, with one count each")
        return cls(np.cumsum(steps), counts)


@dataclass
class Distribution:
    """Values of one output: numbers by their bin, words by a hash; what is missing is in neither."""

    numbers: Counts = field(default_factory=lambda: Counts.of([]))
    words: Counts = field(default_factory=lambda: Counts.of([]))

    def __add__(self, other: Distribution) -> Distribution:
        """Both together."""
        return Distribution(self.numbers + other.numbers, self.words + other.words)


@dataclass(frozen=True)
class CostSums:
    """Costs of answers whose labels are final: how many, their sum and that of their squares, in units of 2^-30 and 2^-60.

    As a difference from an earlier answer they may be negative: a label was replaced.
    """

    count: int = 0
    total: int = 0
    squares: int = 0

    @classmethod
    def of(cls, costs: Sequence[float]) -> CostSums:
        """Of so many costs."""
        whole = [round(cost * _ONE) for cost in costs]
        return cls(len(whole), sum(whole), sum(each * each for each in whole))

    def __add__(self, other: CostSums) -> CostSums:
        """Both together."""
        return CostSums(self.count + other.count, self.total + other.total, self.squares + other.squares)

    def __sub__(self, other: CostSums) -> CostSums:
        """This without the other."""
        return self + CostSums(-other.count, -other.total, -other.squares)

    @property
    def mean(self) -> float:
        """Mean cost; NaN of none."""
        return self.total / (self.count * _ONE) if self.count else math.nan

    @property
    def deviation(self) -> float:
        """Standard deviation of the costs, of a sample; NaN below two."""
        if self.count < 2:
            return math.nan
        spread = self.squares * self.count - self.total**2
        return math.sqrt(max(0, spread) / (self.count * (self.count - 1))) / _ONE


@dataclass
class PairedAnswers:
    """Answers that may have a partner in another pod, one of each record, or of each request.

    keys:    (n,) in any order.   said: what the task compares of each (`BaseTask.compared`).
    columns: values of the columns that are looked at by slice, where they were asked for.
    """

    keys: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    said: list[Any] = field(default_factory=list)
    columns: dict[str, Coded] = field(default_factory=dict)


@dataclass
class PodEvidence:
    """All that one pod has to say to a question.

    cursor: to ask with next.   rows: answers that are new.   lost: those that left the pod's ring unseen.
    """

    cursor: str
    rows: int = 0
    lost: int = 0
    outputs: dict[str, Distribution] = field(default_factory=dict)
    costs: CostSums = CostSums()
    paired: PairedAnswers = field(default_factory=PairedAnswers)

    def encoded(self) -> bytes:
        """Deflated JSON, its columns packed."""
        order = np.argsort(self.paired.keys, kind="stable")
        whole = {
            "format": FORMAT,
            "cursor": self.cursor,
            "rows": self.rows,
            "lost": self.lost,
            "outputs": {name: [*each.numbers.told(), *each.words.told()] for name, each in self.outputs.items()},
            "costs": [self.costs.count, self.costs.total, self.costs.squares],
            "keys": columns.packed(np.diff(self.paired.keys[order], prepend=0)),
            "said": columns.told(self.paired.said, order),
            "columns": {
                name: [each.words, columns.packed(each.codes[order])] for name, each in self.paired.columns.items()
            },
        }
        return zlib.compress(json.dumps(whole, separators=(",", ":")).encode(), 5)

    @classmethod
    def read(cls, body: bytes) -> PodEvidence:
        """What `encoded` made; `ValueError` where it is something else, or of another format."""
        unpacked = zlib.decompressobj()
        try:
            text = unpacked.decompress(body, _LARGEST)
            if not unpacked.eof:
                raise ValueError(f"expected at most {_LARGEST} bytes, whole")
            whole = json.loads(text)
            if whole["format"] != FORMAT:
                raise ValueError(f"format {whole['format']}")
            count, total, squares = map(int, whole["costs"])
            paired = PairedAnswers(
                np.cumsum(columns.unpacked(whole["keys"])),
                columns.read(whole["said"]),
                {
                    str(name): Coded(list(map(str, words)), columns.unpacked(codes))
                    for name, (words, codes) in whole["columns"].items()
                },
            )
            if {len(paired.keys)} != {len(paired.said), *(len(each.codes) for each in paired.columns.values())}:
                raise ValueError("not one value for each key")
            outputs = {
                str(name): Distribution(Counts.read(each[:2]), Counts.read(each[2:]))
                for name, each in whole["outputs"].items()
            }
            return cls(
                str(whole["cursor"]),
                int(whole["rows"]),
                int(whole["lost"]),
                outputs,
                CostSums(count, total, squares),
                paired,
            )
        except (zlib.error, ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
            raise ValueError(f"expected evidence of format {FORMAT}, got {type(error).__name__}: {error}") from error


def keys(exchanges: Sequence[str], rows: Sequence[int] | Ints) -> Ints:
    """(n,) keys of answers, the same in every pod: 48 bits of a hash of the gateway's id, and the record's place in its request.

    60,000 answers a side make a wrong pair in one of 78,000 rollouts.
    """
    text = np.array(exchanges, dtype=f"S{_LONGEST}").view("<u4").reshape(-1, _LONGEST // 4).astype(np.uint64)
    found: NDArray[np.uint64] = (text * _MIX[:-1]).sum(axis=1) + np.asarray(rows, dtype=np.uint64) * _MIX[-1]
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        found = (found ^ (found >> np.uint64(shift))) * np.uint64(factor)
    return ((found ^ (found >> np.uint64(31))) >> np.uint64(16)).astype(np.int64)


def distributions(outputs: Mapping[str, NDArray[Any]], *, ordered: bool) -> dict[str, Distribution]:
    """The (n,) values of each output. Of a list they are those of its first places, or where it is `ordered` ids, the first as a word."""
    found: dict[str, NDArray[Any] | Sequence[Any]] = {}
    for name in sorted(outputs):
        values = outputs[name].tolist() if outputs[name].dtype.kind == "O" else outputs[name]
        lists = [value for value in values if isinstance(value, list)] if isinstance(values, list) else []
        if len(lists) < len(values):
            found[name] = [value for value in values if not isinstance(value, list)] if lists else values
        if lists and ordered:
            found[f"{name}[0]"] = [str(each[0]) for each in lists if each]
        elif lists:
            for place in range(min(_PLACES, max(map(len, lists)))):
                found[f"{name}[{place}]"] = [each[place] for each in lists if place < len(each)]
    told = {name: _distribution(values) for name, values in found.items()}
    return {name: each for name, each in told.items() if each.numbers.total or each.words.total}


def _distribution(values: NDArray[Any] | Sequence[Any]) -> Distribution:
    if (isinstance(values, np.ndarray) and values.dtype.kind in "if") or set(map(type, values)) <= {
        float,
        int,
        type(None),
    }:
        numbers = np.asarray(values, dtype=np.float64)
        return Distribution(numbers=Counts.of(columns.bins(numbers[np.isfinite(numbers)])))
    coded = Coded.of(values)
    numeric = coded.codes & 1 == 1
    words = np.array([zlib.crc32(each.encode()) & 0xFFFF for each in ("", *coded.words)], dtype=np.int64)
    told = coded.codes[~numeric & (coded.codes > 0)] >> 1
    return Distribution(Counts.of(coded.codes[numeric] >> 1), Counts.of(words[told]))
