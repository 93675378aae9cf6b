"""Variants of one InferenceService, and what a real API server, KServe and Knative made of each.

139 are of admission.json, which says why. Some 1,400 more are of variants.json, which tests/conformance/variants.py writes.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from hallmark.lint.cluster import PLATFORM
from local_cluster.patch import json_patch

ROOT = Path(__file__).parents[1]
VARIANTS = Path(__file__).with_name("variants.json")
STORAGE = {
    "apiVersion": "serving.kserve.io/v1alpha1",
    "kind": "ClusterStorageContainer",
    "metadata": {"name": "default"},
    "spec": {"supportedUriFormats": [{"prefix": "s3://"}, {"prefix": "hf://"}], "workloadType": "initContainer"},
}
"""What fetched models on the cluster that the cases are from."""


@dataclass(frozen=True)
class Case:
    """One variant: what was changed, and what became of it."""

    id: str
    mode: str
    outcome: str
    service: dict[str, Any]
    changed: tuple[str, ...]
    by: str = ""
    field: str = ""

    @property
    def rejected(self) -> bool:
        """True where it never serves: refused, or taken and never ready."""
        return self.outcome in ("refused", "never ready")


@cache
def cases() -> tuple[Case, ...]:
    """All variants."""
    held = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))
    return tuple(
        Case(
            each["id"],
            each["mode"],
            each["outcome"],
            json_patch(held["base"], each["patch"]),
            tuple(change["path"] for change in each["patch"]),
            each.get("by", ""),
            each.get("field", ""),
        )
        for each in held["cases"]
    )


def base() -> dict[str, Any]:
    """The InferenceService that each is a variant of."""
    held: dict[str, Any] = json.loads(Path(__file__).with_suffix(".json").read_text(encoding="utf-8"))["base"]
    return held


@cache
def variants() -> tuple[Case, ...]:
    """The variants of variants.json, in either mode."""
    common = base()
    return tuple(
        Case(
            each["id"],
            "Standard" if each["id"].startswith("std-") else "Knative",
            each["outcome"],
            json_patch(common, each["patch"]),
            tuple(change["path"] for change in each["patch"]),
            each.get("why", ""),
        )
        for each in json.loads(VARIANTS.read_text(encoding="utf-8"))
    )


@cache
def runtime() -> dict[str, Any]:
    """The serving runtime that the service names."""
    path = ROOT / "inference_services" / "runtime" / "servingruntime.yaml"
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def cluster() -> list[dict[str, Any]]:
    """What else was on the cluster."""
    return [PLATFORM, STORAGE, runtime()]
