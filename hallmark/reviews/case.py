"""A case for a person, what shows it, and what a person says of it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, field_validator, model_validator

from hallmark.section import Frozen, Name

Id = Annotated[str, Field(pattern=r"^[\w.:/@-]{1,200}$")]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Person = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^\S(.*\S)?$")]
Source = Literal["decision", "audit", "second opinion"]
"""decision: its path ended at a person.   audit: accepted without one, and drawn.   second opinion: asked for beyond those that the queue draws."""
DRAWN, ASKED = 2, 3
"""Rounds of second opinions: of one that chance drew, and of one that somebody asked for."""
NOTE = 2000
"""Characters of a note."""
SAID = 600
"""Characters of one output of a reviewer, as people are shown it."""


class Word(StrEnum):
    """What a person says of an item."""

    authentic = "authentic"
    counterfeit = "counterfeit"
    cannot_tell = "cannot tell"

    @property
    def label(self) -> int | None:
        """The label that it is, 1 for a counterfeit; none where nobody can tell."""
        return {Word.authentic: 0, Word.counterfeit: 1}.get(self)


class Reason(StrEnum):
    """Where a person saw it."""

    stitching = "stitching"
    hardware = "hardware"
    logo = "logo"
    material = "material"
    shape = "shape"
    serial = "serial"
    photos = "photos"
    other = "other"

    @property
    def told(self) -> str:
        """As people read it."""
        return _TOLD[self]


_TOLD = {
    Reason.stitching: "stitching",
    Reason.hardware: "hardware",
    Reason.logo: "logo or lettering",
    Reason.material: "material or grain",
    Reason.shape: "shape or size",
    Reason.serial: "serial or date code",
    Reason.photos: "photos do not show enough",
    Reason.other: "something else",
}


class Photo(Frozen):
    """A photo, by its file below the folder of photos or by the digest of its bytes, which then names the file.

    view: what it shows, such as front.
    """

    path: str = ""
    digest: Digest | Literal[""] = ""
    view: str = Field(default="", max_length=100)

    @field_validator("path")
    @classmethod
    def _below(cls, path: str) -> str:
        parts = PurePosixPath(path)
        if path and (parts.is_absolute() or ".." in parts.parts or "\\" in path or "\0" in path):
            raise ValueError(f"expected a path below the folder of photos, such as bags/17/front.jpg; got {path}")
        return path

    @model_validator(mode="after")
    def _named(self) -> Self:
        if not self.path and not self.digest:
            raise ValueError("expected path or digest; got neither")
        return self


class Reference(Frozen):
    """An authentic item to compare with."""

    id: Id
    photo: Photo
    caption: str = Field(default="", max_length=300)


class Said(Frozen):
    """What a reviewer of the decision said of the item.

    by:      its version.   words: its answer, by output.   cites: ids of the references that it names.
    missing: why it gave no answer, empty where it did: `not asked`, or what came of asking (late, down, invalid, …).
    """

    node: str = Field(max_length=200)
    by: str = Field(default="", max_length=200)
    words: dict[str, Annotated[str, Field(max_length=SAID)]] = Field(default_factory=dict)
    cites: tuple[Id, ...] = ()
    missing: str = Field(default="", max_length=100)


class Seen(Frozen):
    """What the models saw: their scores, what reviewers said, the path of the decision, and the digests of all parts that it depended on."""

    scores: dict[str, float] = Field(default_factory=dict)
    said: tuple[Said, ...] = ()
    path: tuple[str, ...] = ()
    digests: dict[str, str] = Field(default_factory=dict)


class Evidence(Frozen):
    """What a person is shown."""

    photos: tuple[Photo, ...] = ()
    references: tuple[Reference, ...] = ()
    seen: Seen = Seen()


class Case(Frozen):
    """A question for a person.

    id:        of whoever opens it; the same id is the same case.   request: our id of the request that it came from; the case's own where empty.
    row:       which record of that request, where it had several.
    price, saved: in the domain's currency; saved is what a right answer is expected to save.   minutes: of a person that it takes.
    due:       by then somebody should have looked (its SLA).
    inclusion: probability that it was drawn with: below 1 for an audit, so that training can weight it by the inverse.
    """

    id: Id
    domain: Name
    item: Id
    price: float = Field(ge=0, allow_inf_nan=False)
    saved: float = Field(ge=0, allow_inf_nan=False)
    minutes: float = Field(gt=0, allow_inf_nan=False)
    opened: AwareDatetime
    due: AwareDatetime
    request: str = Field(default="", max_length=500)
    row: int | None = Field(default=None, ge=0)
    source: Source = "decision"
    inclusion: float = Field(default=1.0, gt=0, le=1)
    evidence: Evidence = Evidence()

    @model_validator(mode="after")
    def _in_time(self) -> Self:
        if self.due <= self.opened:
            raise ValueError(f"expected due after opened; got {self.due.isoformat()} and {self.opened.isoformat()}")
        return self

    @property
    def asked(self) -> str:
        """The request that a label of it joins."""
        return self.request or self.id

    @property
    def value(self) -> float:
        """What a minute of a person is expected to save here."""
        return self.saved / self.minutes


class Verdict(Frozen):
    """What a person says of a case.

    seconds: that they looked at it.   opened: had they unfolded what a reviewer of the decision said, which is easily agreed with? None where
    there was nothing to unfold, or where nobody knows, as with the command line.
    """

    word: Word
    reason: Reason | None = None
    note: str = Field(default="", max_length=NOTE)
    seconds: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    opened: bool | None = None

    @model_validator(mode="after")
    def _explained(self) -> Self:
        if self.word is not Word.authentic and self.reason is None:
            raise ValueError(f"expected a reason with {self.word}, one of {', '.join(Reason)}; got none")
        return self

    @property
    def said(self) -> tuple[Word, Reason | None, str]:
        """All of it but how it came about."""
        return self.word, self.reason, self.note


class Claim(Frozen):
    """A case that one person has, until the lease ends. token: what their verdict has to show."""

    token: str
    who: str
    case: Case
    claimed: datetime
    lease: datetime


class Given(Frozen):
    """A verdict that stands.

    round: 1, or `DRAWN` or `ASKED` for a second opinion; then `first` is what the first said.   final: it can no longer be taken back.
    sent:  its label has arrived.
    """

    number: int
    case: Case
    round: int
    who: str
    verdict: Verdict
    at: datetime
    final: bool
    sent: bool
    first: Word | None = None

    @property
    def label(self) -> int | None:
        """The label of the case that it gives: the first that can tell; a second opinion beside that measures, and labels nothing."""
        return None if self.first is not None and self.first.label is not None else self.verdict.word.label

    @property
    def drawn(self) -> bool:
        """Is it a second opinion that chance drew, which tells how well people agree?"""
        return self.round == DRAWN

    @property
    def source(self) -> Source:
        """Where it came from."""
        return "second opinion" if self.round > 1 else self.case.source


class Waiting(Frozen):
    """A case that waits for somebody, or that somebody has."""

    id: str
    domain: str
    item: str
    round: int
    price: float
    value: float
    due: datetime
    urgent: bool
    who: str = ""
    lease: datetime | None = None


class Event(Frozen):
    """A line of the history, which nobody changes."""

    number: int
    at: datetime
    case: str
    round: int
    what: str
    who: str
    told: str
