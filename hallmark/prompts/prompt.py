"""A prompt as its folder declares it: `prompts/<name>/`.

prompt.yaml     model, typed variables, messages, JSON Schema of the answer, sampling, budget
examples.yaml   answers that the model is shown before the question; may be left out
golden.yaml     items whose answers are known, by slice: what a change of the prompt is judged on
photos/         the pictures of both
"""

from __future__ import annotations

import base64
import re
from collections.abc import Collection, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, model_validator

from hallmark.errors import DeclarationError, HallmarkError, NotFound
from hallmark.features import image
from hallmark.prompts.answer import AnswerSchema, Property, WrongAnswer
from hallmark.section import Duration, Name, Section, contradicting, validated

FILE, EXAMPLES, GOLDEN, PHOTOS = "prompt.yaml", "examples.yaml", "golden.yaml", "photos"
PLACE = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
TEXT_LIMIT = 512
"""Characters of a text that a caller gives."""
PICTURES = image.PhotoLimits(bytes=2 * 1024 * 1024)
"""Of one picture that a prompt is given."""
_WORD = r"^[a-z][a-z0-9_]{0,30}$"
Word = Annotated[str, Field(pattern=_WORD)]
VariableKind = Literal["text", "number", "truth", "images", "references"]


class Variable(Section):
    """Something that the prompt is filled with."""

    kind: VariableKind = Field(
        description="text, number and truth stand in messages; images and references are attached to one. references: items with a picture that the answer has to cite."
    )
    input: str | None = Field(
        default=None,
        pattern=r"^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)?$",
        description="Input of a request that has it, such as nearest.ids; the variable's own name without it.",
    )
    at_most: int = Field(
        default=8, ge=1, le=16, description="Of images and references: how many; further ones are left out."
    )


class Message(Section):
    """One message: its text, where {{ name }} stands for a variable, and what is attached after it."""

    role: Literal["system", "user"]
    text: str = Field(min_length=1, max_length=20_000)
    attach: tuple[Word, ...] = Field(default=(), description="Variables of kind images or references, in this order.")

    @property
    def names(self) -> list[str]:
        """What stands between {{ and }}."""
        return PLACE.findall(self.text)


