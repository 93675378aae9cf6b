"""What decides in a domain, on a cluster: the service that decides, once a release unit is there, and the one that asks its reviewer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hallmark import names, templates
from hallmark.artifacts import release
from hallmark.artifacts.release import Target
from hallmark.decision import unit
from hallmark.declaration import timeouts
from hallmark.declaration.decision import Decision, Node
from hallmark.declaration.domain import Domain
from hallmark.errors import ModelRefused
from hallmark.files import digest_text
from hallmark.prompts import prompt as prompts
from hallmark.prompts import sealed
from hallmark.prompts.prompt import Prompt
from hallmark.prompts.sealed import EXAMPLES, PROMPT
from hallmark.render import network
from hallmark.render.manifest import Block, manifest
from hallmark.settings import Settings

DECISION_FILE, REVIEW_FILE = "decision.yaml", "review.yaml"
INITIALIZER = "kserve/storage-initializer:v0.21.0"
"""KServe's, as manifests/platform/storage-container.yaml pins it."""

Json = dict[str, Any]


def files(settings: Settings, declared: Sequence[Domain]) -> dict[Path, str]:
    """The generated files of this kind, by path."""
    found: dict[Path, str] = {}
    for domain in declared:
        folder = settings.releases / domain.name
        if wanted := reviewer_service(domain, settings):
            node = reviewer(domain)
            source = f"domains/{domain.name}/domain.yaml and prompts/{node.prompt if node else ''}"
            found[folder / REVIEW_FILE] = manifest(wanted, source=source)
        if wanted := decision_service(domain, settings):
            found[folder / DECISION_FILE] = manifest(
                wanted, source=f"domains/{domain.name}/domain.yaml and {unit.FOLDER}/"
            )
    return found


def reviewer(domain: Domain) -> Node | None:
    """The node of the decision that is asked by a prompt."""
    nodes = domain.decision.nodes.values() if domain.decision else ()
    return next((node for node in nodes if node.kind == "reviewer" and node.prompt), None)


def pods(domain: Domain, part: str) -> dict[str, str]:
    """Labels of the pods of `decision` or `reviewer`."""
    return {names.DECIDES: domain.name, "app.kubernetes.io/name": f"{domain.name}-{part}"}


def reviewer_service(domain: Domain, settings: Settings) -> list[Json]:
    """The service that asks the reviewer (templates/review.yaml); none where no decision asks one by a prompt."""
    node = reviewer(domain)
    if node is None or node.prompt is None or domain.reviewer is None:
        return []
    if not (settings.prompts / node.prompt / prompts.FILE).is_file():
        return []  # which lint tells: HM766
    whole = prompts.load(settings.prompts, node.prompt)
    texts = sealed.texts(whole)
    index = sealed.manifest(texts)
    digest = digest_text(index)
    served = {unit.MANIFEST: index, PROMPT: texts[PROMPT], EXAMPLES: texts[EXAMPLES]}
    version = _referred(domain, node, whole.prompt, settings)
    values = {
        "node": node,
        "cited": bool(whole.prompt.of_kind("references")),
        "pictures": version.storage_uri if version else names.storage(domain.name, "references"),
        "pictures_digest": version.digest if version else "",
        "initializer": INITIALIZER,
    }
    return _objects("review", domain, "reviewer", f"prompt-{sealed.short(digest)}", digest, served, values)


def _referred(domain: Domain, node: Node, prompt: Prompt, settings: Settings) -> Target | None:
    """The released version of the domain's own model whose references the reviewer is shown: the unit's, else the stable one.

    None where another node answers them, where nothing is released yet, and of a version in a volume of the local cluster, which
    nothing but KServe fetches: then they are crops.json in the bucket.
    """
    read = {prompt.input_of(name) for name in prompt.of_kind("references")} & set(node.reads)
    nodes = domain.decision.nodes if domain.decision else {}
    if not any(nodes[name.partition(".")[0]].service == domain.name for name in read if "." in name):
        return None
    released, place = release.read(domain.name, settings), unit.place(domain.name, settings)
    found = released.stable
    if (place / unit.MANIFEST).is_file():
        asked = {part.digest for part in unit.read(place, expected=None).parts.values() if part.service == domain.name}
        targets = (released.stable, released.candidate, released.previous)
        found = next((each for each in targets if each and each.digest in asked), found)
    return None if found is None or found.storage_uri.startswith("pvc:") else found


def decision_service(domain: Domain, settings: Settings) -> list[Json]:
    """The service that decides (templates/decision.yaml); none until a release unit of the domain lies beside release.yaml."""
    place = unit.place(domain.name, settings)
    if domain.decision is None or not (place / unit.MANIFEST).is_file():
        return []
    found = unit.read(place, expected=None)
    if found.domain != domain.name:
        raise ModelRefused(
            f"{settings.shown(place)} is another domain's", expected=domain.name, got=found.domain, fix="take it away"
        )
    texts = {name: (place / name).read_text(encoding="utf-8") for name in unit.FILES}
    values = {
        "addresses": addresses(domain, found.decision),
        "deadline": found.decision.deadline,
        "name": f"{domain.name}-decision",
    }
    config = f"unit-{sealed.short(found.digest)}"
    return _objects("decision", domain, "decision", config, found.digest, texts, values)


def addresses(domain: Domain, decision: Decision) -> dict[str, str]:
    """Where each node of a decision is asked that is no person: KServe's Service of an InferenceService, or ours of the reviewer."""
    below = f"{domain.namespace}.svc.cluster.local"
    asked = reviewer(domain)
    return {
        name: f"http://{node.service}.{below}:{network.HTTP}"
        if asked is not None and node.service == asked.service
        else f"http://{node.service}-predictor.{below}"
        for name, node in decision.nodes.items()
        if node.kind != "person"
    }


def _objects(
    template: str, domain: Domain, part: str, config: str, digest: str, texts: Mapping[str, str], values: Json
) -> list[Json]:
    given = {
        "domain": domain,
        "labels": names.labels(domain.name),
        "pods": pods(domain, part),
        "config": config,
        "digest": digest,
        "files": dict(texts),
        **{"names": names, "network": network, "timeouts": timeouts},
        **values,
    }
    made = templates.objects(f"render/templates/{template}.yaml", **given)
    for each in made:
        if each["kind"] == "ConfigMap":
            each["data"] = {name: Block(text) for name, text in each["data"].items()}
    return made
