"""Findings about a domain before anything is trained: its declaration beside its own code, and beside a file of its own data."""

from __future__ import annotations

import difflib
import functools
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray

from hallmark.artifacts import retriever, views
from hallmark.artifacts.signature import Signature
from hallmark.decision import calibrate
from hallmark.decision.misfits import Misfit, misfits
from hallmark.declaration import contradictions, feature_view
from hallmark.declaration import corpus as corpora
from hallmark.declaration import domain as domains
from hallmark.declaration.decision import Node
from hallmark.declaration.domain import Domain
from hallmark.errors import DeclarationError, HallmarkError
from hallmark.features.encoding import Features
from hallmark.features.fields import Columns, Field, Output
from hallmark.learners import model as models
from hallmark.policy import served
from hallmark.section import Frozen
from hallmark.settings import Settings
from hallmark.training import calibration, source

if TYPE_CHECKING:
    import pandas as pd

ROWS = 64
"""Records that fields are tried with."""
_LIKELY = 1000
FEWEST = 20
"""Examples of a class in the test part below which no metric of it says much."""
WIDE = 0.1
"""Half an interval of a share, with 95%, beyond which a floor cannot be told."""
_COLUMNS = (
    "entity",
    "label",
    "label_time",
    "event_time",
    "query",
    "item",
    "treatment",
    "propensity",
    "censored",
    "weight",
    "judged",
    "value",
)
_SLICES = "decision.risk.false_authentic.slices"
_LETTERS = 4
"""A label's name of fewer stands in other names by chance."""


class Finding(Frozen):
    """What is wrong, or may be, about a domain.

    level: "error" where a training would be refused, or learn something else than was meant; else "warning".
    where: the file and its line.
    key:   of domain.yaml; empty where it is about code or data.
    """

    level: Literal["error", "warning"]
    what: str
    where: str
    fix: str
    key: str = ""


def findings(domain: Domain, settings: Settings, *, data: pd.DataFrame | None = None) -> list[Finding]:
    """Findings about a domain, errors first; of one that is only declared yet, about its declaration.

    data: its own, read by its data.py and kept to its contract.
    """
    told = [*_warned(domain, settings), *_numbers(domain, settings)]
    return sorted([*told, *beside_code(domain, settings, data=data, told=told)], key=lambda each: each.level)


def beside_code(
    domain: Domain, settings: Settings, *, data: pd.DataFrame | None = None, told: Sequence[Finding] = ()
) -> list[Finding]:
    """What the domain's own code, feature views and data say of its declaration; the domain's code is run for it.

    told: what is known already; beside an error no field is tried, and no data looked at.
    """
    found = [*_references(domain, settings)]
    if not all((settings.domains / domain.name / f"{part}.py").is_file() for part in ("data", "features", "model")):
        return found
    found += [
        *_columns(domain, settings),
        *_answers(domain, settings),
        *_watched(domain, settings),
        *_asked(domain, settings),
    ]
    if not any(each.level == "error" for each in (*told, *found)):
        found += _fields(domain, settings, data)
        if data is not None:
            found += _data(domain, settings, data)
    return found


def demand(domain: Domain, settings: Settings, *, data: pd.DataFrame | None = None) -> list[Finding]:
    """The warnings; `DeclarationError` that names every error."""
    found = findings(domain, settings, data=data)
    errors = [each for each in found if each.level == "error"]
    if errors:
        more = "".join(f"; {each.where}: {each.what}" for each in errors[1:])
        raise DeclarationError(
            f"{errors[0].where}: {errors[0].what}{more}",
            expected="what hallmark check finds no error in",
            got=f"{len(errors)} error{'s' if errors[1:] else ''}",
            fix=errors[0].fix,
        )
    return found


def _warned(domain: Domain, settings: Settings) -> Iterator[Finding]:
    where = _Places(domain, settings)
    for key, text in contradictions.warnings(domain):
        what, _, fix = text.partition("; ")
        yield Finding(level="warning", what=f"{key}: {what}", where=where(key), fix=fix, key=key)


