"""Scoring of a whole file by the clock: `batch:`."""

from __future__ import annotations

from pydantic import Field

from hallmark.section import Cron, Section


class Batch(Section):
    """A file scored again and again on a cluster: `hallmark pipeline schedule DOMAIN --batch --records ADDRESS` starts it."""

    schedule: Cron = Field(description="Cron of 6 fields, seconds first, UTC.")
    version: str = Field(
        default="champion",
        min_length=1,
        description="Which version scores: an alias, looked up when a run begins, or a number.",
    )
