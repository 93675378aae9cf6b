"""The image that every component of a training runs in."""

from hallmark.names import image

TRAINING_IMAGE = image("training-python")
"""Named without a registry; `pipelines.training.compile_to(..., image=…)` puts the real one. "python" in it keeps SubprocessRunner quiet."""
