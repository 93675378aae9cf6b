# mypy: allow-untyped-decorators
"""The graph that scores a file of records by a version of a domain, compiled for Kubeflow."""

from pathlib import Path
from typing import Any

from kfp import compiler, dsl

from components.batch import score_batch
from components.image import TRAINING_IMAGE
from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.settings import Settings
from pipelines.placement import place


def pipeline(
    declared: Domain,
    *,
    scheduled: str = dsl.PIPELINE_JOB_SCHEDULE_TIME_UTC_PLACEHOLDER,
    image: str = TRAINING_IMAGE,
) -> Any:
    """The graph of one domain's batch. It is never cached: a version's alias means another one tomorrow.

    A scheduled run leaves `run` empty, and its lots are those of the time it was scheduled for.
    """

    @dsl.pipeline(name=f"{declared.name}-batch", description=f"A file scored by {declared.name}")
    def graph(
        records: str,
        run: str = "",
        domain: str = declared.name,
        version: str = declared.batch.version if declared.batch else "champion",
    ) -> None:
        given = dsl.importer(artifact_uri=records, artifact_class=dsl.Dataset, reimport=True)
        task = score_batch(
            domain=domain, version=version, run=run, scheduled=scheduled, records=given.output
        ).set_caching_options(False)
        place(task, declared, image=image)

    return graph


def compile_to(path: Path, domain: str, *, image: str | None = None, settings: Settings | None = None) -> None:
    """Write the domain's graph as Kubeflow's intermediate representation; `image` instead of the unqualified one."""
    graph = pipeline(domains.load(domain, settings), image=image or TRAINING_IMAGE)
    path.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(graph, str(path))


__all__ = ["TRAINING_IMAGE", "compile_to", "pipeline"]
