"""Policies judged by a log of what was done: a version's, the champion's, and what needs no model."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hallmark.errors import ContractBroken, DeclarationError
from hallmark.policy import off_policy, targeting
from hallmark.policy.off_policy import Log, PolicyValue, PolicyValues
from hallmark.section import Frozen
from hallmark.tasks import uplift_metrics
from hallmark.tasks.uplift import Uplift

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.declaration.domain import Domain
    from hallmark.registry.store import ServableVersion

Floats = NDArray[np.float64]
NOBODY, LIKELIEST = "nobody", "the likeliest first"


class Judged(Frozen):
    """One policy on the log. gain: of the asked policy over this one, doubly robust; None of itself.

    spent: what its treatments cost a row.   values: of the label a row; of a domain with a policy the money that outcomes bring, costs taken off.
    """

    policy: str
    treated: float
    spent: float
    values: PolicyValues
    gain: PolicyValue | None = None


def evaluate(
    domain: Domain,
    frame: pd.DataFrame,
    *,
    asked: ServableVersion,
    beside: Mapping[str, ServableVersion] | None = None,
    rows: int | None = None,
) -> list[Judged]:
    """The asked version's policy on a log, and beside it those of other versions, of who is likeliest anyway, and of nobody.

    Each treats whom the declared policy would: within the log's share of budget and caps, where a run decides on so many `rows` (as many as the
    log has, where it is not said), and what each treatment costs is taken off. Hold-out and lots are left out: they are the same for every
    version. Without a policy it is `task.treat` of all rows at most, where the uplift is worth it. The likeliest are as many as the asked version treats.
    """
    task = domain.task
    if not isinstance(task, Uplift):
        raise DeclarationError(
            f"{domain.name} answers what is, not what is to be done: a policy is judged of an uplift",
            expected="task: {kind: uplift}",
            got=task.kind,
            fix=f"`hallmark train {domain.name}` judges its answers",
        )
    targets = task.targets(frame, domain.data.target_columns)
    if targets.treatment is None or targets.propensity is None:
        raise ValueError("expected targets with treatment and propensity, as Uplift.targets gives them")
    if problem := task.enough(targets):
        raise ContractBroken(
            f"the log cannot judge a policy: {problem}",
            expected="rows of every treatment, and outcomes that differ",
            got=f"{len(targets):,} rows",
            fix="give a longer log",
        )
    log = Log(targets.treatment, np.asarray(targets.labels, dtype=np.float64), targets.propensity, targets.groups)
    actions = task.treatments + 1
    uplifts, expected = _answers(domain, asked, frame)
    costs = np.array([0.0, *(task.cost or (0.0,) * task.treatments)])
    if domain.policy is not None:
        log = dataclasses.replace(log, reward=domain.policy.value * log.reward - costs[log.action])

    def chosen(uplifts: Floats) -> NDArray[np.int64]:
        if domain.policy is None:
            return uplift_metrics.chosen(uplifts, task.worth, task.treat)
        messages = None if domain.policy.messages is None else frame.get(domain.policy.messages)
        share = len(log) / max(1, rows or len(log))
        had = None if messages is None else messages.to_numpy()
        return targeting.greedy(uplifts, policy=domain.policy, costs=costs[1:], messages=had, share=share)

    policies = {f"version {asked.version}": chosen(uplifts)}
    for name, version in (beside or {}).items():
        if version.version != asked.version:
            policies[f"{name} (version {version.version})"] = chosen(_answers(domain, version, frame)[0])
    first = next(iter(policies.values()))
    if expected is not None:
        policies[LIKELIEST] = _likeliest(expected, first)
    policies[NOBODY] = np.zeros(len(log), dtype=np.int64)
    model = _model(targets.labels.mean(), log.action, uplifts, expected, actions)
    if domain.policy is not None:
        model = domain.policy.value * model - costs
    ours = off_policy.chances(first, actions)
    found = []
    for name, policy in policies.items():
        theirs = off_policy.chances(policy, actions)
        found.append(
            Judged(
                policy=name,
                treated=float((policy > 0).mean()),
                spent=float(costs[policy].mean()),
                values=off_policy.value(log, theirs, model),
                gain=off_policy.gain(log, ours, theirs, model) if policy is not first else None,
            )
        )
    return found


def _answers(domain: Domain, version: ServableVersion, frame: pd.DataFrame) -> tuple[Floats, Floats | None]:
    """(n, …) uplifts, and (n,) the outcome that is expected, where the model says it."""
    from hallmark.artifacts import bundle
    from hallmark.learners import onnx_model
    from hallmark.learners.model import columns

    read = bundle.read(version.fetch(), expected=version.digest)
    names = [output.name for output in read.signature.outputs]
    inputs = read.features.encode(columns(frame, read.signature.fields))
    made = onnx_model.run(onnx_model.session(read.file("model.onnx")), inputs, names)
    expected = made[names[1]].astype(np.float64) if len(names) > 1 and made[names[1]].ndim == 1 else None
    return made[names[0]].astype(np.float64), expected


def _likeliest(expected: Floats, ours: NDArray[np.int64]) -> NDArray[np.int64]:
    """As many treatments as ours, of each kind, to those who are likeliest to begin with."""
    given = np.sort(ours[ours > 0])
    found = np.zeros(len(ours), dtype=np.int64)
    found[np.argsort(-expected, kind="stable")[: len(given)]] = given
    return found


def _model(mean: float, action: NDArray[np.int64], uplifts: Floats, expected: Floats | None, actions: int) -> Floats:
    """(n, actions) outcomes that the asked model expects: of nothing done, plus the uplift. mean: of the log's."""
    columns = np.column_stack((np.zeros(len(action)), uplifts.reshape(len(action), -1)))
    usual = np.bincount(action, minlength=actions) / len(action)
    level = np.full(len(action), mean) if expected is None else expected
    return np.asarray((level - columns @ usual)[:, None] + columns)
