"""Data contracts of sources: what a table of events holds, and who answers for it; `contracts/<source>/v<N>.yaml`.

A contract is a document of the Open Data Contract Standard 3.1 within a strict subset of it: one flat table, whose columns are texts, whole
numbers, numbers, truths and times. A key of the standard that nothing here reads is refused, or it would promise what nobody checks.
How one contract may become another is said in hallmark/declaration/source_change.py.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator
from pydantic.alias_generators import to_camel

from hallmark.declaration import column_type, versioned
from hallmark.declaration.column_type import COLUMN_TYPES
from hallmark.declaration.feature_view import Identifier
from hallmark.section import Section
from hallmark.settings import Settings

LogicalType = column_type.LogicalType
Datatype = column_type.Datatype
DATATYPES: dict[LogicalType, Datatype] = {each.logical: each.datatype for each in COLUMN_TYPES.values()}
BOUNDS = ("minimum", "exclusive_minimum", "maximum", "exclusive_maximum")
_FITTING: dict[LogicalType, frozenset[str]] = {
    "boolean": frozenset(),
    "integer": frozenset(BOUNDS),
    "number": frozenset(BOUNDS),
    "string": frozenset({"min_length", "max_length", "pattern"}),
    "timestamp": frozenset({*BOUNDS, "timezone"}),
}
_BACKTRACKING = re.compile(r"\(\?(?!:)|\\[1-9]|[*+?}]\+")
"""What takes a matcher that goes back: lookaround, references to groups, possessive repeats."""
Bound = StrictInt | StrictFloat | StrictStr
_FILLED = Field(json_schema_extra={"minItems": 1})
"""Of a list that is not empty. Its own validator says so: pydantic's would count what it has refused for another reason as not there."""
Version = Annotated[str, Field(pattern=r"^(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)\.(0|[1-9][0-9]*)$", examples=["1.0.0"])]


