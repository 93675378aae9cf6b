"""One search, of the servers that are live or in the index of a version: `hallmark search`: what came, by which way, and why in this order."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hallmark.cli import search_request
from hallmark.cli.clusters import Context, Kubeconfig
from hallmark.cli.console import Format, Output, emit, say
from hallmark.errors import DeclarationError, ModelRefused, NotFound
from hallmark.settings import Settings

if TYPE_CHECKING:
    from hallmark.artifacts.bundle import Bundle
    from hallmark.cli.search_servers import Server
    from hallmark.features.fields import Columns

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
    """What one version makes of a search, best first.

    items: that its index holds.   record, wanted: fields of the request, and what filters it.
    variant: stable or canary, where a server answered.
    """

    version: int
    found: tuple[Found, ...]
    items: int
    record: dict[str, Any]
    wanted: dict[str, Any]
    variant: str = ""

    @property
    def said(self) -> str:
        """How many items came, and from where."""
        if self.variant:
            return f"{len(self.found)} items answered by a {self.variant} server"
        return f"{len(self.found)} of {self.items} items found, then ranked"

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
        str,
        typer.Option(
            help="Search the index of a version, or an alias; default: ask the servers, or where none is live the champion, else the latest.",
            show_default=False,
        ),
    ] = "",
    beside: Annotated[
        str,
        typer.Option(
            help="Another to compare with; default: the candidate that is live, or the challenger, where there is one.",
            show_default=False,
        ),
    ] = "",
    top: Annotated[int, typer.Option(min=1, max=200, help="Items shown.")] = 10,
    html: Annotated[Path | None, typer.Option(help="Write a page of it to this file.", show_default=False)] = None,
    kubeconfig: Kubeconfig = None,
    context: Context = None,
    output: Output = Format.table,
) -> None:
    """Ask the servers that are live, stable beside a candidate, changes of items included; else search the index of a version as its server does.

    WHY names what moved an item most, by the ranker's own contributions less the mean over all that the version's index finds; an item
    that was put in since has none. With --version or --beside no server is asked.
    """
    from hallmark.cli.search_servers import servers
    from hallmark.declaration import domain as domains

    settings = Settings.load()
    if domains.load(domain, settings).retrieval is None:
        raise DeclarationError(
            f"{domain} has no items to search",
            expected="retrieval: in its domain.yaml",
            got="none",
            fix="name another --domain",
        )
    named = bool(version or beside)
    if named and (kubeconfig is not None or context is not None):
        raise DeclarationError(
            "an index of the registry is searched, or servers are asked",
            expected="--version and --beside, or --kubeconfig and --context",
            got="both",
        )
    asked = {"query": query, "locale": locale}
    live = {} if named else servers(domain, settings, kubeconfig, context)
    if live:
        sides = [_served(domain, each, asked, where or [], settings) for each in live.values()]
    else:
        wanted = [each for each in _versions(domain, version, beside, settings) if each]
        sides = [_searched(domain, each, asked, where or [], settings) for each in wanted]
    stable, other = sides[0], sides[1] if len(sides) > 1 else None
    rows = _rows(stable, other, top)
    if html is not None:
        _page(html, query, stable, other, top)
        say(f"written: {html}")
    emit(rows, output, empty="nothing was found", wide=("price", "size"))
    against = f", beside version {other.version}" if other else ""
    say(f"version {stable.version} of {domain}: {stable.said}{against}")


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


def _served(domain: str, server: Server, asked: dict[str, str], given: list[str], settings: Settings) -> Searched:
    """What a server answers, in its order, with what its version's index tells of the items."""
    from hallmark.registry.store import Registry
    from hallmark.retrieval.candidates import VECTORS, WORDS

    version = server.version
    known = Registry(settings).resolve(domain, version)
    if known.digest != server.digest:
        raise ModelRefused(
            f"version {version} of {domain} in the registry is not the one that is served",
            expected=server.digest,
            got=str(known.digest),
            fix="ask with the registry that the cluster's versions come from",
        )
    here = _searched(domain, str(version), asked, given, settings)
    answer = server.answer(domain, here.record | search_request.filtered(here.wanted))
    told = {each.id: each for each in here.found}
    columns = ("items", "scores", "vector_rank", "word_rank")
    found = []
    for item, score, near, word in list(zip(*(answer[name] for name in columns), strict=True))[: answer["found"]]:
        ranks = {way: int(rank) for way, rank in ((VECTORS, near), (WORDS, word)) if rank}
        mine = told.get(str(item))
        found.append(Found(str(item), mine.told if mine else {}, ranks, float(score), mine.moved if mine else ()))
    return replace(here, found=tuple(found), variant=server.variant)


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
    sent = search_request.sent(model.signature, {**asked, declared.text: asked["query"]})
    record, filtering = search_request.record(model.signature, sent), search_request.wanted(model.signature, given)
    wanted, index = search_request.where(filtering), Retriever(unit)
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
        return Searched(known.version, (), len(unit), sent, filtering)
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
    return Searched(known.version, tuple(sorted(made, key=lambda each: -each.score)), len(unit), sent, filtering)


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
