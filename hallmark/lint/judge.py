"""Judge documents by the rules: what each of them is, which rules are about it, and what they found."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict

from hallmark.lint import checkout
from hallmark.lint.catalogue import rules
from hallmark.lint.declarations import declaration_of
from hallmark.lint.objects import ClusterObject, ClusterOptions, LintContext, objects, service_of
from hallmark.lint.pipelines import graph_of, schedule_of
from hallmark.lint.pods import pods
from hallmark.lint.prompts import prompt_of, prompts_of
from hallmark.lint.rules import LintFinding, Rule, RuleMatch, Severity
from hallmark.lint.scripts import script_of
from hallmark.lint.source import Document, Unreadable, documents
from hallmark.lint.view_fields import fields_of
from hallmark.lint.view_versions import readers_of, release_of
from hallmark.lint.views import contract_of, declared_of, sources_of, view_of

if TYPE_CHECKING:
    from hallmark.training.check import Finding

STDIN = "-"


class LintReport(BaseModel):
    """Result of a check: findings, unreadable files, and the number of files judged."""

    model_config = ConfigDict(frozen=True)

    findings: tuple[LintFinding, ...] = ()
    unreadable: tuple[str, ...] = ()
    files: int = 0

    def count(self, severity: Severity) -> int:
        """Number of findings of this severity."""
        return sum(finding.severity is severity for finding in self.findings)


def lint(
    paths: Sequence[Path],
    *,
    root: Path | None,
    options: ClusterOptions | None = None,
    against: str | None = None,
    stdin: str | None = None,
    models: Path | None = None,
    checked: Mapping[str, Sequence[Finding]] | None = None,
) -> LintReport:
    """Judge the files under `paths`; the rest of the checkout at `root` informs (runtimes, features, accounts).

    stdin: a text that is judged too, such as what `kubectl kustomize` printed.   models: the folder of registered models on this machine.
    checked: as `LintContext` has it.
    """
    asked = checkout.files(paths, root=root)
    read: list[Document] = []
    unreadable: list[str] = []
    judged = 0
    for path in asked:
        try:
            read += checkout.read(path, root=root)
            judged += 1
        except Unreadable as error:
            unreadable.append(str(error))
    if stdin is not None:
        try:
            piped = list(documents(stdin, shown="stdin"))
            _known(piped)
            read += piped
            judged += 1
        except Unreadable as error:
            unreadable.append(str(error))
    read += _background(asked, root, read if stdin is not None else []) if root is not None else []
    previous = checkout.before(against, asked, root=root or Path.cwd()) if against is not None else None
    domains = frozenset(path.parent.name for path in (root / "domains").glob("*/domain.yaml")) if root else None
    found = findings(read, options=options, domains=domains, previous=previous, models=models, checked=checked)
    return LintReport(findings=tuple(found), unreadable=tuple(unreadable), files=judged)


def _known(piped: Sequence[Document]) -> None:
    """`Unreadable` for what came by a pipe and is nothing that is judged: what a build that failed printed, say."""
    for each in piped:
        if each.data is not None and not any((*objects(each), graph_of(each), schedule_of(each))):
            got = each.data if isinstance(each.data, str) else ", ".join(map(str, each.data))
            raise Unreadable(
                "stdin holds no object of Kubernetes, and no pipeline",
                expected="apiVersion and kind in each document",
                got=str(got)[:80],
                fix="look at what writes into the pipe; its errors belong on its standard error",
            )


def _background(asked: Sequence[Path], root: Path, built: Sequence[Document]) -> Iterator[Document]:
    """The rest of the checkout's documents, but for those whose objects a build (stdin) has in another form."""
    given, known = set(asked), {_identity(each) for document in built for each in objects(document)}
    for path in checkout.files(checkout.usual(root), root=root):
        if path not in given:
            try:
                for document in checkout.read(path, root=root, background=True):
                    if not known & {_identity(each) for each in objects(document)}:
                        yield document
            except Unreadable:
                continue


def _identity(each: ClusterObject) -> tuple[str, str, str]:
    return each.kind, each.namespace, each.name


def of_objects(
    given: Iterable[dict[str, Any]],
    *,
    source: str = "memory",
    background: Iterable[dict[str, Any]] = (),
    options: ClusterOptions | None = None,
    domains: Iterable[str] | None = None,
    previous: checkout.Before | None = None,
) -> list[LintFinding]:
    """Judge objects that no file holds, such as what a renderer gives or an API server is asked to keep; lines are 1."""
    read = [Document(source, each) for each in given]
    read += [Document("background", each, background=True) for each in background]
    known = None if domains is None else frozenset(domains)
    return findings(read, options=options, domains=known, previous=previous)


def findings(
    read: Sequence[Document],
    *,
    options: ClusterOptions | None = None,
    domains: frozenset[str] | None = None,
    previous: checkout.Before | None = None,
    models: Path | None = None,
    checked: Mapping[str, Sequence[Finding]] | None = None,
) -> list[LintFinding]:
    """Findings of the rules in documents: each once, in the order of files and lines, without those that a comment allows."""
    options = options or ClusterOptions()
    found = [each for document in read for each in objects(document)]
    typed: tuple[ClusterObject, ...] = tuple(service_of(each, options) or each for each in found)
    world = LintContext(
        options=options,
        objects=typed,
        domains=domains,
        previous=previous,
        sources=sources_of(read),
        declared=declared_of(read),
        fields=fields_of(read),
        views=readers_of(read, models),
        models=models,
        checked=checked or {},
        prompts=prompts_of(read),
    )
    seen: dict[tuple[str, str, int, int, str], LintFinding] = {}
    for subject in _subjects(read, world):
        for rule in rules():
            if isinstance(subject, rule.subject):
                for hit in rule.check(subject, world):
                    if finding := _finding(rule, hit):
                        place = (finding.code, finding.file, finding.line, finding.column, finding.key)
                        if place not in seen or finding.severity is Severity.error:
                            seen[place] = finding
    order = {document.shown: index for index, document in reversed(list(enumerate(read)))}
    return sorted(seen.values(), key=lambda each: (order[each.file], each.line, each.column, each.code))


def _subjects(read: Sequence[Document], world: LintContext) -> Iterator[Any]:
    """Everything that was asked about. What a runtime in the background does to a service is still found, in its own file."""
    yield world
    for document in read:
        if not document.background:
            yield document
            for make in (graph_of, schedule_of, script_of, declaration_of, contract_of, view_of, release_of, prompt_of):
                if (subject := make(document)) is not None:
                    yield subject
    for each in world.objects:
        if not each.document.background:
            yield each
            yield from pods(each, world)


def _finding(rule: Rule, hit: RuleMatch) -> LintFinding | None:
    line, column = hit.mark or hit.document.mark(hit.path)
    if rule.code in hit.document.allowed(line):
        return None
    return LintFinding(
        code=rule.code,
        severity=hit.severity or rule.severity,
        outcome=hit.outcome or (None if hit.severity is Severity.warning else rule.outcome),
        file=hit.document.shown,
        line=line,
        column=column,
        key=".".join(map(str, hit.path)),
        message=" ".join(hit.text.split()),
        reason=rule.reason,
        fix=hit.fix or rule.fix,
        link=rule.link,
        path=hit.path,
    )
