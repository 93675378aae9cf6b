"""Serving config: all that a model server and the drift monitor beside it read of a declaration, as one file that both mount.

Its ConfigMap is named by its digest and never changes, so another config makes another revision: a candidate like any other.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from hallmark.declaration import timeouts
from hallmark.declaration.drift import Drift
from hallmark.declaration.features import Missing
from hallmark.declaration.retrieval import Backend
from hallmark.declaration.serving import Serving
from hallmark.declaration.timeouts import ServingTimeouts
from hallmark.errors import DeclarationError, ModelRefused
from hallmark.section import Frozen, Share, amount, validated

if TYPE_CHECKING:
    from hallmark.declaration.domain import Domain

FILE = "serving.json"
DIGEST_ENV = "HALLMARK_SERVING_CONFIG"
LOGGED = 0.01
"""Share of its answers that a domain's server logs."""
_PREFIX = "sha256:"
_SHOWN = 10


class ConfigReference(Frozen):
    """A serving config by its digest, and what an InferenceService has of it beside the file.

    timeout: seconds of an attempt (timeouts.py), whole.
    """

    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    timeout: int = Field(ge=1)

    @property
    def name(self) -> str:
        """Name of its ConfigMap."""
        return f"serving-{self.short}"

    @property
    def short(self) -> str:
        """Its digest as people are shown it."""
        return self.digest.removeprefix(_PREFIX)[:_SHOWN]


class CaptureLimits(Frozen):
    """Bounds of the queue of captured requests, and of its calls.

    sample:   share of answered requests that are offered, 0..1.
    batch:    requests sent in one call, as one event of columns; 1 sends KServe's own form, one event per call.
    linger:   seconds a request waits for others to go with.
    attempts: calls for one batch before it is dropped.
    """

    queued: int = 10_000
    queued_bytes: int = 32 * 1024 * 1024
    sample: Share = 1.0
    batch: int = 1024
    batch_bytes: int = 4 * 1024 * 1024
    linger: float = 0.5
    timeout: float = 1.0
    attempts: int = 3
    longest_pause: float = 5.0


class FeatureReading(Frozen):
    """Reading of features while a request waits.

    missing: what happens to a request without them (declaration/features.py).   wait: seconds at most.
    """

    missing: Missing = "refuse"
    wait: float = Field(default=0.03, gt=0)


class RetrievalServing(Frozen):
    """Retrieval beside a model.

    fresh: seconds within which an item that is put in is found; None: the index takes no changes.
    live:  share of live queries that are run again exactly, 0..1.
    backend: what finds the nearest vectors: the index of the folder, or a collection that is filled from it.
    """

    fresh: float | None = Field(default=None, gt=0)
    live: Share = 0.01
    backend: Backend = Field(default="folder", exclude_if=lambda value: value == "folder")


class ServingConfig(Frozen):
    """Settings of one domain's model server and drift monitor.

    timeouts:   seconds; an answer that would come after the deadline is refused at once.
    objective:  seconds within which 99 of 100 answers should come; a batch takes a quarter of it at most.
    batching:   requests put together in one call; auto: where that is measured to pay.
    batch:      records in one such call at most.
    queued:     requests that may wait for the model.
    saturated:  seconds of refusals after which the server reports that it is not ready; 0 for never.
    cache:      bytes of answers kept for records that come again; 0 for none.
    access_log: share of answers that are logged, 0..1.
    features:   of models that read feature views.
    retrieval:  of models that answer with items.
    """

    provider: Literal["cpu", "cuda", "tensorrt"] = "cpu"
    timeouts: ServingTimeouts = timeouts.of(Serving.model_fields["timeout"].default)
    objective: float = 0.1
    batching: Literal["auto", "on", "off"] = "auto"
    batch: int = 256
    queued: int = 1024
    saturated: float = 10.0
    cache: int = Field(default=0, ge=0)
    access_log: Share = 0.0
    capture: CaptureLimits = CaptureLimits()
    drift: Drift = Drift()
    features: FeatureReading | None = Field(default=None, exclude_if=lambda value: value is None)
    retrieval: RetrievalServing | None = Field(default=None, exclude_if=lambda value: value is None)

    @property
    def text(self) -> str:
        """The file: the same text for the same settings."""
        return json.dumps(self.model_dump(mode="json"), sort_keys=True, indent=1) + "\n"

    @property
    def reference(self) -> ConfigReference:
        """The reference by which a release names it."""
        return ConfigReference(digest=digest(self.text.encode()), timeout=self.timeouts.attempt)


def of(domain: Domain) -> ServingConfig:
    """The serving config that a declaration asks for."""
    serving, features, retrieval = domain.serving, domain.features, domain.retrieval
    fresh = retrieval.fresh.total_seconds() if retrieval and retrieval.fresh else None
    return ServingConfig(
        provider="cuda" if serving.gpu else "cpu",
        timeouts=timeouts.of(serving.timeout),
        objective=serving.latency_objective.total_seconds(),
        cache=round(amount(serving.cache)) if serving.cache else 0,
        access_log=LOGGED,
        capture=CaptureLimits(sample=serving.captured),
        drift=domain.drift,
        features=FeatureReading(missing=features.missing, wait=features.wait.total_seconds()) if features else None,
        retrieval=RetrievalServing(fresh=fresh, live=retrieval.live, backend=retrieval.backend) if retrieval else None,
    )


def digest(text: bytes) -> str:
    """Digest of a config's file."""
    return _PREFIX + hashlib.sha256(text).hexdigest()


def _nothing_in(folder: Path) -> bool:
    """Is it where an optional ConfigMap would be, without one? A kubelet's own names there begin with two dots."""
    return folder.is_dir() and all(each.name.startswith("..") for each in folder.iterdir())


def read(path: Path | None, *, expected: str | None = None) -> ServingConfig:
    """The config in `path`; the defaults where no path is given, or its folder is there and empty: a ConfigMap that need not be.

    `DeclarationError` where the file is missing or wrong, `ModelRefused` where it has another digest than the one `expected`.
    """
    if path is None or (expected is None and _nothing_in(path.parent)):
        return ServingConfig()
    fix = f"mount the ConfigMap that `hallmark render` makes of the declaration, with its key {FILE}"
    try:
        text = path.read_bytes()
        raw = json.loads(text)
    except OSError as error:
        raise DeclarationError(
            f"the serving config {path} cannot be read", expected="a file", got=error.strerror or str(error), fix=fix
        ) from error
    except (ValueError, RecursionError) as error:
        raise DeclarationError(f"{path} is not JSON", expected="a serving config", got=str(error), fix=fix) from error
    if expected and (found := digest(text)) != expected:
        raise ModelRefused(
            f"the serving config {path} is not the one that was released", expected=expected, got=found, fix=fix
        )
    return validated(ServingConfig, raw, str(path))
