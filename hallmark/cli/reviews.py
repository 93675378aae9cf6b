"""Cases for people: `hallmark reviews`."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from hallmark import people
from hallmark.cli.clusters import Context, Kubeconfig, connected
from hallmark.cli.console import DomainName, Format, Output, emit, say
from hallmark.cli.options import NoOpen, Port, Why, declaration
from hallmark.errors import Conflict, DeclarationError, NotFound, Refused
from hallmark.extras import not_installed
from hallmark.settings import Settings

if TYPE_CHECKING:
    from hallmark.reviews.agreement import Kappa
    from hallmark.reviews.case import Case, Claim, Photo
    from hallmark.reviews.queue import ReviewQueue

PORT = 8422
_LOCAL_FILES = "/data/local-files/?d="
"""Where Label Studio has the files of its local storage."""

app = typer.Typer(
    name="reviews",
    help="Cases that wait for a person: who takes which, what they say, and how well two of them agree.",
    no_args_is_help=True,
)
As = Annotated[
    str,
    typer.Option("--as", metavar="PERSON", help="Who you are; default: this machine's account.", show_default=False),
]
Domain = Annotated[str, typer.Option("--domain", help="Only cases of this domain; default: all.", show_default=False)]
Photos = Annotated[
    Path | None,
    typer.Option(
        help="Folder that the cases' photos lie below; default: reviews/photos in the state folder.", show_default=False
    ),
]
Token = Annotated[str, typer.Argument(help="The token that `hallmark reviews next` gave.", show_default=False)]


@contextlib.contextmanager
def _queue(settings: Settings | None = None, *, domain: str = "") -> Iterator[ReviewQueue]:
    """The queue; `DeclarationError` where nobody knows the domain that is asked for."""
    from hallmark.reviews.database import connect
    from hallmark.reviews.queue import ReviewQueue

    settings = settings or Settings.load()
    queue = ReviewQueue(connect(settings.reviews))
    with contextlib.closing(queue):
        _known(domain, queue, settings)
        yield queue


def _known(domain: str, queue: ReviewQueue, settings: Settings) -> None:
    """`DeclarationError` where neither this checkout nor the queue knows a domain that was asked for."""
    from difflib import get_close_matches

    from hallmark.declaration import folders

    known = sorted({*folders.names(settings), *queue.domains()}) if domain else []
    if not domain or domain in known:
        return
    near = get_close_matches(domain, known, 3)
    raise DeclarationError(
        f"--domain: nobody knows a domain {domain!r}",
        expected="one of this checkout, or one with cases: " + (", ".join(known) or "none yet"),
        got=domain,
        fix=f"did you mean {' or '.join(near)}?" if near else "check the spelling",
    )


@app.command("list", epilog="Example: hallmark reviews list --domain authentication")
def list_(
    domain: Domain = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Cases shown.")] = 50,
    output: Output = Format.table,
) -> None:
    """List cases that wait, in the order in which they would be taken, and those that somebody has."""
    with _queue(domain=domain) as queue:
        found = queue.waiting(domain=domain, limit=limit)
    rows = [
        {
            "case": each.id,
            "domain": each.domain,
            "item": each.item,
            "price": each.price,
            "saves a minute": round(each.value, 2),
            "due": _shown(each.due),
            "urgent": each.urgent,
            "opinion": each.round,
            "with": each.who,
        }
        for each in found
    ]
    emit(rows, output, empty="no case waits", wide=("opinion", "domain"))


@app.command(epilog="Example: hallmark reviews open cases.jsonl")
def open(  # noqa: A001 - the queue's own word
    file: Annotated[
        Path, typer.Argument(help="A JSON object a line: see docs/reviews.md; - for stdin.", allow_dash=True)
    ],
    output: Output = Format.table,
) -> None:
    """Put cases in; those that are there already are left as they are."""
    cases = list(_cases(file))
    with _queue() as queue:
        new = sum(queue.open(each) for each in cases)
    emit([{"cases": len(cases), "new": new}], output)


@app.command(epilog="Example: hallmark reviews guarantee authentication")
def guarantee(domain: DomainName, output: Output = Format.table) -> None:
    """Say what final labels of audited accepts tell of a decision's guarantee; exit 3 where it no longer holds."""
    from hallmark.errors import GateRefused
    from hallmark.rollout.guarantee import DecisionGuarantee

    found, settings = declaration(domain)
    if found.decision is None:
        raise DeclarationError(
            f"{domain} decides nothing", expected="a domain with decision:", got="none", fix="name another"
        )
    told = DecisionGuarantee.at(found, settings)()
    if told is None:
        emit([], output, empty="no audited accept of it has a final label")
        return
    unit, state = told
    risk = found.decision.risk.false_authentic
    emit([{"unit": unit, "at most": risk.at_most, **state.model_dump(mode="json")}], output)
    if state.broken is not None:
        raise GateRefused(
            f"the guarantee of {domain} no longer holds",
            expected=f"at most {risk.at_most:g} counterfeits among what is accepted",
            got=f"{state.counterfeits} of {state.labels} audited accepts, told at the {state.broken}th",
            fix=f"the decision gives its items to people until another unit is served: hallmark train {domain}",
        )


