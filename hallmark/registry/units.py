"""A decision's release unit from what is registered: thresholds by the model card of one version, each node's part by its own version."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path

from hallmark.artifacts import bundle, release
from hallmark.artifacts import model_card as model_cards
from hallmark.artifacts.signature import Signature
from hallmark.artifacts.thresholds import Thresholds
from hallmark.decision import unit
from hallmark.decision.misfits import misfits
from hallmark.decision.record import Part
from hallmark.decision.unit import Unit
from hallmark.declaration import folders
from hallmark.declaration.decision import Decision, Node
from hallmark.declaration.domain import Domain
from hallmark.errors import DeclarationError, HallmarkError, ModelRefused, NotFound
from hallmark.files import in_the_way
from hallmark.prompts import prompt as prompts
from hallmark.prompts import sealed as sealed_prompts
from hallmark.prompts.sealed import SealedPrompt
from hallmark.registry import unit_prompts
from hallmark.registry.prompts import PromptRegistry
from hallmark.registry.store import CHAMPION, Registry, ServableVersion
from hallmark.settings import Settings

_NEEDED = frozenset({"signature.json"})


def seal(
    domain: Domain,
    settings: Settings,
    to: Path,
    *,
    version: int | str = CHAMPION,
    prompt: int | str = CHAMPION,
    pins: Mapping[str, str] | None = None,
    kept: Mapping[str, Part] | None = None,
) -> Unit:
    """Seal the unit of a registered version into the folder `to`, whole or not at all; what was there is replaced where it is a unit too.

    prompt: version of the prompts that reviewers are asked by.   pins: versions of nodes that no registry of ours knows.
    kept: parts of reviewers that stay as another unit of the domain has them, while the graph asks by that prompt.
    Beside the domain's release.yaml the prompts are kept too, as they are served. `ModelRefused` where the parts do not belong together, `NotFound` where one is not registered.
    """
    decision, to = declared(domain), to.absolute()
    _replaceable(to, settings)
    found = _resolved(domain.name, version, settings)
    folder = found.fetch()
    thresholds = _thresholds(domain, found, folder)
    signature = bundle.read(folder, expected=found.digest, keep=_NEEDED).signature
    for name, node in _asked(decision).items():
        if node.service == domain.name:
            _fits(name, node, signature, found, serving=(folder / "serving.py").is_file())
    parts, sealed = _parts(domain, settings, found, prompt=prompt, pins=pins or {}, kept=kept or {})
    draft = to.with_name(f".{to.name}.{uuid.uuid4().hex}")
    try:
        to.parent.mkdir(parents=True, exist_ok=True)
        digest = unit.seal(draft, domain=domain.name, decision=decision, thresholds=thresholds, parts=parts)
        made = unit.read(draft, expected=digest)
        beside = to.parent == unit.place(domain.name, settings).absolute().parent
        for each in sealed if beside else ():
            unit_prompts.put(domain.name, settings, each.digest, each.fetch())
        _put(draft, to, digest)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    if beside:
        unit_prompts.tidy(domain.name, settings)
    return made


def declared(domain: Domain) -> Decision:
    """The decision of a domain, or `DeclarationError`."""
    if domain.decision is None:
        raise DeclarationError(
            f"{domain.name} decides nothing",
            expected="decision: in its domain.yaml",
            got="none",
            fix="declare one (docs/decision.md), or name another domain",
        )
    return domain.decision


def behind(found: Unit, domain: Domain, settings: Settings) -> list[str]:
    """What the checkout says otherwise than a unit: another graph, version or prompt, and what becomes of items meanwhile."""
    told = []
    if domain.decision != found.decision:
        told.append(f"decision: of {domain.name} is another one by now: it decides by the sealed one")
    stable = release.read(domain.name, settings).stable
    for name, part in found.parts.items():
        node = found.decision.nodes[name]
        if part.service == domain.name and stable is not None and part.version != str(stable.version):
            told.append(
                f"{name}: version {stable.version} of {domain.name} is stable, and the unit is of version {part.version}:"
                " its answers count as none"
            )
        if node.prompt is not None and part.digest != (here := _digest_here(node.prompt, settings)):
            told.append(
                f"{name}: {node.prompt} is another prompt by now ({sealed_prompts.short(here) or 'gone'}, the unit's is"
                f" {part.version}): the unit's is served, until a unit with the other one decides"
            )
    return told


def folder_of(found: Unit, settings: Settings) -> Path | None:
    """Folder of the version of the domain's own model that a unit is of, where it lies on this machine."""
    part = next((each for each in found.parts.values() if each.service == found.domain), None)
    if part is None or not part.version:
        return None
    try:
        registered = Registry(settings).resolve(found.domain, part.version)
    except HallmarkError:
        return None
    return registered.path if registered.digest == part.digest else None


