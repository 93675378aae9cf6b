"""The one recorded price file: a dated list, a source a line."""

from __future__ import annotations

from datetime import date
from functools import cache
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import Field

from hallmark.errors import DeclarationError
from hallmark.section import Section, validated

FILE = Path(__file__).with_name("prices.yaml")
HOURS = 730.0
"""Hours of a month, as the provider's own calculator counts them: 8760 / 12."""
Unit = Literal["hour", "month", "GB", "GB-month", "GB-second"]
NEEDED: dict[str, Unit] = {
    "ec2.m5.xlarge": "hour",
    "ec2.m6i.large": "hour",
    "ec2.m6i.xlarge": "hour",
    "ec2.g5.xlarge": "hour",
    "ec2.g5.2xlarge": "hour",
    "eks.cluster": "hour",
    "nat.gateway": "hour",
    "nat.data": "GB",
    "vpc.endpoint": "hour",
    "nlb.hour": "hour",
    "nlb.unit": "hour",
    "ebs.gp3": "GB-month",
    "s3.standard": "GB-month",
    "ecr.storage": "GB-month",
    "rds.t4g.medium": "hour",
    "rds.m7g.large": "hour",
    "rds.gp3": "GB-month",
    "cache.t4g.small": "hour",
    "cache.r7g.large": "hour",
    "kinesis.stream": "hour",
    "kms.key": "month",
    "route53.zone": "month",
    "sagemaker.m5.xlarge": "hour",
    "sagemaker.g5.xlarge": "hour",
    "sagemaker.g5.2xlarge": "hour",
    "sagemaker.serverless": "GB-second",
    "sagemaker.data": "GB",
}


class Price(Section):
    """A list price, in the file's currency a unit, and the page that states it."""

    value: Annotated[float, Field(ge=0)]
    unit: Unit
    source: Annotated[str, Field(pattern=r"^https://\S+$")]
    what: str


class Prices(Section):
    """Every price, with the day on which they were looked up."""

    recorded: date
    region: str
    currency: str
    prices: dict[str, Price]

    def __getitem__(self, name: str) -> float:
        """A price a unit."""
        if name not in self.prices:
            raise DeclarationError(
                f"there is no price of {name}",
                expected=", ".join(sorted(self.prices)),
                got=name,
                fix="add it with its source to hallmark/tco/prices.yaml",
            )
        return self.prices[name].value

    def scaled(self, prefix: str, factor: float) -> Prices:
        """The same with every price whose name holds `prefix` multiplied."""
        changed = {
            name: price.model_copy(update={"value": price.value * factor}) if prefix in name else price
            for name, price in self.prices.items()
        }
        return self.model_copy(update={"prices": changed})


def read(path: Path | None = None) -> Prices:
    """The prices in `path`, or those that come with Hallmark; `DeclarationError` where one is missing or another unit."""
    return _read(path or FILE)


@cache
def _read(path: Path) -> Prices:
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise DeclarationError(
            f"the price file {path} cannot be read", expected="YAML such as hallmark/tco/prices.yaml", got=str(error)
        ) from error
    found = validated(Prices, raw, str(path))
    wrong = [
        f"{name} a {unit}"
        for name, unit in NEEDED.items()
        if name not in found.prices or found.prices[name].unit != unit
    ]
    if wrong:
        raise DeclarationError(
            f"the price file {path} lacks prices",
            expected=", ".join(wrong),
            got="none, or one by another unit",
            fix="write them with a source, as hallmark/tco/prices.yaml has them",
        )
    return found
