"""One answer, recomputed: `hallmark explain`."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from hallmark.cli.clusters import Context, Kubeconfig, connected
from hallmark.cli.console import Format, Output, emit, say, show, width, wrapped
from hallmark.cli.parity import Captured, archived, read, spoken, teller
from hallmark.cli.progress import TaskLines
from hallmark.errors import DeclarationError, HallmarkError, NotFound
from hallmark.settings import Settings

if TYPE_CHECKING:
    from hallmark.feature_store.lookups import CapturedLookups, Lookup
    from hallmark.feature_store.parity import Compared
    from hallmark.rollout.writer import InferenceServiceWriter

_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class _Found(NamedTuple):
    domain: str
    version: str
    revision: str
    told: CapturedLookups


def explain(
    request: Annotated[
        str,
        typer.Argument(
            metavar="REQUEST_ID", help="The id that the client sent with it, or its trace's.", show_default=False
        ),
    ],
    domain: Annotated[
        str, typer.Option(help="Only this domain; default: every one that looks features up.", show_default=False)
    ] = "",
    captured: Captured = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Output = Format.table,
) -> None:
    """Explain one answer: the features that it was given, how old they were, what they are recomputed as, and why they differ."""
    from hallmark.feature_store.parity import judge
    from hallmark.feature_store.place import FeatureStore

    settings = Settings.load()
    idents = [hashlib.sha256(request.encode("utf-8", "replace")).hexdigest()[:32]]
    idents += [request] if _PLAIN.fullmatch(request) else []
    if captured is not None:
        held = [_of(each, idents) for each in read(captured)]
        whole = [_Found(domain or "the file", "", each.variant, each) for each in held]
    else:
        with TaskLines() as lines, lines.task("answer looked for") as line:
            whole = _asked(connected(settings, kubeconfig, context), _domains(domain, settings), idents, tell=line.note)
            line.result = f"in {len({each.told.epoch for each in whole})} pods"
    found = [each for each in whole if each.told.lookups]
    if not found:
        raise _unknown(request, whole)
    place = FeatureStore(settings.prepared())
    shown = []
    archived(place, [use for each in found for use in each.told.views], settings)
    with TaskLines() as lines:
        for each in found:
            with lines.task("features recomputed") as line:
                compared = judge(each.told.lookups, each.told.views, place, settings, explain=True, tell=teller(line))
                line.result = f"{len(compared)} values"
            with lines.task("answer recomputed") as line:
                for lookup in each.told.lookups:
                    mine = [one for one in compared if one.lookup is lookup]
                    shown.append(_shown(each, lookup, mine, settings))
                count = len(each.told.lookups)
                line.result = "1 record" if count == 1 else f"{count} records"
    if output is not Format.table:
        show(shown, output)
        return
    for record in shown:
        _tell(record)


def _domains(name: str, settings: Settings) -> list[str]:
    from hallmark.declaration import domain as declared

    wanted = [name] if name else declared.names(settings)
    found = [each for each in wanted if declared.load(each, settings).features is not None]
    if not found:
        raise DeclarationError(
            f"{name} looks no features up" if name else "no domain looks features up",
            expected="features.views in a domain.yaml",
            got="none",
            fix="docs/features.md says how a domain reads views",
        )
    return found


def _asked(
    writer: InferenceServiceWriter, names: Sequence[str], idents: Sequence[str], *, tell: Callable[[str], None]
) -> list[_Found]:
    from hallmark.render.inferenceservice import VERSION_LABEL
    from hallmark.rollout.parity import of_request

    found = []
    for name in names:
        tell(f"asking the monitors of {name}")
        for ident in idents:
            for each in of_request(writer, name, ident):
                version = (each.pod["metadata"].get("labels") or {}).get(VERSION_LABEL, "")
                found.append(_Found(name, version, each.revision, each.told))
    return found


def _of(told: CapturedLookups, idents: Sequence[str]) -> CapturedLookups:
    mine = tuple(each for each in told.lookups if {each.request, each.trace, each.exchange} & set(idents))
    return told.model_copy(update={"lookups": mine, "held": len(told.lookups)})


def _unknown(request: str, whole: Sequence[_Found]) -> NotFound:
    there = {each.told.epoch: each for each in whole}
    got = [
        f"{each.domain} {each.revision}: {each.told.held} records"
        + (f" since {each.told.oldest:%Y-%m-%d %H:%M:%S} UTC" if each.told.oldest else "")
        for each in there.values()
    ]
    return NotFound(
        f"no capture has request {request}",
        expected="the id that the client sent (its V2 `id`), the trace's id, or the gateway's",
        got="; ".join(got) or "no pod that captures lookups",
        fix="a monitor keeps its newest 20,000 records until it restarts, and only as many requests as serving.captured says",
    )


def _shown(found: _Found, lookup: Lookup, compared: Sequence[Compared], settings: Settings) -> dict[str, Any]:
    recomputed, why = _recomputed(found, lookup, compared, settings)
    return {
        "domain": found.domain,
        "version": found.version,
        "revision": found.revision,
        "digest": found.told.digest,
        "views": [use.view.reference for use in found.told.views],
        "row": lookup.row,
        "read_at": lookup.at.isoformat(),
        "store_answered": lookup.was_read,
        "features": [_feature(each) for each in compared],
        "outputs": lookup.outputs,
        "recomputed_outputs": recomputed,
        "not_recomputed": why,
    }


def _feature(one: Compared) -> dict[str, Any]:
    age = (one.lookup.read_at - one.newest) / 1e6 if one.newest else None
    return {
        "view": one.view,
        "entity": one.entity,
        "column": one.column,
        "served": one.served,
        "age": age,
        "recomputed": one.expected,
        "cause": one.cause or None,
        "events": one.events,
        "newest_event": (_EPOCH + timedelta(microseconds=one.latest)).isoformat() if one.latest else None,
    }


def _recomputed(
    found: _Found, lookup: Lookup, compared: Sequence[Compared], settings: Settings
) -> tuple[dict[str, Any] | None, str]:
    """The model's outputs on the recomputed features, or why there are none."""
    import numpy as np

    from hallmark.artifacts import bundle
    from hallmark.features import arrays
    from hallmark.learners import onnx_model
    from hallmark.registry.store import Registry

    version = found.version
    values = {**lookup.sent, **lookup.values, **{one.column: one.expected for one in compared}}
    defaults = {
        name: use.view.columns[name].empty if use.view.columns[name].default is None else use.view.columns[name].default
        for use in found.told.views
        for name in use.fields
    }
    try:
        registry = Registry(settings)
        if not version:
            known = (str(each.version) for each in registry.versions(found.domain) if each.digest == found.told.digest)
            version = next(known, "")
        if not version:
            return None, f"the registry has no version of {found.domain} with the digest {found.told.digest[:19]}"
        folder = registry.resolve(found.domain, int(version)).fetch()
        model = bundle.read(folder, expected=found.told.digest)
        columns: dict[str, Any] = {}
        for field in model.signature.fields:
            value = values.get(field.name)
            value = defaults.get(field.name) if value is None and not field.optional else value
            if value is None and not field.optional:
                return None, f"the capture does not keep {field.name}"
            columns[field.name] = arrays.column([value], field)
        running = onnx_model.session(model.file("model.onnx"), threads=1)
        named = [each.name for each in model.signature.outputs]
        outputs: dict[str, Any] = onnx_model.run(running, model.features.encode(columns, rows=1), named)
        answer, _ = model.answer
        if answer is not None:
            outputs |= answer(outputs, model.signature.labels)
    except (HallmarkError, arrays.Misfit) as error:
        told = error.message if isinstance(error, HallmarkError) else str(error)
        return None, f"version {version} of {found.domain} cannot be run here: {told}"
    flat = {name: np.asarray(values).reshape(-1) for name, values in outputs.items()}
    return {
        name: each[0].item() if hasattr(each[0], "item") else each[0] for name, each in flat.items() if len(each) == 1
    }, ""


def _tell(record: dict[str, Any]) -> None:
    version = f"version {record['version']}, " if record["version"] else ""
    heading = f"{record['domain']}: {version}{record['revision']}, record {record['row']}, features read at {record['read_at']}"
    typer.echo(wrapped(heading, columns=width()))
    rows = [
        {
            **each,
            "age": "-" if each["age"] is None else spoken(timedelta(seconds=each["age"])),
            "cause": each["cause"] or "equal",
        }
        for each in record["features"]
    ]
    nothing = "no feature was read: the store did not answer, and the model got defaults"
    emit(rows, Format.table, empty=nothing if not record["store_answered"] else "no feature", wide=("newest_event",))
    again = record["recomputed_outputs"] or {}
    for name, value in record["outputs"].items():
        more = f", recomputed {again[name]:.6g}" if isinstance(again.get(name), float) else ""
        typer.echo(f"{name}: {value:.6g}{more}" if isinstance(value, float) else f"{name}: {value}")
    if record["not_recomputed"]:
        say(f"not recomputed: {record['not_recomputed']}")
