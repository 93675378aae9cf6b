"""Declarations of decisions: ways through the graph that end badly, never, or too late."""

from __future__ import annotations

from collections.abc import Iterator

from hallmark.declaration import condition, decision_paths
from hallmark.declaration.decision import Decision
from hallmark.lint.declarations import Declaration, comparisons_in
from hallmark.lint.objects import LintContext
from hallmark.lint.prompts import asked_of_reviewers
from hallmark.lint.reading import text
from hallmark.lint.rules import RuleMatch, Severity, rule

_LINK = "https://sre.google/sre-book/addressing-cascading-failures/"


def _found(declaration: Declaration, fault: decision_paths.Fault) -> Iterator[RuleMatch]:
    """The faults of one kind, where nothing is wrong with the declaration itself."""
    if declaration.problems or declaration.data.get("decision") is None:
        return
    for each in decision_paths.faults(Decision.model_validate(declaration.data["decision"])):
        if each.fault == fault:
            yield declaration.hit(each.text, "decision", *each.path)


@rule(
    "HM757",
    "A decision that does not end",
    on=Declaration,
    reason="some items would be neither accepted nor rejected, refused or given to a person",
    fix="end each step's routes with one that has no when and is not accept, and let no step come again",
    link=_LINK,
)
def endless(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/declaration/decision_paths.py."""
    yield from _found(declaration, "endless")


@rule(
    "HM758",
    "A part of a decision that is never reached",
    on=Declaration,
    reason="it is deployed, paid for and reviewed, and no item ever gets there",
    fix="route to it, or take it away",
    link=_LINK,
)
def unreachable(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/declaration/decision_paths.py."""
    yield from _found(declaration, "unreachable")


@rule(
    "HM759",
    "A failure that leads to accept",
    on=Declaration,
    reason="whoever can make a node slow could have anything accepted; the service holds such an item back, and the way is dead",
    fix="let fallback be a person, reject or refuse, or a step from which accept is not reached; ask for the score before accepting",
    link=_LINK,
)
def unsafe(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/declaration/decision_paths.py."""
    yield from _found(declaration, "unsafe")


@rule(
    "HM775",
    "A decision that accepts a score and not a lower one",
    on=Declaration,
    reason="a threshold keeps the risk among all items with a score up to it; of those at its upper end more are counterfeit than was shown",
    fix="let conditions before accept bound the score from above alone, as in score < 0.5; what is to be looked at although its score is low comes by explore",
    link="https://arxiv.org/abs/2110.01052",
)
def unproven(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/declaration/decision_paths.py."""
    yield from _found(declaration, "unproven")


@rule(
    "HM776",
    "A decision that accepts, and nobody looks",
    on=Declaration,
    reason="a counterfeiter learns, and a guarantee that was shown on old labels lasts for as long as new ones say so",
    fix="declare a node of kind person, and an explore above 0: the share of accepted items that a person looks at too",
    link="https://arxiv.org/abs/2110.01052",
)
def unwatched(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/declaration/decision_paths.py."""
    yield from _found(declaration, "unwatched")


@rule(
    "HM760",
    "A decision longer than its deadline",
    on=Declaration,
    reason="its last nodes are cut off, and the item goes to the fallback though all of them would have answered",
    fix="raise decision.deadline, or lower the timeouts of nodes on the longest way",
    link=_LINK,
)
def late(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/declaration/decision_paths.py."""
    yield from _found(declaration, "late")


@rule(
    "HM761",
    "A person without minutes or time",
    on=Declaration,
    reason="nobody can tell which items are worth the minutes that there are: the queue grows, and a late verdict is worth less",
    fix="write capacity, minutes of all experts in a day, and sla, each above 0",
    link=_LINK,
)
def uncounted(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/declaration/decision_paths.py."""
    yield from _found(declaration, "uncounted")
    yield from _found(declaration, "idle")


@rule(
    "HM762",
    "A risk by the score of a model that is not the domain's own",
    on=Declaration,
    reason="the domain's training calibrates its own model's scores: there would be no thresholds, and all items would go to a person",
    fix="name in risk.false_authentic.score a node whose service is the domain's name",
    link=_LINK,
)
def uncalibrated(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/training/calibration.py."""
    if declaration.problems or declaration.data.get("decision") is None:
        return
    decision, own = Decision.model_validate(declaration.data["decision"]), declaration.data["name"]
    score = decision.risk.false_authentic.score
    asked = decision.nodes[score.partition(".")[0]].service
    if asked != own:
        yield declaration.hit(f"{score} is answered by {asked}", "decision", "risk", "false_authentic", "score")


@rule(
    "HM763",
    "A node of a decision that nothing here serves",
    on=Declaration,
    severity=Severity.warning,
    reason="no manifest is rendered of it: until somebody serves it in the domain's namespace, items that need its answer go to its fallback",
    fix="serve it as docs/decision.md says, or allow this line with the reason why nobody does yet",
    link=_LINK,
)
def unserved(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/render/decision.py, addresses: the domain's own model, the reviewer by a prompt, and any InferenceService of the namespace."""
    if declaration.problems or declaration.data.get("decision") is None:
        return
    decision, own = Decision.model_validate(declaration.data["decision"]), declaration.name
    served = {own} | {each.name for each in world.of("InferenceService") if each.namespace == own}
    scored = decision.risk.false_authentic.score.partition(".")[0]  # another's score is HM762
    for name, node in decision.nodes.items():
        if node.kind in ("model", "retrieve") and node.service not in served and name != scored:
            said = f"{name} asks {node.service}, and no file has an InferenceService of that name in namespace {own}"
            yield declaration.hit(
                f"{said}: items go to {decision.fallback_of(name)}", "decision", "nodes", name, "service"
            )


@rule(
    "HM770",
    "A comparison that is so of every item, or of none",
    on=Declaration,
    severity=Severity.warning,
    reason="the number is beyond what the output can be: the route is always taken, or never, whatever is answered",
    fix="write a number within what is told, or take the comparison away",
    link=_LINK,
)
def certain(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """The risk's score is a chance, from 0 to 1; a number of a reviewer is what its prompt's schema bounds."""
    score, own = text(declaration.data, "decision", "risk", "false_authentic", "score"), declaration.name
    asked = text(declaration.data, "decision", "nodes", score.partition(".")[0], "service")
    bounded = [(keys, each, 0.0, 1.0) for keys, each in comparisons_in(declaration) if each.named.shown == score]
    found = bounded if asked == own else []
    for keys, each, answer in asked_of_reviewers(declaration, world):
        if answer.minimum is not None and answer.maximum is not None:
            found.append((keys, each, answer.minimum, answer.maximum))
    for keys, each, low, high in found:
        numbers = all(isinstance(value, float) for value in each.values)
        if numbers and (holds := condition.certain(each, low, high)) is not None:
            always = "always" if holds else "never"
            yield declaration.hit(f"{each.shown} {always} holds: {each.named.shown} is from {low:g} to {high:g}", *keys)
