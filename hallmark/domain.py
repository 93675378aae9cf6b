"""A domain's declaration: one `domain.yaml`, read by the pipeline, the renderer, the drift monitor, the tenant and AWS."""

from __future__ import annotations

import importlib
import json
import re
import sys
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError, model_validator
from pydantic.json_schema import WithJsonSchema

from hallmark.errors import DeclarationError
from hallmark.settings import Settings

M = TypeVar("M", bound=BaseModel)
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_DURATION = re.compile(r"^(\d+(?:\.\d+)?)(ms|s|m|h|d)$")
_QUANTITY = r"^\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
_SCALES = {
    "": 1,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
}
_CRON_PART = re.compile(r"^(\*|\?|[0-9A-Za-z]+(-[0-9A-Za-z]+)?)(/\d+)?(,(\*|[0-9A-Za-z]+(-[0-9A-Za-z]+)?)(/\d+)?)*$")


def duration(value: object) -> timedelta:
    """A duration such as 500ms, 30s, 10m, 12h or 30d; `ValueError` says so where it is none."""
    if isinstance(value, timedelta):
        return value
    match = _DURATION.match(value) if isinstance(value, str) else None
    if not match:
        raise ValueError("expected a duration such as 500ms, 30s, 10m, 12h or 30d")
    number, unit = float(match.group(1)), match.group(2)
    return timedelta(milliseconds=number) if unit == "ms" else timedelta(seconds=number * _UNITS[unit])


def amount(quantity: str) -> float:
    """A Kubernetes quantity such as 500m, 2 or 64Mi as a number."""
    match = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", quantity)
    if match is None or match[2] not in _SCALES:
        raise ValueError(f"expected a quantity such as 500m, 2 or 64Mi; came {quantity!r}")
    return float(match[1]) * _SCALES[match[2]]


def _short(value: timedelta) -> str:
    milliseconds = round(value.total_seconds() * 1000)
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000)):
        if milliseconds and milliseconds % size == 0:
            return f"{milliseconds // size}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def _cron(value: object) -> object:
    if isinstance(value, str):
        parts = value.split()
        if len(parts) != 6:
            raise ValueError(f"expected a cron of 6 fields, seconds first (Kubeflow's form); this has {len(parts)}")
        wrong = [part for part in parts if not _CRON_PART.match(part)]
        if wrong:
            raise ValueError(f"expected cron fields such as *, 5, 1-5, */15 or MON; not {wrong[0]!r}")
    return value


