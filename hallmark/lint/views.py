"""Data contracts and feature views: what would be refused when it is read, and what a view asks of a source that does not give it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ValidationError

from hallmark.declaration import source_change, versioned
from hallmark.declaration.feature_view import FeatureView
from hallmark.declaration.source import Source
from hallmark.declaration.view_types import Fault, faults
from hallmark.lint.objects import LintContext, is_contract
from hallmark.lint.reading import integer, text
from hallmark.lint.rules import RuleMatch, rule
from hallmark.lint.source import Document, Keys

_ODCS = "https://bitol-io.github.io/open-data-contract-standard/v3.1.0/"
_VIEWS = "https://docs.feast.dev/getting-started/concepts/feature-view"
_TIMES = "https://docs.feast.dev/getting-started/concepts/point-in-time-joins"


@dataclass(frozen=True, eq=False)
class ContractFile:
    """A data contract as it is written, valid or not."""

    document: Document
    data: dict[str, Any]

    @cached_property
    def source(self) -> Source | None:
        """The contract, where nothing is wrong with it."""
        try:
            return Source.model_validate(self.data)
        except ValidationError:
            return None

    @property
    def reference(self) -> str:
        """name@version, as it says itself."""
        return f"{text(self.data, 'name')}@{text(self.data, 'version').partition('.')[0]}"

    def hit(self, said: str, *path: str | int) -> RuleMatch:
        """A finding at `path` of the contract."""
        return RuleMatch(self.document, path, said)


@dataclass(frozen=True, eq=False)
class ViewFile:
    """A feature view as it is written, valid or not."""

    document: Document
    data: dict[str, Any]

    @cached_property
    def view(self) -> FeatureView | None:
        """The view, where nothing is wrong with it."""
        try:
            return FeatureView.model_validate(self.data)
        except ValidationError:
            return None

    def hit(self, said: str, *path: str | int) -> RuleMatch:
        """A finding at `path` of the view."""
        return RuleMatch(self.document, path, said)

    def found(self, world: LintContext, fault: Fault) -> Iterator[RuleMatch]:
        """What its source does not give, of one kind."""
        source = None if self.view is None else world.sources.get(self.view.source)
        if self.view is not None and source is not None:
            for each in faults(self.view, source):
                if each.fault == fault:
                    yield self.hit(f"{'.'.join(each.path)}: {each.text}", *each.path)


def contract_of(document: Document) -> ContractFile | None:
    """The data contract that a document is."""
    return ContractFile(document, document.data) if is_contract(document.data) else None


def view_of(document: Document) -> ViewFile | None:
    """The feature view that a document is, by its keys."""
    data = document.data
    whole = isinstance(data, dict) and {"entity", "source", "columns"} <= data.keys() and "kind" not in data
    return ViewFile(document, data) if whole else None


def sources_of(read: Iterable[Document]) -> Mapping[str, Source | None]:
    """The contracts among these documents, by name@version; None of one that is refused."""
    found = filter(None, map(contract_of, read))
    return {each.reference: each.source for each in found}


def declared_of(read: Iterable[Document]) -> Mapping[str, FeatureView | None]:
    """The feature views among these documents, by name@version; None of one that is refused."""
    found = filter(None, map(view_of, read))
    return {f"{text(each.data, 'name')}@{integer(each.data, 'version')}": each.view for each in found}


def _problems(model: type[BaseModel], data: dict[str, Any]) -> Iterator[tuple[Keys, str]]:
    try:
        model.model_validate(data)
    except ValidationError as error:
        for item in error.errors():
            yield tuple(item["loc"]), item["msg"].removeprefix("Value error, ")


def _misplaced(document: Document, reference: str) -> str:
    """What the place of a file says, where that is another name@version than its own."""
    place = versioned.place(document.shown)
    return f"expected {place}, as the file's place says; got {reference}" if place and place != reference else ""


@rule(
    "HM901",
    "A data contract that is refused",
    on=ContractFile,
    reason="nothing is read of its source: every batch would be taken by another contract than the one that is written",
    fix="keep to the subset of the standard that docs/features.md names, and the file to contracts/NAME/vN.yaml",
    link=_ODCS + "schema/",
)
def contract_refused(contract: ContractFile, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/declaration/source.py."""
    for path, why in _problems(Source, contract.data):
        yield contract.hit(f"{'.'.join(map(str, path)) or 'the whole'}: {why}", *path)
    if contract.source is not None and (said := _misplaced(contract.document, contract.reference)):
        yield contract.hit(f"name, version: {said}", "version")


