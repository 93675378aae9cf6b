#!/usr/bin/env bash
# LightGBM's ndcg leaves rows with equal scores in the order of the file. In a log whose clicked rows stand first in each query (as one made by a
# join, or sorted by the label, often does) a model that scores all rows alike has an ndcg of 1, no tree beats it, and early stopping keeps one tree.
# The same rows shuffled within their queries train on; scikit-learn's ndcg of equal scores is an average over all orders.
# Versions: lightgbm 4.7.0, scikit-learn 1.9.1.
# Why it matters: the metric that chooses the trees rises with the order of the file, and nothing says so.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "lightgbm==4.7.0" "scikit-learn==1.9.1" "numpy<3"
cat > "$folder/ties.py" <<'PY'
from importlib.metadata import version

import lightgbm
import numpy as np
from sklearn.metrics import ndcg_score

QUERIES, SIZE = 400, 20
random = np.random.default_rng(0)
facts = random.normal(size=(QUERIES, SIZE, 5))
facts = np.round(facts[..., :5], 0)  # few values, so that one tree leaves many rows equal
clicked = (facts[..., 0] + 0.7 * facts[..., 1] + random.normal(size=(QUERIES, SIZE)) > 1.8).astype(int)


def ordered(how):
    order = np.argsort(-clicked, axis=1, kind="stable") if how == "clicked rows first" else random.permuted(
        np.tile(np.arange(SIZE), (QUERIES, 1)), axis=1
    )
    return np.take_along_axis(facts, order[..., None], 1), np.take_along_axis(clicked, order, 1)


def trained(how):
    x, y = ordered(how)
    half = QUERIES // 2
    parts = []
    for each in (slice(0, half), slice(half, None)):
        parts.append(lightgbm.Dataset(x[each].reshape(-1, 5), y[each].ravel(), group=[SIZE] * half))
    options = {"objective": "lambdarank", "metric": "ndcg", "eval_at": [10], "verbosity": -1, "num_threads": 1, "seed": 1}
    found = {}
    calls = [lightgbm.early_stopping(20, verbose=False), lightgbm.record_evaluation(found)]
    made = lightgbm.train(options, parts[0], 200, valid_sets=[parts[1]], callbacks=calls)
    truth = ndcg_score(y[half:], made.predict(x[half:].reshape(-1, 5), num_iteration=made.best_iteration).reshape(half, SIZE), k=10)
    # what it says of a model that gives every row the same score
    flat = {}
    nothing = {**options, "learning_rate": 1e-300, "min_data_in_leaf": QUERIES * SIZE}
    lightgbm.train(nothing, lightgbm.Dataset(x[:half].reshape(-1, 5), y[:half].ravel(), group=[SIZE] * half), 1, valid_sets=[lightgbm.Dataset(x[half:].reshape(-1, 5), y[half:].ravel(), group=[SIZE] * half)], callbacks=[lightgbm.record_evaluation(flat)])
    constant = flat["valid_0"]["ndcg@10"][0]
    fair = float(np.mean([ndcg_score(y[half:][q : q + 1], np.zeros((1, SIZE)), k=10) for q in range(half) if y[half:][q].any()]))
    return made.best_iteration, constant, fair, truth


print("lightgbm", version("lightgbm"), "scikit-learn", version("scikit-learn"))
results = {}
for how in ("clicked rows first", "shuffled"):
    trees, constant, fair, truth = results[how] = trained(how)
    print(f"{how}: {trees} trees kept, ndcg@10 {truth:.3f}; equal scores for all: lightgbm says {constant:.3f}, scikit-learn {fair:.3f}")
first, shuffled = results["clicked rows first"], results["shuffled"]
assert first[1] > 0.999 and abs(first[2] - shuffled[2]) < 1e-9, "the finding has changed"
assert shuffled[1] < 0.7, "the finding has changed"
assert first[0] == 1 < 3 < shuffled[0], "the finding has changed"
PY
"$folder/venv/bin/python" -W ignore "$folder/ties.py"
