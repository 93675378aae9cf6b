"""History of what people did with a domain, on this machine: a line of JSON an act, appended and never changed.

<state>/history/<domain>.jsonl. It is written before an act and after it, so that one that was killed on its way is seen; a line is one
write, brought to the disk, and the rest of one that a kill cut off is closed by whoever writes next. Reading it needs no cluster.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import ValidationError

from hallmark import people
from hallmark.files import locked
from hallmark.rollout.timeline import ENTRIES, Timeline, TimelineEntry
from hallmark.section import Frozen

if TYPE_CHECKING:
    from hallmark.settings import Settings

ActKind = Literal["shadow", "canary", "promote", "rollback", "labels", "reset", "pull", "decision"]
State = Literal["begun", "done", "failed"]
_LOG = logging.getLogger(__name__)
_PATIENCE = 10.0
_OF_TRAFFIC = {"shadow", "canary", "promote", "rollback"}
_LONGEST = timedelta(minutes=10)
"""Time that an act may take that was cut off."""
_AROUND = timedelta(seconds=5)
"""Clocks of this machine and of a cluster may differ by so much."""
_BLOCK = 64 * 1024
_LINES = 3
"""Lines that are read for an act: it has two, and those of others may lie between them."""


class Act(Frozen):
    """One thing that a person did, or began.

    id:      the same before and after it.   at: when this was written down.
    who:     as the cluster knows them, else the account of this machine.
    why:     as they said; empty where they did not.
    machine: from where.   cluster: on which; empty where none was needed.
    """

    id: str
    at: datetime
    domain: str
    kind: ActKind
    state: State
    who: str
    text: str
    why: str = ""
    machine: str = ""
    cluster: str = ""
    version: int | None = None
    percent: int | None = None


class DeedNotes:
    """What becomes known of an act while it is done: of which version, at which share of the traffic, and in which words."""

    def __init__(self) -> None:
        self.version: int | None = None
        self.percent: int | None = None
        self.text = ""


class History:
    """The acts of one domain."""

    def __init__(self, settings: Settings, domain: str) -> None:
        self.path = settings.state / "history" / f"{domain}.jsonl"
        self._domain = domain

    @contextlib.contextmanager
    def act(
        self,
        kind: ActKind,
        text: str,
        *,
        who: str = "",
        why: str = "",
        cluster: str = "",
        version: int | None = None,
        percent: int | None = None,
    ) -> Iterator[DeedNotes]:
        """Write down that an act begins, and how it ended; where that cannot be written, the act goes on."""
        notes = DeedNotes()
        act = Act(
            id=uuid.uuid4().hex,
            at=datetime.now(UTC),
            domain=self._domain,
            kind=kind,
            state="begun",
            who=who or people.account(),
            text=text,
            why=why,
            machine=socket.gethostname(),
            cluster=cluster,
            version=version,
            percent=percent,
        )
        self._keep(act)
        try:
            yield notes
        except BaseException as error:
            told = (str(error).splitlines() or [type(error).__name__])[0]
            self._keep(act.model_copy(update={"at": datetime.now(UTC), "state": "failed", "text": f"{text}: {told}"}))
            raise
        found = {"text": notes.text or text, "version": notes.version or version, "percent": notes.percent or percent}
        self._keep(act.model_copy(update={"at": datetime.now(UTC), "state": "done", **found}))

    def _keep(self, act: Act) -> None:
        """Append it; what cannot be written is said, and holds up nobody: a roll-back counts for more than its record."""
        try:
            self.add(act)
        except OSError as error:
            _LOG.warning("%s cannot be written (%s): this act will be missing from the history", self.path, error)

    def add(self, act: Act) -> None:
        """Append one line, whole and on the disk, beside whoever else does."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = act.model_dump_json(exclude_defaults=True).encode() + b"\n"
        with locked(self.path.with_suffix(".lock"), patience=_PATIENCE):
            handle = os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                size = os.fstat(handle).st_size
                if size and os.pread(handle, 1, size - 1) != b"\n":
                    line = b"\n" + line
                os.write(handle, line)
                os.fsync(handle)
            finally:
                os.close(handle)

    def lines(self, newest: int | None = None) -> list[Act]:
        """Every line that is whole, in order; of a long history only about the `newest`."""
        found = []
        for line in self._text(newest).split(b"\n"):
            with contextlib.suppress(ValidationError, json.JSONDecodeError):
                found.append(Act.model_validate_json(line))
        return found

    def _text(self, newest: int | None) -> bytes:
        """The file, or its last blocks that hold so many lines and the rest of one more."""
        try:
            with self.path.open("rb") as file:
                if newest is None:
                    return file.read()
                place, blocks, ends = file.seek(0, os.SEEK_END), [], 0
                while place and ends <= newest:
                    size = min(_BLOCK, place)
                    place -= size
                    file.seek(place)
                    blocks.append(file.read(size))
                    ends += blocks[-1].count(b"\n")
                return b"".join(reversed(blocks))
        except FileNotFoundError:
            return b""

    def entries(self, newest: int | None = None) -> list[TimelineEntry]:
        """An entry an act, at the time that it began; what was cut off says so.   newest: only so many of the last."""
        return [_entry(begun, end) for begun, end in self._acts(newest)]

    def into(self, timeline: Timeline) -> Timeline:
        """The timeline of a cluster with what it has not heard of: acts that it tells itself are told once; of all together the newest."""
        told = timeline.entries
        for begun, end in self._acts(ENTRIES):
            if not any(_same(begun, end, each) for each in told):
                timeline = timeline.with_entry(_entry(begun, end))
        return timeline

    def _acts(self, newest: int | None) -> list[tuple[Act, Act]]:
        """The first and the last line of each act, or of the `newest` ones."""
        begun: dict[str, Act] = {}
        last: dict[str, Act] = {}
        for each in self.lines(None if newest is None else _LINES * newest):
            if each.state == "begun" or newest is None:
                begun.setdefault(each.id, each)
            last[each.id] = each
        found = [(begun[key], end) for key, end in last.items() if key in begun]
        return found if newest is None else found[-newest:]


def _entry(begun: Act, end: Act) -> TimelineEntry:
    state = {"begun": ", which was cut off, or goes on", "failed": ", which failed", "done": ""}[end.state]
    where = f" from {begun.machine}" if begun.machine else ""
    return TimelineEntry(
        at=begun.at,
        correlation=begun.id,
        kind=begun.kind,
        text=f"{end.text}{state}",
        version=end.version,
        percent=end.percent,
        by=f"{begun.who}{where}",
        why=begun.why,
    )


def _same(begun: Act, end: Act, known: TimelineEntry) -> bool:
    """Is it the act that a cluster tells, in its words: what the same person did to the traffic meanwhile? One that failed is told here too."""
    until = end.at + (_AROUND if end.state == "done" else _LONGEST)
    return (
        end.state != "failed"
        and known.by == begun.who
        and {known.kind, begun.kind} <= _OF_TRAFFIC
        and begun.at - _AROUND <= known.at <= until
    )


def files(settings: Settings) -> list[Path]:
    """The histories of all domains."""
    return sorted((settings.state / "history").glob("*.jsonl"))
