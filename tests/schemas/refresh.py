"""The strict schemas under hallmark/lint/schemas, written anew from upstream's CustomResourceDefinitions, from Kubernetes' own
definitions, or from a folder of strict schemas.

    python tests/schemas/refresh.py FOLDER_OR_FILE … [--add GROUP/KIND_VERSION …]

A source is a file or a folder, searched whole: YAML documents of kind CustomResourceDefinition, as README.md says where each group's lie
upstream; `_definitions.json` of the package kubernetes-validate; or files `<group>/<kind>_<version>.json` that are strict schemas already.
Only kinds that are there, or that --add names, are written; the others of a source are passed over. Exits 1 when --add names a kind that
no source holds.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

HELD = Path(__file__).parents[2] / "hallmark" / "lint" / "schemas"
LEAST = 120
"""Characters from which a schema that stands twice in a file becomes a part of its own."""
WORDS = ("description", "example", "externalDocs", "title")
"""Keys that judge nothing."""
OPEN = "x-kubernetes-preserve-unknown-fields"
MAPS = ("properties", "patternProperties", "$defs")
"""Keys whose value maps names to schemas."""
LISTS = ("allOf", "anyOf", "oneOf")
CORE = "core"
"""Folder of the kinds that have no group."""
INT_OR_STRING = "x-kubernetes-int-or-string"
QUANTITY = (
    r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))))?$"
)
"""Pattern of a resource quantity in every CustomResourceDefinition; Kubernetes' own definitions leave it out."""
ONES = ("items", "not", "additionalProperties")

Schema = dict[str, Any]


class Loader(yaml.CSafeLoader):
    """YAML as Kubernetes reads it: a bare `=` is a text (PyYAML knows it as a type that it cannot make)."""


Loader.add_constructor("tag:yaml.org,2002:value", lambda loader, node: str(node.value))


def mapped(schema: Schema, change: Callable[[Schema], Schema]) -> Schema:
    """The schema with `change` made to each schema right under it; names of properties, defaults and enums stay as they are."""
    made = dict(schema)
    for key, value in schema.items():
        if key in MAPS:
            made[key] = {name: change(each) for name, each in value.items()}
        elif key in LISTS:
            made[key] = [change(each) for each in value]
        elif key in ONES and isinstance(value, dict):
            made[key] = change(value)
    return made


def strict(schema: Schema) -> Schema:
    """The schema as `kubectl apply --validate=strict` reads it: a field that it does not name is refused, and no prose."""
    made = mapped({key: value for key, value in schema.items() if key not in WORDS}, strict)
    if made.pop("nullable", False) and isinstance(made.get("type"), str):
        made["type"] = [made["type"], "null"]  # JSON Schema has no `nullable`
    if "properties" in made and not made.get(OPEN):
        made.setdefault("additionalProperties", False)
    return made


def named(kind: str) -> Schema:
    """Schema of the field `kind`, which is the one place that says how a kind is spelt."""
    return {"enum": [kind], "type": "string"}


def of_resource(definition: Schema) -> Iterator[tuple[str, Schema]]:
    """Name (`<group>/<kind>_<version>`) and strict schema of each version that a CustomResourceDefinition serves."""
    spec = definition.get("spec", {})
    for version in spec.get("versions", ()):  # none in a patch
        schema = strict(version["schema"]["openAPIV3Schema"])
        kept = {key: value for key, value in schema.items() if key not in ("required", OPEN)}
        fields = {**schema["properties"], "apiVersion": {"type": "string"}, "kind": named(spec["names"]["kind"])}
        fields |= {"metadata": {"type": "object"}, "status": {"type": "object"}}
        needed = [each for each in schema.get("required", []) if each not in ("apiVersion", "kind", "metadata")]
        kept |= {"properties": fields, "additionalProperties": False, **({"required": needed} if needed else {})}
        yield f"{spec['group']}/{spec['names']['kind'].lower()}_{version['name']}", kept


def of_kubernetes(definitions: dict[str, Schema]) -> Iterator[tuple[str, Schema]]:
    """Name and strict schema of each kind of Kubernetes' own definitions; what holds itself is open where it does."""
    done: dict[str, Schema] = {}
    inside: list[str] = []

    def put(each: Schema) -> Schema:
        name = str(each.get("$ref", "")).removeprefix("#/$defs/")
        if name in inside:
            return {"type": "object", OPEN: True}
        if name:
            if name not in done:
                inside.append(name)
                done[name] = put(definitions[name])
                inside.pop()
            return done[name]
        if "oneOf" in each and "properties" not in each:
            whole_numbers = any("integer" in one["type"] for one in each["oneOf"])
            return {INT_OR_STRING: True, **({} if whole_numbers else {"pattern": QUANTITY})}
        made = mapped({key: value for key, value in each.items() if key not in WORDS}, put)
        if isinstance(made.get("type"), list):
            made["type"] = next(one for one in made["type"] if one != "null")
        if made.get("type") == "object" and "properties" not in made and "additionalProperties" not in made:
            made[OPEN] = True
        return made

    for definition in definitions.values():
        for identity in definition.get("x-kubernetes-group-version-kind", ()):
            kind, version = identity["kind"].lower(), identity["version"]
            if "metadata" in definition.get("properties", {}) and not kind.endswith("list"):
                made = put(definition)
                fields = {**made["properties"], "apiVersion": {"type": "string"}, "kind": named(identity["kind"])}
                kept = {"additionalProperties": False, "properties": fields, "type": "object"}
                kept |= {"required": made["required"]} if made.get("required") else {}
                yield f"{identity['group'] or CORE}/{kind}_{version}", kept


