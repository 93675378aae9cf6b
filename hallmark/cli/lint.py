"""`hallmark lint`: what a cluster would reject or silently ignore, found in the files."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from hallmark.cli.console import Format, emit, out, say, show, width, wrapped
from hallmark.errors import DeclarationError, HallmarkError, Refused

if TYPE_CHECKING:
    from hallmark.lint.judge import LintReport
    from hallmark.lint.rules import LintFinding, Rule
    from hallmark.settings import Settings
    from hallmark.training.check import Finding


class FindingFormat(StrEnum):
    """Format of printed findings."""

    table = "table"
    json = "json"
    sarif = "sarif"


class DeploymentMode(StrEnum):
    """KServe's deployment mode for a service that names none."""

    knative = "Knative"
    standard = "Standard"


def lint(
    paths: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PATHS]...",
            help="Files and folders; - is what another program prints. None: all that this checkout would apply.",
            show_default=False,
        ),
    ] = None,
    mode: Annotated[
        DeploymentMode | None, typer.Option(case_sensitive=False, help="The mode of services without the annotation.")
    ] = None,
    kserve: Annotated[
        str | None, typer.Option(metavar="VERSION", help="The cluster's KServe; else read from manifests/platform.")
    ] = None,
    gateway_api: Annotated[
        bool | None,
        typer.Option("--gateway-api/--no-gateway-api", help="Whether KServe writes HTTPRoutes; else read likewise."),
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="REF_OR_DIR", help="How it was before: a revision of Git, or a folder of the same layout."
        ),
    ] = None,
    code: Annotated[
        bool | None,
        typer.Option(
            "--code/--no-code",
            help="Whether to run the domains' code too, as `hallmark check` does; default: where PATHS are named.",
            show_default=False,
        ),
    ] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Refuse warnings too.")] = False,
    output: Annotated[
        FindingFormat, typer.Option("--output", "-o", help="How to print findings.")
    ] = FindingFormat.table,
    explain: Annotated[
        str | None, typer.Option(metavar="CODE", help="Say what a rule is about, and nothing else.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="List the rules, and nothing else.")] = False,
) -> None:
    """Find what KServe, Knative, Kubeflow or the platform would reject or silently ignore, without a cluster.

    Exit 0: nothing is refused. 3: something is. 2: something cannot be read. docs/lint.md has every rule.
    """
    from hallmark.lint import catalogue

    if listed:
        _list(output)
        return
    if explain is not None:
        _explain(catalogue.rules(), explain)
        return
    if kserve is not None:
        from hallmark.lint.reading import version

        if version(kserve) is None:
            raise DeclarationError("--kserve", expected="a version such as 0.21.0", got=repr(kserve))
    report = _report(paths or [], mode, kserve, gateway_api, against, code=bool(paths) if code is None else code)
    _print(report, output)
    _end(report, strict=strict)


def _report(
    paths: list[str],
    mode: DeploymentMode | None,
    kserve: str | None,
    gateway_api: bool | None,
    against: str | None,
    *,
    code: bool,
) -> LintReport:
    from hallmark.lint import checkout, judge
    from hallmark.lint.objects import ClusterOptions
    from hallmark.settings import Settings

    root, models, settings = None, None, None
    try:
        settings = Settings.load()
        root, models = settings.root, settings.models
    except DeclarationError:
        # A single file can be judged anywhere; only the default needs a checkout.
        if not paths:
            raise
    given = [Path(path) for path in paths if path != judge.STDIN]
    asked = given if paths else checkout.usual(root) if root else []
    return judge.lint(
        asked,
        root=root,
        options=ClusterOptions.model_validate(
            {"mode": mode.value if mode else None, "kserve": kserve, "gateway_api": gateway_api}
        ),
        against=against,
        stdin=_given() if judge.STDIN in paths else None,
        models=models,
        checked=_checked(asked, settings) if code and settings is not None else None,
    )


def _checked(asked: list[Path], settings: Settings) -> dict[str, list[Finding]]:
    """What `hallmark check` finds beside the code of the domains among the files, by the name of each domain.yaml."""
    from hallmark.declaration import folders

    files = {path.resolve() for path in asked}
    judged = [
        (name, path)
        for name in folders.names(settings)
        if files & {path := folders.path(name, settings).resolve(), *path.parents}
    ]
    found: dict[str, list[Finding]] = {}
    if judged:
        from hallmark.declaration import domain as domains
        from hallmark.training import check as checks
    for name, path in judged:
        shown = path.relative_to(settings.root.resolve()).as_posix()
        try:
            domain = domains.load(name, settings)
        except DeclarationError:
            continue  # another rule says why
        try:
            found[shown] = checks.beside_code(domain, settings)
        except HallmarkError as error:
            found[shown] = [checks.Finding(level="error", what=error.message, where=shown, fix=error.fix)]
    return found


def _given() -> str:
    """Text read from a pipe; `DeclarationError` where it is empty, as after a build that failed, or not text."""
    try:
        text = sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise DeclarationError(
            "what came by the pipe is not text", expected="YAML or JSON in UTF-8", got=str(error)
        ) from error
    if not text.strip():
        raise DeclarationError(
            "nothing came by the pipe",
            expected="objects, such as `kubectl kustomize` prints",
            got="nothing",
            fix="see whether that failed",
        )
    return text


def _print(report: LintReport, output: FindingFormat) -> None:
    if output is FindingFormat.json:
        show([finding.model_dump(mode="json") for finding in report.findings], Format.json)
    elif output is FindingFormat.sarif:
        from hallmark.lint.sarif import sarif

        show(sarif(report), Format.json)
    else:
        _lines(_blocks(report.findings))


def _blocks(findings: tuple[LintFinding, ...]) -> Iterator[Text]:
    """A finding in one line that editors and grep follow, and its key, which a line of a build or a list does not show.

    Why comes with the first finding of each rule, and the fix with the first that has it.
    """
    told: set[str] = set()
    for finding in findings:
        style = "bold red" if finding.severity == "error" else "bold yellow"
        yield Text.assemble(
            (f"{finding.file}:{finding.line}:{finding.column}", "bold"),
            ": ",
            (f"{finding.severity} {finding.code}", style),
            f" {finding.message}",
        )
        if finding.key and not finding.message.startswith(finding.key):
            yield Text.assemble(("    at  ", "dim"), finding.key)
        for word, text in (("why", finding.reason), ("fix", finding.fix)):
            if finding.code + text not in told:
                told.add(finding.code + text)
                yield Text.assemble((f"    {word} ", "dim"), text)


def _end(report: LintReport, *, strict: bool) -> None:
    from hallmark.lint.rules import Severity

    errors, warnings = report.count(Severity.error), report.count(Severity.warning)
    for text in report.unreadable:
        say(text)
    if report.unreadable:
        raise DeclarationError(
            f"{_many(len(report.unreadable), 'file')} cannot be read",
            expected="YAML, JSON or Python",
            got=f"{_found(errors, warnings)} in the {_many(report.files, 'file')} that can",
            fix="mend what is named above",
        )
    if errors or (strict and warnings):
        first = report.findings[0].code
        raise Refused(
            f"{_found(errors, warnings)} in {_many(report.files, 'file')}",
            fix=f"`hallmark lint --explain {first}` says more; docs/lint.md says how to allow one with its reason",
        )
    say(f"{_found(errors, warnings)} in {_many(report.files, 'file')}")


def _found(errors: int, warnings: int) -> str:
    if not errors and not warnings:
        return "nothing refused"
    return ", ".join(
        part
        for part in (_many(errors, "error") if errors else "", _many(warnings, "warning") if warnings else "")
        if part
    )


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _list(output: FindingFormat) -> None:
    from hallmark.lint.catalogue import rules, topic

    rows: list[dict[str, Any]] = [
        {"code": rule.code, "severity": rule.severity.value, "about": topic(rule), "rule": rule.title}
        for rule in rules()
    ]
    emit(rows, Format.table if output is FindingFormat.table else Format.json)


def _explain(known: tuple[Rule, ...], code: str) -> None:
    from hallmark.lint.catalogue import topic

    found = next((rule for rule in known if rule.code == code.upper()), None)
    if found is None:
        raise DeclarationError(
            f"there is no rule {code}",
            expected=f"{known[0].code} to {known[-1].code}",
            got=code,
            fix="hallmark lint --list",
        )
    told = (("why", found.reason), ("fix", found.fix), ("see", found.link), ("how", _read_from(found)))
    _lines(
        [
            Text.assemble((found.code, "bold"), f"  {found.title}  ({topic(found)}, {found.severity})"),
            *(Text.assemble((f"  {word}  ", "dim"), text) for word, text in told),
        ]
    )


def _lines(lines: Iterable[Text]) -> None:
    """Styled lines, wrapped where a terminal is narrow."""
    console, columns = out(), width()
    for line in lines:
        at = 0
        for number, part in enumerate(wrapped(line.plain, columns=columns, hang=4).splitlines()):
            kept = part.lstrip() if number else part
            at = line.plain.index(kept, at)
            console.print(Text(" " * (len(part) - len(kept))) + line[at : at + len(kept)], soft_wrap=True)
            at += len(kept)


def _read_from(rule: Rule) -> str:
    """Source of the rule: the first words of its check's docstring."""
    return " ".join((rule.check.__doc__ or "").split())
