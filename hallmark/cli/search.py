"""One search in the index of a version: `hallmark search`: what came, by which way, and why in this order."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hallmark.cli.console import Format, Output, emit, say
from hallmark.errors import DeclarationError, NotFound, Refused
from hallmark.settings import Settings

if TYPE_CHECKING:
    from hallmark.artifacts.bundle import Bundle
    from hallmark.artifacts.folder import Signature
    from hallmark.features.fields import Columns, Field
    from hallmark.retrieval.filters import Filter

_REASONS = 3
BOOSTER = "booster.txt"


@dataclass(frozen=True)
class Found:
    """An item: its columns, by which ways it came, its score, and what moved it, most first.

    ranks: by way, from 1.   moved: names of what the ranker reads with their part of the score, less the mean of all that was found.
    """

    id: str
    told: dict[str, Any]
    ranks: dict[str, int]
    score: float
    moved: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True)
class Searched:
    """What one version makes of a search, best first. items: that its index holds."""

    version: int
    found: tuple[Found, ...]
    items: int

    def place(self, item: str) -> int | None:
        """Place of an item, from 1."""
        return next((place for place, each in enumerate(self.found, start=1) if each.id == item), None)


def search(
    query: Annotated[str, typer.Argument(help="In words, such as 'red wool coat size M'.", show_default=False)],
    domain: Annotated[str, typer.Option(help="A domain whose answers are items, found by words.")] = "search",
    locale: Annotated[str, typer.Option(help="Language of the member's app.")] = "en",
    where: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            help="COLUMN=VALUE, or COLUMN=LEAST..MOST; may be repeated: size=M, price=..60.",
            show_default=False,
        ),
    ] = None,
    version: Annotated[
        str, typer.Option(help="A version, or an alias; default: the champion, else the latest.", show_default=False)
    ] = "",
    beside: Annotated[
        str,
        typer.Option(help="Another to compare with; default: the challenger, where there is one.", show_default=False),
    ] = "",
    top: Annotated[int, typer.Option(min=1, max=200, help="Items shown.")] = 10,
    html: Annotated[Path | None, typer.Option(help="Write a page of it to this file.", show_default=False)] = None,
    output: Output = Format.table,
) -> None:
    """Search the index of a version as its server does: by words and by vectors, then in its order.

    WHY names what moved an item most, by the ranker's own contributions less the mean over all that was found. Changes of items since the
    version was trained are the server's: `hallmark call` asks that.
    """
    from hallmark.declaration import domain as domains

    settings = Settings.load()
    if domains.load(domain, settings).retrieval is None:
        raise DeclarationError(
            f"{domain} has no items to search",
            expected="retrieval: in its domain.yaml",
            got="none",
            fix="name another --domain",
        )
    first, second = _versions(domain, version, beside, settings)
    asked = {"query": query, "locale": locale}
    stable = _searched(domain, first, asked, where or [], settings)
    other = _searched(domain, second, asked, where or [], settings) if second else None
    rows = _rows(stable, other, top)
    if html is not None:
        _page(html, query, stable, other, top)
        say(f"written: {html}")
    emit(rows, output, empty="nothing was found", wide=("price", "size"))
    against = f", beside version {other.version}" if other else ""
    say(
        f"version {stable.version} of {domain}: {len(stable.found)} of {stable.items} items found, then ranked{against}"
    )


def _versions(domain: str, version: str, beside: str, settings: Settings) -> tuple[str, str]:
    """What to ask: what was named; else the champion, or where there is none the latest, and a challenger that is another."""
    from hallmark.registry.store import CHALLENGER, CHAMPION, Registry

    def known(alias: str) -> int:
        try:
            return Registry(settings).resolve(domain, alias).version
        except NotFound:
            return 0

    champion = 0 if version else known(CHAMPION)
    first = version or (CHAMPION if champion else "latest")
    if champion and not beside and known(CHALLENGER) not in (0, champion):
        return first, CHALLENGER
    return first, beside


def _searched(domain: str, version: str, asked: dict[str, str], given: list[str], settings: Settings) -> Searched:
    """What a version finds and how it puts that in order, by the verified bytes of its folder."""
    import numpy as np

    from hallmark.artifacts import bundle
    from hallmark.learners import onnx_model
    from hallmark.registry.store import Registry
    from hallmark.retrieval import pairing
    from hallmark.retrieval.candidates import WORDS, found_columns, item_columns
    from hallmark.retrieval.fusion import fuse
    from hallmark.retrieval.search import Retriever

    known = Registry(settings).resolve(domain, int(version) if version.isdecimal() else version)
    folder = known.fetch()
    model = bundle.read(folder, expected=known.digest, keep=bundle.SERVED | {BOOSTER})
    declared, unit = model.signature.retriever, pairing.opened(folder, model)
    if declared is None or unit is None or declared.text is None:
        raise DeclarationError(
            f"version {known.version} of {domain} has no index that is searched by words",
            expected="a version that was trained with retrieval: and words in domain.yaml",
            got="one without",
            fix=f"train it again: hallmark train {domain}",
        )
    record = _record(model.signature, {**asked, declared.text: asked["query"]})
    wanted, index = _where(model.signature, given), Retriever(unit)
    features = model.features_of(declared.encoder.source).part(declared.encoder.code, inputs=declared.encoder.inputs)
    encoder = onnx_model.session(model.file(declared.encoder.file))
    output = declared.encoder.output
    vector = onnx_model.run(encoder, features.encode(record, rows=1), [output])[output][0]
    most = declared.candidates
    if vector.any():
        found = index.hybrid(vector, asked["query"], most, wanted, depth=most)
    else:  # no word of it is known to the encoder
        found = fuse({WORDS: index.search_words(asked["query"], most, wanted)}, most)
    if not found:
        return Searched(known.version, (), len(unit))
    ids = [each.id for each in found]
    rows = [unit.rows[each] for each in ids]
    values = unit.columns.taken(rows)
    columns = {name: np.repeat(column, len(ids)) for name, column in record.items()}
    columns |= item_columns(declared, ids, values) | found_columns(found)
    scores, moved = np.array([each.score for each in found]), [()] * len(ids)
    if declared.ranker is not None:
        code = model.features.part(declared.ranker.code, inputs=declared.ranker.inputs)
        inputs = code.encode(columns, rows=len(ids))
        session = onnx_model.session(model.file(declared.ranker.file))
        scores = onnx_model.run(session, inputs, [declared.ranker.output])[declared.ranker.output].reshape(-1)
        near = unit.vectors(np.array(rows)) @ (vector / max(1e-12, float(np.linalg.norm(vector))))
        moved = _moved(model, inputs, near)
    made = [
        Found(
            each.id, {name: values[name][at] for name in values}, dict(each.ranks), float(scores[at]), tuple(moved[at])
        )
        for at, each in enumerate(found)
    ]
    return Searched(known.version, tuple(sorted(made, key=lambda each: -each.score)), len(unit))


def _record(signature: Signature, asked: dict[str, str]) -> Columns:
    """One request's columns; `DeclarationError` where a field may not be what was given."""
    import numpy as np

    from hallmark.features import arrays

    now = {"at": datetime.now(UTC).timestamp()}
    made = {}
    for field in signature.asked:
        value = asked.get(field.name, now.get(field.name))
        if value is None and not field.optional:
            raise DeclarationError(
                f"a request of {signature.domain} has a field {field.name}, which nothing here says",
                expected="query and locale alone",
                got=field.name,
                fix=f"ask the server: hallmark call {signature.domain}",
            )
        if isinstance(value, str):
            _allowed(field, value)
        made[field.name] = arrays.empty(field, 1) if value is None else np.array([value], dtype=field.dtype)
    return made


