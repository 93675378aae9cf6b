"""The image that every component of a training runs in."""

from hallmark import __version__

TRAINING_IMAGE = f"hallmark/training-python:{__version__}"
"""Named without a registry; `pipelines.training.compile_to(..., image=…)` puts the real one. "python" in it keeps SubprocessRunner quiet."""
