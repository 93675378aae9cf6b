"""A photo as the listing model sees it; the one function that training and serving call."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hallmark.features import image
from hallmark.features.fields import Columns, Field

SIDE = 152
FIELDS: tuple[Field, ...] = (
    Field(name="image", datatype="BYTES", media="image", description="A JPEG, PNG or WebP photo of one garment."),
)


def encode(columns: Columns) -> NDArray[np.float32]:
    """(n, 3, 152, 152): the whole photo upright, stretched to a square, about -2..2; `BadImage` for what is no photo."""
    return image.batch(columns["image"], size=(SIDE, SIDE))


def observe(columns: Columns) -> Columns:
    """Columns watched for drift: brightness, contrast, colourfulness, sharpness, aspect and megapixels of each photo."""
    return image.statistics(columns["image"])


def embed(columns: Columns) -> NDArray[np.float32]:
    """(n, 46): colours by place, edges by direction and detail by scale, so that drift shows which no one number does."""
    return image.descriptors(columns["image"])