def _allowed(field: Field, value: str) -> None:
    if field.categories is not None and value not in field.categories:
        raise DeclarationError(
            f"{field.name} is none that the model knows", expected=" or ".join(field.categories), got=repr(value)
        )
    if field.longest is not None and len(value) > field.longest:
        raise DeclarationError(
            f"{field.name} is too long", expected=f"at most {field.longest} characters", got=f"{len(value)} characters"
        )
    if not value.strip():
        raise DeclarationError(f"{field.name} is empty", expected="some words", got=repr(value))


def _where(signature: Signature, given: list[str]) -> Filter | None:
    """The filter that --filter says; `DeclarationError` where it says none."""
    from hallmark.retrieval import filters

    by = {each.column: each.by for each in signature.retriever.corpus.filters} if signature.retriever else {}
    made: dict[str, Any] = {}
    for each in given:
        column, equals, value = each.partition("=")
        if not equals or column not in by:
            raise DeclarationError(
                "--filter names no column that filters",
                expected=f"one of {', '.join(by) or 'none'}, then = and a value",
                got=each,
            )
        if by[column] == "value":
            made.setdefault(column, []).append({"true": True, "false": False}.get(value, value))
            continue
        least, dots, most = value.partition("..")
        made[column] = {
            end: _bound(each, end_value)
            for end, end_value in (("min", least), ("max", most if dots else least))
            if end_value
        }
    try:
        return filters.parse(made)
    except Refused as error:
        raise DeclarationError(error.message, expected=error.expected, got=error.got) from error


