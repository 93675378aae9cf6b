"""What decides in a domain, on a cluster: the service that decides, once a release unit is there, and the one that asks its reviewer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hallmark import names, templates
from hallmark.artifacts import release
from hallmark.artifacts.release import Target
from hallmark.decision import share, terms, unit
from hallmark.decision.unit import Unit
from hallmark.declaration import decision_pods, timeouts
from hallmark.declaration.decision import Node
from hallmark.declaration.domain import Domain
from hallmark.errors import ModelRefused
from hallmark.files import digest_text
from hallmark.prompts import prompt as prompts
from hallmark.prompts import sealed
from hallmark.prompts.prompt import Prompt
from hallmark.registry import unit_prompts
from hallmark.render import network
from hallmark.render.manifest import Block, manifest
from hallmark.settings import Settings

DECISION_FILE, REVIEW_FILE = "decision.yaml", "review.yaml"
SWEEP = "reviews-gc"
"""By which the pods are known that delete photos of cases."""
ROUTE = "decision"
"""Below the domain in the path of the gateway's host of models."""
INITIALIZER = "kserve/storage-initializer:v0.21.0"
"""KServe's, as manifests/platform/storage-container.yaml pins it."""
_REFERENCES = "/mnt/references"

Json = dict[str, Any]


def files(settings: Settings, declared: Sequence[Domain]) -> dict[Path, str]:
    """The generated files of this kind, by path."""
    found: dict[Path, str] = {}
    for domain in declared:
        folder = settings.releases / domain.name
        if wanted := reviewer_service(domain, settings):
            node = reviewer(domain)
            place = f"prompts/{node.prompt if node else ''}"
            if unit_prompts.named(domain.name, settings):
                place = settings.shown(folder / unit_prompts.FOLDERS)
            source = f"domains/{domain.name}/domain.yaml and {place}"
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
    """The service that asks the reviewer (templates/review.yaml); none where no decision asks one by a prompt.

    It has the prompts that the domain's units name, and the checkout's until one is sealed.
    """
    node = reviewer(domain)
    if node is None or node.prompt is None or domain.reviewer is None:
        return []
    if not (found := _prompts(domain, node, settings)):
        return []  # which lint tells: HM766
    asked = [prompt for prompt, _ in found.values()]
    versions = _referred(domain, node, asked, settings)
    cited = any(each.of_kind("references") for each in asked)
    values = {
        "node": node,
        "prompts": {sealed.short(digest): {"digest": digest, "files": files} for digest, (_, files) in found.items()},
        **_pictures(versions, names.storage(domain.name, "references") if cited else ""),
    }
    return _objects("review", domain, "reviewer", values)


def _prompts(domain: Domain, node: Node, settings: Settings) -> dict[str, tuple[Prompt, dict[str, str]]]:
    """The prompts that a reviewer is asked by, by digest, each with its files: those that the domain's units name, or the checkout's until one is sealed."""
    if found := unit_prompts.served(domain.name, settings):
        return {each.digest: (each.prompt, unit_prompts.texts(domain.name, settings, each.digest)) for each in found}
    if node.prompt is None or not (settings.prompts / node.prompt / prompts.FILE).is_file():
        return {}
    whole = prompts.load(settings.prompts, node.prompt)
    texts = sealed.texts(whole)
    index = sealed.manifest(texts)
    files = {unit.MANIFEST: index, **{each: texts[each] for each in unit_prompts.FILES if each in texts}}
    return {digest_text(index): (whole.prompt, files)}


def _referred(domain: Domain, node: Node, asked: Sequence[Prompt], settings: Settings) -> list[Target]:
    """The released versions of the domain's own model whose references the reviewer is shown, each once, by number.

    Those of the units: that which decides, its candidate and the one before, so that neither a promotion nor the way back changes a pod;
    until one is sealed the stable version. None where another node answers them, where nothing is released yet, and of a version in a
    volume of the local cluster, which nothing but KServe fetches: then they are crops.json in the bucket.
    """
    read = {prompt.input_of(name) for prompt in asked for name in prompt.of_kind("references")} & set(node.reads)
    nodes = domain.decision.nodes if domain.decision else {}
    if not any(nodes[name.partition(".")[0]].service == domain.name for name in read if "." in name):
        return []
    released = release.read(domain.name, settings)
    units = [unit.there(domain.name, settings, each) for each in (unit.FOLDER, unit.CANDIDATE, unit.PREVIOUS)]
    own = {
        part.digest
        for found in units
        for part in (found.parts.values() if found else ())
        if part.service == domain.name
    }
    targets = [each for each in (released.stable, released.candidate, released.previous) if each is not None]
    found = [each for each in targets if each.digest in own] or targets[: released.stable is not None]
    kept = {each.digest: each for each in found if not each.storage_uri.startswith("pvc:")}
    return sorted(kept.values(), key=lambda each: each.version)


