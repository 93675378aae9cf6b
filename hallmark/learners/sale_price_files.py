"""A trained sale price in its own form: forests as LightGBM's text, numbers as arrays, names and the rest as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hallmark.learners.comparables import Comparables
from hallmark.learners.fact_columns import FactColumns
from hallmark.learners.model import unrestorable
from hallmark.learners.price_band import Band
from hallmark.learners.sale_hazard import SaleHazard

if TYPE_CHECKING:
    from hallmark.learners.sale_price import SalePrice, TrainedSalePrice

FACTS = "sale_price.json"
_OF_BAND = ("whole", "tokens", "of_tokens", "knots", "of_knots")


def save(trained: TrainedSalePrice, folder: Path) -> None:
    """Write `trained` into `folder`."""
    arrays: dict[str, NDArray[Any]] = {
        "worth": trained.columns.worth,
        "vectors": trained.pool.vectors,
        "told": trained.pool.told,
        "strength": trained.pool.strength,
        "usual": trained.usual,
    }
    for name, band in (("band", trained.band), ("naive", trained.naive)):
        if band is not None:
            band.centre.save(folder, prefix=f"{name}-centre-")
            band.spread.save(folder, prefix=f"{name}-spread-")
            arrays |= {f"{name}.{each}": getattr(band, each) for each in _OF_BAND}
    hazard = trained.hazard
    if hazard is not None:
        hazard.forest.save(folder, prefix="hazard-")
        arrays["steps"] = hazard.steps
    told = {
        "numbers": trained.columns.numbers,
        "words": trained.columns.words,
        "ids": trained.pool.ids,
        "crossed": trained.crossed,
        "telling": trained.telling,
        "naive": trained.naive is not None,
        "hazard": None if hazard is None else [hazard.elasticity, hazard.error, hazard.naive],
    }
    for name, array in arrays.items():
        np.save(folder / _file(name), array, allow_pickle=False)
    (folder / FACTS).write_text(json.dumps(told), encoding="utf-8")


def restored(recipe: SalePrice, folder: Path) -> TrainedSalePrice:
    """What `save` wrote; `ModelRefused` where the folder does not hold it."""
    from hallmark.learners.sale_price import TrainedSalePrice

    try:
        told = json.loads((folder / FACTS).read_bytes())

        def array(name: str) -> NDArray[Any]:
            found: NDArray[Any] = np.load(folder / _file(name), allow_pickle=False)
            return found

        columns = FactColumns(tuple(told["numbers"]), tuple(told["words"]), array("worth"))

        def band(name: str) -> Band:
            return Band(
                centre=recipe.centre().restore(folder, prefix=f"{name}-centre-"),
                spread=recipe.spread().restore(folder, prefix=f"{name}-spread-"),
                levels=recipe.quantiles,
                summed=columns.summed,
                **{each: array(f"{name}.{each}") for each in _OF_BAND},
            )

        hazard = None
        if told["hazard"] is not None:
            elasticity, error, naive = told["hazard"]
            forest = recipe.hazard().restore(folder, prefix="hazard-")
            hazard = SaleHazard(forest=forest, elasticity=elasticity, error=error, naive=naive, steps=array("steps"))
        return TrainedSalePrice(
            recipe,
            columns=columns,
            pool=Comparables(array("vectors"), tuple(told["ids"]), array("told"), array("strength")),
            band=band("band"),
            naive=band("naive") if told["naive"] else None,
            hazard=hazard,
            usual=array("usual"),
            telling=tuple(told["telling"]),
            crossed=told["crossed"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise unrestorable(
            "the folder holds no sale price", expected=f"{FACTS} and the arrays beside it", error=error
        ) from error


def _file(name: str) -> str:
    return f"sale_price.{name}.npy"
