"""How files of records are written, where they do not say so themselves: `data.yaml` beside them."""

from __future__ import annotations

import re
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from zoneinfo import available_timezones

import yaml
from pydantic import Field, field_validator, model_validator

from hallmark.errors import DeclarationError
from hallmark.section import Section, validated

BESIDE = "data.yaml"
TRUE_WORDS = ("true", "True", "TRUE")
FALSE_WORDS = ("false", "False", "FALSE")


class ReadingOptions(Section):
    """Keys of data.yaml, each for what cannot be told from the files."""

    names: dict[str, str] = Field(default={}, description="Column of the file: its declared name.")
    separator: str | None = Field(
        default=None, pattern=r"^[^\w\r\n\"]$", description="Between values; default: a comma."
    )
    decimal: Literal[".", ","] = Field(default=".", description="Mark before the fraction of a number.")
    timezone: str | None = Field(default=None, description="Zone of times that name none, such as Europe/Berlin.")
    time_format: str | None = Field(default=None, description='Form of times that are not ISO 8601: "%d.%m.%Y %H:%M".')
    true_words: tuple[str, ...] = Field(default=TRUE_WORDS, description="Texts that are true.")
    false_words: tuple[str, ...] = Field(default=FALSE_WORDS, description="Texts that are false.")
    nulls: tuple[str, ...] | None = Field(default=None, description='Texts that are no value; default: "" in a CSV.')
    encoding: str = Field(default="utf-8", description="Of the text of a CSV, such as cp1252.")

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str | None) -> str | None:
        if value is not None and value not in available_timezones():
            raise ValueError(f"expected a zone such as UTC or Europe/Berlin; got {value}")
        return value

    @field_validator("time_format")
    @classmethod
    def _without_zone(cls, value: str | None) -> str | None:
        if value is not None and (re.search("%[zZ]", value) or not {"%Y", "%m", "%d"} <= set(re.findall("%.", value))):
            raise ValueError(f"expected %Y, %m and %d, and no zone (timezone: names it); got {value}")
        return value

    @field_validator("encoding")
    @classmethod
    def _readable(cls, value: str) -> str:
        try:
            if "a".encode(value).decode(value, "replace") != "a":
                raise LookupError(value)
        except (LookupError, UnicodeError, TypeError):
            raise ValueError(f"expected an encoding such as utf-8 or cp1252; got {value}") from None
        return value

    @model_validator(mode="after")
    def _apart(self) -> ReadingOptions:
        both = set(self.true_words) & set(self.false_words)
        if both:
            raise ValueError(f"expected words that are either true or false; got {', '.join(sorted(both))}")
        if len(set(self.names.values())) < len(self.names):
            raise ValueError("expected a column for each of names")
        return self

    @cached_property
    def told(self) -> dict[str, Any]:
        """What differs from the defaults, as data.yaml writes it."""
        return self.model_dump(mode="json", exclude_defaults=True)


def beside(source: Path) -> Path:
    """The place of data.yaml for a file or a folder of files."""
    return (source if source.is_dir() else source.parent) / BESIDE


def options(source: Path) -> ReadingOptions:
    """What data.yaml beside `source` says, the defaults where there is none; `DeclarationError` names each key that is wrong."""
    path = beside(source)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ReadingOptions()
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        got = str(error).splitlines()[0]
        raise DeclarationError(f"{path} cannot be read", expected="a YAML mapping", got=got) from error
    return validated(ReadingOptions, {} if raw is None else raw, str(path))