def _numbers(domain: Domain, settings: Settings) -> Iterator[Finding]:
    """Values that are of the right type and mean nothing: an empty window, a floor that no number meets, a day that never comes."""
    where = _Places(domain, settings)
    for key, text in contradictions.meaningless(domain):
        what, _, fix = text.partition("; ")
        yield Finding(level="error", what=f"{key}: {what}", where=where(key), fix=fix, key=key)


def _references(domain: Domain, settings: Settings) -> Iterator[Finding]:
    """Names of what lies elsewhere in the checkout: versions of feature views, and a shift of the synthetic data."""
    where = _Places(domain, settings)
    for reference in domain.features.views if domain.features else ():
        try:
            feature_view.load(reference, settings)
        except HallmarkError as error:
            known = sorted(
                f"{path.parent.name}@{path.stem.removeprefix('v')}" for path in settings.features.glob("*/v*.yaml")
            )
            close = difflib.get_close_matches(reference, known, 1)
            yield Finding(
                level="error",
                what=f"features.views: {reference}: {error.message}",
                where=where("features.views"),
                fix=f"did you mean {close[0]}?"
                if close
                else error.fix or f"name one of {', '.join(known) or 'none yet'}",
                key="features.views",
            )
    if domain.drill is not None and (settings.domains / domain.name / "synthetic.py").is_file():
        known_shifts = {each.name for each in source.shifts(domain.name, settings)}
        if domain.drill.shift not in known_shifts:
            yield _unknown(where, "drill.shift", domain.drill.shift, known_shifts, "no shift of synthetic.py")


def _watched(domain: Domain, settings: Settings) -> Iterator[Finding]:
    """What the drift monitor watches and matches by, and FIELDS themselves."""
    where, features = _Places(domain, settings), domains.module(domain.name, "features", settings)
    path = settings.domains / domain.name / "features.py"
    shown = f"domains/{domain.name}/features.py"
    names = [field.name for field in features.FIELDS]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Finding(
            level="error",
            what=f"the field {name} is in FIELDS {names.count(name)} times",
            where=f"{shown}:{_line(path, name)}",
            fix=f"take one {name} out, or give it another name",
        )
    plain = {field.name for field in features.FIELDS if not field.shape and field.media is None}
    if domain.drift.match and domain.drift.match not in plain:
        yield _unknown(where, "drift.match", domain.drift.match, plain, "no field with one value a request")
    if domain.drift.freshness and domain.drift.freshness.column not in names:
        column = domain.drift.freshness.column
        yield _unknown(where, "drift.freshness.column", column, set(names), "no field")
    if not callable(getattr(features, "observe", None)):
        yield Finding(
            level="error",
            what="features.py has no observe: the drift monitor and slices of a shadow are told nothing",
            where=shown,
            fix="write observe(columns), which gives the columns to watch; `return columns` watches every field",
        )
        return
    try:
        spec = models.spec(domain, settings)
        seen = set(features.observe(sample(features.FIELDS)))
    except Exception:  # noqa: BLE001 (the domain's own code, with records that nobody sent; SPEC is told elsewhere)
        return
    outputs = {each.name: each for each in spec.outputs}
    own = (settings.domains / domain.name / "serving.py").is_file()
    if own:
        added = getattr(domains.module(domain.name, "serving", settings), "OUTPUTS", ())
        outputs |= {each.name: each for each in added}
    for column in domain.drift.columns:
        if column not in seen | set(outputs):
            what = "no column that observe of features.py gives, and no output"
            yield _unknown(where, "drift.columns", column, seen | set(outputs), what)
    shadow = domain.rollout.shadow
    output = outputs.get(shadow.output) if shadow else None
    if shadow and output and shadow.threshold is not None:
        low = -math.inf if output.minimum is None else output.minimum
        high = math.inf if output.maximum is None else output.maximum
        if not low <= shadow.threshold <= high:
            yield Finding(
                level="error",
                what=f"rollout.shadow.threshold: {shadow.threshold:g} is beyond {output.name}, which is from {low:g} to {high:g}: no two answers ever differ",
                where=where("rollout.shadow.threshold"),
                fix=f"name a number from {low:g} to {high:g}",
                key="rollout.shadow.threshold",
            )