def _bound(shown: str, value: str) -> float | str:
    if value[:4].isdecimal() and value[4:5] == "-":  # a day
        return value
    try:
        return float(value)
    except ValueError:
        raise DeclarationError(
            "--filter has no such bound", expected="a number, or a day such as 2026-10-01", got=shown
        ) from None


def _moved(model: Bundle, inputs: Columns, near: Any) -> list[Any]:
    """(n,) what moved each row, up or down, most first, beside the mean of the rows; nothing of a ranker that is no forest."""
    import numpy as np

    names = getattr(model.code("features.py"), "NAMES", None)
    if BOOSTER not in model.files or names is None or "numbers" not in inputs:
        return [()] * len(near)
    import lightgbm

    read = np.column_stack((near, inputs["numbers"]))
    booster = lightgbm.Booster(model_str=model.file(BOOSTER).decode())
    parts = np.asarray(booster.predict(read, pred_contrib=True, num_threads=1))[:, :-1]
    parts = parts - parts.mean(axis=0)
    named = ("nearness", *names)
    order = np.argsort(-np.abs(parts), axis=1)[:, :_REASONS]
    return [[(named[at], float(parts[row, at])) for at in columns] for row, columns in enumerate(order.tolist())]


def _rows(first: Searched, other: Searched | None, top: int) -> list[dict[str, Any]]:
    rows = []
    for place, item in enumerate(first.found[:top], start=1):
        row: dict[str, Any] = {"place": place, "item": item.id, "title": item.told.get("title")}
        row |= {name: item.told[name] for name in ("size", "price") if name in item.told}
        row |= {"words": item.ranks.get("words"), "vectors": item.ranks.get("vectors"), "score": round(item.score, 3)}
        if other is not None:
            row[f"in {other.version}"] = other.place(item.id)
        rows.append(row | {"why": ", ".join(f"{name} {part:+.2f}" for name, part in item.moved)})
    return rows


def _page(path: Path, query: str, first: Searched, other: Searched | None, top: int) -> None:
    from hallmark import page

    both = [each for each in (first, other) if each is not None]
    largest = max((abs(part) for each in both for item in each.found[:top] for _, part in item.moved), default=1.0)
    page.write(
        path,
        page.filled(
            "cli/search.html",
            filters={},
            query=query,
            both=both,
            top=top,
            largest=largest or 1.0,
            made=datetime.now(UTC),
        ),
    )
