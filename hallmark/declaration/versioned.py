"""Declarations of which every version is a file: `<folder>/<name>/v<N>.yaml`, called name@N; a mistake is named with its line."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel

from hallmark.errors import DeclarationError
from hallmark.section import validated
from hallmark.settings import Settings

M = TypeVar("M", bound=BaseModel)
REFERENCE = r"^([a-z][a-z0-9_]*)@([1-9][0-9]*)$"
"""The pattern of name@version."""
_FILE = re.compile(r"v([1-9][0-9]*)\.yaml")


class _Loader(yaml.CSafeLoader):
    """YAML without dates: what is written 2026-09-01 stays a text, as it does in JSON."""


_Loader.yaml_implicit_resolvers = {
    first: [each for each in found if each[0] != "tag:yaml.org,2002:timestamp"]
    for first, found in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}


def parted(reference: str) -> tuple[str, int]:
    """Name and version of name@version; `DeclarationError` where it is none."""
    match = re.fullmatch(REFERENCE, reference)
    if match is None:
        raise DeclarationError(
            f"{reference!r} names no version", expected="name@version, such as buyer_orders@1", got=repr(reference)
        )
    return match[1], int(match[2])


def references(folder: Path) -> list[str]:
    """name@version of every file in `folder`, sorted."""
    found = []
    for path in folder.glob("*/v*.yaml"):
        if match := _FILE.fullmatch(path.name):
            found.append((path.parent.name, int(match[1])))
    return [f"{name}@{version}" for name, version in sorted(found)]


def place(path: str) -> str | None:
    """name@version that a file's place says, such as that of features/device/v1.yaml; none where it says none."""
    *_, name, file = ["", *Path(path).parts[-2:]]
    match = _FILE.fullmatch(file)
    found = f"{name}@{match[1]}" if match else ""
    return found if re.fullmatch(REFERENCE, found) else None


def file_of(reference: str, folder: Path, settings: Settings, *, noun: str) -> Path:
    """The file of name@version in `folder`; `DeclarationError` lists what there is."""
    name, version = parted(reference)
    path = folder / name / f"v{version}.yaml"
    if not path.is_file():
        raise DeclarationError(
            f"there is no {noun} {reference}",
            expected="one of " + (", ".join(references(folder)) or "none yet"),
            got=reference,
            fix=f"make {path.relative_to(settings.root)}, or check the spelling",
        )
    return path


def read(model: type[M], path: Path, shown: str) -> M:
    """A file as `model`; `DeclarationError` names file, line, key, expected and got."""
    try:
        text = path.read_text(encoding="utf-8")
        loader = _Loader(text)
        node = loader.get_single_node()
        data = loader.construct_document(node) if node is not None else None
    except OSError as error:
        raise DeclarationError(f"{shown} cannot be read", expected="a YAML file", got=error.strerror or "") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise DeclarationError(
            f"{shown} is not YAML", expected="one YAML mapping in UTF-8", got=str(error), fix="mend the file"
        ) from error
    if node is None or not isinstance(data, dict):
        raise DeclarationError(f"{shown} is not a mapping", expected="a YAML mapping", got=repr(data))
    _once(node, shown)
    return validated(model, data, shown, line=_lines(node))


def _once(root: yaml.Node, shown: str) -> None:
    """Refuse a key that is written twice in one mapping: YAML would take the last without a word."""
    waiting, seen = [root], {id(root)}
    while waiting:
        node = waiting.pop()
        children: list[yaml.Node] = []
        if isinstance(node, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in node.value:
                name = str(key.value)
                if name in keys:
                    raise DeclarationError(
                        f"{shown}:{key.start_mark.line + 1}: {name}", expected="each key once", got=f"{name} twice"
                    )
                keys.add(name)
                children.append(value)
        elif isinstance(node, yaml.SequenceNode):
            children = node.value
        for child in children:
            if id(child) not in seen:
                seen.add(id(child))
                waiting.append(child)


def _lines(root: yaml.Node) -> Callable[[Sequence[str | int]], int]:
    """A function that gives the line, from 1, of the key at a path, or of the nearest key above it."""

    def line(path: Sequence[str | int]) -> int:
        node, found = root, root.start_mark.line
        for part in path:
            if isinstance(node, yaml.MappingNode):
                pair = next((each for each in node.value if each[0].value == str(part)), None)
                if pair is None:
                    break
                found, node = pair[0].start_mark.line, pair[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
                node = node.value[part]
                found = node.start_mark.line
            else:
                break
        return int(found) + 1

    return line


def load(model: type[M], reference: str, folder: Path, settings: Settings, *, noun: str) -> M:
    """The declaration name@version in `folder`; `DeclarationError` names file, line, key, expected and got."""
    path = file_of(reference, folder, settings, noun=noun)
    found = read(model, path, settings.shown(path))
    misplaced(found, reference, settings.shown(path))
    return found


def misplaced(found: Any, reference: str, shown: str) -> None:
    """Refuse a declaration whose own `reference` is not that of the file's place."""
    if found.reference != reference:
        raise DeclarationError(
            f"{shown}: name, version", expected=f"{reference}, as the file's place says", got=found.reference
        )


def json_schema(model: type[BaseModel], written: str) -> str:
    """The JSON Schema of `model`, which is declared in the file `written`, for editors."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$comment": f"Generated from {written} by `hallmark render`.",
        **model.model_json_schema(),
    }
    return json.dumps(schema, indent=2) + "\n"