@rule(
    "HM902",
    "A feature view that is refused",
    on=ViewFile,
    reason="every command that reads it fails, and so does every domain that names it",
    fix="mend the key; your editor completes it from features/view.schema.json",
    link=_VIEWS,
)
def view_refused(view: ViewFile, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/declaration/feature_view.py."""
    for path, why in _problems(FeatureView, view.data):
        yield view.hit(f"{'.'.join(map(str, path)) or 'the whole'}: {why}", *path)
    if view.view is not None and (said := _misplaced(view.document, view.view.reference)):
        yield view.hit(f"name, version: {said}", "version")


@rule(
    "HM903",
    "A source that nobody declares",
    on=ViewFile,
    reason="without a contract nobody knows what its columns hold, or is told when that changes",
    fix="name a contract of contracts/ as NAME@N, or write one",
    link=_ODCS,
)
def unknown_source(view: ViewFile, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/declaration/source.py, load; silent where no checkout is known."""
    if view.view is not None and world.domains is not None and view.view.source not in world.sources:
        known = ", ".join(sorted(world.sources)) or "none yet"
        yield view.hit(f"there is no contract {view.view.source}; there is {known}", "source")


@rule(
    "HM904",
    "A column that the source does not have",
    on=ViewFile,
    reason="the view cannot be computed: the query fails, and the stream finds nothing",
    fix="name a column of the contract, or have the source declare it: a column that is added is a compatible change",
    link=_ODCS + "schema/",
)
def lacking(view: ViewFile, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/declaration/view_types.py."""
    yield from view.found(world, "lacking")


@rule(
    "HM905",
    "An aggregate that cannot take its column",
    on=ViewFile,
    reason="a sum of texts is none; engines refuse it, or turn texts into numbers each in its own way",
    fix="take what fits the column's type in the contract, or name another column",
    link=_VIEWS,
)
def aggregate(view: ViewFile, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/declaration/view_types.py."""
    yield from view.found(world, "aggregate")


@rule(
    "HM906",
    "A clock that is no required timestamp",
    on=ViewFile,
    reason="without both times nobody can say what was known when, and training sees what serving could not",
    fix="name required columns of type timestamp in event_time and known_at",
    link=_TIMES,
)
def clock(view: ViewFile, world: LintContext) -> Iterator[RuleMatch]:
    """docs/decisions/0036: two clocks."""
    yield from view.found(world, "clock")


@rule(
    "HM907",
    "An event id that is not the primary key",
    on=ViewFile,
    reason="corrections are told from new events by it: another column makes two events one, or one two",
    fix="name the column that the contract declares with primaryKey: true",
    link=_ODCS + "schema/",
)
def event_id(view: ViewFile, world: LintContext) -> Iterator[RuleMatch]:
    """docs/decisions/0036: corrections."""
    yield from view.found(world, "event_id")


@rule(
    "HM908",
    "An entity that nobody can be asked for",
    on=ViewFile,
    reason="a lookup compares keys exactly: a fraction, a truth or a time finds nothing, or too much",
    fix="name a column that is a string or an integer",
    link="https://docs.feast.dev/getting-started/concepts/entity",
)
def entity(view: ViewFile, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/declaration/view_types.py."""
    yield from view.found(world, "entity")


@rule(
    "HM909",
    "A value that its column never has",
    on=ViewFile,
    reason="the condition is never true and the feature always empty, or a default is of another type than its feature",
    fix="write a value of the column's type, and of its closed set where it has one",
    link=_ODCS + "data-quality/",
)
def value(view: ViewFile, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/declaration/view_types.py."""
    yield from view.found(world, "value")


@rule(
    "HM914",
    "SQL that its source's types do not allow",
    on=ViewFile,
    reason="a value would be another on each engine, or none at all, so it is computed by none of them",
    fix="write it of what docs/features.md lists, with a cast where types differ",
    link="https://duckdb.org/docs/stable/sql/expressions/overview",
)
def sql(view: ViewFile, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/declaration/expression.py: what every operation means, and of which types; its types are DuckDB's."""
    yield from view.found(world, "sql")


@rule(
    "HM910",
    "A contract that changed under its version",
    on=ContractFile,
    reason="views read what is written tomorrow under the version that they name today",
    fix="write a breaking change into a new file with the next number, a compatible one under a higher second number",
    link="https://semver.org/",
)
def changed(contract: ContractFile, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/declaration/source_change.py; silent without --against."""
    before = (world.previous or {}).get(("DataContract", "", contract.reference))
    if before is None or contract.source is None:
        return
    try:
        old = Source.model_validate(before)
    except ValidationError:
        return  # it was refused then, so nobody reads it
    if least := source_change.misnumbered(old, contract.source):
        found = source_change.changes(old, contract.source)
        worst = next(each for each in found if each.kind == source_change.worst(found))
        said = f"{worst.path}: {worst.kind}, {worst.reason}: {contract.source.version} has to be {least} at least"
        yield contract.hit(said, "version")
