"""Pipelines and components as Python: what shows before anything is compiled."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass

from hallmark.lint.objects import LintContext
from hallmark.lint.rules import PIPELINES, RuleMatch, rule
from hallmark.lint.source import Document

_CLIENT = PIPELINES + "sdk/python/kfp/client/client.py"
_CONDITIONS = frozenset({"If", "Elif", "Condition"})


@dataclass(frozen=True, eq=False)
class Script:
    """A Python file that imports kfp."""

    document: Document
    tree: ast.Module

    def hit(self, text: str, node: ast.expr) -> RuleMatch:
        """A finding at a node."""
        return RuleMatch(self.document, (), text, (node.lineno, node.col_offset + 1))

    @property
    def components(self) -> Iterator[tuple[str, ast.expr]]:
        """Every function under dsl.component: its name and the decorator."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                for decorator in node.decorator_list:
                    if _called(decorator) == "component":
                        yield node.name, decorator

    @property
    def pipelines(self) -> Iterator[ast.FunctionDef]:
        """Every function under dsl.pipeline."""
        return (each for each in self._functions if any(_called(one) == "pipeline" for one in each.decorator_list))

    def calls(self, *names: str) -> Iterator[ast.Call]:
        """Every call of a function or method of these names."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and _called(node) in names:
                yield node

    def values(self, node: ast.expr, at: ast.expr, *, names: int = 4) -> list[ast.expr]:
        """The expressions that a name stands for in the function around `at`, or in the file, by that many names; any other itself."""
        if not isinstance(node, ast.Name) or not names:
            return [node]
        scopes: list[ast.AST] = [*self._around(at), self.tree]
        found = next((given for scope in scopes if (given := [*_assigned(scope, node.id)])), [])
        return [value for each in found for value in self.values(each, at, names=names - 1)] or [node]

    def is_bool(self, node: ast.expr, at: ast.expr) -> bool:
        """Does this file say that `node`, in the function around `at`, is a bool: a parameter, or a component's only output?"""
        if isinstance(node, ast.Name):
            parameters = [each for one in self._around(at) for each in (*one.args.args, *one.args.kwonlyargs)]
            return any(each.arg == node.id and _is_bool(each.annotation) for each in parameters)
        if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant) and node.slice.value == "Output":
            node = node.value
        if not (isinstance(node, ast.Attribute) and node.attr in ("output", "outputs")):
            return False
        named = {_called(value) for value in self.values(node.value, at) if isinstance(value, ast.Call)}
        return any(each.name in named and _is_bool(each.returns) for each in self._functions)

    def _around(self, at: ast.expr) -> list[ast.FunctionDef]:
        return [each for each in self._functions if each.lineno <= at.lineno <= (each.end_lineno or each.lineno)]

    @property
    def _functions(self) -> list[ast.FunctionDef]:
        return [node for node in ast.walk(self.tree) if isinstance(node, ast.FunctionDef)]


def script_of(document: Document) -> Script | None:
    """The document as a script, where it is Python that imports kfp."""
    if not isinstance(document.data, ast.Module):
        return None
    for node in ast.walk(document.data):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        if any(name.split(".")[0] == "kfp" for name in names):
            return Script(document, document.data)
    return None


def _called(node: ast.expr) -> str:
    target = node.func if isinstance(node, ast.Call) else node
    return target.attr if isinstance(target, ast.Attribute) else target.id if isinstance(target, ast.Name) else ""


def _assigned(scope: ast.AST, name: str) -> Iterator[ast.expr]:
    for node in ast.walk(scope):
        if isinstance(node, ast.Assign) and any(
            isinstance(each, ast.Name) and each.id == name for each in node.targets
        ):
            yield node.value


def _is_bool(annotation: ast.expr | None) -> bool:
    return isinstance(annotation, ast.Name) and annotation.id == "bool"


def _keywords(node: ast.expr) -> dict[str, ast.expr]:
    return {item.arg: item.value for item in node.keywords if item.arg} if isinstance(node, ast.Call) else {}


def _spread(node: ast.expr) -> bool:
    """Are keywords handed on with **, so that nobody can tell which are there?"""
    return isinstance(node, ast.Call) and any(item.arg is None for item in node.keywords)


def _given(value: ast.expr | None) -> bool:
    return value is not None and not (isinstance(value, ast.Constant) and value.value is None)


@rule(
    "HM451",
    "A component without a base image",
    on=Script,
    reason="kfp takes its own default image, which holds nothing of ours and changes with kfp",
    fix="@dsl.component(base_image=TRAINING_IMAGE, install_kfp_package=False)",
    link=PIPELINES + "sdk/python/kfp/dsl/component_factory.py",
)
def base_image(script: Script, world: LintContext) -> Iterator[RuleMatch]:
    """component_factory.py: _DEFAULT_BASE_IMAGE."""
    for name, decorator in script.components:
        if not _spread(decorator) and not _given(_keywords(decorator).get("base_image")):
            yield script.hit(f"{name} has no base_image", decorator)


@rule(
    "HM452",
    "A component that asks for packages",
    on=Script,
    reason="each run installs what is newest then: slow, different tomorrow, and impossible where pods reach no registry",
    fix="put packages into the image; remove packages_to_install",
    link=PIPELINES + "sdk/python/kfp/dsl/component_factory.py",
)
def packages(script: Script, world: LintContext) -> Iterator[RuleMatch]:
    """component_factory.py writes `pip install` into the command."""
    for name, decorator in script.components:
        value = _keywords(decorator).get("packages_to_install")
        if value is not None and _given(value) and not (isinstance(value, ast.List) and not value.elts):
            yield script.hit(f"{name} has packages_to_install", value)