def _columns(domain: Domain, settings: Settings) -> Iterator[Finding]:
    """Keys of domain.yaml that name a column which the domain's data has not (N1, N2)."""
    where, known = _Places(domain, settings), set(domains.module(domain.name, "data", settings).contract().columns)
    fields = {field.name for field in domains.module(domain.name, "features", settings).FIELDS}
    known |= fields
    whose = f"the contract in domains/{domain.name}/data.py"
    label = domain.data.label
    path = settings.domains / domain.name / "features.py"
    for name in sorted(fields):
        if len(label) >= _LETTERS and label.lower() in name.lower() and name != label:
            yield Finding(
                level="warning",
                what=f"the field {name} is called after the label {label}: does a caller know it before the answer?",
                where=f"domains/{domain.name}/features.py:{_line(path, name)}",
                fix=f"take {name} out of FIELDS if it is known only afterwards, or give it another name",
            )
    costs = domain.rollout.labels.costs if domain.rollout.labels else None
    named = [(f"data.{role}", getattr(domain.data, role)) for role in _COLUMNS]
    named += [("gate.slices.columns", column) for column in domain.gate.slices.columns]
    named.append(("rollout.labels.costs.times", costs.times if costs else None))
    for key, column in named:
        if isinstance(column, str) and column not in known:
            yield _unknown(where, key, column, known, f"no column of {whose}")
    if domain.decision is not None:
        for column in calibration.lacking(domain.decision.risk.false_authentic, known):
            yield _unknown(where, _SLICES, column, known, f"no column of {whose}")


def _answers(domain: Domain, settings: Settings) -> Iterator[Finding]:
    """Keys of domain.yaml that name an output or a watched column which the model has not."""
    where = _Places(domain, settings)
    try:
        spec = models.spec(domain, settings)
    except DeclarationError as error:
        yield Finding(
            level="error",
            what=f"{error.message}: expected {error.expected}, got {error.got}",
            where=f"domains/{domain.name}/model.py",
            fix=error.fix or "mend SPEC",
        )
        return
    outputs, shadow = {each.name for each in spec.outputs}, domain.rollout.shadow
    if shadow is None:
        return
    fields = domains.module(domain.name, "features", settings).FIELDS
    if spec.retriever is not None and domain.retrieval is not None:
        answer = retriever.outputs_of(corpora.load(domain.retrieval, settings), domain.retrieval.k)
        outputs, fields = {each.name for each in answer}, spec.retriever.fields
    if (settings.domains / domain.name / "serving.py").is_file():
        outputs |= {each.name for each in getattr(domains.module(domain.name, "serving", settings), "OUTPUTS", ())}
    if shadow.output not in outputs:
        what = "no output of SPEC in model.py, or of serving.py"
        yield _unknown(where, "rollout.shadow.output", shadow.output, outputs, what)
    features = domains.module(domain.name, "features", settings)
    if shadow.slices:
        try:
            watched = set(features.observe(sample(fields)))
        except Exception:  # noqa: BLE001 (the domain's own code, with records that nobody sent)
            return
        for column in shadow.slices:
            if column not in watched:
                what = "no column that observe of features.py gives"
                yield _unknown(where, "rollout.shadow.slices", column, watched, what)


