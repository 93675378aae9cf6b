"""Every operator of a condition with every type: what kfp compiles, what the driver's CEL and kfp.local make of it, and what lint says."""

from __future__ import annotations

import importlib.util
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from hallmark.lint import judge

pytest.importorskip("kfp")
celpy = pytest.importorskip("celpy")

VALUES: dict[str, tuple[Any, ...]] = {
    "bool": (True, False),
    "int": (-1, 0, 1, 2, 10, 9007199254740993),
    "float": (-2.0, -1.0, 0.0, 0.5, 1.0, 1e300),
    "str": ("", "a", "true", "9", "10"),
}
RIGHTS = ("True", "False", "0", "1", "-1", "0.0", "1.5", "'a'", "'true'", "float('inf')", "float('nan')")
OPERATORS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
EXACT = ("9007199254740991", "9007199254740993")


def asked(kind: str) -> Iterator[tuple[str, str]]:
    """What somebody may write beside a value of this type; what kfp itself refuses to compile is left out."""
    for right in (*RIGHTS, *(EXACT if kind == "int" else ())):
        if kind == "bool" and ("." in right or "float" in right):
            continue
        if kind != "bool" and right in ("True", "False"):
            continue
        if kind == "str" and "float" in right:
            continue
        for sign in OPERATORS:
            # A text beside a number is equal to the number's text: this works as it is read.
            if kind == "str" and right[0] != "'" and sign in ("==", "!="):
                continue
            yield sign, right


@dataclass(frozen=True)
class Case:
    kind: str
    sign: str
    right: str
    compiled: str
    codes: frozenset[str]


def cases(folder: Path, kind: str) -> list[Case]:
    """Each condition as a branch of one pipeline: written, compiled, and both linted."""
    from kfp import compiler

    wanted = list(asked(kind))
    head = f"from kfp import dsl\n\n\n@dsl.component(base_image='x:1', install_kfp_package=False)\ndef answer() -> {kind}:\n    return {kind}()\n\n\n"
    head += "@dsl.component(base_image='x:1', install_kfp_package=False)\ndef act():\n    pass\n\n\n@dsl.pipeline(name='p')\ndef p():\n    found = answer().output\n"
    source = folder / f"{kind}.py"
    source.write_text(
        head + "".join(f"    with dsl.If(found {sign} {right}):\n        act()\n" for sign, right in wanted)
    )
    spec = importlib.util.spec_from_file_location(f"conditions_{kind}", source)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    target = folder / f"{kind}.yaml"
    compiler.Compiler().compile(module.p, str(target))
    tasks = yaml.safe_load(target.read_text(encoding="utf-8"))["root"]["dag"]["tasks"]
    names = sorted(
        (name for name in tasks if name.startswith("condition-")), key=lambda name: int(name.rpartition("-")[2])
    )
    assert len(names) == len(wanted)
    found: dict[Any, set[str]] = {}
    first = head.count("\n") + 1
    for each in judge.lint([source, target], root=None).findings:
        where = names[(each.line - first) // 2] if each.file.endswith(".py") and each.line >= first else None
        found.setdefault(where or next((part for part in each.path if part in names), None), set()).add(each.code)
    return [
        Case(kind, sign, right, tasks[name]["triggerPolicy"]["condition"], frozenset(found.get(name, ())))
        for name, (sign, right) in zip(names, wanted, strict=True)
    ]


def driver(expression: str, value: Any) -> bool | None:
    """The driver's answer: CEL over parameters, whose numbers are doubles; None where it has none."""
    given = float(value) if isinstance(value, int) and not isinstance(value, bool) else value
    environment = celpy.Environment()
    try:
        program = environment.program(environment.compile(expression))
        parameters = {"pipelinechannel--answer-Output": given}
        return bool(program.evaluate({"inputs": celpy.json_to_cel({"parameter_values": parameters})}))
    except (celpy.CELParseError, celpy.CELEvalError):
        return None


def local(expression: str, value: Any) -> bool:
    from kfp.local.io import IOStore
    from kfp.local.orchestrator.enhanced_dag_orchestrator import ConditionEvaluator

    store = IOStore()
    store.put_task_output("answer", "Output", value)
    return ConditionEvaluator.evaluate_condition(expression, store)


def meant(case: Case, value: Any) -> bool:
    right = eval(case.right)  # noqa: S307  one of the texts above
    if case.kind == "str" and not isinstance(right, str):
        try:
            value = float(value)
        except ValueError:
            return False
    try:
        return bool(OPERATORS[case.sign](value, right))
    except TypeError:
        return False


@pytest.mark.parametrize("kind", sorted(VALUES))
def test_p15_lint_refuses_the_conditions_that_mean_something_else_and_no_others(kind: str, tmp_path: Path) -> None:
    judged = cases(tmp_path, kind)
    wrong, works = {}, {}
    for case in judged:
        outcomes = [(driver(case.compiled, value), local(case.compiled, value)) for value in VALUES[kind]]
        right = all(found == (meant(case, value),) * 2 for found, value in zip(outcomes, VALUES[kind], strict=True))
        (works if right else wrong)[f"{kind} {case.sign} {case.right}"] = case
    assert works and wrong
    assert {name: case.compiled for name, case in wrong.items() if not case.codes} == {}
    # What was written no longer shows where a number stands beside a bool, a bool in order, or digits are lost: the whole kind is refused.
    # So may be what is never true, such as that a whole number is 1.5.
    sometimes = {name: case for name, case in works.items() if any(meant(case, value) for value in VALUES[kind])}
    assert {name: case.codes for name, case in sometimes.items() if case.codes - {"HM413", "HM414", "HM457"}} == {}
