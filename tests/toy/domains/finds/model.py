"""The model of finds: an exact index; each item has a direction, fitted to the queries that it was relevant to."""

from __future__ import annotations

from hallmark.features.fields import Output
from hallmark.learners.exact_index import ExactIndex
from hallmark.learners.model import ModelSpec

OUTPUTS = (Output(name="items", datatype="BYTES", shape=(10,)),)

INDEX = ExactIndex(output=OUTPUTS[0], ridge=1.0)
SPEC = ModelSpec(task="retrieval", outputs=OUTPUTS, fit=INDEX.fit, restore=INDEX.restore)
