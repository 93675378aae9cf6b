"""Record of a decision: all that its verdict follows from, so that anybody can see in a year that it does."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from pydantic import ValidationError

from hallmark.artifacts.thresholds import Thresholds
from hallmark.decision import engine
from hallmark.decision.engine import ENGINE, Ask, Given, Verdict
from hallmark.declaration.decision import Decision
from hallmark.errors import Conflict, DeclarationError
from hallmark.section import Frozen


class Part(Frozen):
    """What a node is in a release unit: the model that is asked, its version, and the digest of what it was made of."""

    service: str
    version: str = ""
    digest: str = ""


class DecisionRecord(Frozen):
    """One decision.

    unit, parts: digest of the release unit, and its parts.   decision: the graph.   thresholds: of the item's slice.
    at:          seconds since 1970 when it was made; nothing follows from it.
    """

    engine: int = ENGINE
    unit: str
    parts: dict[str, Part]
    decision: Decision
    thresholds: Thresholds
    given: Given
    verdict: Verdict
    at: float

    @cached_property
    def text(self) -> str:
        """The record as it is kept, in one line; one of before is the line that it was."""
        told = self.model_dump(mode="json")
        for name, nothing in _LATER.items():
            if told["given"][name] == nothing:
                del told["given"][name]
        return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=False)

    @property
    def digest(self) -> str:
        """sha256 of that."""
        return f"sha256:{hashlib.sha256(self.text.encode()).hexdigest()}"


_LATER: dict[str, object] = {"minute_prices": {}, "lot": None}
"""What is given since records of engine 1 were first written, and what it is in those of before: their lines, and so their digests, lack it."""
CANDIDATE = "candidate"
"""Folder below that of a service's records, with those of the candidate in shadow."""
_FILES = "decisions-*.jsonl"


def read(folder: Path, *, since: float = 0.0) -> Iterator[DecisionRecord]:
    """Records of a service's folder and of the candidate's below it, from a time on in seconds since 1970."""
    for path in (*sorted(folder.glob(_FILES)), *sorted((folder / CANDIDATE).glob(_FILES))):
        for _, found in lines(path):
            if isinstance(found, DeclarationError):
                raise found
            if found.at >= since:
                yield found


def lines(path: Path) -> Iterator[tuple[str, DecisionRecord | DeclarationError]]:
    """The lines of one file, each with its place: a record, or why it is none."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            place = f"{path}:{number}"
            try:
                yield place, DecisionRecord.model_validate_json(line)
            except ValidationError as error:
                yield (
                    place,
                    DeclarationError(
                        f"{place} is no record of a decision",
                        expected="a line as this version writes it",
                        got=" ".join(str(error).split())[:200],
                        fix="take the line away, or name another folder with --records",
                    ),
                )


def replayed(record: DecisionRecord) -> Verdict:
    """The verdict once more, from the record alone; `Conflict` where another engine made it, or where it comes out otherwise."""
    if record.engine != ENGINE:
        raise Conflict(
            "the record was made by another engine",
            expected=f"engine {ENGINE}",
            got=f"engine {record.engine}",
            fix="replay it with the image of that time",
        )
    found = engine.decide(record.decision, record.thresholds, record.given)
    if isinstance(found, Ask) or found != record.verdict:
        raise Conflict(
            "the record does not lead to its verdict",
            expected=record.verdict.model_dump_json(),
            got=f"{found.step} asks {', '.join(found.nodes)}" if isinstance(found, Ask) else found.model_dump_json(),
            fix="it was changed, or written by other code: look at its digest",
        )
    return found
