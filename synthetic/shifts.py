"""What can happen to the world after a model was trained: named shifts, to inject into synthetic data."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from hallmark.errors import DeclarationError


class Shift(BaseModel):
    """One named change of what comes in, and the domains whose data can show it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    description: str
    domains: tuple[str, ...]


NEW_FRAUD_PATTERN = Shift(
    name="new_fraud_pattern",
    description="A wave of account takeovers, near a third of all orders: at night, by wallet, shipped far, on fresh passwords.",
    domains=("fraud",),
)
SEASON = Shift(
    name="season",
    description="The weeks before the holidays: coats, knitwear and watches, reduced prices, gifts sent far, more express.",
    domains=("fraud",),
)
CAMERA_CHANGE = Shift(
    name="camera_change",
    description="A release of the app takes other photos: warm white balance, flat contrast, blurred and smaller.",
    domains=("listing",),
)
ALL: tuple[Shift, ...] = (NEW_FRAUD_PATTERN, SEASON, CAMERA_CHANGE)


def find(name: str | None, *, domain: str) -> Shift | None:
    """The shift called `name`, if it can happen to `domain`; None for none."""
    if not name:
        return None
    fitting = {shift.name: shift for shift in ALL if domain in shift.domains}
    if name not in fitting:
        known = any(shift.name == name for shift in ALL)
        raise DeclarationError(
            f"the shift {name!r} cannot happen to {domain}" if known else f"there is no shift {name!r}",
            expected="one of " + (", ".join(fitting) or "none: this domain has no synthetic shift"),
            got=repr(name),
            fix=f"see them all with `hallmark data {domain} --shifts`",
        )
    return fitting[name]