@app.command("next", epilog="Example: hallmark reviews next --as ana -o json")
def next_(who: As = "", domain: Domain = "", output: Output = Format.table) -> None:
    """Take the case that saves most a minute, or see again the one that you have."""
    with _queue(domain=domain) as queue:
        claim = queue.claim(who or people.account(), domains={domain} if domain else None)
    if claim is None:
        emit([], output, empty="no case waits for you")
        return
    _tell(claim, output)


@app.command(epilog="Example: hallmark reviews verdict 5Qb1x counterfeit --reason stitching --as ana")
def verdict(
    token: Token,
    word: Annotated[str, typer.Argument(help="authentic, counterfeit, or 'cannot tell'.", show_default=False)],
    reason: Annotated[str, typer.Option(help="Where you saw it: stitching, hardware, logo, …")] = "",
    note: Annotated[str, typer.Option(help="In your words.", show_default=False)] = "",
    seconds: Annotated[float, typer.Option(min=0, help="How long you looked; 0: since you took it.")] = 0.0,
    who: As = "",
    output: Output = Format.table,
) -> None:
    """Say what the item of your case is. The same once more changes nothing; after its lease it is refused."""
    from hallmark.reviews.case import Verdict
    from hallmark.section import validated

    given = {"word": word, "note": note, "seconds": seconds, **({"reason": reason} if reason else {})}
    said = validated(Verdict, given, "the verdict", place="the command")
    with _queue() as queue:
        queue.give(token, said, who=who or people.account())
    emit([{"token": token, "verdict": said.word, "reason": said.reason or ""}], output)


@app.command(epilog="Example: hallmark reviews undo --as ana")
def undo(who: As = "", output: Output = Format.table) -> None:
    """Take back your last verdict, within two minutes and before the next one: its case is yours again."""
    with _queue() as queue:
        claim = queue.undo(who or people.account())
    _tell(claim, output)


@app.command("put-back", epilog="Example: hallmark reviews put-back 5Qb1x")
def put_back(token: Token) -> None:
    """Let somebody else have your case; exit 1 where nobody has one under this token any more."""
    with _queue() as queue:
        if not queue.release(token):
            raise Conflict(
                "nobody has a case under this token, so nothing was changed",
                expected="the token of a case that you have",
                got="one that is not known, or whose case was put back, judged or left until its lease was over",
                fix="`hallmark reviews list` tells who has which case; `hallmark reviews undo` takes back a verdict",
            )
    say("the case waits again")


@app.command(epilog="Example: hallmark reviews history case-17")
def history(
    case: Annotated[str, typer.Argument(help="The id of a case.", show_default=False)], output: Output = Format.table
) -> None:
    """Show everything that happened to a case, verdicts too."""
    with _queue() as queue:
        queue.case(case)
        found = queue.history(case)
    rows = [
        {"at": _shown(each.at), "opinion": each.round, "what": each.what, "who": each.who, "told": each.told}
        for each in found
    ]
    emit(rows, output)


@app.command(epilog="Example: hallmark reviews report --domain authentication -o json")
def report(domain: Domain = "", output: Output = Format.table) -> None:
    """Show what waits, what was said, how long it took, how well two people agree (Cohen's kappa) and what audits found."""
    from hallmark.reviews import report as reports

    with _queue(domain=domain) as queue:
        found = reports.report(queue, domain=domain)
    if output is not Format.table:
        emit([found.model_dump(mode="json")], output)
        return
    audits = found.audits
    row = {
        "open": found.open,
        "claimed": found.claimed,
        "late": found.late,
        "judged": found.judged,
        "said": ", ".join(f"{word} {count}" for word, count in found.words.items()) or "nothing yet",
        "kappa": _kappa(found.agreement),
        "counterfeits among audits": "no audits yet"
        if audits.value is None
        else f"{audits.count} of {audits.of}: {audits.value:.1%} ({audits.low:.1%} to {audits.high:.1%})",
        "reviewer's words opened first": f"{found.opened.count} of {found.opened.of}",
        "labels to send": found.unsent,
    }
    emit([{"figure": name, "value": str(value)} for name, value in row.items()], output)
    reviewers = [
        {
            "who": each.who,
            "verdicts": each.verdicts,
            "median s": round(each.seconds, 1),
            "agreed with the other": f"{each.agreed} of {each.pairs}",
        }
        for each in found.reviewers
    ]
    if reviewers:
        emit(reviewers, output)
    if found.disputed:
        say(f"two people differ on {', '.join(found.disputed)}: `hallmark reviews history CASE`")


