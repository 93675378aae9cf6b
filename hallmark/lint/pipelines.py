"""Compiled pipelines (Kubeflow's intermediate representation) and their schedules."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from hallmark.lint.objects import LintContext
from hallmark.lint.reading import dig, integer, listing, mapping, text
from hallmark.lint.rules import PIPELINES, RuleMatch, rule
from hallmark.lint.source import Document, Keys

_NOW = re.compile(r"\{\{\$\.pipeline_job_(?:schedule_time_utc|create_time_utc|uuid|resource_name)\}\}")
_RUN_TIME = re.compile(r"\[\[(?:ScheduledTime|CurrentTime|Index|RunUUID|JobUUID|schedule)")
_PLAIN_PYTHON = re.compile(r"(?:^|/)python:3\.\d+$")


@dataclass(frozen=True, eq=False)
class CompiledPipeline:
    """A compiled pipeline: its document, where it begins there, and itself."""

    document: Document
    data: dict[str, Any]
    path: Keys = ()

    def hit(self, text: str, *path: str | int) -> RuleMatch:
        """A finding at `path` of the graph."""
        return RuleMatch(self.document, (*self.path, *path), text)

    @cached_property
    def dags(self) -> tuple[tuple[Keys, dict[str, Any]], ...]:
        """The tasks of the root and of every component that is a graph itself, with their paths."""
        paths: list[Keys] = [("root", "dag", "tasks")]
        paths += [("components", name, "dag", "tasks") for name in mapping(self.data, "components")]
        return tuple((path, mapping(self.data, *path)) for path in paths)

    @property
    def executors(self) -> dict[str, Any]:
        """Executors that run in containers, by name."""
        return mapping(self.data, "deploymentSpec", "executors")


@dataclass(frozen=True, eq=False)
class PipelineSchedule:
    """A recurring run: a v2beta1 RecurringRun as JSON or YAML, or a ScheduledWorkflow of the cluster."""

    document: Document
    data: dict[str, Any]
    trigger: Keys
    path: Keys = ()

    def hit(self, text: str, *path: str | int) -> RuleMatch:
        """A finding at `path` of the schedule."""
        return RuleMatch(self.document, (*self.path, *path), text)


def graph_of(document: Document) -> CompiledPipeline | None:
    """The compiled pipeline that a document is, or that a PipelineVersion holds."""
    data = document.data
    if text(data, "kind") == "PipelineVersion" and mapping(data, "spec", "pipelineSpec"):
        return CompiledPipeline(document, mapping(data, "spec", "pipelineSpec"), ("spec", "pipelineSpec"))
    if isinstance(data, dict) and "pipelineInfo" in data and "root" in data:
        return CompiledPipeline(document, data)
    return None


def schedule_of(document: Document) -> PipelineSchedule | None:
    """The recurring run that a document is."""
    data = document.data
    if text(data, "kind") == "ScheduledWorkflow":
        return PipelineSchedule(document, data, ("spec", "trigger"))
    if isinstance(data, dict) and mapping(data, "trigger") and "kind" not in data:
        return PipelineSchedule(document, data, ("trigger",))
    return None


@rule(
    "HM403",
    "A cron of five fields",
    on=PipelineSchedule,
    reason="Kubeflow reads seconds first and takes a missing sixth field for *: `0 3 * * *` runs every hour at 3 minutes past",
    fix="write six fields, seconds first: 0 0 3 * * *",
    link=PIPELINES + "backend/src/apiserver/server/api_converter.go",
)
def cron(schedule: PipelineSchedule, world: LintContext) -> Iterator[RuleMatch]:
    """api_converter.go: robfig/cron v1.2 Parse, `day of week, optional`."""
    trigger = mapping(schedule.data, *schedule.trigger)
    for outer in ("cron_schedule", "cronSchedule"):
        found = text(trigger, outer, "cron")
        if found and not found.startswith("@") and len(found.split()) != 6:
            text_ = f"{found!r} has {len(found.split())} fields"
            yield schedule.hit(text_, *schedule.trigger, outer, "cron")


@rule(
    "HM404",
    "A scheduled run that would be a cache hit",
    on=CompiledPipeline,
    reason="the key of the cache is inputs, image and command: with the same ones each scheduled run reuses the last and trains nothing",
    fix="give the first step the scheduled time (PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER), or set_caching_options(False) on it",
    link=PIPELINES + "backend/src/v2/driver/cache.go",
)
def cached(graph: CompiledPipeline, world: LintContext) -> Iterator[RuleMatch]:
    """cache.go, getFingerPrint; facts.md. A graph whose first steps are all cached and whose inputs know no time."""
    tasks = mapping(graph.data, "root", "dag", "tasks")
    first = {name: task for name, task in tasks.items() if not listing(task, "dependentTasks")}
    if not first or not all(dig(task, "cachingOptions", "enableCache") is True for task in first.values()):
        return
    constants = [dig(item, "runtimeValue", "constant") for task in tasks.values() for item in _parameters(task)]
    if any(isinstance(value, str) and _NOW.search(value) for value in constants):
        return
    name = next(iter(first))
    more = f" and {len(first) - 1} more" if len(first) > 1 else ""
    yield graph.hit(f"{name}{more} is cached, and no input is a time", "root", "dag", "tasks", name, "cachingOptions")


def _parameters(task: Any) -> list[Any]:
    return list(mapping(task, "inputs", "parameters").values())


@rule(
    "HM405",
    "A recurring run with one id of two",
    on=PipelineSchedule,
    reason="refused by the SDK; the API takes a pipeline without a version and follows its newest one, whatever that is",
    fix="give pipeline_id and pipeline_version_id",
    link=PIPELINES + "sdk/python/kfp/client/client.py",
)
def ids(schedule: PipelineSchedule, world: LintContext) -> Iterator[RuleMatch]:
    """client.py, _create_job_config: both are required; resource_manager.go, CreateJob: `always ... pick the latest`."""
    for key in ("pipeline_version_reference", "pipelineVersionReference"):
        reference = mapping(schedule.data, key)
        pipeline = reference.get("pipeline_id") or reference.get("pipelineId")
        version = reference.get("pipeline_version_id") or reference.get("pipelineVersionId")
        if key in schedule.data and bool(pipeline) != bool(version):
            yield schedule.hit(f"no {'pipeline_version_id' if pipeline else 'pipeline_id'}", key)


@rule(
    "HM406",
    "A recurring run with too many at once",
    on=PipelineSchedule,
    reason="rejected: max concurrency of a recurring run must be at least 1 and at most 10",
    fix="set max_concurrency: 1; a training that overtakes another is of no use",
    link=PIPELINES + "backend/src/apiserver/server/api_converter.go",
)
def most_at_once(schedule: PipelineSchedule, world: LintContext) -> Iterator[RuleMatch]:
    """api_converter.go: `maxConcur > 10 || maxConcur < 1`."""
    for path in (("max_concurrency",), ("maxConcurrency",), ("spec", "maxConcurrency")):
        found = dig(schedule.data, *path)
        number = int(found) if isinstance(found, str) and found.isdecimal() else integer([found], 0)
        if number is not None and not 1 <= number <= 10:
            yield schedule.hit(f"{path[-1]}: {found}", *path)


@rule(
    "HM407",
    "A component that installs packages while it runs",
    on=CompiledPipeline,
    reason="each run installs what is newest then: slow, different tomorrow, and impossible where pods reach no registry",
    fix="put packages into the image, and compile with install_kfp_package=False and no packages_to_install",
    link=PIPELINES + "sdk/python/kfp/dsl/component_factory.py",
)
def installs(graph: CompiledPipeline, world: LintContext) -> Iterator[RuleMatch]:
    """component_factory.py writes `pip install` into the command."""
    for name, executor in graph.executors.items():
        for key in ("command", "args"):
            for index, word in enumerate(listing(executor, "container", key)):
                if isinstance(word, str) and re.search(r"pip3? install", word):
                    at = ("deploymentSpec", "executors", name, "container", key, index)
                    yield graph.hit(f"{name} runs pip install", *at)


@rule(
    "HM408",
    "A component on a bare Python image",
    on=CompiledPipeline,
    reason="without base_image kfp takes its own default, which holds nothing of ours and changes with kfp",
    fix="name the base_image: hallmark/training-python with a version",
    link=PIPELINES + "sdk/python/kfp/dsl/component_factory.py",
)
def bare_image(graph: CompiledPipeline, world: LintContext) -> Iterator[RuleMatch]:
    """component_factory.py, _DEFAULT_BASE_IMAGE: python:3.11."""
    for name, executor in graph.executors.items():
        image = text(executor, "container", "image")
        if _PLAIN_PYTHON.search(image):
            yield graph.hit(f"{name} runs in {image}", "deploymentSpec", "executors", name, "container", "image")


@rule(
    "HM409",
    "A pipeline image without a version",
    on=CompiledPipeline,
    reason="a run of today and of tomorrow differ, and the cache's key is the name: it gives yesterday's result for a new image",
    fix="name a tag that is never moved, or a digest",
    link=PIPELINES + "backend/src/v2/driver/cache.go",
)
def loose_image(graph: CompiledPipeline, world: LintContext) -> Iterator[RuleMatch]:
    """cache.go: the image is part of the key as it is written."""
    for name, executor in graph.executors.items():
        image = text(executor, "container", "image")
        if image and not pinned(image):
            yield graph.hit(f"{name} runs in {image}", "deploymentSpec", "executors", name, "container", "image")


@rule(
    "HM410",
    "A schedule that hands every run the same window",
    on=PipelineSchedule,
    reason="constant parameters make each run the same question: the cache answers it, and nothing is trained",
    fix="leave the window's end to the graph's schedule-time placeholder, or give [[ScheduledTime]]",
    link=PIPELINES + "backend/src/v2/driver/cache.go",
)
def same_window(schedule: PipelineSchedule, world: LintContext) -> Iterator[RuleMatch]:
    """cache.go, getFingerPrint; swf parameters [[ScheduledTime]] (scheduledworkflow/util). `as_of` is our graphs' window end."""
    at = ("runtime_config", "parameters", "as_of")
    found = dig(schedule.data, *at)
    if isinstance(found, str) and found and not _RUN_TIME.search(found):
        yield schedule.hit(f"as_of is {found} in every run", *at)


def pinned(image: str) -> bool:
    """Does an image name a digest, or a tag other than latest?"""
    if "@sha256:" in image:
        return True
    tag = image.rpartition("/")[2].partition(":")[2]
    return bool(tag) and tag != "latest"
