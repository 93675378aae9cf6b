"""What scores are worth, in numpy: each agrees with scikit-learn's of the same name.

answers: (n,) int, 0 or 1, or the index of the class.   scores: (n,) 0..1.   probabilities: (n, k), rows sum to 1.
A metric that the examples cannot tell (no positive among them, say) is NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_EPSILON = float(np.finfo(np.float64).eps)


def counts(answers: Ints, scores: Floats) -> tuple[Floats, Floats, Floats]:
    """True and false positives at each distinct score as threshold, best score first, and those thresholds."""
    order = np.argsort(-scores, kind="stable")
    ranked, hits = scores[order], answers[order]
    last = np.append(np.flatnonzero(np.diff(ranked)), len(ranked) - 1) if len(ranked) else np.array([], dtype=np.int64)
    true = np.cumsum(hits, dtype=np.float64)[last]
    return true, 1.0 + last - true, ranked[last]


def roc_curve(answers: Ints, scores: Floats) -> tuple[Floats, Floats, Floats]:
    """False and true positive rates and their thresholds, the first infinite; points on a straight stretch are left out."""
    true, false, thresholds = counts(answers, scores)
    bends = np.ones(len(true), dtype=bool)
    bends[1:-1] = (np.diff(false, 2) != 0) | (np.diff(true, 2) != 0)
    true, false = np.append(0.0, true[bends]), np.append(0.0, false[bends])
    return false / max(false[-1], 1.0), true / max(true[-1], 1.0), np.append(np.inf, thresholds[bends])


def average_precision(answers: Ints, scores: Floats) -> float:
    """Mean precision over the steps in recall."""
    true, false, _ = counts(answers, scores)
    if not len(true) or true[-1] == 0:
        return float("nan")
    return float(np.sum(np.diff(true, prepend=0.0) / true[-1] * true / (true + false)))


def roc_auc(answers: Ints, scores: Floats) -> float:
    """Chance that a positive outranks a negative, ties counted as half."""
    true, false, _ = counts(answers, scores)
    if not len(true) or true[-1] == 0 or false[-1] == 0:
        return float("nan")
    return float(np.trapezoid(np.append(0.0, true) / true[-1], np.append(0.0, false) / false[-1]))


def log_loss(answers: Ints, scores: Floats) -> float:
    """Mean negative logarithm of the probability given to what happened; scores (n,) or probabilities (n, k)."""
    if not len(answers):
        return float("nan")
    given = np.where(answers == 1, scores, 1 - scores) if scores.ndim == 1 else scores[np.arange(len(answers)), answers]
    return float(-np.mean(np.log(np.clip(given, _EPSILON, 1.0))))


def brier(answers: Ints, scores: Floats) -> float:
    """Mean squared distance between score and answer."""
    return float(np.mean((scores - answers) ** 2)) if len(answers) else float("nan")


def precision(answers: Ints, scores: Floats, *, threshold: float = 0.5) -> float:
    """Share of positives among what scores `threshold` or more."""
    flagged = scores >= threshold
    return float(answers[flagged].mean()) if flagged.any() else float("nan")


def recall(answers: Ints, scores: Floats, *, threshold: float = 0.5) -> float:
    """Share of the positives that score `threshold` or more."""
    return float((scores[answers == 1] >= threshold).mean()) if (answers == 1).any() else float("nan")


def recall_at_fpr(answers: Ints, scores: Floats, *, rate: float = 0.01) -> float:
    """Share of the positives found while at most `rate` of the negatives are flagged."""
    true, false, _ = counts(answers, scores)
    if not len(true) or true[-1] == 0 or false[-1] == 0:
        return float("nan")
    return float(np.max(np.append(0.0, true[false / false[-1] <= rate])) / true[-1])


def top(answers: Ints, probabilities: Floats, *, k: int = 1) -> float:
    """Share of examples whose class is among the `k` most probable."""
    if not len(answers):
        return float("nan")
    # A stable sort settles ties by class order, so that the figure is the same on every machine.
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :k]
    return float((best == answers[:, None]).any(axis=1).mean())


def confusion(answers: Ints, probabilities: Floats) -> Ints:
    """(k, k) counts: row the class it is, column the class it was taken for."""
    k = probabilities.shape[1]
    pairs = answers * k + probabilities.argmax(axis=1)
    return np.asarray(np.bincount(pairs, minlength=k * k).reshape(k, k), dtype=np.int64)


def f1(matrix: Ints) -> Floats:
    """(k,) F1 by class of a confusion matrix; NaN for a class that neither is there nor was guessed."""
    hits = np.diag(matrix).astype(np.float64)
    both = matrix.sum(axis=0) + matrix.sum(axis=1)
    return np.asarray(np.divide(2 * hits, both, out=np.full(len(hits), np.nan), where=both > 0))


def macro_f1(answers: Ints, probabilities: Floats) -> float:
    """Mean F1 over the classes that are there or were guessed."""
    each = f1(confusion(answers, probabilities))
    return float(np.nanmean(each)) if np.isfinite(each).any() else float("nan")


def binary(answers: Ints, scores: Floats) -> dict[str, float]:
    """Every metric of a yes-or-no model, by name."""
    return {
        "average_precision": average_precision(answers, scores),
        "roc_auc": roc_auc(answers, scores),
        "log_loss": log_loss(answers, scores),
        "brier": brier(answers, scores),
        "precision": precision(answers, scores),
        "recall": recall(answers, scores),
        "recall_at_1pct_fpr": recall_at_fpr(answers, scores, rate=0.01),
        "positive_share": float(answers.mean()) if len(answers) else float("nan"),
    }


def multiclass(answers: Ints, probabilities: Floats, *, names: tuple[str, ...]) -> dict[str, float]:
    """Every metric of a model over k classes, by name, with the F1 of each class as `f1_<class>`."""
    each = f1(confusion(answers, probabilities))
    return {
        "top1": top(answers, probabilities, k=1),
        "top3": top(answers, probabilities, k=3),
        "macro_f1": macro_f1(answers, probabilities),
        "log_loss": log_loss(answers, probabilities),
        **{f"f1_{name}": float(value) for name, value in zip(names, each, strict=True)},
    }
