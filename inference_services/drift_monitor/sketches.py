"""A window as the counts that the verdict of all pods is made of."""

from __future__ import annotations

from collections import Counter

import numpy as np

from hallmark.drift import analysis
from hallmark.drift.fleet import Cut, WindowSketch
from hallmark.drift.profile import Profile
from inference_services.drift_monitor.window import Window


def of(window: Window, profile: Profile, cut: Cut | None = None) -> WindowSketch:
    """The records of `window` that came within `cut`, all of them for none."""
    times = window.times()
    order = np.argsort(times, kind="stable")
    chosen = order if cut is None else order[cut.holds(times[order])]
    columns = {name: values[chosen] for name, values in window.columns().items()}
    counted = profile.strata.count(np.array(window.strata(), dtype=object)[chosen].tolist()) if profile.strata else None
    vectors = window.embeddings()
    traces = np.array(window.traces(), dtype=object)[chosen].tolist()
    return WindowSketch(
        added=window.added,
        requests=window.requests,
        times=times[order],
        counts=analysis.tally(profile, columns, len(chosen)),
        cut=cut,
        strata=counted,
        lags=np.sort(window.lags()[chosen]),
        vectors=vectors[chosen] if vectors.shape[1] else None,
        traces=Counter(each for each in traces if each),
    )
