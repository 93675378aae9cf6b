"""LightGBM's parameters that a domain and `--option` may set: by name, by type, and without those that cannot be served."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hallmark.errors import DeclarationError

KINDS: dict[type, tuple[str, ...]] = {
    str: ("objective", "metric", "boosting", "data_sample_strategy", "monotone_constraints_method"),
    bool: (
        *("is_unbalance", "use_missing", "zero_as_missing", "extra_trees", "boost_from_average", "enable_bundle"),
        *("feature_pre_filter", "lambdarank_norm", "reg_sqrt", "xgboost_dart_mode", "uniform_drop", "bagging_by_query"),
        *("deterministic", "force_row_wise", "force_col_wise", "linear_tree"),
    ),
    int: (
        *("num_leaves", "max_depth", "min_data_in_leaf", "bagging_freq", "max_bin", "min_data_in_bin", "max_drop"),
        *("bin_construct_sample_cnt", "min_data_per_group", "max_cat_threshold", "max_cat_to_onehot", "eval_at"),
        *("lambdarank_truncation_level", "num_threads", "verbosity"),
    ),
    float: (
        *("learning_rate", "feature_fraction", "feature_fraction_bynode", "bagging_fraction", "pos_bagging_fraction"),
        *("neg_bagging_fraction", "min_sum_hessian_in_leaf", "lambda_l1", "lambda_l2", "min_gain_to_split"),
        *("max_delta_step", "path_smooth", "cat_l2", "cat_smooth", "drop_rate", "skip_drop", "top_rate", "other_rate"),
        *("scale_pos_weight", "sigmoid", "alpha", "fair_c", "poisson_max_delta_step", "tweedie_variance_power"),
        "monotone_penalty",
    ),
}
"""Names of LightGBM's own documentation, without their synonyms: what cannot be served is then refused under its one name."""
TYPES = {name: kind for kind, names in KINDS.items() for name in names}
_SAMPLES = {str: "text", bool: "true or false", int: "a whole number", float: "a number"}
_SYNONYMS = {
    "boost": "boosting",
    "boosting_type": "boosting",
    "early_stopping_round": "patience",
    "early_stopping_rounds": "patience",
    "eta": "learning_rate",
    "linear_trees": "linear_tree",
    "n_estimators": "rounds",
    "num_boost_round": "rounds",
    "num_iterations": "rounds",
    "shrinkage_rate": "learning_rate",
}


@dataclass(frozen=True)
class Objective:
    """Objective that LightGBM can minimise: the metric for early stopping, and whether rows come in groups."""

    metric: str
    grouped: bool = False


OBJECTIVES = {
    "binary": Objective("binary_logloss"),
    "cross_entropy": Objective("cross_entropy"),
    "cross_entropy_lambda": Objective("cross_entropy_lambda"),
    "fair": Objective("fair"),
    "gamma": Objective("gamma"),
    "huber": Objective("huber"),
    "lambdarank": Objective("ndcg", grouped=True),
    "mape": Objective("mape"),
    "multiclass": Objective("multi_logloss"),
    "multiclassova": Objective("multi_logloss"),
    "poisson": Objective("poisson"),
    "quantile": Objective("quantile"),
    "rank_xendcg": Objective("ndcg", grouped=True),
    "regression": Objective("l2"),
    "regression_l1": Objective("l1"),
    "tweedie": Objective("tweedie"),
}
CLASSES = frozenset({"multiclass", "multiclassova"})
METRICS = frozenset(each.metric for each in OBJECTIVES.values()) | {
    *("auc", "average_precision", "binary_error", "multi_error", "auc_mu", "kullback_leibler", "gamma_deviance"),
    *("rmse", "map"),
}
_BOOSTING = ("gbdt", "dart")


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options in the types that LightGBM has; `DeclarationError` at the first that is not one, or cannot be served."""
    found = {name: _typed(name, value) for name, value in given.items()}
    _servable(found)
    return found


def _typed(name: str, value: Any) -> Any:
    if name not in TYPES:
        near = [_SYNONYMS[name]] if name in _SYNONYMS else difflib.get_close_matches(name, TYPES, n=1)
        raise DeclarationError(
            f"{name} is not an option of a boosted forest",
            expected="rounds, patience, " + ", ".join(sorted(TYPES)),
            got=f"{name}={value!r}",
            fix=f"write {near[0]}" if near else "",
        )
    kind = TYPES[name]
    if kind is float and type(value) is int:
        value = float(value)
    if kind is int and type(value) is float and value.is_integer():  # Kubeflow hands every number over as a float
        value = int(value)
    wide = kind is int and type(value) is int and abs(value) >= 2**31  # LightGBM would keep the last 32 bits
    if type(value) is not kind or wide or (isinstance(value, float) and not math.isfinite(value)):
        raise DeclarationError(f"option {name} has the wrong type", expected=_SAMPLES[kind], got=repr(value))
    return value


def _servable(options: Mapping[str, Any]) -> None:
    """Refuse by name, before anything is trained, what has no exact form in ONNX here, or nothing to stop by."""
    choices = {"objective": tuple(sorted(OBJECTIVES)), "metric": tuple(sorted(METRICS)), "boosting": _BOOSTING}
    reasons = {"boosting": {"rf": ": its answer is a mean over trees, and the exported forest is a sum"}}
    for name, allowed in choices.items():
        value = options.get(name, allowed[0])
        if value not in allowed:
            reason = reasons.get(name, {}).get(value, "")
            raise DeclarationError(
                f"{name}={value} cannot be trained for serving{reason}", expected=", ".join(allowed), got=value
            )
    if options.get("linear_tree"):
        raise DeclarationError(
            "linear_tree cannot be trained for serving: a leaf holds a line, and ONNX has only numbers for leaves",
            expected="linear_tree=false",
            got="true",
        )


def whole(name: str, value: Any) -> int:
    """A count of 1 or more, such as `rounds`."""
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int or value < 1:
        raise DeclarationError(f"option {name} has the wrong type", expected="a whole number from 1", got=repr(value))
    return value
