"""Errors of Hallmark, as one tree.

HallmarkError                    exit 1   the work failed
├── DeclarationError             exit 2   a domain.yaml, release.yaml or option is not what it should be
├── Refused                      exit 3   a rule said no, and nothing was changed
│   ├── ContractBroken           exit 3   a data set does not keep its domain's contract
│   ├── GateRefused              exit 3   a candidate is not better than its champion
│   └── ModelRefused             exit 3   a model folder is not the one that was registered, or holds what is never loaded
├── TimedOut                     exit 4   it did not happen in the time given
├── NotFound                     exit 1   what was named is not there
├── Conflict                     exit 1   somebody else changed it first
└── Unavailable                  exit 1   a part that is needed (registry, cluster) does not answer

BadRequest and its kin, which a server answers to a client, live with the servers that answer them.
"""

from __future__ import annotations

import errno
import os


def visible(text: str) -> str:
    """A text whose control characters are spelled out: what a file holds gives a terminal no orders."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in "\n\t" else each.encode("unicode_escape").decode("ascii") for each in text
    )


class HallmarkError(Exception):
    """Something failed; names what was expected, what it got and the fix."""

    exit_code = 1

    def __init__(self, message: str, *, expected: str = "", got: str = "", fix: str = "") -> None:
        super().__init__(message)
        self.message, self.expected, self.got, self.fix = map(visible, (message, expected, got, fix))

    def __str__(self) -> str:
        parts = [self.message]
        if self.expected:
            parts.append(f"expected: {self.expected}")
        if self.got:
            parts.append(f"got: {self.got}")
        if self.fix:
            parts.append(f"fix: {self.fix}")
        return "\n  ".join(parts)


class DeclarationError(HallmarkError):
    """A declaration or an option is not what it should be."""

    exit_code = 2


class Refused(HallmarkError):
    """A rule said no; nothing was changed."""

    exit_code = 3


class ContractBroken(Refused):
    """A data set does not keep its domain's contract; names column, rule and count of rows."""


class GateRefused(Refused):
    """A candidate did not pass its domain's gate."""


class ModelRefused(Refused):
    """A model folder is not the one that was registered, or holds what is never loaded."""


class TimedOut(HallmarkError):
    """It did not happen in the time given."""

    exit_code = 4


class NotFound(HallmarkError):
    """The named object does not exist."""


class Conflict(HallmarkError):
    """Somebody else changed it first; read it again and decide again."""


class Unavailable(HallmarkError):
    """A part that is needed does not answer."""


_OF_FILES = {
    errno.EACCES: "see who owns it, and give this user the right to it",
    errno.EPERM: "see who owns it, and give this user the right to it",
    errno.EROFS: "it is on a disk that is mounted read-only: name another place, such as with HALLMARK_STATE",
    errno.ENOSPC: "free room on that disk, or name another with HALLMARK_STATE",
    errno.EDQUOT: "free room on that disk, or name another with HALLMARK_STATE",
    errno.EEXIST: "move away the file that is where a folder should be",
    errno.ENOTDIR: "move away the file that is where a folder should be",
    errno.EISDIR: "move away the folder that is where a file should be",
}


def foreseen(error: Exception) -> HallmarkError:
    """`error` itself where it is one of ours; else one of ours that tells it."""
    if isinstance(error, HallmarkError):
        return error
    if isinstance(error, OSError) and error.errno in _OF_FILES:
        named = isinstance(error.filename, str | bytes)  # what fails in the middle of a file has no name
        return HallmarkError(
            f"{os.fsdecode(error.filename)} cannot be used" if named else "a file, or the output, cannot be used",
            expected="a file or folder that this process may read and write, on a disk with room",
            got=os.strerror(error.errno),
            fix=_OF_FILES[error.errno],
        )
    return HallmarkError(
        "something went wrong that Hallmark does not know",
        got=f"{type(error).__name__}: {error}",
        fix="run it again with --debug, and report what it prints",
    )
