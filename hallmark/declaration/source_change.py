"""Changes from one data contract to another, each classed from the point of view of those who read the source.

breaking:   something that the new contract allows, a reader of the old one cannot take: its type, a null, a value outside of what it knows.
compatible: whatever is valid under the new contract is valid under the old one, once columns that the old one does not name are left out.
none:       nothing about the data has changed.

Readers decide, since a feature view reads what is written later, under its version, without being asked. A writer that keeps to the old
contract is another matter: where the new one asks more of it (`refuses_writers`), its batches are refused at ingest until it has changed.
Rows that were stored before are not touched: a column that is added, required or not, reads as null in them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import BaseModel

from hallmark.declaration.source import LogicalType, Property, Source
from hallmark.section import Frozen

ChangeClass = Literal["breaking", "compatible", "none"]
_ORDER: tuple[ChangeClass, ...] = ("none", "compatible", "breaking")
_ENDS = (("low", ("minimum", "exclusiveMinimum"), 1), ("high", ("maximum", "exclusiveMaximum"), -1))


class Change(Frozen):
    """One change. `path` is that of the key, with columns by name; `refuses_writers`: of data that keeps to the old contract."""

    path: str
    before: Any
    after: Any
    kind: ChangeClass
    reason: str
    refuses_writers: bool = False


def changes(old: Source, new: Source) -> tuple[Change, ...]:
    """Every change from `old` to `new`, in the order of the document."""
    return (*_document(old, new), *_columns(old, new))


def worst(found: tuple[Change, ...]) -> ChangeClass:
    """The class of all of these changes together."""
    return max((each.kind for each in found), key=_ORDER.index, default="none")


def misnumbered(old: Source, new: Source) -> str | None:
    """The version that `new` should have at least, by what has changed since `old`; None where its own will do."""
    major, minor, patch = old.numbers
    kind = worst(changes(old, new))
    least = {"breaking": (major + 1, 0, 0), "compatible": (major, minor + 1, 0), "none": (major, minor, patch)}[kind]
    return None if new.numbers >= least else ".".join(map(str, least))


def _document(old: Source, new: Source) -> Iterator[Change]:
    before, after = (each.model_dump(by_alias=True, exclude={"tables", "version"}) for each in (old, new))
    for key in before:
        if before[key] == after[key]:
            continue
        if key == "name":
            yield _change(
                key, old.name, new.name, "breaking", "views name the source, and there is none of the old name"
            )
        else:
            yield _change(key, before[key], after[key], "none", "says nothing about the data")
    (old_table,), (new_table,) = old.tables, new.tables
    if old_table.name != new_table.name:
        yield _change("schema.name", old_table.name, new_table.name, "breaking", "readers find the table by its name")
    for key in ("physicalType", "description"):
        texts = _pair(old_table, new_table, key)
        if texts[0] != texts[1]:
            yield _change(f"schema.{key}", *texts, "none", "says nothing about the data")


def _columns(old: Source, new: Source) -> Iterator[Change]:
    for name, had in old.columns.items():
        if name in new.columns:
            yield from _column(f"properties.{name}", had, new.columns[name])
        else:
            twins = [key for key, each in new.columns.items() if key not in old.columns and _alike(had, each)]
            hint = f"; {twins[0]}, which is new, is like it: renamed?" if twins else ""
            yield _change(f"properties.{name}", _told(had), None, "breaking", f"readers of the column find none{hint}")
    for name, has in new.columns.items():
        if name not in old.columns:
            reason = "nobody reads it yet; writers send it first" + ("" if has.required else ", if only with nulls")
            yield _change(f"properties.{name}", None, _told(has), "compatible", reason, refuses_writers=True)
    order = [list(each.columns) for each in (old, new)]
    common = [[name for name in names if name in old.columns and name in new.columns] for names in order]
    if common[0] != common[1]:
        yield _change("properties", ", ".join(common[0]), ", ".join(common[1]), "none", "columns are read by name")


def _alike(one: Property, other: Property) -> bool:
    left_out = {"name", "description", "primary_key"}
    return one.model_dump(exclude=left_out) == other.model_dump(exclude=left_out)


def _told(column: Property) -> str:
    return (
        f"{column.logical_type}{', required' if column.required else ''}{', primary key' if column.primary_key else ''}"
    )


def _column(path: str, old: Property, new: Property) -> Iterator[Change]:
    if old.logical_type != new.logical_type:
        types = old.logical_type, new.logical_type
        taken = types in (("integer", "number"), ("integer", "string"))  # the reader takes what the old writer writes
        yield _change(f"{path}.logicalType", *types, "breaking", _retyped(*types), refuses_writers=not taken)
    if old.required != new.required:
        yield _flag(f"{path}.required", old.required, "a null, which readers of the old never met, may come")
    if old.unique != new.unique:
        yield _flag(f"{path}.unique", old.unique, "a value may come more than once")
    if old.primary_key != new.primary_key:
        reason = "which rows are versions of one event is another question now, and so is every count"
        yield _change(f"{path}.primaryKey", old.primary_key, new.primary_key, "breaking", reason)
    if old.logical_type == new.logical_type:
        yield from _options(f"{path}.logicalTypeOptions", old, new)
        yield from _values(f"{path}.quality.invalidValues.validValues", old.values, new.values)
    for key in ("physicalType", "description", "classification"):
        texts = _pair(old, new, key)
        if texts[0] != texts[1]:
            yield _change(f"{path}.{key}", *texts, "none", _SAYS_NOTHING[key])
    words = _words(old), _words(new)
    if words[0] != words[1]:
        yield _change(f"{path}.quality.description", *words, "none", _SAYS_NOTHING["description"])


_SAYS_NOTHING = {
    "physicalType": "how the writer's store holds it; what is read is the logicalType",
    "description": "says nothing about the data",
    "classification": "changes who may see it, not what it is",
}


def _pair(old: BaseModel, new: BaseModel, key: str) -> tuple[Any, Any]:
    return old.model_dump(by_alias=True)[key], new.model_dump(by_alias=True)[key]


def _words(column: Property) -> str:
    return column.quality[0].description if column.quality else ""


def _retyped(old: LogicalType, new: LogicalType) -> str:
    if (old, new) == ("integer", "number"):
        return "a fraction may come, which is no whole number"
    if (old, new) == ("number", "integer"):
        return "a whole number above 2^53 may come, which is no double, and sums of it become whole numbers"
    return f"a {new} is no {old}"


def _flag(path: str, had: bool, loosened: str) -> Change:
    """A promise that was taken back, or made."""
    if had:
        return _change(path, True, False, "breaking", loosened)
    return _change(path, False, True, "compatible", "readers are promised more", refuses_writers=True)


def _options(path: str, old: Property, new: Property) -> Iterator[Change]:
    before, after = (each.logical_type_options.model_dump(by_alias=True) for each in (old, new))
    for end, keys, inwards in _ENDS:
        kind, reason = _moved(getattr(old, end), getattr(new, end), inwards)
        for key in keys:
            if before[key] != after[key]:
                yield _change(
                    f"{path}.{key}", before[key], after[key], kind, reason, refuses_writers=kind == "compatible"
                )
    for key, inwards in (("minLength", 1), ("maxLength", -1)):
        if before[key] != after[key]:
            lengths = [
                None if each is None or (key == "minLength" and each == 0) else each
                for each in (before[key], after[key])
            ]
            kind, reason = _moved((lengths[0], False), (lengths[1], False), inwards)
            yield _change(f"{path}.{key}", before[key], after[key], kind, reason, refuses_writers=kind == "compatible")
    if before["pattern"] != after["pattern"]:
        added = before["pattern"] is None
        reason = "readers are promised more" if added else "a text that the old pattern refuses may come"
        kind = "compatible" if added else "breaking"
        patterns = before["pattern"], after["pattern"]
        yield _change(f"{path}.pattern", *patterns, kind, reason, refuses_writers=patterns[1] is not None)
    if before["timezone"] != after["timezone"]:
        yield _zone(f"{path}.timezone", before["timezone"], after["timezone"])


def _zone(path: str, had: bool | None, has: bool | None) -> Change:
    if bool(had) == bool(has):
        return _change(path, had, has, "none", "without a zone is what is meant where nothing is said")
    if had:
        return _change(path, had, has, "breaking", "a time without a zone may come, which readers of the old refuse")
    return _change(path, had, has, "compatible", "readers are promised more", refuses_writers=True)


def _moved(old: tuple[Any, bool], new: tuple[Any, bool], inwards: int) -> tuple[ChangeClass, str]:
    """What became of one end of a range: (bound, whether it is itself outside)."""
    if old == new:
        return "none", "the same values are allowed"
    if old[0] is None or (new[0] is not None and _tighter(new, old, inwards)):
        return "compatible", "the range is narrower: readers are promised more"
    return "breaking", "the range is wider: a value may come that readers of the old were told never does"


def _tighter(new: tuple[Any, bool], old: tuple[Any, bool], inwards: int) -> bool:
    if new[0] == old[0]:
        return new[1]
    return bool(new[0] > old[0] if inwards > 0 else new[0] < old[0])


def _values(path: str, old: tuple[Any, ...] | None, new: tuple[Any, ...] | None) -> Iterator[Change]:
    before, after = (None if each is None else list(each) for each in (old, new))
    if before == after:
        return
    if old is not None and new is not None and set(old) == set(new):
        yield _change(path, before, after, "none", "the same values are allowed")
    elif old is None or (new is not None and set(new) < set(old)):
        yield _change(
            path, before, after, "compatible", "the set is smaller: readers are promised more", refuses_writers=True
        )
    else:
        more = "any value" if new is None else ", ".join(map(str, [each for each in new if each not in old]))
        reason = f"{more} may come, which is not in the set that readers know"
        lost = new is not None and not set(old) <= set(new)
        yield _change(path, before, after, "breaking", reason, refuses_writers=lost)


def _change(
    path: str, before: Any, after: Any, kind: ChangeClass, reason: str, *, refuses_writers: bool = False
) -> Change:
    return Change(path=path, before=before, after=after, kind=kind, reason=reason, refuses_writers=refuses_writers)
