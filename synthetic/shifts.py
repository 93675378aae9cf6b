"""Named shifts: what can happen to the world after a model was trained, to inject into synthetic data."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from hallmark.errors import DeclarationError


class Shift(BaseModel):
    """One named change of what comes in; a domain's synthetic.py lists its own as `SHIFTS`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str


def find(name: str | None, *, among: Sequence[Shift], domain: str) -> Shift | None:
    """The shift called `name` among those of `domain`; None for none, `DeclarationError` for an unknown one."""
    if not name:
        return None
    fitting = {shift.name: shift for shift in among}
    if name not in fitting:
        raise DeclarationError(
            f"{domain} has no shift {name!r}",
            expected="one of " + (", ".join(fitting) or "none: this domain has no synthetic shift"),
            got=repr(name),
            fix=f"see them all with `hallmark data {domain} --shifts`",
        )
    return fitting[name]
