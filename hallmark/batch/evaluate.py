"""Policies judged by a log of what was done: a version's, the champion's, and what needs no model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from hallmark.errors import ContractBroken, DeclarationError
from hallmark.policy import off_policy
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
    """One policy on the log. gain: of the asked policy over this one, doubly robust; None of itself."""

    policy: str
    treated: float
    values: PolicyValues
    gain: PolicyValue | None = None


def evaluate(
    domain: Domain, frame: pd.DataFrame, *, asked: ServableVersion, beside: Mapping[str, ServableVersion] | None = None
) -> list[Judged]:
    """The asked version's policy on a log, and beside it those of other versions, of who is likeliest anyway, and of nobody.

    Each treats `task.treat` of all rows at most, where a treatment is worth it; the likeliest are as many as the asked version treats.
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
    worth = _worth(domain, task)
    policies = {f"version {asked.version}": uplift_metrics.chosen(uplifts, worth, task.treat)}
    for name, version in (beside or {}).items():
        if version.version != asked.version:
            policies[f"{name} (version {version.version})"] = uplift_metrics.chosen(
                _answers(domain, version, frame)[0], worth, task.treat
            )
    first = next(iter(policies.values()))
    if expected is not None:
        policies[LIKELIEST] = _likeliest(expected, first)
    policies[NOBODY] = np.zeros(len(log), dtype=np.int64)
    model = _model(log, uplifts, expected, actions)
    ours = off_policy.chances(first, actions)
    found = []
    for name, policy in policies.items():
        theirs = off_policy.chances(policy, actions)
        found.append(
            Judged(
                policy=name,
                treated=float((policy > 0).mean()),
                values=off_policy.value(log, theirs, model),
                gain=off_policy.gain(log, ours, theirs, model) if policy is not first else None,
            )
        )
    return found


def _worth(domain: Domain, task: Uplift) -> float:
    """The smallest uplift that is worth it: what is declared, or what a treatment costs by what an outcome brings."""
    if domain.policy is None or not task.cost:
        return task.worth
    return max(task.worth, min(task.cost) / domain.policy.value)


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


def _model(log: Log, uplifts: Floats, expected: Floats | None, actions: int) -> Floats:
    """(n, actions) rewards that the asked model expects: of nothing done, plus the uplift."""
    columns = np.column_stack((np.zeros(len(log)), uplifts.reshape(len(log), -1)))
    usual = np.bincount(log.action, minlength=actions) / len(log)
    level = np.full(len(log), log.reward.mean()) if expected is None else expected
    return np.asarray((level - columns @ usual)[:, None] + columns)
