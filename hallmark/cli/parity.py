"""Features as they were served, beside what is known: `hallmark features parity` and `hallmark features freshness`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hallmark.cli.clusters import Context, Kubeconfig, connected
from hallmark.cli.console import DomainName, Format, Output, emit, say, show
from hallmark.cli.options import declaration, since_of
from hallmark.cli.progress import TaskLine, TaskLines
from hallmark.errors import Conflict, DeclarationError, HallmarkError, NotFound, Refused
from hallmark.names import MONITOR_PORT
from hallmark.settings import Settings

if TYPE_CHECKING:
    from hallmark.artifacts.signature import ViewUse
    from hallmark.feature_store.lookups import CapturedLookups, Lookup
    from hallmark.feature_store.parity import Compared
    from hallmark.feature_store.parity_report import ParityReport
    from hallmark.feature_store.place import FeatureStore, Stage

Captured = Annotated[
    Path | None,
    typer.Option(
        help="A file with what a monitor's GET /lookups gave, instead of asking the monitors of its pods.",
        show_default=False,
    ),
]


_WRITTEN = f"write one: kubectl get --raw '/api/v1/namespaces/NAMESPACE/pods/POD:{MONITOR_PORT}/proxy/lookups?limit=2000' > FILE"


@dataclass
class _Model:
    """The lookups of one model."""

    uses: tuple[ViewUse, ...]
    lookups: list[Lookup] = field(default_factory=list)


def parity(
    name: DomainName,
    sample: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Answers that are compared at most, evenly spread.")
    ] = 1000,
    since: Annotated[
        str, typer.Option(metavar="DURATION", help="Only answers of this long back, such as 1h.", show_default=False)
    ] = "",
    captured: Captured = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Output = Format.table,
) -> None:
    """Compare the features of captured answers with the offline store as of each read, and name the cause of each difference.

    What was captured since the last run counts into the domain's report, by which rollouts are held while the budget of domain.yaml
    (features.parity) burns; exit 3 then. Answers in a file are reported, and not counted.
    """
    from hallmark.feature_store.parity_report import extended
    from hallmark.rollout.parity import ParityStore, lookups

    domain, settings = declaration(name)
    if domain.features is None:
        raise DeclarationError(
            f"{name} looks no features up",
            expected=f"features.views in domains/{name}/domain.yaml",
            got="none",
            fix="docs/features.md says how a domain reads views",
        )
    back, now = since_of(since), datetime.now(UTC)
    kept: ParityStore | None = None
    report: ParityReport | None = None
    cursors: dict[str, str] = {}
    told: list[CapturedLookups] = []
    if captured is None:
        writer = connected(settings, kubeconfig, context, changes=True)
        kept = ParityStore(writer, domain.namespace)
        report = kept.read()
        for part in lookups(writer, name, cursors=report.cursors if report else {}):
            cursors[part.pod["metadata"]["name"]] = part.cursor
            told.append(part.told)
        if not told:
            raise NotFound(f"no pod serves {name} on {writer.host}", fix=f"`hallmark status {name}`")
    else:
        told = read(captured)
    models = _sampled(told, sample, since=None if back is None else now - back)
    chosen = [each for model in models for each in model.lookups]
    found = extended(
        report,
        name,
        domain.features.parity,
        chosen,
        _judged(models, settings),
        now=datetime.now(UTC),
        cursors=cursors,
    )
    if kept is not None:
        try:
            kept.write(found)
        except (Conflict, Refused) as error:
            say(f"this counts for no rollout, since the report could not be kept: {error.message}")
    _show(found, len(chosen), output)
    if found.burns:
        raise Refused(
            f"{name}: the parity budget burns",
            expected=f"at most {found.policy.budget:.2%} of answers with features that differ",
            got=f"{found.differ} of {found.answers}, at least {found.low:.2%} of all",
            fix="docs/features.md, Parity, says what each cause asks for; a rollout is held until it is over",
        )


def freshness(
    views: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="VIEW", help="Views as NAME@N, such as buyer_orders@1; default: all.", show_default=False
        ),
    ] = None,
    output: Output = Format.table,
) -> None:
    """Show how old the newest event of each view's source is, whether or not its stream runs; exit 3 where one is over its limit."""
    from hallmark.declaration import feature_view
    from hallmark.feature_store.place import FeatureStore
    from hallmark.section import spelled

    settings = Settings.load()
    place, now, rows, old = FeatureStore(settings.prepared()), datetime.now(UTC), [], []
    for reference in views or feature_view.references(settings):
        view = feature_view.load(reference, settings)
        applied, stage = place.job_of(view), place.stage(reference)
        newest, age, fresh = place.freshness(view, now=now)
        seen = sum(applied.fates.values()) if applied else 0
        row = {
            "view": reference,
            "source": view.source,
            "state": str(stage) if output is Format.table else stage.name,
            **filled(stage, output),
            "newest_event": newest.isoformat(timespec="seconds") if newest else None,
            "age": spoken(age) if output is Format.table else age and age.total_seconds(),
            "limit": spelled(view.freshness) if output is Format.table else view.freshness.total_seconds(),
            "late_share": applied.fates.get("late", 0) / seen if applied and seen else None,
            "fresh": fresh,
        }
        rows.append(row)
        old += [f"{reference}: {spoken(age)}, {spelled(view.freshness)} is allowed"] if fresh is False and age else []
    emit(rows, output, empty="no view is declared: see docs/features.md", wide=("source",))
    if old:
        raise Refused(
            f"the newest event of {len(old)} {'view' if len(old) == 1 else 'views'} is too old",
            expected="events within the freshness that each view declares",
            got="; ".join(old),
            fix="see whether the source sends, then whether `hallmark features run --follow` runs (docs/runbooks/FeaturesStale.md)",
        )


