"""One example, and when its label is known: `data:`."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from hallmark.section import Duration, Section


class Data(Section):
    """What one example is, and when its label is known."""

    entity: str = Field(
        description="Column that names whom or what an example is about; split: entity never parts it across train and test."
    )
    label: str = Field(description="Column that holds the answer to learn.")
    label_delay: Duration = Field(default=timedelta(0), description="After this long a label counts as final.")
    label_time: str | None = Field(
        default=None, description="Column with the time a label became known, UTC; empty where it never had to."
    )
    event_time: str | None = Field(
        default=None, description="Column with the time an example happened, UTC; none for undated data."
    )
    split: Literal["time", "entity"] = Field(
        description="time: test on the latest examples. entity: test on entities never trained on."
    )
