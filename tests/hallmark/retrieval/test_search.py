"""Search against numpy: what is found, behind filters, after changes, by words and by both."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hallmark.errors import Refused
from hallmark.retrieval import filters, index, recall
from hallmark.retrieval.card import IndexOptions
from hallmark.retrieval.columns import Columns
from hallmark.retrieval.deltas import Delete, Deltas, Upsert
from hallmark.retrieval.search import Retriever
from hallmark.retrieval.unit import Unit
from tests.hallmark.retrieval.corpus import Corpus, built, clustered, corpus

KINDS = [
    IndexOptions(kind="exact"),
    IndexOptions(kind="hnsw"),
    IndexOptions(kind="ivf", lists=24),
    IndexOptions(kind="exact", codes="int8"),
    IndexOptions(kind="hnsw", codes="int8"),
    IndexOptions(kind="ivf", codes="int8", lists=24),
]


def named(options: IndexOptions) -> str:
    return f"{options.kind}-{options.codes}"


@pytest.fixture(scope="module")
def items() -> Corpus:
    return corpus(2000, 16)


@pytest.fixture(scope="module", params=KINDS, ids=named)
def unit(request: pytest.FixtureRequest, items: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Unit:
    return built(tmp_path_factory.mktemp("unit") / "index", items, request.param)


def meets(items: Corpus, row: int, asked: dict[str, Any]) -> bool:
    """The plain meaning of a filter, value by value."""
    for column, want in asked.items():
        value = items.values[column][row]
        if isinstance(want, dict):
            if not want.get("min", value) <= value <= want.get("max", value):
                return False
        else:
            wanted = want if isinstance(want, list) else [want]
            if not set(value if isinstance(value, list) else [value]) & set(wanted):
                return False
    return True


bounds = st.fixed_dictionaries({}, optional={"min": st.integers(-5, 110), "max": st.integers(-5, 110)}).filter(bool)
asking = st.fixed_dictionaries(
    {},
    optional={
        "category": st.lists(st.sampled_from(["coat", "dress", "hat", "nothing"]), min_size=1, max_size=3),
        "price": bounds,
        "sizes": st.sampled_from(["S", "M", "L", "XXL"]),
        "stock": st.one_of(st.integers(-1, 6), bounds),
    },
)


@given(asked=asking, k=st.integers(1, 60), seed=st.integers(0, 99))
def test_a_filtered_search_gives_min_k_matches_all_of_which_match(
    unit: Unit, items: Corpus, asked: dict[str, Any], k: int, seed: int
) -> None:
    retriever = Retriever(unit)
    where = filters.parse(asked)
    left = [row for row in range(2000) if meets(items, row, asked)]
    query = np.random.default_rng(seed).standard_normal(16)
    hits = retriever.search(query, k, where).of()
    assert len(hits) == min(k, len(left)) == len({item for item, _ in hits})
    assert {item for item, _ in hits} <= {f"i{row}" for row in left}
    assert [score for _, score in hits] == sorted((score for _, score in hits), reverse=True)
    assert retriever.count(where) == len(left)


@given(asked=asking, k=st.integers(1, 60), seed=st.integers(0, 99))
def test_an_exact_search_is_what_numpy_finds(
    unit: Unit, items: Corpus, asked: dict[str, Any], k: int, seed: int
) -> None:
    query = np.random.default_rng(seed).standard_normal(16).astype(np.float32)
    left = np.array([row for row in range(2000) if meets(items, row, asked)], dtype=np.int64)
    kept = unit.vectors(left) if len(left) else np.empty((0, 16))
    wanted = np.sort(kept @ (query / np.linalg.norm(query)))[::-1][:k]
    found = Retriever(unit).search(query, k, filters.parse(asked), exact=True).of()
    assert [score for _, score in found] == pytest.approx(wanted.tolist(), abs=1e-5)


def test_int8_keeps_vectors_to_a_hundredth(unit: Unit, items: Corpus) -> None:
    error = np.abs(unit.vectors(np.arange(2000)) - items.vectors).max()
    assert error < (0.01 if unit.card.codes == "int8" else 1e-6)


def test_many_queries_at_once_find_what_each_finds(unit: Unit, items: Corpus) -> None:
    retriever = Retriever(unit)
    for where in (None, filters.parse({"category": "coat"}), filters.parse({"price": {"min": 97}})):
        together = retriever.search(items.vectors[:9], 7, where)
        for at in range(9):
            alone = retriever.search(items.vectors[at], 7, where)
            assert alone.ids[0].tolist() == together.ids[at].tolist()


def test_a_filter_that_leaves_one_in_a_thousand_gives_all_it_leaves(tmp_path: Path) -> None:
    """Fault 41: 1,000 of 1,000 queries behind a filter of 0.1% get min(k, matches) items, and the nearest ones."""
    count = 20_000
    vectors = clustered(count, 32, seed=3)
    chosen = np.random.default_rng(1)
    rare = chosen.choice(count, count // 1000, replace=False)
    values: dict[str, list[Any]] = {"category": ["common"] * count}
    for row in rare:
        values["category"][row] = "rare"
    items = Corpus([f"i{row}" for row in range(count)], vectors, values, [""] * count)
    unit = built(tmp_path / "index", items, IndexOptions(kind="hnsw", construction=40, neighbours=8))
    assert unit.card.kind == "hnsw"
    retriever = Retriever(unit)
    where = filters.parse({"category": "rare"})
    queries = chosen.standard_normal((1000, 32)).astype(np.float32)
    whole = 0
    for query in queries:
        found = retriever.search(query, 10, where)
        truth = rare[np.argsort(-(vectors[rare] @ query))[:10]]
        whole += found.ids[0].tolist() == [f"i{row}" for row in truth]
    assert whole == 1000


def test_recall_in_the_card_is_what_live_queries_see(tmp_path: Path) -> None:
    items = corpus(12_000, 32)
    unit = built(tmp_path / "index", items, IndexOptions(kind="hnsw", construction=60, recall=0.95))
    told = {row.selectivity: row for row in unit.card.recall}
    assert set(told) == {1.0, 0.1, 0.01, 0.001}
    assert told[1.0].path == "approximate"
    assert told[1.0].recall >= 0.95
    assert told[0.001].path == "exact"
    assert told[0.001].recall == 1.0
    chosen = np.random.default_rng(5)
    pairs = chosen.integers(0, 12_000, (200, 2))
    near = items.vectors[pairs[:, 0]] + 0.3 * items.vectors[pairs[:, 1]]
    retriever = Retriever(unit)
    found = recall.at_k(retriever.search(near, 10), retriever.search(near, 10, exact=True))
    assert found.mean() >= told[1.0].low - 0.05


@pytest.mark.slow
def test_a_filter_wide_enough_for_the_graph_keeps_its_recall(tmp_path: Path) -> None:
    items = corpus(12_000, 32)
    unit = built(tmp_path / "index", items, IndexOptions(kind="hnsw", construction=60, recall=0.95))
    unit.card = unit.card.model_copy(update={"crossover": 100})
    (row,) = recall.measure(Retriever(unit), items.vectors[:100], selectivities=(0.3,))
    assert row.path == "approximate"
    assert row.recall >= 0.93


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"colour": "red"}, "colour, which is no column"),
        ({"price": "cheap"}, "price cannot be compared"),
        ({"category": 3}, "category cannot be compared"),
        ({"category": {"min": "a"}}, "has no order"),
        ({"stock": True}, "stock cannot be compared"),
        ({"price": {"low": 3}}, "no shape"),
        ({"price": {}}, "no shape"),
        ({"price": None}, "no shape"),
        ({"price": float("nan")}, "no shape"),
        ({"price": list(range(2000))}, "no shape"),
        ([1], "no shape"),
    ],
)
def test_a_filter_that_cannot_be_compared_is_refused(unit: Unit, asked: Any, said: str) -> None:
    with pytest.raises(Refused, match=said):
        Retriever(unit).search(np.ones(16), 3, filters.parse(asked))


def test_a_filter_is_itself_whatever_its_order_and_never_that_of_another_type() -> None:
    assert filters.parse({"a": [1, 2], "b": "x"}) == filters.parse({"b": "x", "a": [2, 1, 1]})
    assert len({filters.parse({"a": 1}), filters.parse({"a": True}), filters.parse({"a": 1.0})}) == 3
    assert filters.parse({}) is None
    assert filters.parse(None) is None


@pytest.mark.parametrize(
    ("query", "k"),
    [
        (np.zeros(16), 3),
        (np.ones(15), 3),
        (np.full(16, np.nan), 3),
        (np.ones((2, 2, 16)), 3),
        (np.ones(16), 0),
        (np.ones(16), -1),
        (np.ones(16), 1_000_000),
        (np.ones(16), True),
        (np.ones(16), 2.5),
    ],
)
def test_a_search_that_is_none_is_refused(unit: Unit, query: Any, k: Any) -> None:
    with pytest.raises(Refused):
        Retriever(unit).search(query, k)


def test_k_beyond_the_items_gives_them_all(unit: Unit) -> None:
    assert len(Retriever(unit).search(np.ones(16), 5000).of()) == 2000


def test_times_and_booleans_are_compared() -> None:
    columns = Columns({"since": "time", "sold": "boolean"})
    columns.append({"since": ["2026-09-01", "2026-09-01T12:00:00+02:00", None], "sold": [True, None, False]}, 3)
    after = filters.parse({"since": {"min": "2026-09-01T09:00:00Z"}})
    assert after is not None
    assert columns.mask(after).tolist() == [False, True, False]
    unsold = filters.parse({"sold": False})
    assert unsold is not None
    assert columns.mask(unsold).tolist() == [False, False, True]
    assert columns.row(1) == {"since": "2026-09-01T10:00:00+00:00", "sold": None}


def test_what_was_deleted_or_replaced_is_never_found(unit: Unit, items: Corpus, tmp_path: Path) -> None:
    deltas = Deltas.open(tmp_path, unit)
    retriever = Retriever(unit, deltas)
    gone = [item for item, _ in retriever.search(items.vectors[7], 300).of()]
    deltas.apply([Delete(item) for item in gone[:150]])
    deltas.apply([Upsert(item, -items.vectors[7], {"category": "hat"}) for item in gone[150:300]])
    hits = [item for item, _ in retriever.search(items.vectors[7], 100).of()]
    assert len(hits) == 100
    assert not set(hits) & set(gone)
    for where in ({"category": "coat"}, {"category": "hat"}):
        found = [item for item, _ in retriever.search(items.vectors[7], 2000, filters.parse(where)).of()]
        assert not set(found) & set(gone[:150])
        assert len(found) == retriever.count(filters.parse(where))
    assert retriever.count() == 1850
    assert retriever.values(gone[0]) is None
    assert retriever.values(gone[200]) == {"category": "hat", "price": None, "sizes": [], "stock": None}
    deltas.close()


def test_words_are_those_of_bm25s(unit: Unit, items: Corpus) -> None:
    import bm25s

    from hallmark.retrieval.words import tokens

    cut = [tokens(text) for text in items.texts]
    reference = bm25s.BM25(method="lucene", k1=1.5, b=0.75, backend="numpy")
    reference.index(cut, show_progress=False)
    wanted = reference.get_scores(["coat", "12"])
    assert unit.words is not None
    assert unit.words.search(["coat", "12"]) == pytest.approx(wanted, abs=1e-5)
    assert Retriever(unit).search_words("COAT 12!", 1)[0][0] == f"i{int(np.argmax(wanted))}"


def test_an_item_that_is_added_counts_as_it_would_have_counted(items: Corpus, unit: Unit) -> None:

    from hallmark.retrieval.words import AddedWords, tokens

    assert unit.words is not None
    for row in (3, 77, 1999):
        asked = ["coat", "dress", "number", "number", str(row)]
        texts = AddedWords()
        for text in ("velvet", items.texts[row], "coat that no reader knows of yet"):
            texts.add(tokens(text))
        rows, scores = unit.words.added(asked, texts, 2)
        assert rows.tolist() == [1]
        assert scores[0] == pytest.approx(float(unit.words.search(asked)[row]), rel=1e-5)
    assert [len(each) for each in unit.words.added(["absent"], texts, 3)] == [0, 0]


@pytest.mark.parametrize("distinct", [3, 1 << 20], ids=["many as good", "none as good"])
@pytest.mark.parametrize("having", [0.0, 0.01, 0.5])
@pytest.mark.parametrize("k", [1, 50, 3000])
def test_the_best_of_many_are_among_the_few_that_are_put_in_order(distinct: int, having: float, k: int) -> None:
    chosen = np.random.default_rng(4)
    scores = chosen.integers(1, distinct + 1, 20_000) * (chosen.random(20_000) < having)
    rows = index.contenders(scores.astype(np.float32), k)
    assert np.sort(scores[rows])[::-1][:k].tolist() == np.sort(scores[scores > 0])[::-1][:k].tolist()
    assert len(rows) < 2000 or k == 3000 or distinct == 3


def test_accents_and_case_are_no_difference(tmp_path: Path) -> None:
    one = corpus(3, 8)
    unit = built(tmp_path / "index", Corpus(one.ids, one.vectors, {}, ["Crêpe de Chine", "MÜTZE", "nothing"]))
    retriever = Retriever(unit)
    assert [item for item, _ in retriever.search_words("crepe", 3)] == ["i0"]
    assert [item for item, _ in retriever.search_words("mutze", 3)] == ["i1"]
    assert retriever.search_words("absent", 3) == []


def test_both_ways_keep_where_an_item_came_from(unit: Unit, items: Corpus) -> None:
    fused = Retriever(unit).hybrid(items.vectors[1234], "1234", 5)
    assert fused[0].id == "i1234"
    assert fused[0].ranks == {"vectors": 1, "words": 1}
    assert fused[0].score == pytest.approx(2 / 61)
    assert "words" not in fused[1].ranks


def test_searches_of_many_threads_find_what_one_finds(unit: Unit, items: Corpus) -> None:
    retriever = Retriever(unit)
    where = filters.parse({"category": "coat"})
    wanted = [retriever.search(items.vectors[row], 10, where).ids[0].tolist() for row in range(60)]
    found: dict[int, Sequence[str]] = {}

    def ask(first: int) -> None:
        for row in range(first, 60, 4):
            found[row] = retriever.search(items.vectors[row], 10, where).ids[0].tolist()

    threads = [threading.Thread(target=ask, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[row] for row in range(60)] == wanted