@rule(
    "HM453",
    "dsl.If on a named output",
    on=Script,
    reason="kfp.local knows outputs called Output alone: it cannot find this one, skips the branch, and the run says SUCCESS",
    fix="compare task.output of a component with one output (bool or str)",
    link=PIPELINES + "sdk/python/kfp/local/orchestrator/enhanced_dag_orchestrator.py",
)
def named_output(script: Script, world: LintContext) -> Iterator[RuleMatch]:
    """enhanced_dag_orchestrator.py, _resolve_pipeline_channel."""
    for call in script.calls(*_CONDITIONS):
        for node in [part for argument in call.args for part in ast.walk(argument)]:
            if (
                isinstance(node, ast.Subscript)
                and isinstance(node.value, ast.Attribute)
                and node.value.attr == "outputs"
            ):
                key = node.slice.value if isinstance(node.slice, ast.Constant) else None
                if isinstance(key, str) and key != "Output":
                    yield script.hit(f"the condition reads outputs[{key!r}]", node)


@rule(
    "HM457",
    "A bool that is compared with a number, in Python",
    on=Script,
    reason="kfp writes 1 beside a bool as false, and 0 as true: `== 1` runs where the answer is False, here and on a cluster",
    fix="compare with == True or == False",
    link=PIPELINES + "sdk/python/kfp/compiler/pipeline_spec_builder.py",
)
def number_for_bool(script: Script, world: LintContext) -> Iterator[RuleMatch]:
    """pipeline_spec_builder.py: beside a bool a number is 'true' if it is 0, else 'false'; what is a bool shows in annotations of this file."""
    for call in script.calls(*_CONDITIONS):
        wanted = [value for argument in call.args for value in script.values(argument, call)]
        for node in [part for value in wanted for part in ast.walk(value)]:
            if not isinstance(node, ast.Compare):
                continue
            sides = [each for side in (node.left, *node.comparators) for each in script.values(side, call)]
            bare = [side.operand if isinstance(side, ast.UnaryOp) else side for side in sides]
            numbers = [side for side in bare if isinstance(side, ast.Constant) and type(side.value) is int]
            if numbers and any(script.is_bool(side, call) for side in sides):
                yield script.hit(f"the condition is {ast.unparse(node)}", node)


@rule(
    "HM458",
    "A Python `if` on what only a run knows",
    on=Script,
    reason="in a pipeline a parameter or an output is a placeholder: a comparison of one is true while the graph is made, whatever its value will be",
    fix="with dsl.If(parameter == value): ...; for a choice made when compiling take an argument of a plain function around the pipeline",
    link=PIPELINES + "sdk/python/kfp/dsl/pipeline_channel.py",
)
def chosen_too_soon(script: Script, world: LintContext) -> Iterator[RuleMatch]:
    """pipeline_channel.py: `==` of a PipelineChannel gives a ConditionOperation, an object like any other."""
    for graph in script.pipelines:
        given = {each.arg for each in (*graph.args.args, *graph.args.kwonlyargs)}
        unknown = given - {name for name in given if any(_assigned(graph, name))}
        for node in ast.walk(graph):
            if isinstance(node, ast.If | ast.IfExp | ast.While | ast.Assert) and _known_later(node.test, unknown):
                yield script.hit(f"`{ast.unparse(node.test)}` is decided before the run", node.test)


def _known_later(test: ast.expr, parameters: set[str]) -> bool:
    return any(
        (isinstance(node, ast.Name) and node.id in parameters)
        or (isinstance(node, ast.Attribute) and node.attr in ("output", "outputs"))
        for node in ast.walk(test)
    )


@rule(
    "HM454",
    "A schedule of five fields, in Python",
    on=Script,
    reason="Kubeflow reads seconds first and takes a missing sixth field for *: `0 3 * * *` runs every hour at 3 minutes past",
    fix="write six fields, seconds first: 0 0 3 * * *",
    link=_CLIENT,
)
def cron(script: Script, world: LintContext) -> Iterator[RuleMatch]:
    """client.py, create_recurring_run: `using 6 space-separated fields`."""
    for call in script.calls("create_recurring_run"):
        value = _keywords(call).get("cron_expression")
        found = value.value if isinstance(value, ast.Constant) else None
        if value and isinstance(found, str) and not found.startswith("@") and len(found.split()) != 6:
            yield script.hit(f"{found!r} has {len(found.split())} fields", value)


@rule(
    "HM455",
    "A recurring run with one id of two, in Python",
    on=Script,
    reason="raises ValueError: both pipeline_id and version_id are required",
    fix="give pipeline_id and version_id, or pipeline_package_path",
    link=_CLIENT,
)
def ids(script: Script, world: LintContext) -> Iterator[RuleMatch]:
    """client.py, _create_job_config."""
    for call in script.calls("create_recurring_run", "run_pipeline"):
        given = {key for key, value in _keywords(call).items() if _given(value)}
        if not _spread(call) and len(given & {"pipeline_id", "version_id"}) == 1:
            yield script.hit(f"no {({'pipeline_id', 'version_id'} - given).pop()}", call)


@rule(
    "HM456",
    "A caching option that is not read",
    on=Script,
    reason="enable_caching rewrites a package file; a run of an uploaded version keeps what was compiled, and says nothing",
    fix="set caching in the graph: task.set_caching_options(False)",
    link=_CLIENT,
)
def caching(script: Script, world: LintContext) -> Iterator[RuleMatch]:
    """client.py, _create_job_config: enable_caching is used under pipeline_package_path alone."""
    for call in script.calls("create_recurring_run", "run_pipeline"):
        keywords = _keywords(call)
        if _given(keywords.get("version_id")) and _given(keywords.get("enable_caching")):
            yield script.hit("enable_caching beside version_id", keywords["enable_caching"])