class _Part(Section):
    """A part of the document, with the standard's names of keys."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


class TypeOptions(_Part):
    """What a column's values may be; each bound is one of the column's type, of a timestamp one in ISO 8601 with its zone.

    pattern:  found in the text (anchor it with ^ and $); without lookaround, so that no text takes long.
    timezone: of a timestamp, whether each value names its zone; where not, it is in UTC.
    """

    minimum: Bound | None = None
    maximum: Bound | None = None
    exclusive_minimum: Bound | None = None
    exclusive_maximum: Bound | None = None
    min_length: Annotated[StrictInt, Field(ge=0)] | None = None
    max_length: Annotated[StrictInt, Field(ge=0)] | None = None
    pattern: str | None = None
    timezone: StrictBool | None = None


class ValidValues(_Part):
    """Values that a column may have, and no others."""

    valid_values: Annotated[tuple[StrictInt | StrictFloat | StrictStr, ...], _FILLED]

    @model_validator(mode="after")
    def _whole(self) -> ValidValues:
        if not self.valid_values:
            raise ValueError("validValues: a set of no values: name them")
        return self


class Quality(_Part):
    """A closed set: no value of the column lies outside it."""

    type: Literal["library"] = "library"
    metric: Literal["invalidValues"]
    arguments: ValidValues
    must_be: Literal[0]
    description: str = ""


class Property(_Part):
    """A column.

    required:   filled in every row; else it may be null. The column itself is in every batch.
    unique:     no two rows of a batch have the same value.
    primaryKey: names what a row is about. Rows with one key are versions of it (docs/decisions/0036), so it is not `unique` by itself.
    physicalType: how the writer's store holds it; nothing here reads it.
    classification: personal: about a person who can be found out by it.
    """

    name: Identifier
    logical_type: LogicalType
    physical_type: str | None = None
    logical_type_options: TypeOptions = TypeOptions()
    required: StrictBool = False
    unique: StrictBool = False
    primary_key: StrictBool = False
    description: str = ""
    classification: Literal["public", "internal", "personal"] | None = None
    quality: Annotated[tuple[Quality, ...], Field(max_length=1)] = ()

    @property
    def datatype(self) -> Datatype:
        """Its type as Hallmark calls it."""
        return DATATYPES[self.logical_type]

    @property
    def values(self) -> tuple[Any, ...] | None:
        """The closed set of its values; none where it is open."""
        return self.quality[0].arguments.valid_values if self.quality else None

    def bound(self, name: str) -> Any:
        """A bound in the column's own type, a time as one in UTC; None where there is none."""
        given = getattr(self.logical_type_options, name)
        return instant(given) if self.logical_type == "timestamp" and given is not None else given

    @model_validator(mode="after")
    def _whole(self) -> Property:
        for wrong in self._wrong():
            raise ValueError(f"{self.name}: {wrong}")
        return self

    def _wrong(self) -> Iterator[str]:
        """What does not go together; each text ends with the fix."""
        if self.primary_key and not self.required:
            yield "a primary key that may be missing names nothing: make it required"
        options, kind = self.logical_type_options, self.logical_type
        for name in sorted(options.model_fields_set - _FITTING[kind]):
            fitting = ", ".join(map(to_camel, sorted(_FITTING[kind]))) or "none"
            yield f"logicalTypeOptions.{to_camel(name)} says nothing of a {kind}: take one of {fitting}"
        for name in BOUNDS:
            if (given := getattr(options, name)) is not None and not _of(kind, given):
                wanted = "a time with its zone, in quotes" if kind == "timestamp" else f"one of type {kind}"
                yield f"logicalTypeOptions.{to_camel(name)} is {given!r}: write {wanted}"
        if not self.possible:
            yield "logicalTypeOptions allow no value at all: widen them"
        if options.pattern is not None and (reason := _unusable(options.pattern)):
            yield f"logicalTypeOptions.pattern {reason}: write it without"
        if (values := self.values) is not None:
            if kind in ("boolean", "timestamp"):
                yield f"quality: a {kind} has no closed set: leave it out"
            elif odd := [each for each in values if not _of(kind, each)]:
                yield f"quality: validValues holds {odd[0]!r}: write values of type {kind}"
            elif len(set(values)) < len(values):
                yield "quality: validValues holds a value twice: write each once"

    @property
    def possible(self) -> bool:
        """Is there a value between its bounds? True too where a bound is not of its type, which is another mistake."""
        options = self.logical_type_options
        if (options.min_length or 0) > (options.max_length if options.max_length is not None else float("inf")):
            return False
        if any(each is not None and not _of(self.logical_type, each) for each in map(self._raw, BOUNDS)):
            return True
        (low, low_open), (high, high_open) = self.low, self.high
        return low is None or high is None or (low < high or (low == high and not (low_open or high_open)))

    def _raw(self, name: str) -> Any:
        return getattr(self.logical_type_options, name)

    @property
    def low(self) -> tuple[Any, bool]:
        """The lower bound, and whether it is itself outside; (None, False) where there is none. Of integers always inside."""
        return self._end("minimum", "exclusive_minimum", 1)

    @property
    def high(self) -> tuple[Any, bool]:
        """The upper bound, as `low`."""
        return self._end("maximum", "exclusive_maximum", -1)

    def _end(self, inside: str, outside: str, inwards: int) -> tuple[Any, bool]:
        ends = [(self.bound(name), is_open) for name, is_open in ((inside, False), (outside, True))]
        ends = [each for each in ends if each[0] is not None]
        if self.logical_type == "integer":
            ends = [(_whole(value, is_open, inwards), False) for value, is_open in ends]
        if len(ends) < 2:
            return ends[0] if ends else (None, False)
        (closed, _), (excluded, is_open) = ends
        tighter = excluded >= closed if inwards > 0 else excluded <= closed
        return (excluded, is_open) if tighter else (closed, False)


