"""One search, here and now: `hallmark search`: what came, by which way, and why in this order."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hallmark.cli.console import Format, Output, emit, say
from hallmark.errors import DeclarationError, NotFound
from hallmark.settings import Settings

if TYPE_CHECKING:
    import pandas as pd

    from hallmark.retrieval.fusion import Fused

DEPTH = 200
"""Items that are found before they are ranked."""
_REASONS = 3
ENCODER, BOOSTER = "encoder.onnx", "booster.txt"


@dataclass(frozen=True)
class Ranked:
    """What one version makes of a search: the items in order, with scores, the way each was found, and what moved it."""

    version: int
    order: list[str]
    scores: dict[str, float]
    found: dict[str, Fused]
    reasons: dict[str, str]


def search(
    query: Annotated[str, typer.Argument(help="In words, such as 'red wool coat size M'.", show_default=False)],
    domain: Annotated[str, typer.Option(help="A domain that ranks, with a text encoder.")] = "search",
    locale: Annotated[str, typer.Option(help="Language of the member's app.")] = "en",
    version: Annotated[
        str, typer.Option(help="A version, or an alias; default: the champion, else the latest.", show_default=False)
    ] = "",
    beside: Annotated[str, typer.Option(help="Another to compare with, such as challenger.", show_default=False)] = "",
    top: Annotated[int, typer.Option(min=1, max=DEPTH, help="Items shown.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Of the synthetic marketplace whose items are searched.")] = 7,
    output: Output = Format.table,
) -> None:
    """Search the synthetic marketplace of today with a version, as it would: by words and vectors, then in its order.

    WHY names what moved an item most, by the model's own contributions less the mean over all that was found.
    """
    settings = Settings.load()
    from hallmark.declaration import domain as domains

    domains.load(domain, settings)
    corpus = getattr(domains.module(domain, "data", settings), "corpus", None)
    if corpus is None:
        raise DeclarationError(
            f"{domain} has no items to search", expected=f"corpus(at=, seed=) in domains/{domain}/data.py", got="none"
        )
    now = datetime.now(UTC)
    items = corpus(None, at=now, seed=seed)
    items = items.assign(
        item_age_days=(now - items["listed_at"]).dt.days, member_price=float("nan"), member_brand_share=float("nan")
    )
    asked = {"query": query, "locale": locale}
    first = _ranked(domain, version or _stable(domain, settings), items, asked, settings=settings)
    other = _ranked(domain, beside, items, asked, settings=settings) if beside else None
    emit(_rows(first, other, items, top), output, empty="nothing was found")
    against = f", beside version {other.version}" if other else ""
    say(f"version {first.version} of {domain}: {len(first.order)} of {len(items)} items found, then ranked{against}")


def _stable(domain: str, settings: Settings) -> str:
    from hallmark.registry.store import Registry

    try:
        Registry(settings).resolve(domain, "champion")
    except NotFound:
        return "latest"
    return "champion"


def _ranked(domain: str, version: str, items: pd.DataFrame, asked: dict[str, str], *, settings: Settings) -> Ranked:
    """What a version finds and how it puts that in order, by the verified bytes of its folder."""
    import numpy as np

    from hallmark.artifacts import bundle
    from hallmark.features.encoding import Features
    from hallmark.learners import onnx_model
    from hallmark.learners.model import columns
    from hallmark.registry.store import Registry
    from hallmark.retrieval.search import Retriever
    from hallmark.retrieval.unit import Items, build, open_unit

    known = Registry(settings).resolve(domain, int(version) if version.isdecimal() else version)
    model = bundle.read(known.fetch(), expected=known.digest, keep=bundle.SERVED | {ENCODER, BOOSTER})
    code, fields = model.code("features.py"), {field.name: field for field in model.signature.fields}
    encoder = onnx_model.session(model.file(ENCODER))

    def embedded(name: str, frame: pd.DataFrame, wanted: tuple[str, ...]) -> Any:
        given = getattr(code, name)(columns(frame, [fields[each] for each in wanted]))
        return onnx_model.run(encoder, given, ["embedding"])["embedding"]

    vectors = embedded("encode_item", items, ("title", "brand"))
    there = np.linalg.norm(vectors, axis=1) > 0
    kept = items[there].reset_index(drop=True)
    texts = (kept["title"] + " " + kept["brand"]).tolist()
    maker, cutter = model.digests[ENCODER], model.digests["features.py"]
    with tempfile.TemporaryDirectory(prefix="hallmark-search-") as folder:
        block = Items(kept["item_id"].tolist(), vectors[there], texts=texts)
        build(
            Path(folder) / "index", [block], encoder=maker, preprocessing=cutter, dimension=vectors.shape[1], words=True
        )
        retriever = Retriever(open_unit(Path(folder) / "index", encoder=maker, preprocessing=cutter))
        vector = embedded("encode_query", _one(asked), ("query",))[0]
        found = (
            retriever.hybrid(vector, asked["query"], DEPTH)
            if vector.any()
            else []  # no word of it has a number: nothing is near, and nothing has it
        )
    if not found:
        return Ranked(known.version, [], {}, {}, {})
    rows = kept.set_index("item_id").loc[[each.id for each in found]].reset_index().assign(**asked)
    inputs = Features(code, inputs=model.signature.inputs, assets=model.assets).encode(
        columns(rows, model.signature.fields)
    )
    name = model.signature.outputs[0].name
    scores = onnx_model.run(onnx_model.session(model.file("model.onnx")), inputs, [name])[name]
    near = embedded("encode_item", rows, ("title", "brand")) @ vector
    read = np.column_stack((near, inputs["numbers"]))
    reasons = _reasons(model.file(BOOSTER).decode(), read, ("nearness", *code.NAMES))
    ids = rows["item_id"].tolist()
    return Ranked(
        version=known.version,
        order=[ids[at] for at in np.argsort(-scores, kind="stable")],
        scores=dict(zip(ids, scores.tolist(), strict=True)),
        found={each.id: each for each in found},
        reasons=dict(zip(ids, reasons, strict=True)),
    )


def _one(asked: dict[str, str]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame([asked])


def _reasons(booster: str, read: Any, names: tuple[str, ...]) -> list[str]:
    """(n,) what moved each row most, up or down, beside the mean of the rows."""
    import lightgbm
    import numpy as np

    parts = np.asarray(lightgbm.Booster(model_str=booster).predict(read, pred_contrib=True, num_threads=1))[:, :-1]
    parts = parts - parts.mean(axis=0)
    most = np.argsort(-np.abs(parts), axis=1)[:, :_REASONS]
    return [
        ", ".join(f"{names[column]} {parts[row, column]:+.2f}" for column in columns)
        for row, columns in enumerate(most.tolist())
    ]


def _rows(first: Ranked, other: Ranked | None, items: pd.DataFrame, top: int) -> list[dict[str, Any]]:
    told = items.set_index("item_id")
    prices = dict(zip(items["item_id"].tolist(), items["price"].tolist(), strict=True))
    rows = []
    for place, item in enumerate(first.order[:top], start=1):
        ranks = first.found[item].ranks
        row: dict[str, Any] = {
            "place": place,
            "item": item,
            "title": told.at[item, "title"],
            "size": told.at[item, "size"],
        }
        row |= {"price": round(prices[item], 2), "words": ranks.get("words"), "vectors": ranks.get("vectors")}
        row |= {"score": round(first.scores[item], 3)}
        if other is not None:
            row[f"in version {other.version}"] = other.order.index(item) + 1 if item in other.scores else None
        rows.append(row | {"why": first.reasons[item]})
    return rows
