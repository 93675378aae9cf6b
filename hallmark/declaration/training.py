"""Training schedule, data window and resources: `training:`."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import Field

from hallmark.section import LARGEST_SEED, Cron, Duration, Quantity, Section


class Training(Section):
    """Training schedule of the domain, its data window and its resources."""

    schedule: Cron = Field(description="Cron of 6 fields, seconds first, UTC.")
    window: Duration = Field(description="Length of the data a model learns from.")
    accelerator: Literal["none", "gpu"] = "none"
    cpu: Quantity = Field(default="2", description="Cores of the step that trains, on each node.")
    memory: Quantity = Field(default="8Gi", description="Memory of the step that trains, on each node.")
    nodes: int = Field(
        default=1, ge=1, le=16, description="More than one trains distributed, a process a node (Kubeflow Trainer)."
    )
    seed: int = Field(default=7, ge=0, le=LARGEST_SEED)
    timeout: Duration = timedelta(hours=2)

    @property
    def gpu(self) -> int:
        """GPUs of one training on all its nodes together."""
        return self.nodes if self.accelerator == "gpu" else 0
