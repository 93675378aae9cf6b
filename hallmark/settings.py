"""Settings of an installation: read once from the environment by `Settings.load`, frozen afterwards."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import hallmark
from hallmark.errors import DeclarationError, HallmarkError
from hallmark.section import Frozen

SYNTHETIC = "synthetic"
"""The marketplace's made-up examples as a source of data, where others are named by a file."""
FEATURE_STORE = "HALLMARK_FEATURE_STORE"
"""The variable with the address of the online feature store, of model servers too."""
FEATURE_LOG = "HALLMARK_FEATURE_LOG"
"""The variable with the address of the sources' event logs."""
ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
"""Begins an address; s3:/bucket is one too, which lost a slash, and no folder."""
FEATURE_OFFLINE = "HALLMARK_FEATURE_OFFLINE"
"""The variable with the place of the sources' offline stores."""
TRAINING_SETS = "HALLMARK_TRAINING_SETS"
"""The variable with the place where trainings on feature views keep their examples."""
REVIEWS = "HALLMARK_REVIEWS"
"""The variable with the address of the queue of reviews."""
CHANGES = "HALLMARK_CHANGES"
COLLECTION = "HALLMARK_COLLECTION"
"""The variable by which a model server finds the log of its domain's item changes."""


class Variable(NamedTuple):
    """An environment variable. `set_by` says who sets it: a person, an image, or Hallmark for its own processes."""

    name: str
    set_by: str
    default: str
    meaning: str


VARIABLES = (
    Variable("HALLMARK_ROOT", "a person", "the checkout around the current folder", "Which checkout."),
    Variable("HALLMARK_STATE", "a person", "`.hallmark` in the checkout", "What running leaves behind: registry, runs, local cluster, history. Safe to delete."),
    Variable("HALLMARK_RELEASES", "a person", "`inference_services` in the checkout", "Where release.yaml and what is rendered from it lie."),
    Variable("MLFLOW_TRACKING_URI", "a person", "`mlflow.db` in the state folder", "The registry: sqlite:///file, or a tracking server's address."),
    Variable("MLFLOW_TRACKING_USERNAME", "a person", "", "Account at a tracking server; MLFLOW_TRACKING_PASSWORD beside it, or MLFLOW_TRACKING_TOKEN alone."),
    Variable("MLFLOW_TRACKING_PASSWORD", "a person", "", "Secret of that account."),
    Variable("MLFLOW_TRACKING_TOKEN", "a person", "", "Secret in place of account and password."),
    Variable("HALLMARK_WORKSPACES", "a person", "one", "`domain`: each domain has an MLflow workspace of its name."),
    Variable(FEATURE_STORE, "a person", "a file in the state folder", "Online feature store: sqlite:///file, redis://host or dynamodb://table."),
    Variable(FEATURE_LOG, "a person", "files in the state folder", "Event logs of sources: kafka://host/topic-{source} or kinesis://stream-{source}."),
    Variable(FEATURE_OFFLINE, "a person", "a folder in the state folder", "Offline stores of sources: a folder, or s3://bucket/prefix."),
    Variable(TRAINING_SETS, "a person", "nowhere", "Where trainings on views keep their examples: a folder, or iceberg://catalog/namespace."),
    Variable(REVIEWS, "a person", "a file in the state folder", "Queue of cases for people: sqlite:///file or postgresql://user@host/database."),
    Variable("HALLMARK_KUBEFLOW", "a person", "", "Address of Kubeflow Pipelines, for `hallmark pipeline`."),
    Variable("HALLMARK_KUBEFLOW_TOKEN", "a person", "", "File with a token for it."),
    Variable("HALLMARK_MLFLOW", "a person", "MLFLOW_TRACKING_URI", "Address of MLflow's page, where `hallmark ui` leads."),
    Variable("HALLMARK_GRAFANA", "a person", "", "Address of Grafana, where `hallmark ui` leads."),
    Variable("HALLMARK_GIT_SHA", "an image", "the checkout's", "Commit that model cards name."),
    Variable("HALLMARK_IMAGE", "Hallmark", "", "Image of a step's pod, in which nodes of a distributed training run too."),
    Variable("HALLMARK_TRAINING_IMAGE", "a person", "", "Image of training steps, where graphs are compiled."),
    Variable("HALLMARK_LEASH", "Hallmark", "", "By which a process ends with whoever started it."),
    Variable("HALLMARK_RUN", "Hallmark", "", "Workspace of the run that a process is a step of."),
    Variable(CHANGES, "Hallmark", "", "Log of a domain's item changes, of a model server."),
    Variable(COLLECTION, "Hallmark", "", "Address of the OpenSearch or Qdrant that a model server searches."),
    Variable("HALLMARK_MODEL_DIGEST", "Hallmark", "", "Digest that a model server's model must have."),
    Variable("HALLMARK_UNIT_DIGEST", "Hallmark", "", "Digest that the release unit of a service that decides must have."),
    Variable("HALLMARK_CANDIDATE_DIGEST", "Hallmark", "", "The same of a candidate beside it."),
    Variable("HALLMARK_PROMPT_DIGEST", "Hallmark", "", "Digest that the prompt of a service that asks a language model must have; of several one each, with commas between."),
    Variable("HALLMARK_REFERENCES_DIGEST", "Hallmark", "", "Digests that the model folders of a service that shows references must have, with commas between."),
    Variable("HALLMARK_MODEL_VERSION", "Hallmark", "", "Its version."),
    Variable("HALLMARK_SERVING_CONFIG", "Hallmark", "", "How a model server serves it."),
    Variable("HALLMARK_SERVING_TIMEOUT", "Hallmark", "", "Seconds that a request may take there."),
    Variable("HALLMARK_VARIANT", "Hallmark", "", "Variant that a server is."),
)  # fmt: skip
"""Every variable that Hallmark reads or sets, those of people first."""