def _pictures(found: Sequence[Target], otherwise: str = "") -> Json:
    """Where pictures of references are fetched from, by the place that they come to, and the digests of their model folders.

    otherwise: an address without a digest, where no version is known.
    """
    places = [each.storage_uri for each in found] or [otherwise] * bool(otherwise)
    return {
        "pictures": {f"{_REFERENCES}/{at}": each for at, each in enumerate(places)},
        "pictures_digest": ",".join(each.digest for each in found),
        "initializer": INITIALIZER,
        "references": _REFERENCES,
    }


def decision_service(domain: Domain, settings: Settings) -> list[Json]:
    """The service that decides (templates/decision.yaml), with a candidate in shadow where one is sealed; none until a release unit is."""
    found = _sealed(domain, settings, unit.FOLDER) if domain.decision is not None else None
    if found is None:
        return []
    candidate = _sealed(domain, settings, unit.CANDIDATE)
    shown = _shown(domain, settings) if found.decision.persons else []
    values = {
        "config": f"unit-{sealed.short(found.digest)}",
        "digest": found.digest,
        "files": _texts(domain, settings, unit.FOLDER),
        **_pictures(shown),
        "addresses": addresses(domain, found),
        "deadline": found.decision.deadline,
        "name": f"{domain.name}-decision",
        "route": f"/{domain.name}/{ROUTE}",
        "persons": found.decision.persons,
        "page": f"/{names.REVIEWS}/{domain.name}",
        "swept": {"app.kubernetes.io/name": SWEEP, "sidecar.istio.io/inject": "false"},
        "swept_at": f"{sum(domain.name.encode()) % 60} 3 * * *",
        "shapes": decision_pods,
        "candidate": candidate
        and {
            "config": f"unit-{sealed.short(candidate.digest)}",
            "digest": candidate.digest,
            "files": _texts(domain, settings, unit.CANDIDATE),
            "addresses": addresses(domain, candidate),
            "share": _shared(domain, candidate, settings),
        },
    }
    return _objects("decision", domain, "decision", values)


def _shared(domain: Domain, candidate: Unit, settings: Settings) -> dict[str, str]:
    """The file that says how many items the candidate decides; none where nobody has said so of it."""
    told = share.read(share.path(domain.name, settings))
    return {terms.SHARE_FILE: share.text(told)} if told is not None and told.candidate == candidate.digest else {}


def _shown(domain: Domain, settings: Settings) -> list[Target]:
    """The released versions whose references people are shown beside an item: those that the reviewer is shown; none where it is shown none."""
    node = reviewer(domain)
    if node is None:
        return []
    return _referred(domain, node, [prompt for prompt, _ in _prompts(domain, node, settings).values()], settings)


def address(domain: Domain, service: str) -> str:
    """Where a node's service is asked: KServe's Service of an InferenceService, or ours of the reviewer."""
    below = f"{domain.namespace}.svc.cluster.local"
    asked = reviewer(domain)
    own = asked is not None and service == asked.service
    return f"http://{service}.{below}:{network.HTTP}" if own else f"http://{service}-predictor.{below}"


def addresses(domain: Domain, found: Unit) -> dict[str, list[str]]:
    """Where each node of a unit may be that is no person.

    A version of the domain's own model is at two places: where stable is, and as a candidate in Standard mode, where KServe gives it a
    Service of its own. Whichever serves the version answers, so that neither a shadow nor a promotion needs another file.
    """
    told = {name: [address(domain, part.service)] for name, part in found.parts.items()}
    for name, part in found.parts.items():
        if part.service == domain.name and part.version:
            told[name].append(address(domain, f"{part.service}-v{part.version}"))
    return told


def _sealed(domain: Domain, settings: Settings, folder: str) -> Unit | None:
    """The unit in a folder beside release.yaml, or `ModelRefused` where it is another domain's."""
    found = unit.there(domain.name, settings, folder)
    if found is not None and found.domain != domain.name:
        place = settings.shown(unit.place(domain.name, settings, folder))
        raise ModelRefused(f"{place} is another domain's", expected=domain.name, got=found.domain, fix="take it away")
    return found


def _texts(domain: Domain, settings: Settings, folder: str) -> dict[str, str]:
    place = unit.place(domain.name, settings, folder)
    return {name: (place / name).read_text(encoding="utf-8") for name in unit.FILES}


def _objects(template: str, domain: Domain, part: str, values: Json) -> list[Json]:
    given = {
        "domain": domain,
        "labels": names.labels(domain.name),
        "pods": pods(domain, part),
        "shape": decision_pods.DECISION if part == "decision" else decision_pods.REVIEWER,
        **{"names": names, "network": network, "timeouts": timeouts},
        **values,
    }
    made = templates.objects(f"render/templates/{template}.yaml", **given)
    for each in made:
        if each["kind"] == "ConfigMap":
            each["data"] = {name: Block(text) for name, text in each["data"].items()}
    return made