def _asked(domain: Domain, settings: Settings) -> Iterator[Finding]:
    """Nodes of a decision that ask this domain's model for what it will not answer, or do not send what it will demand."""
    nodes = domain.decision.nodes.items() if domain.decision else ()
    own = {name: node for name, node in nodes if node.service == domain.name}
    try:
        spec = models.spec(domain, settings)
        if not own or spec.retriever is not None:
            return
        fields = domains.module(domain.name, "features", settings).FIELDS
        signature = Signature(
            domain=domain.name,
            task=models.task_of(domain, spec),
            fields=fields,
            outputs=spec.outputs,
            views=views.uses(domain, fields, settings),
            references=spec.references,
            choice=served.declared(domain),
        )
    except DeclarationError:  # told elsewhere
        return
    added: tuple[Output, ...] = ()
    if (settings.domains / domain.name / "serving.py").is_file():
        added = tuple(getattr(domains.module(domain.name, "serving", settings), "OUTPUTS", ()))
    where = _Places(domain, settings)
    score = domain.decision.risk.false_authentic.score if domain.decision else ""
    asked, _, output = score.partition(".")
    first, key = spec.outputs[0].name, "decision.risk.false_authentic.score"
    if asked in own and output != first and output in {each.name for each in (*signature.answered, *added)}:
        what = f"{key}: {score} is not the first output of SPEC in model.py, and thresholds are made of that one"
        yield Finding(level="error", what=what, where=where(key), fix=f"write {asked}.{first}", key=key)
    for name, node in own.items():
        for each in misfits(node, signature, added=added):
            yield _misfit(where, f"decision.nodes.{name}.{each.key}", each, node)


def _misfit(where: _Places, key: str, found: Misfit, node: Node) -> Finding:
    if found.fault == "unknown":
        what = (
            "no field that callers send" if found.key == "reads" else "no output of SPEC in model.py, or of serving.py"
        )
        return _unknown(where, key, found.name, found.expected, what)
    if found.fault == "lacking":
        what = f"{found.name} is missing, and the model refuses requests without it"
        fix = f"add {found.name}, or declare the field with optional=True"
    else:
        what = f"{found.name} is a {node.outputs[found.name]} here, and no answer of the model is read so"
        fix = f"write {' or '.join(found.expected)}"
    return Finding(level="error", what=f"{key}: {what}", where=where(key), fix=fix, key=key)


def _fields(domain: Domain, settings: Settings, data: pd.DataFrame | None) -> Iterator[Finding]:
    """Fields on which no input of the model depends (N11), and code that cannot encode what the fields allow."""
    features, sure = domains.module(domain.name, "features", settings), data is not None
    names = [field.name for field in features.FIELDS if field.media != "image"]
    unused = _unused(domain, settings, names, data)
    # One may count only beside another, such as a size that the query names: ask for likelier records.
    if unused and data is None and (likelier := _synthetic(domain, settings)) is not None:
        again = _unused(domain, settings, names if isinstance(unused, Exception) else unused, likelier)
        if not isinstance(
            again, HallmarkError
        ):  # a column that the marketplace has not, as of a field that was just added
            unused, sure = again, True
    path = settings.domains / domain.name / "features.py"
    if isinstance(unused, Exception):
        yield Finding(
            level="error" if sure else "warning",
            what=f"encode stops at {'records of the data' if sure else 'made records of FIELDS'}: {unused!r}",
            where=f"domains/{domain.name}/features.py",
            fix="mend encode, or what FIELDS allows",
        )
        return
    for name in unused:
        yield Finding(
            level="warning",
            what=f"no input depends on the field {name}: callers send it, and the model never sees it",
            where=f"domains/{domain.name}/features.py:{_line(path, name)}",
            fix=f"use {name} in encode, or take it out of FIELDS",
        )


def _unused(
    domain: Domain, settings: Settings, names: Sequence[str], data: pd.DataFrame | None
) -> list[str] | Exception:
    """Those of these fields that change no input, in records of `data` or made ones; what encoding them raised, where it did."""
    features, spec = domains.module(domain.name, "features", settings), models.spec(domain, settings)
    code = Features(features, inputs=spec.inputs, assets=models.assets(domain.name, spec, settings))
    try:
        columns = sample(features.FIELDS)
        if data is not None:
            columns = dict(models.columns(data.sample(min(_LIKELY, len(data)), random_state=0), features.FIELDS))
        before = code.encode(columns)
    except Exception as error:  # noqa: BLE001 (the domain's own code)
        return error
    fields = {field.name: field for field in features.FIELDS}
    return [name for name in names if not _depends(code, columns, before, fields[name])]


def _synthetic(domain: Domain, settings: Settings) -> pd.DataFrame | None:
    """Some days of the synthetic marketplace, with what feature views know of them; None where the domain has no such."""
    try:
        start, end = datetime(2026, 9, 1, tzinfo=UTC), datetime(2026, 9, 3, tzinfo=UTC)
        return source.load(domain.name, source=source.SYNTHETIC, start=start, end=end, seed=1, settings=settings)
    except Exception:  # noqa: BLE001 (the domain's own code)
        return None