class PromptModel(Section):
    """The model that the prompt is written for."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9.-]*$", description="The name that requests call it by, as reviewer.served_name."
    )
    uri: str = Field(pattern=r"^(hf|s3|pvc|oci)://[^\s@]+$", description="Where its weights are, as reviewer.model.")
    digest: str | None = Field(
        default=None,
        pattern=r"^(sha256:[0-9a-f]{64}|[0-9a-f]{40})$",
        description="Of its weights: sha256 of a copy of ours, or the commit of a hub. None: they are known by name only.",
    )


class AnswerForm(Section):
    """What the model answers with."""

    schema_: AnswerSchema = Field(alias="schema", description="JSON Schema: see hallmark/prompts/answer.py.")
    cites: Word | None = Field(default=None, description="The property that lists the references an answer rests on.")
    orders: Word | None = Field(
        default=None,
        description="The property by which the model says that text in a picture or field told it what to answer.",
    )


class Sampling(Section):
    """How the model chooses its words."""

    temperature: float = Field(default=0.0, ge=0, le=2)
    top_p: float = Field(default=1.0, gt=0, le=1)
    max_tokens: int = Field(default=400, ge=1, le=4096)
    seed: int = Field(default=17, ge=0, description="Of the first try; each further one has the next.")


class Budget(Section):
    """Time and tries of one answer."""

    timeout: Duration = Field(
        default=timedelta(seconds=15), description="All tries together; less where the caller gives less."
    )
    tries: int = Field(default=2, ge=1, le=5)


class Judged(Section):
    """How a change of the prompt is judged on the golden set, beside the prompt that is served."""

    right: float = Field(default=0.5, ge=0, le=1, description="Share of items that have to be answered right.")
    tolerance: float = Field(default=0.02, ge=0, le=1, description="Share by which it may be worse, overall.")
    confidence: float = Field(
        default=0.95, ge=0.5, lt=1, description="With which a slice has to be worse to be called so."
    )


class Prompt(Section):
    """A prompt, without its examples and its golden set."""

    name: Name
    description: str
    model: PromptModel
    variables: dict[Word, Variable]
    messages: tuple[Message, ...] = Field(min_length=1, max_length=20)
    answer: AnswerForm
    sampling: Sampling = Sampling()
    budget: Budget = Budget()
    golden: Judged = Judged()

    @model_validator(mode="after")
    def _workable(self) -> Prompt:
        if found := list(self._contradictions()):
            raise contradicting(found)
        return self

    def of_kind(self, *kinds: VariableKind) -> list[str]:
        """Names of the variables of these kinds."""
        return [name for name, each in self.variables.items() if each.kind in kinds]

    @property
    def pictures(self) -> int:
        """The most pictures that one request of it has."""
        return sum(self.variables[name].at_most for name in self.of_kind("images", "references"))

    @property
    def outputs(self) -> dict[str, Property]:
        """What an answer is made of, by name."""
        return self.answer.schema_.properties

    def input_of(self, variable: str) -> str:
        """The input of a request that a variable is filled from."""
        return self.variables[variable].input or variable

    def misfits(
        self, name: str, reads: Collection[str], outputs: Mapping[str, Any]
    ) -> Iterator[tuple[tuple[str, ...], str]]:
        """Where a decision's node of this name does not fit: the key of the node, and what is wrong with it."""
        wanted = [self.input_of(each) for each in self.variables]
        if lacking := [each for each in wanted if each not in reads]:
            yield ("reads",), f"{self.name} is filled from {', '.join(lacking)}, which {name} does not read"
        if more := [each for each in reads if each not in wanted]:
            yield ("reads",), f"{name} reads {', '.join(more)}, and nothing in {self.name} is filled from it"
        for output, kind in outputs.items():
            each = self.outputs.get(output)
            if each is None or each.kind != kind:
                got = f"answers it as {each.kind}" if each else "does not answer it"
                yield ("outputs", output), f"{output} is a {kind} here, and {self.name} {got}"

    def _contradictions(self) -> Iterator[str]:
        written, attached = self.of_kind("text", "number", "truth"), self.of_kind("images", "references")
        used: list[str] = []
        for at, message in enumerate(self.messages):
            used += [*message.names, *message.attach]
            for name in message.names:
                if name not in written:
                    yield f"messages.{at}.text: {{{{ {name} }}}} is no text, number or truth that is declared: name one of {', '.join(written) or 'none'}"
            if re.search(r"\{%|\{#|\{\{|\}\}", PLACE.sub("", message.text)):
                yield f"messages.{at}.text has a bracket of a template that stands for nothing: only {{{{ name }}}} is filled, mend it"
            for name in message.attach:
                if name not in attached:
                    yield f"messages.{at}.attach: {name} is neither images nor references: name one of {', '.join(attached) or 'none'}"
                elif message.role != "user":
                    yield f"messages.{at}.attach: a {message.role} message takes no pictures: attach them to one of role user"
        if self.messages[-1].role != "user":
            yield "messages end with none of role user, and nothing is asked: add one"
        for name in self.variables:
            if name not in used:
                yield f"variables.{name} is in no message, so that no answer depends on it: use it, or take it away"
        inputs = [self.input_of(name) for name in self.variables]
        for name in {each for each in inputs if inputs.count(each) > 1}:
            yield f"variables: two are filled from the input {name}: name another"
        yield from self._of_the_answer()

    def _of_the_answer(self) -> Iterator[str]:
        answer, references = self.answer, self.of_kind("references")
        cites = self.outputs.get(answer.cites or "")
        if answer.cites and (cites is None or cites.type != "array"):
            yield f"answer.cites is {answer.cites}, which is no list of texts of the schema: name one that is"
        if bool(answer.cites) != bool(references):
            yield "answer.cites and variables of kind references belong together: an answer cites what it was shown, and nothing else; write both or neither"
        if len(references) > 1:
            yield "variables: references are one list, and there are two: put them together"
        orders = self.outputs.get(answer.orders or "")
        if answer.orders and (orders is None or orders.type != "boolean"):
            yield f"answer.orders is {answer.orders}, which is no truth of the schema: name one that is"
        strange = bool(self.of_kind("text", "images"))
        if strange and not answer.orders:
            yield "answer.orders is missing, and pictures and texts of strangers may tell the model what to answer: add a truth to the schema, and name it"


