"""Declarations that cannot work: keys that are each right and together ask for what cannot be."""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from hallmark import cron

if TYPE_CHECKING:
    from hallmark.declaration.domain import Domain

ROLES = ("query", "item", "treatment", "propensity", "censored", "judged", "value")
"""Keys of `data` that only some kinds of task read."""


def of(domain: Domain) -> Iterator[str]:
    """Each contradiction as key, reason and fix; none of a declaration that can work."""
    yield from _data(domain)
    yield from _promise(domain)
    yield from _gate(domain)
    yield from _retrieval(domain)
    yield from _policy(domain)
    yield from _decision(domain)
    yield from _shadow(domain)
    yield from _rollout(domain)


def warnings(domain: Domain) -> Iterator[tuple[str, str]]:
    """Each key that works and is of no use, with the reason and the fix."""
    nodes = domain.decision.nodes.values() if domain.decision else ()
    if domain.reviewer is not None and not any(node.kind == "reviewer" for node in nodes):
        yield (
            "reviewer",
            f"{domain.reviewer.served_name} is deployed and no decision of {domain.name} asks it; take it away until one does",
        )


def meaningless(domain: Domain) -> Iterator[tuple[str, str]]:
    """Each key whose value is of the right type and means nothing, with the reason and the fix: an empty window, a day that never comes."""
    if not domain.training.window:
        yield "training.window", "is 0, so there is nothing to learn from; name how far back, such as 30d"
    if cron.due(domain.training.schedule, datetime.now(UTC)) is None:
        yield "training.schedule", f"{domain.training.schedule} never comes; name a day that there is"
    if domain.batch is not None and cron.due(domain.batch.schedule, datetime.now(UTC)) is None:
        yield "batch.schedule", f"{domain.batch.schedule} never comes; name a day that there is"
    single = {"gate.floor": domain.gate.floor, "gate.minimum_gain": domain.gate.minimum_gain}
    for key, bound in (*single.items(), *((f"gate.floors.{name}", each) for name, each in domain.gate.floors.items())):
        if not all(math.isfinite(each) for each in (bound if isinstance(bound, tuple) else (bound,))):
            yield key, f"{bound} is no number that a metric is compared with; write a number"


def _data(domain: Domain) -> Iterator[str]:
    task, data = domain.task, domain.data
    for role in ROLES:
        column = getattr(data, role)
        if role in task.needs and column is None:
            yield f"data.{role} is missing, and a {task.kind} task cannot be learnt without it: name the column"
        if column is not None and role not in (*task.needs, *task.reads):
            yield f"data.{role} is {column}, which a {task.kind} task never reads: take it away, or declare another task"
    if task.kind == "uplift" and data.propensity is None:
        yield (
            "data.propensity is missing, and without it whom somebody chose is taken for what the treatment did: name the column with the"
            " chance of what each row got, or where all were drawn by one lot write its chances, such as [0.5]"
        )
    if isinstance(data.propensity, tuple) and (
        task.kind != "uplift" or sum(data.propensity) >= 1 or len(data.propensity) != task.treatments
    ):
        yield (
            "data.propensity has numbers: an uplift task reads one for each of task.treatments, together below 1; write those, or name a column"
        )
    named = [(role, getattr(data, role)) for role in ("entity", "label_time", "event_time", *ROLES, "weight")]
    for role, column in named:
        if column == data.label:
            yield f"data.{role} and data.label are both {column}: an answer cannot be that too; name another column"


def _gate(domain: Domain) -> Iterator[str]:
    gate, metrics = domain.gate, domain.task.metrics()
    named = [("gate.metric", gate.metric), *((f"gate.floors.{name}", name) for name in gate.floors)]
    named += [("gate.rivals", name) for name in gate.rivals]
    named += [("gate.slices.floors", name) for name in gate.slices.floors if name not in metrics]
    for key, name in named:
        by_class = domain.task.kind == "multiclass" and name.startswith("f1_")  # the classes come with the model
        if name in gate.figures and key not in ("gate.metric", "gate.slices.floors"):
            continue
        if name not in metrics and not by_class:
            yield f"{key}: a {domain.task.kind} task has no metric {name!r}; choose one of {', '.join(metrics)}"
    for name in gate.figures:
        if name in metrics:
            yield f"gate.figures.{name}: that is a metric of a {domain.task.kind} task already; give the model's figure another name"
    if gate.metric in metrics and metrics[gate.metric].direction == "neither":
        yield f"gate.metric: {gate.metric} is neither better high nor low; put a range of it into gate.floors"
    if gate.slices.parts and domain.task.kind != "regression":
        yield f"gate.slices.parts: a {domain.task.kind} answer is no number to be cut into parts; take it away"
    floors = [(f"gate.floors.{name}", name, bound) for name, bound in gate.floors.items()]
    floors += [(f"gate.slices.floors.{name}", name, bound) for name, bound in gate.slices.floors.items()]
    for key, name, bound in (("gate.floor", gate.metric, gate.floor), *floors):
        metric = metrics.get(name)
        if metric is None:
            continue
        if isinstance(bound, tuple) and bound[0] > bound[1]:
            yield f"{key}: no number is from {bound[0]:g} to {bound[1]:g}; write the smaller one first"
        if not isinstance(bound, tuple) and metric.direction == "neither":
            yield f"{key}: {name} is neither better high nor low; write a range such as [0.77, 0.83]"
        wanted = bound[0] if isinstance(bound, tuple) else bound
        if not metric.unit and wanted > 1 and metric.direction != "lower" and domain.task.kind != "uplift":
            yield f"{key}: {name} never reaches {wanted:g}; write a number up to 1"
        if metric.direction == "lower" and not isinstance(bound, tuple) and bound < 0:
            yield f"{key}: {name} is never below 0, so nothing reaches {bound:g}; write a number above 0"
    if domain.data.label in gate.slices.columns and domain.task.kind in ("binary", "uplift"):
        yield (
            f"gate.slices.columns has the label {domain.data.label}: in a slice with one answer {gate.metric} cannot be told;"
            " slice by what is known before the answer"
        )