def elsewhere(found: Unit) -> list[str]:
    """What a unit asks that nothing rendered serves beside it (HM763), whose answers count, and what happens without them."""
    told = []
    for name, part in found.parts.items():
        if part.service == found.domain or found.decision.nodes[name].kind == "reviewer":
            continue
        whose = "another domain, served in its own namespace" if part.digest else "no domain here"
        counts = f"version {part.version} alone counts" if part.version else "any version's answers count"
        told.append(
            f"{name}: {part.service} is {whose}, so that nothing rendered serves it beside this decision; {counts};"
            f" while nobody answers, items that need it go to {found.decision.fallback_of(name)}"
        )
    return told


def _resolved(name: str, version: int | str, settings: Settings) -> ServableVersion:
    try:
        return Registry(settings).resolve(name, version)
    except NotFound as error:
        raise NotFound(
            error.message,
            expected=error.expected,
            got=error.got,
            fix=f"hallmark versions {name} lists them, for --version; hallmark release {name} makes the first one champion",
        ) from error


def _thresholds(domain: Domain, found: ServableVersion, folder: Path) -> Thresholds:
    """Those of the version's model card, for the declared score of its own."""
    decision, card = declared(domain), model_cards.read(folder)
    score = decision.risk.false_authentic.score
    asked = decision.nodes[score.partition(".")[0]].service
    if asked != domain.name:  # HM762
        raise DeclarationError(
            "the decision's score is another model's, and no training calibrates it",
            expected=f"risk.false_authentic.score of a node whose service is {domain.name}",
            got=f"{score} of {asked}",
            fix="name the node that asks the domain's own model",
        )
    if card.thresholds is None:
        raise ModelRefused(
            f"version {found.version} of {domain.name} has no thresholds",
            expected="a version that was trained since decision: is declared",
            got=f"a model card of {card.created:%Y-%m-%d} without any",
            fix=f"`hallmark train {domain.name}`, and name the new version with --version",
        )
    return card.thresholds


def _fits(name: str, node: Node, signature: Signature, found: ServableVersion, *, serving: bool) -> None:
    """Refuse a node that the version would refuse each request of, or that asks for what it does not answer."""
    wrong = list(misfits(node, signature, added=None if serving else ()))
    if not wrong:
        return
    key, first, fault, expected = wrong[0]
    alike = [each.name for each in wrong if (each.key, each.expected) == (key, expected)]
    raise ModelRefused(
        f"version {found.version} of {found.domain} does not fit decision.nodes.{name}.{key}",
        expected=", ".join(expected),
        got=f"{first}: {node.outputs[first]}" if fault == "kind" else ", ".join(getattr(node, key)),
        fix=f"write {key} as the version has it, or train a version that has {', '.join(alike)}",
    )


def _parts(
    domain: Domain,
    settings: Settings,
    found: ServableVersion,
    *,
    prompt: int | str,
    pins: Mapping[str, str],
    kept: Mapping[str, Part],
) -> tuple[dict[str, Part], list[ServableVersion]]:
    """What each node is, and the registered prompts among them."""
    decision = declared(domain)
    names = folders.names(settings)
    parts: dict[str, Part] = {}
    free, sealed = [], []
    for name, node in _asked(decision).items():
        service = node.service or ""
        if service == domain.name:
            parts[name] = _of(found, service)
        elif name in kept and _stays(domain.name, node, kept[name], settings):
            parts[name] = kept[name]
        elif node.kind == "reviewer":
            parts[name], found_prompt = _of_prompt(name, node, settings, prompt)
            sealed.append(found_prompt)
        elif service in names:
            parts[name] = _of(Registry(settings).resolve(service, CHAMPION), service)
        else:
            free.append(name)
            parts[name] = Part(service=service, version=pins.get(name, ""))
    if strange := [each for each in pins if each not in free]:
        raise DeclarationError(
            f"--pin {strange[0]}",
            expected=f"a node whose versions no registry of ours knows: {', '.join(free) or 'there is none'}",
            got=strange[0],
            fix="leave it out: versions of the others are looked up",
        )
    return parts, sealed


