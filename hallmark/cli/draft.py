"""A new domain as text: its five or six files, from what a table shows and which column plays which role."""

from __future__ import annotations

import json
import math
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from statistics import NormalDist
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from hallmark.errors import ContractBroken, DeclarationError
from hallmark.features.fields import Field
from hallmark.tasks.targets import TargetColumns, Targets

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.data.columns import Found
    from hallmark.tasks.task import BaseTask

TEMPLATES = Path(__file__).with_name("templates") / "new"
ROW = "row_id"
"""The entity of a table without one: each row is its own."""
_MOST_ITEMS = 2000
_WIDE = 120
_OUTPUTS = {
    "binary": "score",
    "multiclass": "probabilities",
    "regression": "estimate",
    "ranking": "score",
    "retrieval": "items",
    "uplift": "uplift",
}
_OBJECTIVES = {"binary": "binary", "multiclass": "multiclass", "regression": "regression", "ranking": "lambdarank"}
_WHAT = {
    "binary": "boosted trees that say how likely a yes is.",
    "multiclass": "boosted trees that say how likely each class is.",
    "regression": "boosted trees that say how much to expect.",
    "ranking": "boosted trees whose scores put the rows of a query in order.",
}
_RULES = {
    "binary": ("threshold: 0.5", 0.05, "answers agree on the same side of the threshold: where you act"),
    "multiclass": ("", 0.1, "answers agree on the same class"),
    "regression": ("tolerance: 0.1", 0.2, "answers agree within a tenth"),
    "ranking": ("overlap: 0.7", 0.2, "orders of a request agree where their first places overlap as much"),
    "retrieval": ("overlap: 0.6", 0.2, "answers agree where their ids overlap as much, the first ones most"),
    "uplift": ("threshold: 0.0", 0.2, "answers agree on whom to treat: uplift above the threshold"),
}


@dataclass(frozen=True)
class Roles:
    """Columns by what they tell; None where a table has none."""

    label: str
    entity: str | None = None
    time: str | None = None
    query: str | None = None
    item: str | None = None
    treatment: str | None = None
    propensity: str | None = None

    @property
    def named(self) -> dict[str, str]:
        """The columns that are there, by role."""
        return {role: column for role, column in vars(self).items() if column is not None}