def _depends(code: Features, columns: Columns, before: dict[str, NDArray[Any]], field: Field) -> bool:
    """Do inputs change where the values of a field do?"""
    try:
        after = code.encode({**columns, field.name: _others(columns[field.name], field)})
    except Exception:  # noqa: BLE001 (what reads it refuses it)
        return True
    return not all(_same(before[name], after[name]) for name in before)


def _data(domain: Domain, settings: Settings, data: pd.DataFrame) -> Iterator[Finding]:
    """Data that is too little to judge by (N15), or has not what the contract lets it leave out."""
    where, label = _Places(domain, settings), data[domain.data.label]
    if domain.decision is not None:
        for column in calibration.lacking(domain.decision.risk.false_authentic, data.columns):
            yield _unknown(where, _SLICES, column, map(str, data.columns), "no column of these data")
        yield from _shown(domain, where, data)
    share, kind = domain.data.test, domain.task.kind
    tested = len(data) * share
    if kind in ("binary", "multiclass"):
        for name, count in label.value_counts().items():
            if count * share < FEWEST:
                yield Finding(
                    level="warning",
                    what=f"{count:,} examples of {domain.data.label} {name}: the test part will hold about {count * share:.0f}",
                    where=where("data.label"),
                    key="data.label",
                    fix=f"bring {math.ceil(FEWEST / share):,} of each class, or leave out the rare ones",
                )
    floor = domain.gate.floor
    if isinstance(floor, float | int) and 0 < floor < 1:
        rarest = label.mean() if kind == "binary" and set(label.unique()) <= {0, 1} else 1.0
        judged = max(1.0, tested * min(rarest, 1 - rarest if rarest < 1 else 1.0))
        half = 1.96 * math.sqrt(floor * (1 - floor) / judged)
        if half > WIDE:
            yield Finding(
                level="warning",
                what=f"{domain.gate.metric} of {floor:g} can be told to about ±{half:.2f} with {len(data):,} rows: the gate decides by chance",
                where=where("gate.floor"),
                key="gate.floor",
                fix=f"bring about {math.ceil(len(data) * (half / WIDE) ** 2):,} rows, or expect refusals and luck",
            )


def _shown(domain: Domain, where: _Places, data: pd.DataFrame) -> Iterator[Finding]:
    """A risk that no slice of the decision has the rows to show, so that each item would go to a person."""
    risk = domain.decision.risk.false_authentic if domain.decision else None
    if risk is None or calibration.lacking(risk, data.columns):
        return
    weights = data[domain.data.weight].astype(float) if domain.data.weight in data.columns else None
    counted = np.ones(len(data)) if weights is None else weights.to_numpy()
    slices = data[list(risk.slices)].astype(str).agg("/".join, axis=1) if risk.slices else None
    groups = [counted] if slices is None else [counted[rows] for rows in slices.groupby(slices).indices.values()]
    largest = max((float(each.sum() / each.max()) for each in groups if len(each)), default=0.0)
    wanted, tested = calibrate.needed(risk), largest * domain.data.test
    if tested < wanted:
        key = "decision.risk.false_authentic.at_most"
        whose = f"the largest slice of {', '.join(risk.slices)}" if risk.slices else "the data"
        yield Finding(
            level="warning",
            what=f"{key}: {risk.at_most:g} takes {wanted:,} accepted items of a slice to show, and the test part will hold about {tested:,.0f} of {whose}: nothing is accepted without a person",
            where=where(key),
            key=key,
            fix=f"bring {math.ceil(wanted / domain.data.test):,} rows of a slice, name fewer slices, or allow more risk",
        )


