"""JSON Schema of a prompt's answer, in the part of it that every decoder enforces and every output of the Open Inference Protocol can carry.

An object of declared properties, all required and no others; each a bounded text, one of a few words, a bounded number, a truth, or a
bounded list of texts. What a grammar of a server admits otherwise (`multipleOf`, `allOf`, `pattern` beside `maxLength`) is not in it.
"""

from __future__ import annotations

import json
import math
from typing import Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from hallmark.declaration.condition import Kind
from hallmark.section import Section

LONGEST = 20_000
"""Characters of an answer; longer is none."""
Value = bool | int | float | str | tuple[str, ...]


class WrongAnswer(ValueError):
    """An answer that is not what its schema says; `cause` is a word for counters."""

    def __init__(self, cause: Literal["not_json", "schema"], text: str) -> None:
        super().__init__(text)
        self.cause = cause


class Items(Section):
    """Texts of a list."""

    type: Literal["string"]
    enum: tuple[str, ...] | None = Field(default=None, min_length=1)
    maxLength: int | None = Field(default=None, ge=1)  # noqa: N815  JSON Schema's own
    description: str = ""

    @model_validator(mode="after")
    def _bounded(self) -> Items:
        if (self.enum is None) == (self.maxLength is None):
            raise ValueError(
                "a text has either enum or maxLength, or an answer could go on for ever: write one of them"
            )
        return self

    def problem(self, value: object) -> str | None:
        """What a value is not, if it is not one."""
        if not isinstance(value, str):
            return "expected a text"
        if self.enum is not None and value not in self.enum:
            return f"expected one of {', '.join(self.enum)}"
        if self.maxLength is not None and len(value) > self.maxLength:
            return f"expected at most {self.maxLength} characters"
        return None


class Property(Section):
    """One property of the answer."""

    type: Literal["string", "number", "integer", "boolean", "array"]
    enum: tuple[str, ...] | None = Field(default=None, min_length=1)
    maxLength: int | None = Field(default=None, ge=1)  # noqa: N815
    minimum: float | None = None
    maximum: float | None = None
    items: Items | None = None
    maxItems: int | None = Field(default=None, ge=1, le=100)  # noqa: N815
    description: str = ""

    @model_validator(mode="after")
    def _bounded(self) -> Property:
        text = self.enum is not None or self.maxLength is not None
        number = self.minimum is not None or self.maximum is not None
        listed = self.items is not None or self.maxItems is not None
        if self.type == "string":
            Items(type="string", enum=self.enum, maxLength=self.maxLength)
        elif text:
            raise ValueError(f"enum and maxLength bound a text, and this is a {self.type}: take them away")
        if self.type in ("number", "integer"):
            if self.minimum is None or self.maximum is None or self.minimum > self.maximum:
                raise ValueError("a number has minimum and maximum, the smaller one first: write both")
        elif number:
            raise ValueError(f"minimum and maximum bound a number, and this is a {self.type}: take them away")
        if self.type == "array":
            if self.items is None or self.maxItems is None:
                raise ValueError("a list has items and maxItems: write both")
        elif listed:
            raise ValueError(f"items and maxItems bound a list, and this is a {self.type}: take them away")
        return self

    @property
    def kind(self) -> Kind:
        """What a decision reads it as."""
        kinds: dict[str, Kind] = {"string": "text", "boolean": "truth", "array": "texts"}
        return kinds.get(self.type, "number")

    def problem(self, value: object) -> str | None:
        """What a value is not, if it is not one."""
        if self.type == "string":
            return Items(type="string", enum=self.enum, maxLength=self.maxLength).problem(value)
        if self.type == "boolean":
            return None if isinstance(value, bool) else "expected true or false"
        if self.type == "array":
            assert self.items is not None and self.maxItems is not None  # noqa: S101  as its validator holds
            if not isinstance(value, list) or len(value) > self.maxItems:
                return f"expected a list of at most {self.maxItems}"
            return next((problem for each in value if (problem := self.items.problem(each))), None)
        whole = self.type == "integer"
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            return f"expected a {'whole ' if whole else ''}number"
        low, high = self.minimum, self.maximum
        assert low is not None and high is not None  # noqa: S101
        return None if math.isfinite(value) and low <= value <= high else f"expected {low:g} to {high:g}"


class AnswerSchema(Section):
    """The whole schema: an object with all of its properties and no others."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    type: Literal["object"]
    properties: dict[str, Property] = Field(min_length=1, max_length=30)
    required: tuple[str, ...]
    additionalProperties: Literal[False]  # noqa: N815
    description: str = ""

    @field_validator("properties")
    @classmethod
    def _named(cls, properties: dict[str, Property]) -> dict[str, Property]:
        for name in properties:
            if not (name.isidentifier() and name.isascii() and name == name.lower() and len(name) <= 31):
                raise ValueError(f"expected names such as verdict or cited_ids; got {name}")
        return properties

    @model_validator(mode="after")
    def _whole(self) -> AnswerSchema:
        if sorted(self.required) != sorted(self.properties):
            raise ValueError(
                "required are not all properties, and a decision could read one that is not there: name each"
            )
        return self

    @property
    def json_schema(self) -> dict[str, Any]:
        """As a server of language models is given it."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def read(self, text: str) -> dict[str, Value]:
        """The answer in a text that is JSON and nothing else; or `WrongAnswer`."""
        if len(text) > LONGEST:
            raise WrongAnswer("schema", f"expected at most {LONGEST} characters")
        try:
            found = json.loads(text, parse_constant=_no_number, object_pairs_hook=_once)
        except (ValueError, RecursionError) as error:
            raise WrongAnswer("not_json", f"expected JSON and nothing else: {type(error).__name__}") from None
        return self.checked(found)

    def checked(self, found: object) -> dict[str, Value]:
        """An answer that keeps the schema; or `WrongAnswer`, which never repeats what it was given."""
        if not isinstance(found, dict):
            raise WrongAnswer("schema", "expected an object")
        if found.keys() != self.properties.keys():
            missing, more = self.properties.keys() - found.keys(), len(found.keys() - self.properties.keys())
            raise WrongAnswer(
                "schema", f"expected its properties; missing: {', '.join(sorted(missing)) or 'none'}, others: {more}"
            )
        for name, each in self.properties.items():
            if problem := each.problem(found[name]):
                raise WrongAnswer("schema", f"{name}: {problem}")
        return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}


def _no_number(text: str) -> None:
    raise ValueError(f"{text} is no JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice")
    return found
