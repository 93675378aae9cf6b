"""What `hallmark check` finds about a declaration beside its domain's own code, which no text alone tells."""

from __future__ import annotations

from collections.abc import Iterator

from hallmark.lint.declarations import Declaration
from hallmark.lint.objects import LintContext
from hallmark.lint.rules import RuleMatch, Severity, rule

_DOCS = "https://docs.python.org/3/tutorial/modules.html"


@rule(
    "HM771",
    "A declaration that the domain's own code does not fit",
    on=Declaration,
    reason="a training is refused before it starts, or learns something else than was meant",
    fix="name what the code has, or mend the code: `hallmark check DOMAIN` says the same",
    link=_DOCS,
)
def unfit(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/training/check.py, where it says error."""
    yield from _found(declaration, world, Severity.error)


@rule(
    "HM772",
    "A declaration or field that the domain's own code makes doubtful",
    on=Declaration,
    severity=Severity.warning,
    reason="the training runs, and what it learns or owes may be another thing than was meant",
    fix="look at what is named: `hallmark check DOMAIN` says the same",
    link=_DOCS,
)
def doubtful(declaration: Declaration, world: LintContext) -> Iterator[RuleMatch]:
    """hallmark/training/check.py, where it says warning."""
    yield from _found(declaration, world, Severity.warning)


def _found(declaration: Declaration, world: LintContext, severity: Severity) -> Iterator[RuleMatch]:
    shown = declaration.document.shown
    for each in world.checked.get(shown, ()):
        if each.level == severity.value and each.key != "features.views":  # HM911 tells that of the text
            elsewhere = "" if each.where.rpartition(":")[0] == shown else f" ({each.where})"
            path = tuple(each.key.split(".")) if each.key else ()
            yield declaration.hit(f"{each.what}{elsewhere}", *path).mended(each.fix)
