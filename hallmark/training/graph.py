"""A domain's compiled graph, known by its content: what is uploaded, what GitOps applies, and what a run or a schedule refers to."""

from __future__ import annotations

import functools
import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Literal

import yaml

from hallmark import names
from hallmark.declaration import domain as domains
from hallmark.declaration.domain import Domain
from hallmark.errors import DeclarationError, HallmarkError
from hallmark.leash import Leash
from hallmark.section import Frozen
from hallmark.settings import Settings

Kind = Literal["training", "features", "batch", "tuning"]
_TAIL = 8
_PARTS = ("data", "features", "model")


class StepGraph(Frozen):
    """The intermediate representation of a domain's training, or of another graph of it, for one image.

    kind:      which of them.
    text:      as Kubeflow takes it: the pipeline spec, and what Kubernetes is told of each step.
    documents: the same, read.
    """

    domain: str
    kind: Kind = "training"
    description: str
    text: str
    documents: tuple[dict[str, Any], ...]

    @property
    def name(self) -> str:
        """Of the pipeline."""
        return f"{self.domain}-{self.kind}"

    @functools.cached_property
    def version(self) -> str:
        """Of this content: the same graph has the same name wherever it is compiled, and is uploaded once."""
        told = json.dumps(self.documents, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    def manifest(self) -> list[dict[str, Any]]:
        """Pipeline and PipelineVersion for GitOps, where Kubeflow keeps its pipelines in the Kubernetes API.

        Kubeflow's own name for an uploaded version's object is the pipeline's, a dash and the version's: so is this one's.
        """
        spec, *platform = self.documents
        common = {"apiVersion": "pipelines.kubeflow.org/v2beta1"}

        def metadata(name: str) -> dict[str, Any]:
            return {"name": name, "namespace": self.domain, "labels": names.labels(self.domain)}

        version = {
            "displayName": self.version,
            "versionName": self.version,
            "description": self.description,
            "pipelineName": self.name,
            "pipelineSpec": spec,
        } | ({"platformSpec": platform[0]} if platform else {})
        return [
            common
            | {
                "kind": "Pipeline",
                "metadata": metadata(self.name),
                "spec": {"displayName": self.name, "description": self.description},
            },
            common | {"kind": "PipelineVersion", "metadata": metadata(f"{self.name}-{self.version}"), "spec": version},
        ]


class Search(Frozen):
    """A search as a graph has it.   option: as `hallmark tune` takes it.   at_once: pods of a round of tries."""

    option: tuple[str, ...]
    tries: int
    at_once: int


def compiled(
    domain: Domain, settings: Settings, *, kind: Kind = "training", image: str = "", search: Search | None = None
) -> StepGraph:
    """A graph of a domain, its steps in `image`; compiled in a process of its own, since kfp stays out of this one.

    search: of kind "tuning".
    """
    if kind == "features" and domain.features is None:
        raise DeclarationError(
            f"{domain.name} reads no feature views", expected="features.views in its domain.yaml", got="none",
            fix=f"declare them (docs/features.md), or compile its training: `hallmark pipeline compile {domain.name}`",
        )  # fmt: skip
    asked = search.model_dump_json() if search else ""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "graph.yaml"
        done = subprocess.run(
            [sys.executable, "-m", "pipelines.compile", domain.name, kind, str(path), image, asked],
            env=Leash(settings.state).environment(settings.child_environment()),
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0 or not path.is_file():
            raise HallmarkError(
                f"the graph of {domain.name} does not compile",
                expected="pipelines.compile to write it",
                got="\n    ".join(done.stderr.strip().splitlines()[-_TAIL:]),
                fix="install the training extra, or mend what it names",
            )
        text = path.read_text(encoding="utf-8")
    documents = tuple(each for each in yaml.safe_load_all(text) if each)
    return StepGraph(domain=domain.name, kind=kind, description=domain.description, text=text, documents=documents)


def runnable(domain: Domain, settings: Settings) -> None:
    """Nothing where the domain has the code that its steps call; else `DeclarationError` names what is not there."""
    missing = [part for part in _PARTS if not (settings.domains / domain.name / f"{part}.py").is_file()]
    if missing:
        shown = f"domains/{domain.name}/{missing[0]}.py"
        able = [name for name in domains.names(settings) if (settings.domains / name / "data.py").is_file()]
        raise DeclarationError(
            f"{domain.name} is declared and cannot be trained yet: there is no {shown}",
            expected=", ".join(f"{part}.py" for part in _PARTS) + f" beside domain.yaml, as in {' and '.join(able)}",
            got="no " + ", ".join(f"{part}.py" for part in missing),
            fix="write them (CONTRIBUTING, Add a domain); compiling works without",
        )
