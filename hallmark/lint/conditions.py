"""Conditions of compiled pipelines: the CEL that the compiler writes, which the driver evaluates, and kfp.local in its own way."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hallmark.lint.objects import LintContext
from hallmark.lint.pipelines import CompiledPipeline
from hallmark.lint.reading import mapping, text
from hallmark.lint.rules import PIPELINES, RuleMatch, rule
from hallmark.lint.source import Keys

_LOCAL = PIPELINES + "sdk/python/kfp/local/orchestrator/enhanced_dag_orchestrator.py"
_BUILDER = PIPELINES + "sdk/python/kfp/compiler/pipeline_spec_builder.py"
_CHANNEL = re.compile(r"inputs\.parameter_values\['([^']+)'\]")
_JOINED = re.compile(r"&&|\|\|")
_OPERATOR = re.compile(r"\s(==|!=|<=|>=|<|>)\s")
_QUOTED_CHANNEL = re.compile(r"'(?:int\(|double\()*inputs\.parameter_values\[")
_NUMBER = re.compile(r"-?\d+(?:\.\d*)?(?:e[+-]?\d+)?$")
_EXACT = 2**53
"""Above it a number of a pipeline, a double on its way, loses digits."""


@dataclass(frozen=True, eq=False)
class Condition:
    """When a task runs: the expression, the task that has it, and the tasks beside it."""

    graph: CompiledPipeline
    path: Keys
    tasks: dict[str, Any]
    task: dict[str, Any]
    expression: str

    def hit(self, found: str = "") -> RuleMatch:
        """A finding at the expression, which is shown where nothing else is said."""
        return self.graph.hit(found or f"the condition is {self.expression}", *self.path)

    @property
    def channels(self) -> list[str]:
        """The task's inputs that it reads."""
        return _CHANNEL.findall(self.expression)

    def output(self, channel: str) -> tuple[str, str]:
        """Task and key of the output that an input is; empty where it is a parameter of the graph."""
        source = mapping(self.task, "inputs", "parameters", channel, "taskOutputParameter")
        return text(source, "producerTask"), text(source, "outputParameterKey")

    def kind(self, channel: str) -> str:
        """The declared type of an input, such as BOOLEAN; empty where the graph does not say it."""
        producer, key = self.output(channel)
        definitions: tuple[str, ...]
        if producer:
            component = text(self.tasks, producer, "componentRef", "name")
            definitions = "components", component, "outputDefinitions"
        else:
            key = text(self.task, "inputs", "parameters", channel, "componentInputParameter")
            owner = self.path[:1] if self.path[0] == "root" else self.path[:2]
            definitions = *map(str, owner), "inputDefinitions"
        return text(self.graph.data, *definitions, "parameters", key, "parameterType")

    @cached_property
    def comparisons(self) -> tuple[tuple[str, str, str], ...]:
        """(left, operator, right) of each comparison, without brackets around it."""
        found = []
        for part in _JOINED.split(self.expression):
            sides = _OPERATOR.split(part.strip().lstrip("!(").strip())
            if len(sides) == 3:
                opened = sides[2].count("(")
                right = sides[2] if sides[2].count(")") == opened else sides[2].rstrip(")") + ")" * opened
                found.append((sides[0].strip(), sides[1], right.strip()))
        return tuple(found)

    @property
    def operands(self) -> Iterator[str]:
        """Both sides of each comparison."""
        for left, _, right in self.comparisons:
            yield from (left, right)


def conditions(graph: CompiledPipeline) -> Iterator[Condition]:
    """Every condition of a graph."""
    for path, tasks in graph.dags:
        for name, task in tasks.items():
            if expression := text(task, "triggerPolicy", "condition"):
                where = (*path, name, "triggerPolicy", "condition")
                yield Condition(graph, where, tasks, mapping(task), expression)


@rule(
    "HM401",
    "If on a named output",
    on=CompiledPipeline,
    reason="kfp.local knows outputs called Output alone: it cannot find this one, skips the branch, and the run says SUCCESS",
    fix="add a component with one unnamed output (bool or str) that reads the value, and test both ways",
    link=_LOCAL,
)
def named_output(graph: CompiledPipeline, world: LintContext) -> Iterator[RuleMatch]:
    """enhanced_dag_orchestrator.py, _resolve_pipeline_channel: `-Output`, else a parent's input; evaluate_condition returns False."""
    for condition in conditions(graph):
        for producer, key in map(condition.output, condition.channels):
            if key and key != "Output":
                yield condition.hit(f"the condition reads {producer}'s output {key!r}")