class Table(_Part):
    """The one table of a source."""

    name: Identifier
    logical_type: Literal["object"] = "object"
    physical_type: str | None = None
    description: str = ""
    properties: Annotated[tuple[Property, ...], _FILLED]

    @model_validator(mode="after")
    def _whole(self) -> Table:
        if not self.properties:
            raise ValueError("properties: there are none: declare the columns")
        names = [each.name for each in self.properties]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"properties: {twice[0]} is declared twice: leave one of them")
        keys = [each.name for each in self.properties if each.primary_key]
        if len(keys) > 1:
            raise ValueError(f"properties: {' and '.join(keys)} are both primary keys: choose one")
        return self


class Member(_Part):
    """Somebody who answers for a source."""

    username: Annotated[str, Field(description="An address that reaches them.")]
    name: str | None = None
    role: str | None = None


class Team(_Part):
    """The team that writes a source."""

    name: str
    description: str = ""
    members: Annotated[tuple[Member, ...], _FILLED]

    @model_validator(mode="after")
    def _whole(self) -> Team:
        if not any(each.role == "owner" for each in self.members):
            raise ValueError("members: nobody answers for it: give one of them the role owner")
        return self


class Description(_Part):
    """What a source is for."""

    purpose: str
    usage: str = ""
    limitations: str = ""


class Source(_Part):
    """A version of a contract. `version` is a semantic one, whose first number is the file's v<N>.

    A breaking change is a new file with the next number; what changes compatibly is written into the same file, with a higher second number.
    """

    api_version: Literal["v3.1.0"]
    kind: Literal["DataContract"]
    id: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    name: Identifier
    version: Version
    status: Literal["proposed", "draft", "active", "deprecated", "retired"]
    description: Description
    team: Team
    tables: Annotated[tuple[Table], Field(alias="schema")]

    @property
    def major(self) -> int:
        """The first number of its version."""
        return self.numbers[0]

    @property
    def numbers(self) -> tuple[int, int, int]:
        """The three numbers of its version."""
        major, minor, patch = map(int, self.version.split("."))
        return major, minor, patch

    @property
    def reference(self) -> str:
        """name@version, as views name it."""
        return f"{self.name}@{self.major}"

    @cached_property
    def columns(self) -> dict[str, Property]:
        """Its columns by name, in the order of the document."""
        return {each.name: each for each in self.tables[0].properties}

    @property
    def key(self) -> str | None:
        """The primary key's column."""
        return next((name for name, each in self.columns.items() if each.primary_key), None)

    @property
    def personal(self) -> tuple[str, ...]:
        """The columns that are personal data."""
        return tuple(name for name, each in self.columns.items() if each.classification == "personal")


def instant(text: str) -> datetime:
    """An ISO time with its zone, in UTC; `ValueError` where it is none."""
    found = datetime.fromisoformat(text)
    if found.tzinfo is None:
        raise ValueError(f"{text} names no zone")
    return found.astimezone(UTC)


def _of(kind: LogicalType, value: Any) -> bool:
    """Is a value written as one of this type?"""
    if kind == "timestamp":
        try:
            instant(value)
        except (TypeError, ValueError):
            return False
        return True
    if kind == "string":
        return isinstance(value, str)
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < float("inf")
    return number and (kind == "number" or float(value).is_integer())


def _whole(value: Any, is_open: bool, inwards: int) -> int:
    return int(value) + (inwards if is_open else 0)


def _unusable(pattern: str) -> str:
    if found := _BACKTRACKING.search(pattern):
        return f"needs a matcher that goes back, for {found[0]!r}"
    try:
        re.compile(pattern)
    except re.error as error:
        return f"is no regular expression ({error})"
    return ""


def references(settings: Settings) -> list[str]:
    """name@version of every declared source, sorted."""
    return versioned.references(settings.contracts)


def load(reference: str, settings: Settings | None = None) -> Source:
    """The contract name@version; `DeclarationError` names file, line, key, expected and got."""
    settings = settings or Settings.load()
    return versioned.load(Source, reference, settings.contracts, settings, noun="data contract")


def json_schema() -> str:
    """The JSON Schema of a contract, for editors."""
    return versioned.json_schema(Source, "hallmark/declaration/source.py")
