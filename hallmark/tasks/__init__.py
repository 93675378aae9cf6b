"""Tasks: what an answer is and what it is worth, one module for each kind of problem."""

from __future__ import annotations

from hallmark.tasks.answers import Agreement, Losses
from hallmark.tasks.binary import Binary
from hallmark.tasks.bootstrap import Estimate, difference_error, estimates
from hallmark.tasks.kinds import Task
from hallmark.tasks.metric import Metric
from hallmark.tasks.multiclass import Multiclass
from hallmark.tasks.ranking import Ranking
from hallmark.tasks.regression import Regression
from hallmark.tasks.retrieval import Retrieval
from hallmark.tasks.targets import TargetColumns, Targets
from hallmark.tasks.task import BaseTask, ModelGap
from hallmark.tasks.uplift import Uplift

__all__ = [
    "Agreement",
    "BaseTask",
    "Binary",
    "Estimate",
    "Losses",
    "Metric",
    "ModelGap",
    "Multiclass",
    "Ranking",
    "Regression",
    "Retrieval",
    "TargetColumns",
    "Targets",
    "Task",
    "Uplift",
    "difference_error",
    "estimates",
]