@rule(
    "HM402",
    "A comparison with a string that holds a quote",
    on=CompiledPipeline,
    reason="the compiler does not escape it: the condition is no expression, and the branch is skipped or the run fails",
    fix="compare with a word without quotes, decided in a component of one output",
    link=_BUILDER,
)
def quoted(graph: CompiledPipeline, world: LintContext) -> Iterator[RuleMatch]:
    r"""pipeline_spec_builder.py, _single_binary_operation...: operand_value = f"'{value_or_reference}'"."""
    for condition in conditions(graph):
        for part in _JOINED.split(_CHANNEL.sub("0", condition.expression)):
            sides = _OPERATOR.split(part.strip().strip("!()"))[::2]
            if any(_broken(side.strip()) for side in sides):
                yield condition.hit()
                break


def _broken(side: str) -> bool:
    """Is this operand a string literal with a quote or a line's end inside?"""
    if not side.startswith("'"):
        return "'" in side or '"' in side
    return not side.endswith("'") or len(side) < 2 or "'" in side[1:-1] or "\n" in side


@rule(
    "HM411",
    "A condition that compiles to no expression",
    on=CompiledPipeline,
    reason="a bool or a number is compared with a text, or with nan or inf: the driver cannot parse or resolve what the compiler writes, and kfp.local takes another branch",
    fix="compare a bool with True, a number with a finite number, and a text with a text",
    link=_BUILDER,
)
def no_expression(graph: CompiledPipeline, world: LintContext) -> Iterator[RuleMatch]:
    """pipeline_spec_builder.py quotes both sides where one is a text; a float is written as repr has it."""
    for condition in conditions(graph):
        odd = {"nan", "inf", "-inf"} & {side.removeprefix("double(").rstrip(")") for side in condition.operands}
        if odd or _QUOTED_CHANNEL.search(condition.expression):
            yield condition.hit()


@rule(
    "HM412",
    "A condition of a whole number and one that is not",
    on=CompiledPipeline,
    reason="it compiles to double(), which kfp.local does not know: it runs neither branch, and the run says SUCCESS",
    fix="compare a float with a float such as 0.0, and an int with an int",
    link=_LOCAL,
)
def converted(graph: CompiledPipeline, world: LintContext) -> Iterator[RuleMatch]:
    """enhanced_dag_orchestrator.py, evaluate_condition: allowed_names has int and float, and no double."""
    for condition in conditions(graph):
        if "double(" in _CHANNEL.sub("0", condition.expression) and not _QUOTED_CHANNEL.search(condition.expression):
            yield condition.hit()


@rule(
    "HM413",
    "A bool or a text that is put in order",
    on=CompiledPipeline,
    reason="a number compiles to its opposite beside a bool, and to a text beside a text, where '10' comes before '9': another branch runs",
    fix="compare a bool with == True, and let a component answer the number as an int or a float",
    link=_BUILDER,
)
def ordered(graph: CompiledPipeline, world: LintContext) -> Iterator[RuleMatch]:
    """pipeline_spec_builder.py: the other side is converted to the channel's type."""
    for condition in conditions(graph):
        for left, operator, right in condition.comparisons:
            kinds = {condition.kind(channel) for channel in _CHANNEL.findall(f"{left} {right}")}
            numbers = [side for side in (left, right) if side[:1] == "'" and _NUMBER.match(side.strip("'"))]
            if operator in ("<", "<=", ">", ">=") and ("BOOLEAN" in kinds or ("STRING" in kinds and numbers)):
                yield condition.hit()
                break


@rule(
    "HM414",
    "A condition with a number that has too many digits",
    on=CompiledPipeline,
    reason="numbers travel as doubles: above 2^53 neighbours are one, and the comparison is with another number",
    fix="hand the number over as a text, and compare texts",
    link=PIPELINES + "api/v2alpha1/pipeline_spec.proto",
)
def inexact(graph: CompiledPipeline, world: LintContext) -> Iterator[RuleMatch]:
    """pipeline_spec.proto: parameters are google.protobuf.Value, whose number is a double."""
    for condition in conditions(graph):
        if any(re.fullmatch(r"-?\d+", side) and abs(int(side)) > _EXACT for side in condition.operands):
            yield condition.hit()
