"""Kinds of task: the union that `task:` of domain.yaml is read as."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from hallmark.tasks.binary import Binary
from hallmark.tasks.multiclass import Multiclass
from hallmark.tasks.ranking import Ranking
from hallmark.tasks.regression import Regression
from hallmark.tasks.retrieval import Retrieval
from hallmark.tasks.uplift import Uplift

Task = Annotated[Binary | Multiclass | Regression | Ranking | Retrieval | Uplift, Field(discriminator="kind")]
"""One kind of problem; `kind` says which."""
