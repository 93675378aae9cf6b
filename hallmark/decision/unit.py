"""A decision as one release unit: the graph, the thresholds, and what each node is, under one digest.

decision.json    the graph, as `decision:` declares it      thresholds.json   thresholds by slice
parts.json       domain, and of each node its model, version and digest
manifest.json    sha256 of each; its own sha256 is the unit's digest

A change of any part is another unit: a threshold holds of the scores of one version of one model, and of no other.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from hallmark.artifacts import bundle, folder
from hallmark.artifacts.folder import MANIFEST as MANIFEST
from hallmark.artifacts.thresholds import Thresholds
from hallmark.decision.record import Part
from hallmark.declaration import decision_paths
from hallmark.declaration.decision import Decision
from hallmark.errors import ModelRefused
from hallmark.section import Frozen
from hallmark.settings import Settings

FOLDER, CANDIDATE, PREVIOUS = "unit", "candidate", "previous"
"""Folders beside release.yaml with sealed release units: the one that decides, the one in shadow, and the one that decided before."""
FILES = (MANIFEST, "decision.json", "thresholds.json", "parts.json")


class Parts(Frozen):
    """What the nodes are, by name; persons are none."""

    domain: str
    parts: dict[str, Part]


class Unit(Frozen):
    """A verified unit."""

    digest: str
    domain: str
    decision: Decision
    thresholds: Thresholds
    parts: dict[str, Part]


def place(name: str, settings: Settings, folder: str = FOLDER) -> Path:
    """Folder of the release unit of a domain that decides, or of its candidate, or of the one before."""
    return settings.releases / name / folder


def there(name: str, settings: Settings, folder: str = FOLDER) -> Unit | None:
    """That unit, every byte checked; None where none is sealed."""
    found = place(name, settings, folder)
    return read(found, expected=None) if (found / MANIFEST).is_file() else None


def seal(to: Path, *, domain: str, decision: Decision, thresholds: Thresholds, parts: Mapping[str, Part]) -> str:
    """Write the unit into an empty folder; its digest, or `ModelRefused` where its parts do not belong together."""
    _check(decision, thresholds, parts, sealing=True)
    to.mkdir(parents=True, exist_ok=True)
    written = {
        "decision.json": decision.model_dump_json(indent=2),
        "thresholds.json": thresholds.model_dump_json(indent=2),
        "parts.json": Parts(domain=domain, parts=dict(parts)).model_dump_json(indent=2),
    }
    for name, text in written.items():
        (to / name).write_text(text + "\n", encoding="utf-8")
    return folder.seal(to)


def read(place: Path, *, expected: str | None) -> Unit:
    """The unit in a folder, every byte checked; or `ModelRefused`."""
    found = bundle.read(place, expected=expected, keep=frozenset(FILES))
    try:
        parts = Parts.model_validate_json(found.file("parts.json"))
        unit = Unit(
            digest=found.digest,
            domain=parts.domain,
            decision=Decision.model_validate_json(found.file("decision.json")),
            thresholds=Thresholds.model_validate_json(found.file("thresholds.json")),
            parts=parts.parts,
        )
    except ValidationError as error:
        raise ModelRefused(
            "the decision cannot be read",
            expected="a graph, thresholds and parts as this version writes them",
            got=str(error).splitlines()[0],
            fix="seal it again with this version",
        ) from error
    _check(unit.decision, unit.thresholds, unit.parts)
    return unit


def _check(decision: Decision, thresholds: Thresholds, parts: Mapping[str, Part], *, sealing: bool = False) -> None:
    if found := decision_paths.faults(decision, served=not sealing):
        raise ModelRefused(
            "the decision's graph does not end well in each case",
            expected="a graph that `hallmark lint` finds nothing in",
            got="; ".join(each.text for each in found),
            fix="mend decision: in domain.yaml",
        )
    risk = decision.risk.false_authentic
    if (thresholds.score, thresholds.fields) != (risk.score, risk.slices) or not (
        thresholds.at_most <= risk.at_most and thresholds.confidence >= risk.confidence
    ):
        raise ModelRefused(
            "the thresholds are not those of the declared risk",
            expected=f"{risk.score} by {', '.join(risk.slices) or 'no slices'}, at most {risk.at_most:g} with {risk.confidence:g}",
            got=f"{thresholds.score} by {', '.join(thresholds.fields) or 'no slices'},"
            f" at most {thresholds.at_most:g} with {thresholds.confidence:g}",
            fix="train again: thresholds are made by the training, for the risk that is declared then",
        )
    services = {name: node.service for name, node in decision.nodes.items() if node.kind != "person"}
    if services != {name: part.service for name, part in parts.items()}:
        raise ModelRefused(
            "the parts are not the graph's nodes",
            expected=", ".join(f"{name}: {service}" for name, service in services.items()),
            got=", ".join(f"{name}: {part.service}" for name, part in parts.items()) or "none",
            fix="name the model of each node, and no other",
        )