def _retrieval(domain: Domain) -> Iterator[str]:
    retrieval, task = domain.retrieval, domain.task
    if retrieval is None:
        return
    if task.kind not in ("ranking", "retrieval"):
        yield (
            f"retrieval answers with items, and a {task.kind} task with something else: take it away, or declare"
            " task: {kind: retrieval}"
        )
        return
    if retrieval.k < task.k:
        yield f"retrieval.k is {retrieval.k}, and task.k judges {task.k} items of an answer; make it at least {task.k}"
    if (borrowed := retrieval.borrowed) and borrowed[0] == domain.name:
        yield f"retrieval.encoder is {retrieval.encoder}, a version of this domain itself; write own"
    if retrieval.encoder != "own" and task.kind == "retrieval":
        yield (
            f"retrieval.encoder is {retrieval.encoder}, and a retrieval task trains an encoder, which nothing would ask;"
            " write own, or declare task: {kind: ranking}"
        )


def _policy(domain: Domain) -> Iterator[str]:
    policy, task = domain.policy, domain.task
    if task.kind != "uplift":
        if policy is not None:
            yield f"policy chooses by uplifts, and a {task.kind} task has none: take it away, or declare task: {{kind: uplift}}"
        return
    if task.cost and len(task.cost) != task.treatments:
        yield f"task.cost has {len(task.cost)} numbers and task.treatments is {task.treatments}: write a cost for each treatment"
    if policy is None:
        return
    if not task.cost:
        yield "task.cost is missing, and policy.budget counts what treatments cost: write a cost for each treatment"
    if policy.caps.campaign and len(policy.caps.campaign) != task.treatments:
        yield f"policy.caps.campaign has {len(policy.caps.campaign)} numbers and task.treatments is {task.treatments}: write one for each"
    if policy.caps.month is not None and policy.messages is None:
        yield "policy.caps.month counts what an entity got already, and policy.messages names no column that says it: name one"


def _promise(domain: Domain) -> Iterator[str]:
    promise, quantiles = domain.drift.labels.promise, tuple[float, ...](getattr(domain.task, "quantiles", ()))
    if promise is None:
        return
    if len(quantiles) < 2:
        yield f"drift.labels.promise is kept by an answered range, and a {domain.task.kind} task without task.quantiles answers none: take it away"
    elif promise > quantiles[-1] - quantiles[0]:
        yield (
            f"drift.labels.promise is {promise:g}, and task.quantiles hold {quantiles[-1] - quantiles[0]:g} at their best: a model that is right"
            " would drift; write less, or quantiles further apart"
        )


def _decision(domain: Domain) -> Iterator[str]:
    if domain.decision is not None and domain.task.kind != "binary":
        yield (
            f"decision accepts or rejects, and a {domain.task.kind} task answers something else: take it away, or declare task: {{kind: binary}}"
        )


def _shadow(domain: Domain) -> Iterator[str]:
    shadow, task = domain.rollout.shadow, domain.task
    if shadow is None:
        return
    if problem := task.disagreement_problem(shadow.agreement, words=task.kind == "multiclass"):
        yield f"rollout.shadow: {problem}"


def _rollout(domain: Domain) -> Iterator[str]:
    rollout = domain.rollout
    stages = len(rollout.stages) - 1
    if rollout.deadline < stages * rollout.dwell:
        yield (
            f"rollout.deadline is shorter than the {stages} stages before 100% last at least (rollout.dwell each): no candidate"
            " would ever be promoted; lengthen the deadline or shorten the dwell"
        )
    if rollout.labels.required and domain.data.label_delay > rollout.deadline:
        yield (
            "rollout.labels.required waits for final labels, which come data.label_delay after the answer and so after"
            " rollout.deadline: every candidate would be rolled back; lengthen the deadline, or do not require them"
        )
    costs = rollout.labels.costs
    sideless = domain.task.compared_by == "request" or domain.task.kind == "multiclass"
    if sideless and costs.false_positive != costs.false_negative:
        yield f"rollout.labels.costs prices yes and no apart, and a {domain.task.kind} answer is neither; give both the same"
    if domain.data.label_delay > timedelta(days=365):
        yield "data.label_delay is over a year, and no answer is kept that long to be judged; shorten it"