class Picture(Section):
    """A picture, by its file in `photos/`; data: once it is read."""

    photo: str = Field(default="", pattern=r"^([A-Za-z0-9_][A-Za-z0-9_.-]{0,100})?$")
    data: str = Field(default="", exclude_if=lambda value: not value)

    @property
    def bytes(self) -> bytes:
        """The file."""
        return base64.b64decode(self.data)


class ShownReference(Picture):
    """A reference that is shown: its id, and its picture."""

    id: str = Field(min_length=1, max_length=120)


Given = float | bool | str | tuple[ShownReference, ...] | tuple[Picture, ...]


class Example(Section):
    """Values of all variables, and the answer to them."""

    given: dict[Word, Given]
    answer: dict[str, Any]


class GoldenItem(Section):
    """An item whose answer is known. right: properties of the answer, with the values that they have to have."""

    id: str = Field(pattern=r"^[\w.:/@-]{1,120}$")
    slice: str = Field(default="all", max_length=60)
    given: dict[Word, Given]
    right: dict[str, Any] = Field(min_length=1)


class WholePrompt(Section):
    """A prompt with its examples and golden set, every picture read."""

    prompt: Prompt
    examples: tuple[Example, ...] = ()
    golden: tuple[GoldenItem, ...] = ()


def names(root: Path) -> list[str]:
    """The declared prompts below a folder, sorted."""
    return sorted(path.parent.name for path in root.glob(f"*/{FILE}"))


def load(root: Path, name: str) -> WholePrompt:
    """A prompt with all that lies in its folder; `DeclarationError` names file, key, expected and got."""
    folder = root / name
    if not (folder / FILE).is_file():
        raise NotFound(
            f"there is no prompt {name!r}",
            expected="one of " + (", ".join(names(root)) or "none yet"),
            got=repr(name),
            fix=f"make prompts/{name}/{FILE}, or check the spelling",
        )
    shown = f"prompts/{name}"
    prompt = validated(Prompt, _yaml(folder / FILE, f"{shown}/{FILE}"), f"{shown}/{FILE}")
    if prompt.name != name:
        raise DeclarationError(f"{shown}/{FILE}: name", expected=f"{name!r}, the folder's name", got=repr(prompt.name))
    found: dict[str, list[Any]] = {EXAMPLES: [], GOLDEN: []}
    for file, model in ((EXAMPLES, Example), (GOLDEN, GoldenItem)):
        if not (folder / file).is_file():
            continue
        listed = _yaml(folder / file, f"{shown}/{file}")
        if not isinstance(listed, list):
            raise DeclarationError(f"{shown}/{file} is no list", expected="a list of items", got=type(listed).__name__)
        for at, raw in enumerate(listed):
            each = validated(model, raw, f"{shown}/{file}: {at}")
            found[file].append(_with_pictures(each, folder / PHOTOS, f"{shown}/{file}: {at}"))
    whole = WholePrompt(prompt=prompt, examples=tuple(found[EXAMPLES]), golden=tuple(found[GOLDEN]))
    if problem := next(problems(whole), None):
        raise DeclarationError(
            f"{shown}: {problem[0]}",
            expected=problem[1],
            got=problem[2],
            fix=f"mend {shown}/{problem[0].partition(':')[0]}",
        )
    return whole