@app.command(epilog="Example: hallmark reviews export tasks.json --format label-studio")
def export(
    file: Annotated[Path, typer.Argument(help="Where it is written.", show_default=False)],
    form: Annotated[
        str,
        typer.Option(
            "--format", help="label-studio: tasks to import there; labels: what `hallmark labels` reads, with weights."
        ),
    ] = "labels",
    domain: Domain = "",
    photos_at: Annotated[
        str, typer.Option(help="Address before each photo's path, for Label Studio; default: its local storage.")
    ] = _LOCAL_FILES,
) -> None:
    """Write final verdicts for other programs: Label Studio's JSON, or JSON lines with a label a line."""
    from hallmark.files import replace
    from hallmark.reviews import label_events, label_studio
    from hallmark.reviews.photos import name

    def address(photo: Photo) -> str:
        return photos_at + quote(name(photo))

    if form not in ("label-studio", "labels"):
        raise DeclarationError("--format is neither", expected="label-studio or labels", got=form)
    with _queue(domain=domain) as queue:
        given = list(queue.verdicts(domain=domain))
    if form == "labels":
        rows: list[dict[str, Any]] = list(label_events.examples(given))
        text = "".join(json.dumps(each) + "\n" for each in rows)
    else:
        rows = label_studio.tasks(given, photos=address)
        text = json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
    if not rows:
        raise NotFound(
            "there is nothing to write yet",
            expected="verdicts that are final",
            got="none",
            fix="`hallmark reviews report`",
        )
    replace(file, text)
    say(f"written: {file}, {len(rows)} {'labels' if form == 'labels' else 'tasks'}")
    if form == "label-studio":
        say(f"its labelling config:\n{label_studio.CONFIG}")


@app.command(epilog="Example: hallmark reviews send authentication")
def send(
    name: DomainName,
    why: Why = "",
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Output = Format.table,
) -> None:
    """Send final verdicts as labels to the drift monitors that kept the answers, as `hallmark labels` does; once they met some, never again."""
    from hallmark.reviews.label_events import label_events
    from hallmark.rollout.label_sender import LabelSender

    domain, settings = declaration(name)
    if domain.task.kind != "binary":
        raise DeclarationError(
            f"verdicts are no labels of {name}",
            expected="a binary task: 1 for a counterfeit, 0 for an authentic item",
            got=domain.task.kind,
            fix="`hallmark reviews export`, and `hallmark labels` with labels of that task",
        )
    with _queue(settings) as queue:
        found = list(label_events(queue.verdicts(domain=name, unsent=True)))
        if not found:
            emit([], output, empty="no verdict waits to be sent")
            return
        writer = connected(settings, kubeconfig, context, changes=True)
        events = [event for _, event in found]
        sent = LabelSender(writer, name, settings).send(events, f"{len(events)} verdicts of people", why=why)
        for each in sent.refused:
            say(f"some were refused, and are sent again next time: {each}")
        if sent.joined and not sent.refused:
            queue.sent([given.number for given, _ in found])
    emit([{"labels": sent.labels, "joined": sent.joined, "unknown": sent.unknown}], output)
    if sent.unknown:
        say(
            f"{sent.unknown} met no answer that a drift monitor still keeps; for training they stay: `hallmark reviews export`"
        )
    if not sent.joined and not sent.refused:
        say(f"no label met an answer, so they are sent again next time: see that {writer.host} is where {name} answers")


