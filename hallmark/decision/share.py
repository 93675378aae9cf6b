"""A share of items for a candidate of the whole: how many it decides in earnest, who they are, and when that was ended by itself.

share.yaml beside release.yaml is a person's word, `hallmark decision share`; whoever serves reads it again and again, so that a change needs no
restart. An end by itself lies with the candidate's records, and holds for that word alone: the next one begins anew.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import yaml
from pydantic import Field, ValidationError

from hallmark.decision import terms
from hallmark.errors import DeclarationError
from hallmark.files import replace
from hallmark.policy import lot
from hallmark.section import Frozen, validated
from hallmark.settings import Settings

_STOPPED = "stopped.json"


class CandidateShare(Frozen):
    """What a person said.   candidate: digest of its unit.   percent: of items that it decides.   since: when that was said."""

    candidate: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    percent: float = Field(gt=0, le=terms.MOST)
    since: datetime


class Stop(Frozen):
    """A share that ended by itself: which, when, and why in words."""

    share: CandidateShare
    at: datetime
    why: str


def path(name: str, settings: Settings) -> Path:
    """Place of the share of a domain's candidate."""
    return settings.releases / name / terms.SHARE_FILE


def read(file: Path) -> CandidateShare | None:
    """The share in a file; None where there is no file; `DeclarationError` where it says something else."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(file, str(error)) from error
    try:
        raw = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise _unreadable(file, str(error).splitlines()[0]) from error
    return validated(CandidateShare, raw, file.name)


def write(file: Path, share: CandidateShare | None) -> None:
    """Write the share, whole or not at all; None: take it away."""
    if share is None:
        file.unlink(missing_ok=True)
    else:
        replace(file, text(share))


def text(share: CandidateShare) -> str:
    """The content of the file."""
    header = "# Share of items that the candidate decides: `hallmark decision share` writes it, and the service follows without a restart.\n"
    return header + yaml.safe_dump(share.model_dump(mode="json"), sort_keys=False, width=160)


def drawn(share: CandidateShare, domain: str, item: str, *, secret: str) -> bool:
    """Does the candidate decide on this item? Always the same ones of a candidate and a secret; a larger share holds those of a smaller one."""
    return bool(lot.drawn([item], f"{secret}/{domain}/share/{share.candidate}")[0] * 100 < share.percent)


def stopped(records: Path, share: CandidateShare) -> Stop | None:
    """That this share ended by itself, as the folder of the candidate's records says."""
    found = last_stop(records)
    return found if found is not None and found.share == share else None


def last_stop(records: Path) -> Stop | None:
    """The last share that ended by itself; None where none did, or where that cannot be read."""
    try:
        return Stop.model_validate_json((records / _STOPPED).read_bytes())
    except (OSError, ValidationError):
        return None


def stop(records: Path, found: Stop) -> None:
    """Write down that it ended."""
    replace(records / _STOPPED, found.model_dump_json() + "\n")


def _unreadable(file: Path, got: str) -> DeclarationError:
    return DeclarationError(
        f"{file.name} cannot be read",
        expected="keys candidate, percent, since",
        got=got,
        fix="`hallmark decision share` writes it anew",
    )