@dataclass(frozen=True)
class Draft:
    """One domain to be. frame: rows that were seen, the columns of roles in their types.  seen: where they are from, in words."""

    name: str
    kind: str
    roles: Roles
    found: Found
    frame: pd.DataFrame
    owner: Mapping[str, str]
    description: str
    seen: str

    def files(self) -> dict[str, str]:
        """The text of each file by its name."""
        model = self.kind if self.kind in ("uplift", "retrieval") else "forest"
        made = {
            "domain.yaml": self._filled("domain.yaml", **self._declared()),
            "data.py": self._filled("data.py", **self._data()),
            "features.py": self._filled("features.py", fields=_lines(map(_field, self._fields))),
            "model.py": self._filled(f"model.{model}.py", **self._model()),
            "synthetic.py": self._filled("synthetic.py", **self._synthetic()),
        }
        if self.kind == "multiclass":
            names = {"probabilities": self.output, "word": self._free("label"), "sure": self._free("confidence")}
            made["serving.py"] = self._filled("serving.multiclass.py", **names)
        return made

    @property
    def output(self) -> str:
        """The name of the model's first output."""
        return self._free(_OUTPUTS[self.kind])

    @property
    def entity(self) -> str:
        """The column that no split parts: the one named, else the query, else each row."""
        return self.roles.entity or self.roles.query or ROW

    @property
    def classes(self) -> list[str]:
        """The classes of a multiclass task, sorted."""
        return sorted(set(map(str, self.frame[self.roles.label].tolist())))

    @cached_property
    def task(self) -> BaseTask:
        """The task, its classes bound."""
        from pydantic import TypeAdapter

        from hallmark.tasks.kinds import Task

        made: BaseTask = TypeAdapter(Task).validate_python({"kind": self.kind})
        return made.model_copy(update={"labels": tuple(self.classes)}) if self.kind == "multiclass" else made

    @property
    def _fields(self) -> list[Field]:
        return [each.field for each in self.found.fields]

    def _free(self, name: str) -> str:
        """The name, or another where a field has it: a column is watched by its name."""
        return f"predicted_{name}" if any(field.name == name for field in self._fields) else name

    def _filled(self, template: str, **values: str) -> str:
        text = (TEMPLATES / f"{template}.in").read_text(encoding="utf-8")
        return Template(text).substitute(name=self.name, **values)

    def _declared(self) -> dict[str, str]:
        floor, gain, tolerance, because = self._floor()
        words = [each.field.name for each in self.found.fields if each.shares]
        rule, disagreement, agreement = _RULES[self.kind]
        lines = [("entity", self.entity, "whom or what a row is about; never on both sides of a test by entity")]
        lines.append(("label", self.roles.label, "the answer to learn"))
        for role, comment in (
            ("query", "rows of one query are ranked among each other"),
            ("item", "the id that is answered"),
            ("treatment", "0 for none, 1 for treated"),
            ("propensity", "the chance of the treatment that the row got"),
        ):
            if (column := getattr(self.roles, role)) is not None:
                lines.append((role, column, comment))
        if self.kind == "uplift" and self.roles.propensity is None:
            seen = f"the share treated in {self.seen}: right only where a lot was drawn; else name a column of chances"
            lines.append(("propensity", f"[{self._treated:g}]", seen))
        if self.roles.time:
            lines.append(("event_time", self.roles.time, "when it happened, UTC"))
            lines.append(("split", "time", "test on the latest fifth; label_delay: 30d says how late a label is known"))
        else:
            lines.append(("split", "entity", "test on a fifth of the entities; with event_time: COLUMN, split: time"))
        output = self._free("label") if self.kind == "multiclass" else self.output
        return {
            "owner": _yaml(dict(self.owner)),
            "description": json.dumps(self.description, ensure_ascii=False),
            "task": f"{{kind: {self.kind}}}",
            "data": "\n".join(
                f"  {f'{role}: {column if (role, self.roles.propensity) == (SHARES, None) else _yaml(column)}':<26}# {comment}"
                for role, column, comment in lines
            ),
            "window": self._window(),
            "metric": self.task.gated,
            "floor": f"{floor:g}",
            "because": because,
            "gain": f"{gain:g}",
            "slices": _yaml(words[:1]),
            "tolerance": f"{tolerance:g}",
            "output": output,
            "rule": rule or "slices: []",
            "disagreement": f"{disagreement:g}",
            "agreement": agreement,
            "options": "{}" if self.kind == "retrieval" else "{rounds: 60}",
        }

    def _window(self) -> str:
        if not self.roles.time or self.seen == EXAMPLE:
            return "30d"
        times = self.frame[self.roles.time]
        span: timedelta = (times.max() - times.min()).to_pytimedelta()
        return f"{max(1, math.ceil(span / timedelta(days=1)) + 2)}d"

    @cached_property
    def columns(self) -> TargetColumns:
        """The columns that the task reads."""
        named = {role: name for role, name in self.roles.named.items() if role not in ("time", "entity")}
        drawn = self.kind == "uplift" and self.roles.propensity is None
        return TargetColumns(**named, shares=(self._treated,) if drawn else ())  # type: ignore[arg-type]

    @cached_property
    def targets(self) -> Targets:
        """What the rows seen say is true; `DeclarationError` where the task can learn nothing from it."""
        try:
            targets = self.task.targets(self.frame, self.columns)
        except ContractBroken as error:
            raise DeclarationError(
                error.message,
                expected=error.expected,
                got=error.got,
                fix="mend the file, or name another column or task",
            ) from error
        if reason := self.task.enough(targets):
            raise DeclarationError(
                f"nothing can be learnt from this as {self.kind}",
                expected=f"what a {self.kind} task needs",
                got=reason,
                fix="name another --label or --task",
            )
        return targets

    def _floor(self) -> tuple[float, float, float, str]:
        """Floor of the gate, smallest gain and tolerance of slices, and why: what one answer for all reaches on what was seen."""
        targets = self.targets
        metric = self.task.metrics()[self.task.gated]
        constant = self._constant(targets.labels, targets.items)
        value = metric.value(targets, self.task.predictions(constant, targets))
        if not math.isfinite(value):
            value = 0.0
        if metric.direction == "lower":
            floor = _rounded(value, up=True)
            return (
                floor,
                -_rounded(0.05 * value, up=True),
                _rounded(0.5 * value, up=True),
                f"{metric.unit or 'the error'} of one answer for all; demand less once you know what is useful".strip(),
            )
        floor = _rounded(value, up=False) if value > 0 else 0.0
        return floor, -0.02, 0.2, "what one answer for all reaches; raise it to what is useful"

    def _constant(self, labels: Any, items: Any) -> Any:
        """(n, …) the same answer to each row."""
        count = len(labels)
        if self.kind == "multiclass":
            most = np.bincount(labels, minlength=len(self.classes)).argmax()
            return np.tile(np.eye(len(self.classes))[most], (count, 1))
        if self.kind == "retrieval":
            ids, counts = np.unique(items[labels > 0], return_counts=True)
            k = self.task.shape[0]
            best = ids[np.argsort(-counts, kind="stable")][:k].astype(str)
            return np.tile(np.append(best, [""] * (k - len(best))), (count, 1))
        return np.full(count, float(np.median(labels)) if self.kind == "regression" else 0.5)

    def _data(self) -> dict[str, str]:
        label, after = self.roles.label, []
        kinds = {
            label: {"binary": "INT64", "multiclass": "BYTES", "ranking": "INT64", "retrieval": "INT64"}.get(
                self.kind, "FP64"
            )
        }
        checks = {
            "binary": 'pa.Column("int64", contracts.one_of((0, 1)))',
            "multiclass": f'pa.Column("object", contracts.one_of({_tuple(map(_text, self.classes))}))',
            "ranking": 'pa.Column("int64", contracts.between(0, 30))',
            "retrieval": 'pa.Column("int64", contracts.between(0, None))',
        }
        extra = {label: checks.get(self.kind, 'pa.Column("float64", contracts.between(-1e300, 1e300))')}
        texts = [self.entity, self.roles.query]
        if self.roles.item is not None:
            whole = self._whole_items
            kinds[self.roles.item] = "INT64" if whole else "BYTES"
            extra[self.roles.item] = 'pa.Column("int64")' if whole else "contracts.identity()"
            if not whole:
                texts.append(self.roles.item)
        for name in dict.fromkeys(text for text in texts if text):
            kinds[name], extra[name] = "BYTES", "contracts.identity()"
            if name == ROW:
                after.append(f'frame["{ROW}"] = [f"r{{number}}" for number in range(len(frame))]')
            else:
                after.append(f"frame[{_text(name)}] = frame[{_text(name)}].astype(str).astype(object)")
        if self.kind == "multiclass":
            after.append(f"frame[{_text(label)}] = frame[{_text(label)}].astype(str).astype(object)")
        if self.kind == "binary" and self.frame[label].dtype.kind == "b":
            kinds[label] = "BOOL"
            after.append(f"frame[{_text(label)}] = frame[{_text(label)}].astype(int)")
        if self.roles.treatment is not None:
            kinds[self.roles.treatment] = "INT64"
            extra[self.roles.treatment] = 'pa.Column("int64", contracts.one_of((0, 1)))'
        if self.roles.propensity is not None:
            kinds[self.roles.propensity] = "FP64"
            extra[self.roles.propensity] = 'pa.Column("float64", contracts.between(0, 1))'
        if self.roles.time is not None:
            kinds[self.roles.time], extra[self.roles.time] = "UTC", "contracts.time()"
        kinds.pop(ROW, None)
        return {
            "kinds": _lines(f"{_text(name)}: {_text(kind)}," for name, kind in kinds.items()),
            "extra": _lines((f"{_text(name)}: {check}," for name, check in extra.items()), by=12),
            "after": "".join(f"    {line}\n" for line in after),
        }

    @property
    def _treated(self) -> float:
        """Share of rows that were treated."""
        share = float(self.frame[self.roles.treatment].astype(float).mean())
        return min(0.9999, max(0.0001, round(share, 4)))

    @property
    def _whole_items(self) -> bool:
        return self.roles.item is not None and self.frame[self.roles.item].dtype.kind in "iu"

    def _model(self) -> dict[str, str]:
        output = {"name": _text(self.output), "datatype": '"FP32"'}
        labels = ""
        if self.kind == "multiclass":
            output["shape"] = "(len(LABELS),)"
            labels = f"LABELS = {_tuple(map(_text, self.classes), after='LABELS = ')}\n"
        if self.kind == "retrieval":
            output |= {"datatype": '"INT64"' if self._whole_items else '"BYTES"', "shape": f"({self.task.shape[0]},)"}
        if self.kind in ("binary", "multiclass"):
            output |= {"minimum": "0", "maximum": "1"}
        made = f"OUTPUTS = (Output({', '.join(f'{key}={value}' for key, value in output.items())}),)"
        if self.kind == "uplift":
            first = made.removeprefix("OUTPUTS = (").removesuffix(",)")
            second = f'Output(name={_text(self._free("expected"))}, datatype="FP32")'
            made = f"OUTPUTS = ({first}, {second})"
        if self.kind in ("uplift", "retrieval"):
            return {"outputs": made}
        return {
            "what": _WHAT[self.kind],
            "kind": self.kind,
            "objective": _OBJECTIVES[self.kind],
            "outputs": made,
            "labels_line": labels,
            "labels_given": ", labels=LABELS" if labels else "",
            "more": '        "eval_at": 10,\n' if self.kind == "ranking" else "",
        }

    def _synthetic(self) -> dict[str, str]:
        numbers = [each for each in self.found.fields if each.quantiles]
        words = [each for each in self.found.fields if each.shares]
        whole = [each.field.name for each in numbers if each.field.datatype.startswith("INT")]
        missing = {each.field.name: each.missing for each in self.found.fields if each.missing}
        shares = []
        for each in words:
            values = [_text(value) for value in each.field.categories] if each.field.categories else ["False", "True"]
            pairs = [f"{value}: {share}" for value, share in zip(values, each.shares, strict=True)]
            shares.append(_entry(each.field.name, pairs, "{}"))
        beside = []
        if self.entity == ROW:
            beside.append(f'columns["{ROW}"] = np.array([f"r{{number}}" for number in range(len(unit))], dtype=object)')
        elif self.entity != self.roles.query:
            beside.append("who = random.integers(0, max(2, len(unit) // 4), int(unit.max()) + 1)[unit]")
            beside.append(
                f'columns[{_text(self.entity)}] = np.array([f"e{{number}}" for number in who.tolist()], dtype=object)'
            )
        if self.roles.time:
            beside.append("at = np.sort(random.uniform(0, days, int(unit.max()) + 1))[unit]")
            beside.append('times = pd.DatetimeIndex(pd.Timestamp(start) + pd.to_timedelta(at, unit="D"))')
            beside.append(f'columns[{_text(self.roles.time)}] = times.as_unit("us")')
        per_day = {"ranking": 800, "retrieval": 600, "uplift": 400}.get(self.kind, 150)
        return {
            "seen": self.seen,
            "per_day": str(per_day),
            "numbers": _lines(_entry(each.field.name, map(str, each.quantiles), "()") for each in numbers),
            "words": _lines(shares),
            "whole": _tuple(map(_text, whole), after="WHOLE: tuple[str, ...] = "),
            "missing": _dict(missing, after="MISSING: dict[str, float] = "),
            "unit": "unit" if beside else "_",
            "beside": "".join(f"    {line}\n" for line in beside),
            "answered": self._answered(),
        }

    def _answered(self) -> str:
        from hallmark.data.columns import quantiles

        frame, roles = self.frame, self.roles
        values = {role: _text(column) for role, column in roles.named.items()}
        labels = frame[roles.label]
        if self.kind == "binary":
            share = min(0.95, max(0.02, float(labels.astype(float).mean())))
            values |= {"share": f"{share:.3g}", "edge": f"{1.12 * NormalDist().inv_cdf(1 - share):.3g}"}
        if self.kind == "multiclass":
            shares = labels.astype(str).value_counts(normalize=True)
            told = {name: round(float(shares[name]), 4) for name in self.classes}
            values["shares"] = _dict(told, after="CLASSES: dict[str, float] = ")
        if self.kind == "regression":
            values["quantiles"] = _tuple(map(str, quantiles(labels)), after="ANSWERS: tuple[float, ...] = ")
        if self.kind == "ranking":
            values["size"] = str(int(np.clip(frame.groupby(roles.query).size().median(), 4, 30)))
        if self.kind == "retrieval":
            ids = frame[roles.item].value_counts().index[:_MOST_ITEMS].tolist()
            per = frame[labels > 0].groupby(roles.query).size().median()
            values |= {
                "items": _tuple(
                    map(str if self._whole_items else _text, sorted(ids)), after="ITEMS: tuple[int, ...] = "
                ),
                "item_type": "int" if self._whole_items else "str",
                "item_dtype": "" if self._whole_items else ", dtype=object",
                "relevant": str(int(np.clip(per, 1, max(1, len(ids) // 4)))),
            }
        if self.kind == "uplift":
            values["share"] = f"{self._treated:g}"
            got = "np.where(treated == 1, TREATED, 1 - TREATED)"
            values["propensity"] = f"    told[{_text(roles.propensity)}] = {got}\n" if roles.propensity else ""
        text = (TEMPLATES / f"answered.{self.kind}.in").read_text(encoding="utf-8")
        return Template(text).substitute(values).rstrip()


EXAMPLE = "a small example"
SHARES = "propensity"
"""Role that shares stand in for, where no column has it."""


def _field(field: Field) -> str:
    given = field.model_dump(exclude_defaults=True)
    line = f"Field({', '.join(f'{key}={_literal(value)}' for key, value in given.items())}),"
    if len(line) + 4 <= _WIDE:
        return line
    broken = [f"{key}={_literal(value, after=f'        {key}=,')}" for key, value in given.items()]
    return "Field(\n" + textwrap.indent("".join(f"{part},\n" for part in broken), "    ") + "),"


def _literal(value: Any, *, after: str = "") -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, tuple):
        return _tuple(map(_literal, value), after=after)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return repr(value)


def _text(value: str) -> str:
    """A Python string, in double quotes where it holds none."""
    text = json.dumps(value, ensure_ascii=False)
    if '"' not in value or "'" in value:
        return text
    inner = text[1:-1].replace('\\"', '"')
    return f"'{inner}'"


def _entry(name: str, items: Iterable[str], brackets: str) -> str:
    """An entry of a mapping, four columns in."""
    begin = f"{_text(name)}: "
    return f"{begin}{_bracketed(items, brackets, after=f'    {begin},')},"


def _tuple(values: Iterable[str], *, after: str = "") -> str:
    return _bracketed(values, "()", after=after)


def _dict(values: Mapping[str, Any], *, after: str) -> str:
    return _bracketed((f"{_text(name)}: {value}" for name, value in values.items()), "{}", after=after)


def _bracketed(items: Iterable[str], brackets: str, *, after: str) -> str:
    """A tuple or a dict as the formatter has it: an item a line where it does not fit behind `after`, if that is said."""
    given = list(items)
    single = ", ".join(given) + ("," if brackets == "()" and len(given) == 1 else "")
    if not after or len(after) + len(single) + 2 <= _WIDE:
        return f"{brackets[0]}{single}{brackets[1]}"
    return f"{brackets[0]}\n" + "".join(f"    {item},\n" for item in given) + brackets[1]


def _lines(lines: Any, *, by: int = 4) -> str:
    return textwrap.indent("\n".join(lines), " " * by)


def _yaml(value: object) -> str:
    import yaml

    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000, allow_unicode=True)
    return text.strip().removesuffix("...").strip()


def _rounded(value: float, *, up: bool) -> float:
    """Two significant digits, up or down."""
    if value == 0:
        return 0.0
    size = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    return float(f"{(math.ceil if up else math.floor)(value / size) * size:.12g}")
