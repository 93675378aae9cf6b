"""Kubernetes objects, alerts and dashboards as YAML templates: files that are read where they lie, filled from a declaration.

A template is Jinja2 with `<{ value }>`, `<% statement %>` and `<# comment #>`, so that the `{{ }}` of Prometheus and Grafana stay as
they are. A value that somebody else wrote goes through `toyaml`, which makes it one YAML value, whatever is in it; as it is stands
only what cannot hold a quote or a line, such as a domain's name. An unknown name is an error, and never an empty text.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from traceback import extract_tb
from typing import TYPE_CHECKING, Any

import yaml

import hallmark
from hallmark.errors import HallmarkError

if TYPE_CHECKING:
    from jinja2 import Environment

ROOT = Path(hallmark.__file__).parent
"""Templates are named from here, with `/`: render/templates/reviewer.yaml."""
_UNPRINTABLE = re.compile(r"[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")
_TAG = re.compile(r"(<%.*?%>|<\{.*?\}>|<#.*?#>)", re.DOTALL)
_LINE = re.compile(r"\0(\d+)\0")


class TemplateBroken(HallmarkError):
    """A template cannot be filled, or is no YAML once it is; names its line."""


def objects(template: str, **values: Any) -> list[dict[str, Any]]:
    """The YAML documents of a template with these values; empty ones are left out."""
    from jinja2 import TemplateError

    try:
        text = _environment().get_template(template).render(values)
    except (TemplateError, TypeError, ValueError) as error:
        line = getattr(error, "lineno", None) or _line_of_call(template, error)
        raise _broken(template, line, str(error)) from error
    try:
        loader, found = yaml.CSafeLoader(text), []
        while loader.check_node():
            if (node := loader.get_node()) and (made := _value(loader, node)):
                found.append(made)
        return found
    except yaml.MarkedYAMLError as error:
        line = _line_of_text(template, values, error.problem_mark.line) if error.problem_mark else 0
        raise _broken(template, line, error.problem or str(error)) from error
    except yaml.YAMLError as error:
        raise _broken(template, 0, str(error)) from error


def toyaml(value: Any) -> str:
    """A value on one line, as YAML reads it back: texts in quotes, whatever they hold; lists and mappings in brackets."""
    if isinstance(value, str):
        return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{toyaml(key)}: {toyaml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toyaml, value)) + "]"
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"expected a number that is finite; got {value}")
        return re.sub(r"^(-?\d+)e", r"\1.0e", repr(value))  # YAML 1.1 takes 1e-05 for a text
    if value is None or isinstance(value, int):
        return json.dumps(value)
    raise TypeError(f"expected a text, a number, a list or a mapping; got {type(value).__name__}")


def _value(loader: yaml.CSafeLoader, node: yaml.Node) -> Any:
    """Value of a node. As PyYAML builds it, in half the time, but a key that stands twice is an error, not the last one."""
    if isinstance(node, yaml.MappingNode):
        found = {_value(loader, key): _value(loader, value) for key, value in node.value}
        if len(found) < len(node.value):
            raise yaml.constructor.ConstructorError(problem="a key stands twice", problem_mark=node.start_mark)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, each) for each in node.value]
    return node.value if node.tag == "tag:yaml.org,2002:str" else loader.construct_object(node)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    made = Environment(  # noqa: S701  what is made is YAML; texts go through toyaml
        loader=FileSystemLoader(ROOT),
        undefined=StrictUndefined,
        variable_start_string="<{",
        variable_end_string="}>",
        block_start_string="<%",
        block_end_string="%>",
        comment_start_string="<#",
        comment_end_string="#>",
        trim_blocks=True,
        lstrip_blocks=True,
        optimized=False,  # nothing in them can be worked out beforehand
        auto_reload=False,
    )
    made.filters["toyaml"] = toyaml
    return made


def _broken(template: str, line: int, got: str) -> TemplateBroken:
    where = f"hallmark/{template}" + (f":{line}" if line else "")
    return TemplateBroken(f"{where} cannot be filled", expected="YAML, and names that are given", got=got)


def _line_of_call(template: str, error: BaseException) -> int:
    """The line that failed: Jinja2 puts templates into the traceback as if they were Python."""
    lines = [each.lineno or 0 for each in extract_tb(error.__traceback__) if each.filename == str(ROOT / template)]
    return lines[-1] if lines else 0


def _line_of_text(template: str, values: Mapping[str, Any], line: int) -> int:
    """The line of the template that line `line` (from 0) of its text comes from: filled once more, with each line's number in it."""
    source, number = (ROOT / template).read_text(encoding="utf-8"), 1
    marked = "\0" + "1\0"
    for part in _TAG.split(source):
        if _TAG.fullmatch(part):
            marked, number = marked + part, number + part.count("\n")
            continue
        first, *rest = part.split("\n")
        marked += first
        for more in rest:
            number += 1
            marked += f"\n\0{number}\0{more}"
    text = _environment().from_string(marked).render(values)
    found = _LINE.findall("\n".join(text.split("\n")[: line + 1]))
    return int(found[-1])
