"""The signature of a model folder: what its model takes and gives, which views and which items it reads."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field as PydanticField
from pydantic import field_validator, model_validator

from hallmark.artifacts.folder import BESIDE, DATA, PARTS
from hallmark.artifacts.references import References
from hallmark.artifacts.retriever import Retriever
from hallmark.declaration.feature_view import FeatureView
from hallmark.declaration.source import Datatype
from hallmark.features.encoding import Input
from hallmark.features.fields import Field, Output
from hallmark.policy.served import ServedChoice
from hallmark.section import Frozen
from hallmark.tasks.kinds import Task

_NAME = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,100}$")


class ViewUse(Frozen):
    """A feature view as a model reads it, whole, so that its server needs nothing else to compute the values.

    entity:  the field by which callers say whom a record is about.
    fields:  names of the model's fields that are columns of the view, in the view's order.
    types:   of the columns of the source that the view reads, as its contract had them, and of its SQL by the text.
    """

    view: FeatureView
    entity: Field
    fields: tuple[str, ...]
    types: dict[str, Datatype]


class Signature(Frozen):
    """Inputs and outputs of a model: raw `fields` in (`features.py` encodes them), `outputs` of the ONNX model out.

    views: those that give some of the fields; callers send the others, and each view's entity.
    retriever: how a request becomes a list of items, of a model folder with an index.
    references: which items of that index are answered beside the outputs, of a model that has one for that.
    choice: how a server chooses by the first output, where it is an uplift and the domain declares a policy.

    task: what the first output is and what it is worth, with the classes bound; of a folder from before there were tasks,
    the one of two that there was.
    inputs: those of the ONNX model, which `encode` gives; one float32 "input" where a model says nothing of them.
    assets: names of files in the folder that the model's own code reads.
    """

    domain: str
    task: Task
    fields: tuple[Field, ...]
    outputs: tuple[Output, ...]
    labels: tuple[str, ...] = ()
    inputs: tuple[Input, ...] = (Input(),)
    assets: tuple[str, ...] = ()
    views: tuple[ViewUse, ...] = ()
    retriever: Retriever | None = PydanticField(default=None, exclude_if=lambda value: value is None)
    references: References | None = PydanticField(default=None, exclude_if=lambda value: value is None)
    choice: ServedChoice | None = PydanticField(default=None, exclude_if=lambda value: value is None)

    @property
    def asked(self) -> tuple[Field, ...]:
        """The fields of a request with what views give of it: the model's own, or where items are retrieved the retriever's."""
        if self.retriever is None:
            return self.fields
        given = {name for use in self.request_views for name in use.fields}
        return (*self.retriever.asked, *(field for field in self.retriever.looked_up if field.name in given))

    @property
    def request_views(self) -> tuple[ViewUse, ...]:
        """The views of an entity that is in the request; the others are of the items that are retrieved for it."""
        return tuple(use for use in self.views if self.retriever is None or use.entity.name != self.retriever.corpus.id)

    @property
    def item_views(self) -> tuple[ViewUse, ...]:
        """The views of items, by the corpus's id."""
        return tuple(use for use in self.views if use not in self.request_views)

    @property
    def answered(self) -> tuple[Output, ...]:
        """The outputs of an answer, before serving.py adds its own."""
        if self.retriever is not None:
            return self.retriever.outputs
        return self.outputs if self.references is None else (*self.outputs, self.references.output)

    @property
    def sent(self) -> tuple[Field, ...]:
        """The fields that callers send."""
        return sent(self.asked, self.request_views, self.choice)

    @model_validator(mode="before")
    @classmethod
    def _of_one_input(cls, given: Any) -> Any:
        """Signatures of before `inputs` named the one input that there was."""
        if isinstance(given, dict) and "onnx_input" in given:
            given = dict(given)
            given.setdefault("inputs", ({"name": given.pop("onnx_input")},))
            given.pop("onnx_input", None)
        return given

    @field_validator("inputs")
    @classmethod
    def _named(cls, inputs: tuple[Input, ...]) -> tuple[Input, ...]:
        if not inputs or len({each.name for each in inputs}) < len(inputs):
            raise ValueError("expected at least one input, each of another name")
        return inputs

    @field_validator("assets")
    @classmethod
    def _data(cls, assets: tuple[str, ...]) -> tuple[str, ...]:
        for name in assets:
            reserved = name in PARTS | BESIDE
            if not _NAME.match(name) or Path(name).suffix not in DATA or reserved or assets.count(name) > 1:
                raise ValueError(
                    f"expected assets to be names once each ending in {', '.join(sorted(DATA))}, got {name}"
                )
        return assets

    @model_validator(mode="before")
    @classmethod
    def _before_tasks(cls, raw: Any) -> Any:
        if isinstance(raw, dict) and "task" not in raw:
            labels = raw.get("labels") or ()
            return {**raw, "task": {"kind": "multiclass", "labels": labels} if labels else {"kind": "binary"}}
        return raw


def sent(fields: Sequence[Field], views: Sequence[ViewUse], choice: ServedChoice | None = None) -> tuple[Field, ...]:
    """The fields that callers of a model send: whom a choice is about, entities of its views that are no fields themselves, and what no view gives."""
    given = {name for use in views for name in use.fields}
    own = {field.name: field for field in fields if field.name not in given}
    whom = {} if choice is None else {choice.entity: choice.whom}
    return tuple({**whom, **{use.entity.name: use.entity for use in views}, **own}.values())