def filled(stage: Stage, output: Format) -> dict[str, Any]:
    """What a list for programs says of a view beside its stage: how many of its events are in, while it is filled."""
    if output is Format.table:
        return {}
    return {"filled": {"events": stage.done, "of": stage.total} if stage.total else None}


def read(path: Path) -> list[CapturedLookups]:
    """The answers of GET /lookups in a file, one a line."""
    from pydantic import ValidationError

    from hallmark.feature_store.lookups import CapturedLookups

    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return [CapturedLookups.model_validate_json(line) for line in lines if line.strip()]
    except (ValidationError, UnicodeDecodeError) as error:
        raise DeclarationError(
            f"{path} has no captured lookups",
            expected="what a monitor's GET /lookups gave, one answer a line",
            got=str(error).splitlines()[0],
            fix=_WRITTEN,
        ) from error
    except OSError as error:
        raise DeclarationError(
            f"{path} cannot be read", expected="a file", got=error.strerror or type(error).__name__, fix=_WRITTEN
        ) from error


def _sampled(told: Sequence[CapturedLookups], sample: int, *, since: datetime | None) -> list[_Model]:
    """At most so many lookups, evenly spread, by the model that they were for."""
    whole = [(each, one) for each in told for one in each.lookups if since is None or one.at >= since]
    step = max(1.0, len(whole) / sample)
    found: dict[str, _Model] = {}
    for at in range(min(sample, len(whole))):
        each, one = whole[int(at * step)]
        found.setdefault(each.digest, _Model(each.views)).lookups.append(one)
    return list(found.values())


def archived(place: FeatureStore, uses: Sequence[ViewUse], settings: Settings) -> None:
    """Bring what these views' sources have in a log on this machine into their offline stores: streams do it each ten minutes only."""
    for reference in () if settings.feature_log else dict.fromkeys(use.view.source for use in uses):
        try:
            place.archive(reference)
        except HallmarkError as error:
            say(f"the log of {reference} does not come into the offline store from here: {error.message}")


def _judged(models: Sequence[_Model], settings: Settings) -> Iterator[Compared]:
    from hallmark.feature_store.parity import judge
    from hallmark.feature_store.parity_report import NO_FAULT
    from hallmark.feature_store.place import FeatureStore

    place = FeatureStore(settings.prepared())
    archived(place, [use for model in models for use in model.uses], settings)
    with TaskLines() as lines:
        for model in models:
            with lines.task("features recomputed") as line:
                found = judge(model.lookups, model.uses, place, settings, tell=teller(line))
                wrong = sum(each.cause not in ("", *NO_FAULT) for each in found)
                line.result = f"{len(found)} values of {len(model.lookups)} answers, {wrong} differ"
            yield from found


def teller(line: TaskLine) -> Any:
    def tell(what: str, done: int, total: int) -> None:
        line.advance(done, total, what)

    return tell


def _show(report: ParityReport, compared: int, output: Format) -> None:
    from hallmark.feature_store.causes import CAUSES
    from hallmark.section import spelled

    rows: list[dict[str, Any]] = [
        {**each.model_dump(), "means": CAUSES[each.cause]}  # type: ignore[index]
        for each in report.mismatches
    ]
    if output is not Format.table:
        shown = report.model_dump(mode="json", exclude={"parts", "cursors", "policy"})
        totals = {"compared": compared, "answers": report.answers, "differ": report.differ, "unread": report.unread}
        totals |= {"erased": report.erased, "ahead": report.ahead}
        policy = {"budget": report.policy.budget, "window": spelled(report.policy.window)}
        show({**shown, **totals, "share": report.share, **policy, "mismatches": rows}, output)
        return
    emit(rows, output, empty="no feature differs from what the offline store says", wide=("means",))
    unread = f"; {report.unread} more had defaults, since the store did not answer" if report.unread else ""
    erased = f"; {report.erased} more are of before an erasure" if report.erased else ""
    ahead = f"; {report.ahead} more know of events that the offline store has not yet" if report.ahead else ""
    say(
        f"{compared} answers compared now, {report.answers} in {spelled(report.policy.window)}: {report.differ} differ,"
        f" {report.low:.3%} to {report.high:.3%} of all; {report.policy.budget:.3%} may{unread}{erased}{ahead}"
    )


def spoken(age: timedelta | None) -> str:
    """An age as people say it: seconds, minutes, hours or days, with one more digit where it is short."""
    if age is None:
        return "-"
    seconds = age.total_seconds()
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f}{unit}"
    return f"{seconds:.1f}s"