Duration = Annotated[
    timedelta,
    BeforeValidator(duration),
    PlainSerializer(_short, return_type=str),
    WithJsonSchema({"type": "string", "pattern": _DURATION.pattern, "examples": ["500ms", "30s", "10m", "12h", "30d"]}),
]
Quantity = Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, int) else v), Field(pattern=_QUANTITY)]
Cron = Annotated[str, BeforeValidator(_cron)]
Share = Annotated[float, Field(ge=0, le=1)]
Name = Annotated[str, Field(pattern=r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$")]


class Section(BaseModel):
    """A part of the declaration: frozen, and no key that nobody reads."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Owner(Section):
    """Who answers for the domain."""

    team: str
    contact: str = Field(description="An address that reaches the people on call.")


class Data(Section):
    """What one example is, and when its label is known."""

    entity: str = Field(
        description="Column that names whom or what an example is about; split: entity never parts it across train and test."
    )
    label: str = Field(description="Column that holds the answer to learn.")
    label_delay: Duration = Field(default=timedelta(0), description="After this long a label counts as final.")
    label_time: str | None = Field(
        default=None, description="Column with the time a label became known, UTC; empty where it never had to."
    )
    event_time: str | None = Field(
        default=None, description="Column with the time an example happened, UTC; none for undated data."
    )
    split: Literal["time", "entity"] = Field(
        description="time: test on the latest examples. entity: test on entities never trained on."
    )


class Training(Section):
    """When the domain retrains, on how much, on what."""

    schedule: Cron = Field(description="Cron of 6 fields, seconds first, UTC.")
    window: Duration = Field(description="Length of the data a model learns from.")
    accelerator: Literal["none", "gpu"] = "none"
    seed: int = Field(default=7, ge=0)
    timeout: Duration = timedelta(hours=2)


class Slices(Section):
    """Groups of examples on which a candidate may not be worse than its champion."""

    columns: tuple[str, ...] = ()
    minimum_rows: int = Field(default=200, ge=1, description="Smaller groups are reported and not judged.")
    tolerance: float = Field(
        default=0.05, ge=0, description="How much worse a slice may be, in the metric's own units."
    )


class Gate(Section):
    """What a candidate has to reach before it is registered."""

    metric: str
    direction: Literal["higher", "lower"] = "higher"
    floor: float = Field(description="Worse than this is refused, with or without a champion.")
    minimum_gain: float = Field(
        default=0.0, description="How much better than the champion, on the same test examples; negative allows a loss."
    )
    slices: Slices = Slices()
    precision_loss: float = Field(
        default=0.01,
        ge=0,
        description="How much worse than its own fp32 form an int8 model may be, in the metric's own units.",
    )


class Replicas(Section):
    """How many pods serve."""

    minimum: int = Field(default=1, ge=0)
    maximum: int = Field(default=3, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> Replicas:
        if self.minimum > self.maximum:
            raise ValueError(f"expected minimum <= maximum, came {self.minimum} > {self.maximum}")
        return self


class Serving(Section):
    """What one serving pod gets, and what it owes."""

    replicas: Replicas = Replicas()
    cpu: Quantity = "1"
    memory: Quantity = "2Gi"
    gpu: int = Field(default=0, ge=0)
    timeout: Duration = timedelta(seconds=5)
    latency_objective: Duration = Field(description="99 of 100 answers come within this.")
    precision: Literal["fp32", "int8"] = Field(
        default="fp32",
        description="int8: tried at each training, and served only where the gate allows it and it is faster.",
    )
    cache: Quantity | None = Field(
        default=None, description="Memory for answers to records that come again, such as 64Mi; none without it."
    )

    @model_validator(mode="after")
    def _where_int8_runs(self) -> Serving:
        if self.precision == "int8" and self.gpu:
            raise ValueError(
                f"expected precision: fp32 or gpu: 0 (int8 is made for processors); came int8 and gpu: {self.gpu}"
            )
        return self


class Rollout(Section):
    """How a candidate gets its traffic."""

    steps: tuple[Annotated[int, Field(ge=1, le=100)], ...] = (10, 50, 100)
    dwell: Duration = timedelta(minutes=10)
    minimum_samples: int = Field(default=500, ge=1)
    deadline: Duration = timedelta(hours=2)

    @model_validator(mode="after")
    def _rising(self) -> Rollout:
        if list(self.steps) != sorted(set(self.steps)) or not self.steps or self.steps[-1] != 100:
            raise ValueError(f"expected rising steps that end at 100, such as [10, 50, 100]; came {list(self.steps)}")
        return self


class Drift(Section):
    """What the drift monitor keeps, and when it speaks."""

    window: int = Field(default=2000, ge=50, description="Requests kept per variant, the newest.")
    minimum: int = Field(default=300, ge=20, description="With fewer the verdict is INSUFFICIENT.")
    threshold: float = Field(
        default=0.2, gt=0, description="Population stability index above which a column has drifted."
    )
    columns: tuple[str, ...] = Field(
        default=(), description="Columns to watch; empty watches every one in the reference profile."
    )

    @model_validator(mode="after")
    def _reachable(self) -> Drift:
        if self.minimum > self.window:
            raise ValueError(f"expected minimum <= window, came {self.minimum} > {self.window}")
        return self


class Quota(Section):
    """What the domain's namespace may use."""

    cpu: Quantity = "8"
    memory: Quantity = "32Gi"
    gpu: int = Field(default=0, ge=0)
    pods: int = Field(default=40, ge=1)
    storage: Quantity = "100Gi"


class Domain(Section):
    """One domain: what it predicts from which data, and how it is trained, served, rolled out and watched."""

    name: Name
    owner: Owner
    description: str
    data: Data
    training: Training
    gate: Gate
    serving: Serving
    rollout: Rollout = Rollout()
    drift: Drift = Drift()
    quota: Quota = Quota()

    @model_validator(mode="after")
    def _whole(self) -> Domain:
        if self.data.split == "time" and self.data.event_time is None:
            raise ValueError("data.split is time, so data.event_time is needed: the column with an example's time")
        if self.data.label_delay and self.data.event_time is None:
            raise ValueError("data.label_delay is set, so data.event_time is needed: the delay counts from it")
        return self

    @property
    def namespace(self) -> str:
        """The Kubernetes namespace: the domain's name."""
        return self.name


def names(settings: Settings) -> list[str]:
    """The declared domains, sorted."""
    return sorted(path.parent.name for path in settings.domains.glob("*/domain.yaml"))


def load(name: str, settings: Settings | None = None) -> Domain:
    """The declaration of one domain; `DeclarationError` names file, key, expected and got."""
    settings = settings or Settings.load()
    path = settings.domains / name / "domain.yaml"
    if not path.is_file():
        raise DeclarationError(
            f"there is no domain {name!r}",
            expected="one of " + (", ".join(names(settings)) or "none yet"),
            came=repr(name),
            do=f"make {path.relative_to(settings.root)}, or check the spelling",
        )
    return parse(path, shown=str(path.relative_to(settings.root)))


def parse(path: Path, *, shown: str | None = None) -> Domain:
    """The declaration in the file at `path`, which errors call `shown`."""
    shown = shown or str(path)
    try:
        raw = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{shown}:{mark.line + 1}:{mark.column + 1}" if mark else shown
        raise DeclarationError(
            f"{where} is not YAML", expected="a YAML mapping", came=str(error.problem), do="mend that line"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise DeclarationError(
            f"{shown} is not YAML", expected="a YAML mapping in UTF-8", came=str(error), do="mend the file"
        ) from error
    if not isinstance(raw, dict):
        raise DeclarationError(
            f"{shown} is not a mapping", expected="keys such as name, owner, data", came=type(raw).__name__
        )
    domain = validated(Domain, raw, shown)
    if domain.name != path.parent.name:
        raise DeclarationError(
            f"{shown}: name", expected=f"{path.parent.name!r}, the folder's name", came=repr(domain.name)
        )
    return domain


def validated(model: type[M], raw: object, shown: str) -> M:
    """`raw` as `model`; every wrong key on its own line, as file: key, expected, got."""
    try:
        return model.model_validate(raw)
    except ValidationError as error:
        first, *rest = [_explain(shown, item) for item in error.errors()]
        message, expected, came = first
        more = "".join(f"\n  also {m}: expected {e}, came {c}" for m, e, c in rest)
        raise DeclarationError(message, expected=expected, came=came + more, do=f"mend {shown}") from error


def _explain(shown: str, item: Any) -> tuple[str, str, str]:
    key = ".".join(str(part) for part in item["loc"]) or "(whole file)"
    kind, got = item["type"], item["input"]
    if kind == "extra_forbidden":
        return f"{shown}: {key}", "no such key", f"{key.rsplit('.', 1)[-1]}: {got!r}"
    if kind == "missing":
        return f"{shown}: {key}", "a value", "nothing"
    text = item["msg"].removeprefix("Value error, ").removeprefix("Input should be ").removeprefix("expected ")
    return f"{shown}: {key}", text, "the section as written" if isinstance(got, dict) else repr(got)


def module(name: str, part: str, settings: Settings | None = None) -> ModuleType:
    """A domain's own code: `part` is data, features, model or serving."""
    settings = settings or Settings.load()
    path = settings.domains / name / f"{part}.py"
    if not path.is_file():
        raise DeclarationError(
            f"domain {name!r} has no {part}.py", expected=f"domains/{name}/{part}.py", came="no such file"
        )
    root = str(settings.root)
    if root not in sys.path:
        sys.path.insert(0, root)
    return importlib.import_module(f"domains.{name}.{part}")


def json_schema() -> str:
    """The JSON Schema of `domain.yaml`, for editors."""
    schema = Domain.model_json_schema()
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": "Generated from hallmark/domain.py by `hallmark domains --schema`.",
        **schema,
    }
    return json.dumps(schema, indent=2) + "\n"