def problems(whole: WholePrompt) -> Iterator[tuple[str, str, str]]:
    """Where examples and golden items do not fit their prompt: place, expected, got."""
    prompt = whole.prompt
    if not whole.golden:
        yield GOLDEN, "a golden set, or nobody can tell whether a change makes it worse", "no items"
    ids = [item.id for item in whole.golden]
    for name in sorted({each for each in ids if ids.count(each) > 1}):
        yield f"{GOLDEN}: {name}", "each id once", "twice"
    for at, example in enumerate(whole.examples):
        yield from _wrong_given(prompt, example.given, f"{EXAMPLES}: {at}.given")
        try:
            prompt.answer.schema_.checked(example.answer)
        except WrongAnswer as error:
            yield f"{EXAMPLES}: {at}.answer", "an answer that keeps the schema", str(error)
            continue
        shown = {each.id for each in _references(prompt, example.given)}
        cited = example.answer.get(prompt.answer.cites or "", ())
        if prompt.answer.cites and not (cited and shown.issuperset(cited)):
            yield (
                f"{EXAMPLES}: {at}.answer.{prompt.answer.cites}",
                f"some of {', '.join(sorted(shown))}",
                ", ".join(cited) or "none",
            )
    for item in whole.golden:
        yield from _wrong_given(prompt, item.given, f"{GOLDEN}: {item.id}.given")
        for name, value in item.right.items():
            each = prompt.outputs.get(name)
            if each is None or each.problem(value):
                yield (
                    f"{GOLDEN}: {item.id}.right.{name}",
                    "a property of the answer, and a value that it can have",
                    repr(value)[:80],
                )


def _references(prompt: Prompt, given: Mapping[str, Given]) -> list[ShownReference]:
    values = [given.get(name) for name in prompt.of_kind("references")]
    listed = [each for value in values if isinstance(value, tuple) for each in value]
    return [each for each in listed if isinstance(each, ShownReference)]


def _wrong_given(prompt: Prompt, given: Mapping[str, Given], where: str) -> Iterator[tuple[str, str, str]]:
    if given.keys() != prompt.variables.keys():
        yield where, f"values of {', '.join(prompt.variables)}", ", ".join(given) or "none"
        return
    for name, value in given.items():
        if problem := wrong(prompt.variables[name].kind, value):
            yield f"{where}.{name}", problem, type(value).__name__


def wrong(kind: VariableKind, value: object) -> str | None:
    """What a value of a variable is not, if it is not of its kind."""
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    fits = {
        "text": isinstance(value, str) and len(value) <= TEXT_LIMIT,
        "number": numeric,
        "truth": isinstance(value, bool),
        "images": isinstance(value, tuple) and bool(value) and all(type(each) is Picture for each in value),
        "references": isinstance(value, tuple)
        and bool(value)
        and all(isinstance(each, ShownReference) for each in value),
    }[kind]
    told = {"text": f"a text of at most {TEXT_LIMIT} characters", "images": "a list of {photo: file}"}
    return None if fits else told.get(kind, "a list of {id, photo: file}" if kind == "references" else f"a {kind}")


def _with_pictures(item: Any, folder: Path, shown: str) -> Any:
    given = {
        name: tuple(_read(each, folder, shown) for each in value) if isinstance(value, tuple) else value
        for name, value in item.given.items()
    }
    return item.model_copy(update={"given": given})


def _read(picture: Picture, folder: Path, shown: str) -> Picture:
    path = folder / picture.photo
    try:
        data = path.read_bytes()
        image.header(data, limits=PICTURES)
    except (OSError, HallmarkError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error).splitlines()[0]
        raise DeclarationError(
            f"{shown}: {picture.photo or 'a picture'} cannot be shown",
            expected=f"a JPEG, PNG or WEBP in {PHOTOS}/",
            got=str(why),
        ) from error
    return picture.model_copy(update={"data": base64.b64encode(data).decode()})


def _yaml(path: Path, shown: str) -> Any:
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, UnicodeDecodeError, OSError) as error:
        raise DeclarationError(
            f"{shown} cannot be read", expected="YAML in UTF-8", got=str(error).splitlines()[0]
        ) from error