def found(source: Path) -> Iterator[tuple[str, Schema]]:
    """Name and strict schema of each kind that a file or a folder holds; a file that is neither is passed over."""
    paths = sorted(each for each in source.rglob("*") if each.is_file()) if source.is_dir() else [source]
    for path in paths:
        if path.name == "_definitions.json":
            yield from of_kubernetes(json.loads(path.read_text(encoding="utf-8"))["$defs"])
        elif path.suffix == ".json" and "_" in path.stem:
            yield f"{path.parent.name}/{path.stem}", whole(json.loads(path.read_text(encoding="utf-8")))
        elif path.suffix in (".yaml", ".yml"):
            for document in documents(path):
                if isinstance(document, dict) and document.get("kind") == "CustomResourceDefinition":
                    yield from of_resource(document)


def documents(path: Path) -> list[Any]:
    """The YAML documents of a file that speaks of a definition; none where it is a chart's template."""
    text = path.read_text(encoding="utf-8")
    if "kind: CustomResourceDefinition" not in text:
        return []
    try:
        return list(yaml.load_all(text, Loader=Loader))
    except yaml.YAMLError:
        if "{{" in text:
            return []
        raise


def shortened(schema: Schema) -> Schema:
    """The schema with what stands in it more than once said once, under `$defs`, by a digest of its content (a pod's template stands
    in KServe's a dozen times). It judges as before."""
    times: Counter[str] = Counter()
    parts: dict[str, Schema] = {}

    def count(each: Schema) -> Schema:
        times[written(each)] += 1
        return mapped(each, count) if times[written(each)] == 1 else each

    def name(each: Schema) -> Schema:
        text = written(each)
        if times[text] < 2 or len(text) < LEAST:
            return mapped(each, name)
        key = hashlib.sha256(text.encode()).hexdigest()[:8]
        if key not in parts:
            parts[key] = {}
            parts[key] = mapped(each, name)
        return {"$ref": f"#/$defs/{key}"}

    mapped(schema, count)
    made = mapped(schema, name)
    return {**made, "$defs": parts} if parts else made


def whole(schema: Schema) -> Schema:
    """The inverse of `shortened`, with each part where it is meant; equal parts are one object, so it takes no more memory."""
    parts, done = schema.get("$defs", {}), dict[str, Schema]()

    def put(each: Schema) -> Schema:
        name = str(each.get("$ref", "")).removeprefix("#/$defs/")
        if not name:
            return mapped(each, put)
        if name not in done:
            done[name] = mapped(parts[name], put)
        return done[name]

    return put({key: value for key, value in schema.items() if key != "$defs"})


def written(schema: Schema) -> str:
    """One text for equal schemas."""
    return json.dumps(schema, sort_keys=True, separators=(",", ":"))


def lines(schema: Schema) -> str:
    """A file's text: the schema on its first line, then one line a part, so that a diff says what upstream changed."""
    parts = schema.get("$defs")
    text = written({key: value for key, value in schema.items() if key != "$defs"})
    if parts:
        body = ",\n".join(f'"{name}":{written(part)}' for name, part in sorted(parts.items()))
        text = f'{text[:-1]},"$defs":{{\n{body}\n}}}}'
    return text + "\n"


def main(arguments: Sequence[str] | None = None, *, folder: Path = HELD) -> int:
    """Write the kinds of `folder` that the sources hold, and say which; 1 when a kind asked for is in none."""
    options = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    options.add_argument("sources", nargs="+", type=Path)
    options.add_argument("--add", nargs="+", default=[], metavar="GROUP/KIND_VERSION")
    given = options.parse_args(arguments)
    wanted = {f"{path.parent.name}/{path.stem}" for path in folder.glob("*/*.json")} | set(given.add)
    seen: dict[str, Schema] = {}
    for source in given.sources:
        seen.update((name, schema) for name, schema in found(source) if name in wanted)
    for name, schema in sorted(seen.items()):
        path = folder / f"{name}.json"
        path.parent.mkdir(exist_ok=True)
        text = lines(shortened(schema))
        state = "same" if path.is_file() and path.read_text(encoding="utf-8") == text else "written"
        path.write_text(text, encoding="utf-8")
        sys.stdout.write(f"{state:8} {name}\n")
    lost = sorted(set(given.add) - set(seen))
    if lost:
        sys.stderr.write(f"expected {', '.join(lost)} in {', '.join(map(str, given.sources))}: not there\n")
    return 1 if lost else 0


if __name__ == "__main__":
    raise SystemExit(main())
