"""The component that scores a file."""

from components.factory import component
from hallmark.batch import steps

score_batch = component(steps.score_batch)