def table() -> str:
    """The variables as a table of docs/environment.md."""
    rows = [f"| `{each.name}` | {each.set_by} | {each.default or '-'} | {each.meaning} |" for each in VARIABLES]
    return "\n".join(["| variable | set by | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


class Settings(Frozen):
    """The folders and addresses of one Hallmark checkout.

    root:      the checkout, which holds `domains/` and `inference_services/`.
    state:     what running leaves behind (registry, pipeline runs, local cluster); safe to delete.
    releases:  where each domain's `release.yaml` and rendered InferenceService lie.
    tracking:  MLflow tracking URI.
    feature_store: address of the online feature store, sqlite:///file, redis://host or dynamodb://table.
    feature_log: address of the sources' event logs, kafka://host/topic-{source} or kinesis://stream-{source}; files in the state folder where empty.
    feature_offline: place of the sources' offline stores, a folder or s3://bucket/prefix; a folder in the state folder where empty.
    training_sets: where trainings on feature views keep their examples by digest, a folder or iceberg://catalog/namespace; nowhere where empty.
    reviews: address of the queue of cases for people, sqlite:///file or postgresql://user@host/database.
    workspaces: whether each domain's versions lie in an MLflow workspace of its name, whatever MLFLOW_WORKSPACE says.
    """

    root: Path
    state: Path
    releases: Path
    tracking: str
    feature_store: str = ""
    feature_log: str = ""
    feature_offline: str = ""
    training_sets: str = ""
    reviews: str = ""
    workspaces: bool = False

    @classmethod
    def load(cls, environment: Mapping[str, str] | None = None) -> Settings:
        """Settings from HALLMARK_ROOT, _STATE, _RELEASES, _WORKSPACES, _FEATURE_STORE, _FEATURE_LOG, _FEATURE_OFFLINE, _TRAINING_SETS, _REVIEWS and MLFLOW_TRACKING_URI; all have defaults."""
        env = os.environ if environment is None else environment
        asked = env.get("HALLMARK_ROOT")
        root = Path(asked).resolve() if asked else _find_root(Path.cwd())
        if not (root / "domains").is_dir():
            raise _no_checkout(root)
        state = Path(env.get("HALLMARK_STATE") or root / ".hallmark").resolve()
        releases = Path(env.get("HALLMARK_RELEASES") or root / "inference_services").resolve()
        tracking = env.get("MLFLOW_TRACKING_URI") or f"sqlite:///{state / 'mlflow.db'}"
        workspaces = env.get("HALLMARK_WORKSPACES") or "one"
        if workspaces not in ("one", "domain"):
            raise DeclarationError(
                "HALLMARK_WORKSPACES is neither",
                expected="domain (each domain has an MLflow workspace of its name), or one",
                got=workspaces,
                fix="set it to one of the two, or to nothing",
            )
        return cls(
            root=root,
            state=state,
            releases=releases,
            tracking=tracking,
            feature_store=env.get(FEATURE_STORE) or f"sqlite:///{state / 'features' / 'online.db'}",
            feature_log=env.get(FEATURE_LOG) or "",
            feature_offline=_place(env.get(FEATURE_OFFLINE) or ""),
            training_sets=_place(env.get(TRAINING_SETS) or ""),
            reviews=env.get(REVIEWS) or f"sqlite:///{state / 'reviews' / 'reviews.db'}",
            workspaces=workspaces == "domain",
        )

    def shown(self, path: Path) -> str:
        """A path as people are told it: from the root of the checkout where it lies there."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)

    @property
    def domains(self) -> Path:
        """The folder of declarations, one folder a domain."""
        return self.root / "domains"

    @property
    def features(self) -> Path:
        """The folder of feature views, one folder a view and a file a version."""
        return self.root / "features"

    @property
    def prompts(self) -> Path:
        """The folder of prompts, one folder a prompt."""
        return self.root / "prompts"

    @property
    def contracts(self) -> Path:
        """The folder of data contracts of sources, one folder a source and a file a version."""
        return self.root / "contracts"

    @property
    def manifests(self) -> Path:
        """Manifests that a cluster applies: platform, tenants, clusters."""
        return self.root / "manifests"

    @property
    def models(self) -> Path:
        """Folder of registered models on this machine: the volume that `pvc://models/` names."""
        return self.state / "models"

    @property
    def runs(self) -> Path:
        """Workspaces and step cache of local pipeline runs."""
        return self.state / "runs"

    @property
    def cluster(self) -> Path:
        """State, sockets and logs of the local cluster."""
        return self.state / "cluster"

    @property
    def cluster_state(self) -> Path:
        """State file of the local cluster while it runs: its process, its gateway, its API, Envoy's admin address."""
        return self.cluster / "state.json"

    @property
    def kubeconfig(self) -> Path:
        """The kubeconfig that `hallmark up` writes."""
        return self.state / "kubeconfig"

    def prepared(self) -> Settings:
        """These settings, once the state folder is there and can be written."""
        try:
            self.state.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.state):
                return self
        except OSError as error:
            raise HallmarkError(
                "the state folder cannot be written",
                expected="a folder that is ours to write",
                got=f"{self.state}: {error.strerror}",
                fix="set HALLMARK_STATE to another",
            ) from error

    def environment(self) -> dict[str, str]:
        """These settings as environment variables, for a child process."""
        return {
            "HALLMARK_ROOT": str(self.root),
            "HALLMARK_STATE": str(self.state),
            "HALLMARK_RELEASES": str(self.releases),
            "HALLMARK_WORKSPACES": "domain" if self.workspaces else "one",
            FEATURE_STORE: self.feature_store,
            FEATURE_LOG: self.feature_log,
            FEATURE_OFFLINE: self.feature_offline,
            TRAINING_SETS: self.training_sets,
            REVIEWS: self.reviews,
            "MLFLOW_TRACKING_URI": self.tracking,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "DO_NOT_TRACK": "1",
        }

    def child_environment(self, **more: str) -> dict[str, str]:
        """The whole environment of a child process: this one's, these settings, `more`, and the checkout's code before this library's."""
        path = os.pathsep.join(dict.fromkeys([str(self.root), str(Path(hallmark.__file__).parents[1])]))
        return {**os.environ, **self.environment(), "PYTHONPATH": path, "PYTHONUNBUFFERED": "1", **more}


def _place(text: str) -> str:
    """An address, or the whole path of a folder."""
    return text if ADDRESS.match(text) or not text else str(Path(text).expanduser().resolve())


def _find_root(start: Path) -> Path:
    for folder in (start, *start.parents):
        if (folder / "domains").is_dir() and (folder / "inference_services").is_dir():
            return folder.resolve()
    raise _no_checkout(start)


def _no_checkout(got: Path) -> DeclarationError:
    return DeclarationError(
        "this is not inside a Hallmark checkout",
        expected="a folder with domains/ and inference_services/ here or above",
        got=str(got),
        fix="change into the checkout, or set HALLMARK_ROOT to it",
    )
