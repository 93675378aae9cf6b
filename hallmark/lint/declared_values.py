"""Values of declarations that are of the right type and mean nothing."""

from __future__ import annotations

from collections.abc import Iterator

from hallmark.lint.declarations import Declaration
from hallmark.lint.objects import LintContext
from hallmark.lint.rules import RuleMatch, rule


@rule(
    "HM816",
    "A value that means nothing",
    on=Declaration,
    reason="no row lies in the window, no day is the schedule's, or no metric passes the gate: nothing is ever trained or registered",
    fix="write a window with a length, a day that there is, a number; `hallmark check` finds such names and columns too",
    link="https://en.wikipedia.org/wiki/NaN#Comparison_with_NaN",
)
def meaningless(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/declaration/contradictions.py: of the right type, and never met."""
    if declaration.problems:
        return
    from hallmark.declaration import contradictions
    from hallmark.declaration.domain import Domain

    for key, text_ in contradictions.meaningless(Domain.model_validate(declaration.data)):
        yield declaration.hit(f"{key}: {text_}", *key.split("."))
