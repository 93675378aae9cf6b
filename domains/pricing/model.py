"""The pricing model: the band of prices that an item goes for within two weeks, and how likely it sells at others; docs/decisions/0049 says why."""

from __future__ import annotations

from domains.pricing.features import BUCKETS, CONDITION
from hallmark.features.encoding import Input
from hallmark.features.fields import Output
from hallmark.learners.model import ModelSpec
from hallmark.learners.sale_price import SalePrice

FACTORS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 1.75, 2.0)
"""Of the band's middle: the prices that a chance of sale is told for."""
OUTPUTS: tuple[Output, ...] = (
    Output(name="band", datatype="FP32", shape=(3,), minimum=0),
    Output(name="price", datatype="FP32", minimum=0),
    Output(name="prices", datatype="FP32", shape=(len(FACTORS),), minimum=0),
    Output(name="chance", datatype="FP32", shape=(len(FACTORS),), minimum=0, maximum=1),
    Output(name="chance_of", datatype="BYTES"),
    Output(name="comparables", datatype="BYTES", shape=(5,)),
    Output(name="moved_by", datatype="BYTES", shape=(5,)),
    Output(name="moved", datatype="FP32", shape=(5,)),
)
INPUTS: tuple[Input, ...] = (
    Input(name="item", datatype="BYTES", shape=()),
    Input(name="names", datatype="BYTES", shape=(None,)),
    Input(name="tokens", datatype="INT32", shape=(None,)),
    Input(name="values", datatype="FP32", shape=(None,)),
    Input(name="words", datatype="INT32", shape=(None,)),
)

PRICE = SalePrice(quantiles=(0.1, 0.5, 0.9), days=14, factors=FACTORS, first=CONDITION, buckets=BUCKETS)
SPEC = ModelSpec(task="regression", outputs=OUTPUTS, inputs=INPUTS, fit=PRICE.fit, restore=PRICE.restore)