def facts(domain: Domain, data: pd.DataFrame) -> dict[str, Any]:
    """Rows, the label's values, the time span, and columns with nulls, of data that keeps the contract."""
    label, time = data[domain.data.label], domain.data.event_time
    told: dict[str, Any] = {"rows": len(data)}
    if domain.task.kind in ("binary", "multiclass"):
        told["labels"] = {str(name): int(count) for name, count in label.value_counts().items()}
    else:
        told["labels"] = {name: float(label.quantile(q)) for name, q in (("min", 0), ("median", 0.5), ("max", 1))}
    if time is not None:
        told |= {"first": str(data[time].min())[:19], "last": str(data[time].max())[:19]}
    nulls = data.isna().mean()
    told["nulls"] = {str(name): round(float(each), 4) for name, each in nulls.items() if each > 0}
    return told


def sample(fields: Sequence[Field], *, rows: int = ROWS, seed: int = 0) -> dict[str, NDArray[Any]]:
    """`rows` records that the fields allow, as `Columns`; optional ones have every value."""
    random = np.random.default_rng(seed)
    return {field.name: _drawn(field, rows, random) for field in fields}


def _drawn(field: Field, rows: int, random: np.random.Generator) -> NDArray[Any]:
    if field.varies:
        found = np.empty(rows, dtype=object)
        for place in range(rows):
            found[place] = _values(field, int(random.integers(1, (field.at_most or 1) + 1)), random)
        return found
    return _values(field, rows, random)


def _values(field: Field, count: int, random: np.random.Generator) -> NDArray[Any]:
    shape = (count, *field.rest)
    if field.media == "image":
        return np.array([_photo()] * count, dtype=object)
    if field.datatype == "BYTES":
        words = field.categories or [f"word {number}"[: field.longest] for number in range(9)]
        return random.choice(np.array(words, dtype=object), shape)
    if field.datatype == "BOOL":
        return random.integers(0, 2, shape).astype(field.dtype)
    low = field.minimum if field.minimum is not None else min(0.0, (field.maximum or 0.0) - 100.0)
    high = field.maximum if field.maximum is not None else low + 100.0
    drawn = random.uniform(low, min(high, low + 1e6), shape)
    return (np.round(drawn) if field.datatype.startswith("INT") else drawn).astype(field.dtype)


def _others(values: NDArray[Any], field: Field) -> NDArray[Any]:
    """Other values of a field: of each record another's, or drawn anew where all are alike."""
    turned: NDArray[Any] = np.roll(values, 1, axis=0)
    if not _same(values, turned):
        return turned
    return _drawn(field, len(values), np.random.default_rng(1))


def _same(one: NDArray[Any], other: NDArray[Any]) -> bool:
    if one.shape != other.shape:
        return False
    if one.dtype == object:
        return all(np.array_equal(a, b) for a, b in zip(one.ravel(), other.ravel(), strict=True))
    return bool(np.array_equal(one, other, equal_nan=one.dtype.kind == "f"))


@functools.cache
def _photo() -> bytes:
    from PIL import Image

    made = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").save(made, "JPEG")
    return made.getvalue()


def _unknown(where: _Places, key: str, got: str, known: Iterable[str], what: str) -> Finding:
    names = sorted(known)
    close = difflib.get_close_matches(got, names, 1)
    fix = f"did you mean {close[0]}?" if close else f"name one of {', '.join(names)}"
    return Finding(level="error", what=f"{key}: {got} is {what}", where=where(key), fix=fix, key=key)


class _Places:
    """File and line of each key of a domain's domain.yaml."""

    def __init__(self, domain: Domain, settings: Settings) -> None:
        self._shown = f"domains/{domain.name}/domain.yaml"
        path = settings.domains / domain.name / "domain.yaml"
        self._root = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)

    def __call__(self, key: str) -> str:
        node, line = self._root, 1
        for part in key.split("."):
            pairs = node.value if isinstance(node, yaml.MappingNode) else []
            found = next((each for each in pairs if each[0].value == part), None)
            if found is None:
                break
            line, node = found[0].start_mark.line + 1, found[1]
        return f"{self._shown}:{line}"


def _line(path: Path, name: str) -> int:
    """The first line of a file that has this word in quotes; 1 where none has."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((number for number, line in enumerate(lines, 1) if f'"{name}"' in line or f"'{name}'" in line), 1)