def _asked(decision: Decision) -> dict[str, Node]:
    return {name: node for name, node in decision.nodes.items() if node.kind != "person"}


def _of(found: ServableVersion, service: str) -> Part:
    return Part(service=service, version=str(found.version), digest=found.digest)


def _stays(domain: str, node: Node, part: Part, settings: Settings) -> bool:
    """Whether the prompt that a unit of the domain has a reviewer asked by is still the one that its node names, and fits it."""
    found = unit_prompts.there(domain, settings, part.digest) if part.digest else None
    return found is not None and found.prompt.name == node.prompt and not _misfits("", node, found)


def _misfits(name: str, node: Node, found: SealedPrompt) -> list[str]:
    """HM767, of a registered prompt and not of the checkout's."""
    told = [each for _, each in found.prompt.misfits(name, node.reads, node.outputs)]
    return (
        [*told, f"its budget is longer than timeout of {name}"] if node.timeout < found.prompt.budget.timeout else told
    )


def _of_prompt(name: str, node: Node, settings: Settings, version: int | str) -> tuple[Part, ServableVersion]:
    """The registered version of a reviewer's prompt, which need not be the checkout's: it is kept and served as it was registered."""
    if node.prompt is None:
        raise DeclarationError(
            f"decision.nodes.{name} names no prompt",
            expected="prompt: with the name of a folder of prompts/",
            got="none",
            fix="name it (HM766)",
        )
    register = (
        f"`hallmark prompts register {node.prompt}`, then `hallmark prompts judge {node.prompt} --llm URL --promote`"
    )
    try:
        registered = PromptRegistry(settings).resolve(node.prompt, version)
    except NotFound as error:
        raise NotFound(
            f"the prompt {node.prompt}, which {name} is asked by, has no version {version}",
            expected="a registered version or alias",
            got=str(version),
            fix=f"{register}; --prompt names another version, such as challenger, which no golden set has judged",
        ) from error
    found = sealed_prompts.read(registered.fetch(), expected=registered.digest)
    if wrong := _misfits(name, node, found):
        raise ModelRefused(
            f"version {registered.version} of the prompt {node.prompt} does not fit decision.nodes.{name}",
            expected="what it is filled from in reads, what it answers in outputs, and its budget within timeout",
            got="; ".join(wrong),
            fix="write the node as the prompt has it, or name another version with --prompt",
        )
    return Part(service=node.service or "", version=found.version, digest=found.digest), registered


def _digest_here(name: str, settings: Settings) -> str:
    """Digest of the checkout's prompt; empty where none can be read."""
    try:
        return sealed_prompts.digest(prompts.load(settings.prompts, name))
    except HallmarkError:
        return ""


def _replaceable(to: Path, settings: Settings) -> None:
    if to.is_dir() and not to.is_symlink():
        strange = sorted({each.name for each in to.iterdir()} - set(unit.FILES))
    else:
        blocked = to if to.is_symlink() else in_the_way(to)
        strange = [settings.shown(blocked)] if blocked else []
    if strange:
        raise DeclarationError(
            f"{settings.shown(to)} is not ours to write to",
            expected="a new folder, an empty one, or one with a release unit",
            got=", ".join(strange[:5]),
            fix="name another with --out, or take away what is there",
        )


def _put(draft: Path, to: Path, digest: str) -> None:
    """Put a sealed folder where another may be; the same unit is left as it is."""
    with contextlib.suppress(ModelRefused):
        unit.read(to, expected=digest)
        return
    old = to.with_name(f"{draft.name}.old")
    if to.exists():
        to.rename(old)
    draft.rename(to)
    shutil.rmtree(old, ignore_errors=True)
