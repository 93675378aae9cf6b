"""Words of items: BM25 over their texts, by bm25s."""

from __future__ import annotations

import io
import re
import unicodedata
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hallmark.errors import ModelRefused

K1, B = 1.5, 0.75
_WORD = re.compile(r"\w+")


def tokens(text: str) -> list[str]:
    """Words of a text, in lower case and without accents, as items and queries are both cut."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return _WORD.findall("".join(each for each in plain if not unicodedata.combining(each)))


class AddedWords:
    """Words of texts that are added one by one, which readers that know how many there were may go on reading."""

    def __init__(self) -> None:
        self._having: dict[str, tuple[list[int], list[int]]] = {}
        self._lengths: list[int] = []

    def add(self, words: Sequence[str]) -> None:
        """Add a text that is cut into words."""
        row = len(self._lengths)
        for word, times in Counter(words).items():
            rows, counts = self._having.setdefault(word, ([], []))
            counts.append(times)
            rows.append(row)
        self._lengths.append(len(words))

    def having(self, word: str, size: int) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
        """Rows (m,) of the first `size` texts that have the word, and how often (m,); None where no text has it."""
        found = self._having.get(word)
        if found is None:
            return None
        rows, counts = found
        most = bisect_left(rows, size)
        return np.array(rows[:most], dtype=np.int64), np.array(counts[:most], dtype=np.float64)

    def lengths(self, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """(m,) words of each of these rows."""
        return np.array([self._lengths[row] for row in rows.tolist()], dtype=np.float64)


class Words:
    """Which items have which words, and what each counts there: the scores of BM25 (Lucene's form), made ahead.

    lengths: mean count of words of an item.  Of a word's items `rows` and `scores` from `starts[word]` to `starts[word + 1]`.
    """

    def __init__(
        self,
        vocabulary: dict[str, int],
        *,
        starts: NDArray[np.int64],
        rows: NDArray[np.int32],
        scores: NDArray[np.float32],
        size: int,
        mean: float,
    ) -> None:
        self.vocabulary, self.size, self.mean = vocabulary, size, mean
        self._starts, self._rows, self._scores = starts, rows, scores

    @classmethod
    def of(cls, texts: Sequence[str]) -> Words:
        """Of texts, an item each."""
        import bm25s

        cut = [tokens(text) for text in texts]
        mean = float(np.mean([len(each) for each in cut])) if cut else 0.0
        vocabulary = {word: at for at, word in enumerate(sorted({word for each in cut for word in each}))}
        if not vocabulary:
            empty = np.empty(0)
            return cls(
                {},
                starts=np.zeros(1, np.int64),
                rows=empty.astype(np.int32),
                scores=empty.astype(np.float32),
                size=len(texts),
                mean=0.0,
            )
        model = bm25s.BM25(method="lucene", k1=K1, b=B, backend="numpy")
        model.index(([[vocabulary[word] for word in each] for each in cut], vocabulary), show_progress=False)
        made = model.scores
        return cls(
            vocabulary,
            starts=np.asarray(made["indptr"], dtype=np.int64)[: len(vocabulary) + 1],
            rows=np.asarray(made["indices"], dtype=np.int32),
            scores=np.asarray(made["data"], dtype=np.float32),
            size=len(texts),
            mean=mean,
        )

    def search(self, words: Sequence[str]) -> NDArray[np.float32]:
        """(n,) the score of every item; 0 where it has none of the words."""
        found = np.zeros(self.size, dtype=np.float32)
        for word, times in Counter(words).items():
            number = self.vocabulary.get(word)
            if number is not None:
                first, last = self._starts[number], self._starts[number + 1]
                found[self._rows[first:last]] += times * self._scores[first:last]
        return found

    def added(
        self, words: Sequence[str], texts: AddedWords, size: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Which of the first `size` added texts (m,) have some of the words, and their scores (m,), all above 0.

        Each is scored as if it were among these, with the frequencies of words that these have.
        """
        parts = [
            (self._weight(word) * times, *found)
            for word, times in Counter(words).items()
            if (found := texts.having(word, size))
        ]
        if not parts:
            return np.empty(0, dtype=np.int64), np.empty(0)
        rows, places = np.unique(np.concatenate([rows for _, rows, _ in parts]), return_inverse=True)
        scales = K1 * (1 - B + B * texts.lengths(rows) / (self.mean or 1.0))
        scores, begin = np.zeros(len(rows)), 0
        for weight, _, counts in parts:
            at = places[begin : begin + len(counts)]
            scores[at] += weight * counts / (scales[at] + counts)
            begin += len(counts)
        return rows, scores

    def _weight(self, word: str) -> float:
        number = self.vocabulary.get(word)
        having = 0 if number is None else int(self._starts[number + 1] - self._starts[number])
        return float(np.log(1 + (self.size - having + 0.5) / (having + 0.5)))

    def save(self) -> bytes:
        """As bytes that are the same for the same texts."""
        stream = io.BytesIO()
        names = "\n".join(self.vocabulary).encode()
        np.savez(
            stream,
            names=np.frombuffer(names, dtype=np.uint8),
            starts=self._starts,
            rows=self._rows,
            scores=self._scores,
            shape=np.array([self.size, self.mean], dtype=np.float64),
        )
        return stream.getvalue()

    @classmethod
    def load(cls, data: bytes) -> Words:
        """What `save` gave; `ModelRefused` where it is something else."""
        try:
            with np.load(io.BytesIO(data), allow_pickle=False) as kept:
                names = kept["names"].tobytes().decode()
                parts: dict[str, Any] = {name: kept[name] for name in ("starts", "rows", "scores")}
                size, mean = kept["shape"].tolist()
        except (ValueError, KeyError, OSError) as error:
            raise ModelRefused(
                "the words of the index cannot be read", expected="what build wrote", got=str(error)
            ) from error
        vocabulary = {word: at for at, word in enumerate(names.split("\n"))} if names else {}
        return cls(vocabulary, **parts, size=int(size), mean=float(mean))
