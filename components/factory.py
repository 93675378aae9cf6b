"""Components made from the steps, so that each step is described once, by its own signature."""

from __future__ import annotations

import inspect
import linecache
from typing import Any

from kfp import dsl

from components.image import TRAINING_IMAGE
from hallmark.training.signature import Keyword, Reads, Writes
from hallmark.training.step import SHOWN, Step

_SHOWN = dict(zip(SHOWN, ("Metrics", "ClassificationMetrics"), strict=True))


def component(step: Step[..., Any]) -> Any:
    """The Kubeflow component that calls `step` in the training image.

    Kubeflow runs a component from its function's source, in a file of its own, so the function is written out here first.
    """
    text = source(step)
    place = f"<component {step.name}>"
    linecache.cache[place] = (len(text), None, text.splitlines(keepends=True), place)
    names: dict[str, Any] = {**vars(dsl), "Any": Any, "__name__": f"{__package__}.{step.name}"}
    exec(compile(text, place, "exec", dont_inherit=True), names)  # noqa: S102  written by `source` from the step's signature
    return dsl.component(names[step.name], base_image=TRAINING_IMAGE, install_kfp_package=False)


def source(step: Step[..., Any]) -> str:
    """The function that Kubeflow runs: the step's keywords with artifacts for files, and one call."""
    keywords = step.signature.given
    required = [each for each in keywords if each.default is inspect.Parameter.empty]
    shown = _SHOWN if step.signature.shows else {}
    written = [
        "domain: str",
        *(_declared(each) for each in required),
        *(f"{name}: Output[{kind}]" for name, kind in shown.items()),
        *(f"{_declared(each)} = {each.default!r}" for each in keywords if each not in required),
    ]
    module = step.function.__module__
    passed = [f"{name}={name}" for name in ("domain", *(each.name for each in keywords), *shown)]
    returns = "None" if shown else step.signature.returns
    parameters = "".join(f"    {each},\n" for each in written)
    arguments = "".join(f"        {each},\n" for each in passed)
    package, _, name = module.rpartition(".")
    return (
        f"def {step.name}(\n{parameters}) -> {returns}:\n"
        f'    """{(inspect.getdoc(step.function) or step.name).splitlines()[0]}"""\n'
        f"    from {package} import {name}\n\n"
        f"    return {name}.{step.name}.component(\n{arguments}    )\n"
    )


def _declared(keyword: Keyword) -> str:
    reads, writes = keyword.annotation(Reads), keyword.annotation(Writes)
    if writes:
        return f"{keyword.name}: Output[{keyword.kind}]"
    return f"{keyword.name}: Input[{keyword.kind}]" if reads and not reads.named else f"{keyword.name}: {keyword.kind}"
