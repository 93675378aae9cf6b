"""An item as the authentication model sees it: up to eight photos in any order, and which item they are said to show."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.features import image
from hallmark.features.fields import Columns, Field

SIDE = 64
MOST = 8
BRANDS = ("Aurelle", "Montclar", "Vespera", "Tolva")
CATEGORIES = ("handbag", "wallet", "belt")
FIELDS: tuple[Field, ...] = (
    Field(
        name="photos",
        datatype="BYTES",
        shape=(None,),
        at_most=MOST,
        media="image",
        description="JPEG, PNG or WebP photos of one item, in any order: the whole of it, and close-ups of seam, logo, hardware and leather.",
    ),
    Field(name="brand", datatype="BYTES", categories=BRANDS, description="Brand that the seller names."),
    Field(name="category", datatype="BYTES", categories=CATEGORIES),
    Field(name="price", datatype="FP64", minimum=1, maximum=100_000, description="EUR that the seller asks for."),
)


def encode(columns: Columns) -> dict[str, NDArray[Any]]:
    """`photos` (n, v, 3, 64, 64) UINT8, v those of the item that has most; `there` (n, v) 1 where one is; `facts` (n, 3): brand, category, log of price."""
    sent = columns["photos"]
    most = max([1, *(len(each) for each in sent)])
    photos = np.zeros((len(sent), most, 3, SIDE, SIDE), dtype=np.uint8)
    there = np.zeros((len(sent), most), dtype=np.float32)
    for row, mine in enumerate(sent):
        there[row, : len(mine)] = 1.0
    photos[there == 1.0] = image.stack([photo for each in sent for photo in each], size=(SIDE, SIDE))
    facts = np.stack(
        [
            _places(columns["brand"], BRANDS),
            _places(columns["category"], CATEGORIES),
            np.log(columns["price"].astype(np.float64)),
        ],
        axis=1,
    )
    return {"photos": photos, "there": there, "facts": facts.astype(np.float32)}


def observe(columns: Columns) -> Columns:
    """Columns watched for drift: the facts, how many photos there are, and how light, sharp and colourful an item's are on average."""
    sent = columns["photos"]
    counts = np.array([len(each) for each in sent], dtype=np.int64)
    told = image.statistics([photo for each in sent for photo in each])
    ends = np.concatenate(([0], np.cumsum(counts)))
    means = {
        name: np.array([told[name][ends[row] : ends[row + 1]].mean() for row in range(len(sent))], dtype=np.float64)
        for name in ("brightness", "contrast", "colourfulness", "sharpness")
    }
    return {"photos": counts, **means, **{name: columns[name] for name in ("brand", "category", "price")}}


def _places(values: NDArray[Any], among: tuple[str, ...]) -> NDArray[np.float64]:
    return np.array([among.index(each) for each in values.tolist()], dtype=np.float64)
