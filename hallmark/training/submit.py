"""A training handed in and found again by its key, wherever it runs: on this machine or as a run of Kubeflow."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field

from hallmark.section import Frozen

Key = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
"""Names one training for ever; a folder here, a run's name in Kubeflow."""

State = Literal["running", "succeeded", "refused", "failed"]


class RunRequest(Frozen):
    """Request for a training, with its reason.

    key:            the same key is the same run, whatever else is said with it.
    as_of, window:  as for `hallmark train`; empty is today, and the declared window.
    reason:         in words, for whoever reads the run.
    correlation:    32 hex digits that follow it into the version; empty where nothing asked.
    source, shift, options: as for `hallmark train`.
    """

    key: Key
    domain: str
    as_of: str = ""
    window: str = ""
    reason: str = ""
    correlation: str = Field(default="", pattern="^([0-9a-f]{32})?$")
    source: str = "synthetic"
    shift: str = ""
    options: dict[str, Any] = Field(default={})


class Run(Frozen):
    """State of a training.

    id:      what the place where it runs calls it.
    state:   "refused" where a rule said no (contract, gate); "failed" where it broke, was killed or cancelled.
    version: of the registered model, once it has succeeded.
    message: what came of it, for a person; the reasons of a refusal.
    """

    key: Key
    id: str
    domain: str
    state: State
    version: int | None = None
    message: str = ""
    started: datetime | None = None
    ended: datetime | None = None


class Runner(Protocol):
    """Place where trainings run. Both calls may be repeated, also by many at once."""

    def submit(self, request: RunRequest) -> Run:
        """Start this training, or give the run that its key has started before."""
        ...

    def find(self, key: str, domain: str) -> Run | None:
        """The run of this key, as it stands now; none where there is none."""
        ...