@app.command(epilog="Example: hallmark reviews page --as ana --photos ~/photos")
def page(
    who: As = "",
    domain: Domain = "",
    photos: Photos = None,
    port: Port = PORT,
    no_open: NoOpen = False,
    shared: Annotated[
        bool,
        typer.Option(
            "--shared",
            help="On a cluster, behind its gateway: listen on every address; the gateway says who asks, and for which domains.",
        ),
    ] = False,
    prefix: Annotated[str, typer.Option(metavar="PATH", help="Path that it stands under, such as /reviews.")] = "",
) -> None:
    """Open the page that people work on: one case after the other, with keys for verdicts. It answers this machine alone until ctrl-c."""
    try:
        from hallmark.cli.ui import path_of, serve
        from hallmark.ui.review import app as made
    except ModuleNotFoundError as error:
        raise not_installed(error, what="page", otherwise="work with `hallmark reviews next` and `verdict`") from error

    if shared and who:
        raise DeclarationError(
            "--as and --shared do not go together",
            expected="the gateway to say who asks",
            got=f"--as {who}",
            fix="leave out --as",
        )
    prefix = path_of(prefix)
    settings = Settings.load()
    folder = _photos(photos, settings)
    with _queue(settings) as queue:
        if not shared:  # on a cluster it says so to whoever asks, until the queue is back
            queue.counts()
            _known(domain, queue, settings)
        site = made(
            queue,
            photos=folder,
            who=who or people.account(),
            domains={domain} if domain else None,
            shared=shared,
            prefix=prefix,
        )
        serve(lambda _: site, port=port, shared=shared, prefix=prefix, open_it=not no_open)


@app.command(epilog="Example: hallmark reviews gc --photos /data/photos --days 90 --dry-run")
def gc(
    photos: Photos = None,
    days: Annotated[
        float,
        typer.Option(
            help="A photo stays so long after its case was decided, and after its file was last used; at least 1."
        ),
    ] = 90.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; say what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    output: Output = Format.table,
) -> None:
    """Delete photos that a decision's service kept and that no case needs any more: none that is open, none decided lately.

    The service may go on meanwhile. What a run that was killed left is finished by the next.
    """
    from hallmark.reviews import retention

    settings = Settings.load()
    with _queue(settings) as queue:
        found = retention.look(_photos(photos, settings), queue, days=days, where=settings.reviews)
    files, size = (len(found.goes), found.size)
    agreed = bool(files) and not dry_run
    if (
        agreed
        and not yes
        and not typer.confirm(f"Delete {files} photos, {size / 1e6:.1f} MB? This cannot be undone", err=True)
    ):
        raise Refused("nothing was removed", expected="yes, or --yes", got="no")
    if agreed:
        files, size = retention.carry_out(found)
    row = {"goes" if dry_run else "went": files, "bytes": size, "stays": found.kept, "bytes that stay": found.kept_size}
    emit([{**row, "not ours": found.others}], output)
    if dry_run:
        say("nothing was changed")


def _photos(given: Path | None, settings: Settings) -> Path:
    """The folder of photos of cases."""
    if given and not given.is_dir():
        raise NotFound("the folder of photos is not there", expected="a folder", got=str(given))
    return given or settings.state / "reviews" / "photos"


def _tell(claim: Claim, output: Format) -> None:
    case = claim.case
    seen = case.evidence.seen
    row = {
        "token": claim.token,
        "case": case.id,
        "item": case.item,
        "price": case.price,
        "lease": _shown(claim.lease),
        "due": _shown(case.due),
        "photos": [each.path or each.digest for each in case.evidence.photos],
        "references": [each.id for each in case.evidence.references],
        "scores": dict(seen.scores),
        "path": list(seen.path),
    }
    if output is not Format.table:
        emit([row], output)
        return
    emit([{"figure": name, "value": _text(value)} for name, value in row.items()], output)


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {each:.3g}" for name, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _kappa(found: Kappa | None) -> str:
    if found is None:
        return "nobody gave a second opinion yet"
    if found.value is None or found.low is None or found.high is None:
        return f"none: all {found.pairs} pairs say the same word"
    return f"{found.value:.2f} ({found.low:.2f} to {found.high:.2f}), {found.agreed:.0%} of {found.pairs} pairs agree"


def _shown(at: Any) -> str:
    return str(at.strftime("%Y-%m-%d %H:%M:%SZ"))


def _cases(file: Path) -> Iterator[Case]:
    from hallmark.reviews.case import Case
    from hallmark.section import validated

    shown = "stdin" if str(file) == "-" else file.name
    if shown != "stdin" and not file.is_file():
        raise NotFound(f"there is no file {file}", expected="JSON lines of cases", got="none")
    try:
        text = sys.stdin.read() if shown == "stdin" else file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise DeclarationError(
            f"{shown} is no text",
            expected="JSON lines of cases in UTF-8",
            got=f"byte {error.object[error.start]:#04x} at {error.start}",
            fix="write it as UTF-8",
        ) from error
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            raw = json.loads(line)
        except ValueError as error:
            raise DeclarationError(
                f"{shown} has a line that is no JSON", expected="an object a line", got=f"line {number}: {line[:80]}"
            ) from error
        yield validated(Case, raw, f"{shown}:{number}")
