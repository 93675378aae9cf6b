"""The windows on disk, so that a restart does not begin from nothing: one bounded file, swapped in whole."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np

from hallmark.files import replace
from inference_services.drift_monitor.monitor import Monitor

_log = logging.getLogger(__name__)
_IDS = 10_000
_LARGEST = 64 * 1024 * 1024


def save(monitor: Monitor, path: Path) -> None:
    """Write what the monitor remembers; the file is whole or not there."""
    variants = {
        name: {
            "columns": {
                column: [None if value != value else value for value in values.tolist()]
                for column, values in window.columns().items()
            },
            "seen_at": window.seen_at,
        }
        for name, window in monitor.windows.items()
    }
    whole = {"digest": monitor.reference.digest, "ids": monitor.done()[-_IDS:], "variants": variants}
    replace(path, json.dumps(whole))


def restore(monitor: Monitor, path: Path) -> bool:
    """Take up what was saved; another model's file or a broken one is left alone, and the windows begin empty."""
    try:
        if path.stat().st_size > _LARGEST:
            raise ValueError("larger than any that was written")
        whole = json.loads(path.read_bytes())
        if whole["digest"] != monitor.reference.digest:
            return False
        for name, kept in list(whole["variants"].items())[-monitor.limits.variants :]:
            columns = {column: np.array(values, dtype=object) for column, values in kept["columns"].items()}
            if len({len(values) for values in columns.values()}) == 1:
                monitor.window(str(name)).add(columns, serial=0, at=float(kept["seen_at"]))
        monitor.remember([str(each) for each in whole["ids"]][-_IDS:])
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        _log.warning("the saved windows cannot be read and are left: %s", error)
        return False
    return True
