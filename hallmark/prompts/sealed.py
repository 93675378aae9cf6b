"""A prompt as a sealed folder: what is registered, served and judged, under one digest.

prompt.json   the declaration, with the JSON Schema of its answer        examples.json   with their pictures
golden.json   the golden set, with its pictures                           manifest.json   sha256 of each; its own sha256 is the prompt's digest

A server needs no golden set, and is given the others alone: their digests stand in the manifest all the same.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from hallmark.artifacts import bundle, folder
from hallmark.errors import DeclarationError, ModelRefused
from hallmark.files import digest_text, in_the_way
from hallmark.prompts.prompt import Example, GoldenItem, Prompt, WholePrompt

PROMPT, EXAMPLES, GOLDEN = "prompt.json", "examples.json", "golden.json"
SERVED = frozenset({PROMPT, EXAMPLES})
"""What a server reads."""
_examples = TypeAdapter(tuple[Example, ...])
_golden = TypeAdapter(tuple[GoldenItem, ...])


class SealedPrompt(WholePrompt):
    """A verified prompt."""

    digest: str

    @property
    def version(self) -> str:
        """The digest in twelve digits, by which answers name it."""
        return short(self.digest)


def short(digest: str) -> str:
    """A digest in twelve digits."""
    return digest.removeprefix("sha256:")[:12]


def texts(whole: WholePrompt) -> dict[str, str]:
    """The files of a sealed prompt but its manifest, by name; the same prompt gives the same bytes."""
    found = {
        PROMPT: whole.prompt.model_dump(mode="json", by_alias=True),
        EXAMPLES: _examples.dump_python(whole.examples, mode="json"),
        GOLDEN: _golden.dump_python(whole.golden, mode="json"),
    }
    return {name: json.dumps(each, indent=1, sort_keys=True, ensure_ascii=False) + "\n" for name, each in found.items()}


def manifest(texts: Mapping[str, str]) -> str:
    """The manifest of a sealed prompt's files, as `seal` writes it; its sha256 is the prompt's digest."""
    return (
        json.dumps({"files": {name: digest_text(text) for name, text in texts.items()}}, indent=2, sort_keys=True)
        + "\n"
    )


def digest(whole: WholePrompt) -> str:
    """The digest that the prompt has once it is sealed."""
    return digest_text(manifest(texts(whole)))


def seal(to: Path, whole: WholePrompt) -> str:
    """Write the prompt into a new folder, or an empty one; its digest. `DeclarationError` where it is neither, before anything is written."""
    blocked = in_the_way(to)
    strange = [str(blocked)] if blocked else sorted(each.name for each in to.iterdir()) if to.is_dir() else []
    if strange:
        raise DeclarationError(
            f"{to} is not ours to write to",
            expected="a new folder, or an empty one",
            got=", ".join(strange[:5]) + (", which is no folder" if blocked else ""),
            fix="name another, or take away what is there",
        )
    to.mkdir(parents=True, exist_ok=True)
    for name, text in texts(whole).items():
        (to / name).write_text(text, encoding="utf-8")
    return folder.seal(to)


def read(place: Path, *, expected: str | None, served: bool = False) -> SealedPrompt:
    """The prompt in a folder, every byte checked; or `ModelRefused`. served: without its golden set, which need not be there."""
    keep = SERVED if served else SERVED | {GOLDEN}
    found = bundle.read(place, expected=expected, keep=keep, whole=not served)
    try:
        return _parsed(found.files, found.digest)
    except ValidationError as error:
        raise ModelRefused(
            "the prompt cannot be read",
            expected="a prompt as this version writes it",
            got=str(error).splitlines()[0],
            fix="seal it again with this version",
        ) from error


def _parsed(files: Mapping[str, bytes], digest: str) -> SealedPrompt:
    for name in SERVED:
        if name not in files:
            raise ModelRefused(f"the prompt has no {name}", expected=name, got="no such file", fix="seal it again")
    return SealedPrompt(
        digest=digest,
        prompt=Prompt.model_validate_json(files[PROMPT]),
        examples=_examples.validate_json(files[EXAMPLES]),
        golden=_golden.validate_json(files[GOLDEN]) if GOLDEN in files else (),
    )
