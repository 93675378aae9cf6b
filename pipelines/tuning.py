# mypy: allow-untyped-decorators
"""The search of `hallmark tune` as a graph: rounds of tries, each a pod of its own, compiled for Kubeflow."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kfp import compiler, dsl

from components.image import TRAINING_IMAGE
from components.training import load, split, validate
from components.tuning import choose, judge_declared, propose, try_options
from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.settings import Settings
from hallmark.training import search_space
from pipelines.placement import place


def pipeline(
    declared: Domain,
    *,
    option: Sequence[str],
    tries: int,
    at_once: int,
    scheduled: str = dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER,
    image: str = TRAINING_IMAGE,
    retries: bool = True,
) -> Any:
    """The graph of a search: `tries` in rounds of `at_once` pods, each round proposed from what those before have found.

    option: as `hallmark tune --option` takes it. A try is one component, whose result Kubeflow keeps: a run that is started again on the
    same examples makes no try twice.
    """
    training = declared.training
    rounds = [min(at_once, tries - begun) for begun in range(0, tries, at_once)]

    @dsl.pipeline(name=f"{declared.name}-tuning", description=f"Better options for {declared.name}")
    def graph(
        domain: str = declared.name,
        source: str = "synthetic",
        as_of: str = "",
        window: str = declared.model_dump(mode="json")["training"]["window"],
        seed: int = training.seed,
        shift: str = "",
        option: list[str] = list(option),  # noqa: B006  Kubeflow reads it as a default and never changes it
    ) -> None:
        loaded = load(
            domain=domain, source=source, as_of=as_of, scheduled=scheduled, window=window, seed=seed, shift=shift
        ).set_caching_options(False)
        day, examples = loaded.outputs["Output"], loaded.outputs["examples"]
        checked = validate(domain=domain, examples=examples)
        parts = split(domain=domain, as_of=day, seed=training.seed, examples=examples).after(checked)
        given = {"training": parts.outputs["training"], "validation": parts.outputs["validation"]}
        first = judge_declared(domain=domain, seed=seed, option=option, **given)
        tasks = [loaded, checked, parts, first]
        ended: Any = []
        before: dict[str, Any] = {}
        for count in rounds:
            asked = propose(domain=domain, seed=seed, option=option, count=count, ended=ended, **before)
            with dsl.ParallelFor(asked.outputs["Output"]) as proposed:
                tried = try_options(
                    domain=domain,
                    seed=seed,
                    option=option,
                    proposed=proposed,
                    declared=first.outputs["declared"],
                    **given,
                )
            ended, before = dsl.Collected(tried.outputs["Output"]), {"before": asked.outputs["study"]}
            tasks += [asked, tried]
        tasks.append(choose(domain=domain, ended=ended, declared=first.outputs["declared"], **before))
        for task in tasks:
            place(task, declared, image=image, retries=retries)

    return graph


def compile_to(
    path: Path, domain: str, *, image: str | None = None, search: str = "", settings: Settings | None = None
) -> None:
    """Write the domain's graph as Kubeflow's intermediate representation; search: option, tries and at_once, as JSON."""
    asked = json.loads(search)
    search_space.parse(asked["option"])
    graph = pipeline(domains.load(domain, settings), image=image or TRAINING_IMAGE, **asked)
    path.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(graph, str(path))


__all__ = ["TRAINING_IMAGE", "compile_to", "pipeline"]
