"""A batch's policy: whom to treat among all rows that were scored, as columns of its output."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from hallmark.batch.parts import Parts
from hallmark.errors import ContractBroken, DeclarationError
from hallmark.policy.targeting import REASONS, Targets, choose
from hallmark.tasks.uplift import Uplift

if TYPE_CHECKING:
    import pyarrow as pa

    from hallmark.declaration.domain import Domain


def of(domain: Domain, parts: Parts, *, output: str, run: str) -> Targets:
    """The decisions on all rows of `parts`, whose uplifts are in the column `output`."""
    if domain.policy is None or not isinstance(domain.task, Uplift):
        raise DeclarationError("there is no policy to choose by", expected="policy in domain.yaml", got="none")
    messages = domain.policy.messages
    ids: list[str] = []
    uplifts, had = [], []
    for block in parts.blocks():
        ids += _ids(block, domain.data.entity, first=len(ids))
        values = block.column(output).combine_chunks()
        values = values.flatten() if domain.task.shape else values
        uplifts.append(values.to_numpy(zero_copy_only=False).reshape(len(block), -1))
        if messages is not None and messages in block.column_names:
            had.append(block.column(messages).to_numpy())
    return choose(
        np.concatenate(uplifts),
        ids,
        domain=domain.name,
        policy=domain.policy,
        costs=domain.task.cost,
        run=run,
        messages=np.concatenate(had) if had else None,
    )


def _ids(block: pa.Table, name: str, *, first: int) -> list[str]:
    """(n,) ids as texts, the same whether a file has them as texts, whole numbers or floats; `ContractBroken` names the first row without one."""
    found = block.column(name).to_pylist()
    for row, each in enumerate(found):
        if isinstance(each, float) and each.is_integer():
            found[row] = int(each)
        elif each is None or each == "" or isinstance(each, float):
            raise ContractBroken(
                f"row {first + row + 1:,} does not say whom it is about",
                expected=f"an id in column {name}: hold-out, caps and lots go by it",
                got=repr(each),
                fix="mend the file",
            )
    return [str(each) for each in found]


def columns(domain: Domain, parts: Parts, chosen: Targets) -> Iterator[pa.Table]:
    """The rows of `parts` with treatment, reason, expected value, cost and propensity."""
    import pyarrow as pa

    at = 0
    for block in parts.blocks():
        rows = slice(at, at + len(block))
        at += len(block)
        made: dict[str, Any] = {name: block.column(name) for name in block.column_names}
        tail = {name: made.pop(name) for name in ("model_version", "model_digest")}
        made["treatment"] = pa.array(chosen.treatment[rows])
        made["reason"] = pa.DictionaryArray.from_arrays(chosen.reason[rows].astype(np.int32), list(REASONS))
        made["expected_value"] = pa.array(chosen.worth[rows])
        made["cost"] = pa.array(chosen.cost[rows])
        made["propensity"] = pa.array(chosen.propensity[rows])
        yield pa.table(made | tail)


def told(chosen: Targets) -> dict[str, Any]:
    """What was decided, in figures. The bound is of what was left to choose, with what the lots gave."""
    drawn = float(chosen.worth[chosen.reason == REASONS.index("by lot")].sum())
    counts = np.bincount(chosen.reason, minlength=len(REASONS)).tolist()
    return {
        "treated": int((chosen.treatment > 0).sum()),
        "spent": round(chosen.spent, 2),
        "worth": round(float(chosen.worth.sum()), 2),
        "bound": round(chosen.allocation.bound + drawn, 2),
        "reasons": {reason: count for reason, count in zip(REASONS, counts, strict=True) if count},
    }
