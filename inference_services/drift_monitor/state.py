"""The windows on disk, so that a restart does not begin from nothing: one bounded file, swapped in whole."""

from __future__ import annotations

import json
import logging
from pathlib import Path

from hallmark.files import replace
from inference_services.drift_monitor.monitor import Monitor

_log = logging.getLogger(__name__)
_IDS = 10_000
_LARGEST = 64 * 1024 * 1024


def save(monitor: Monitor, path: Path) -> None:
    """Write what the monitor remembers; the file is whole or not there."""
    whole = {
        "digest": monitor.reference.digest,
        "ids": monitor.done()[-_IDS:],
        "variants": {name: window.dump() for name, window in monitor.windows.items()},
        "served": None if monitor.served is None else monitor.served.dump(),
        "history": [point.model_dump() for point in monitor.history.points()],
    }
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
            monitor.window(str(name)).load(kept)
        monitor.remember([str(each) for each in whole["ids"]][-_IDS:])
        monitor.history.load(whole["history"])
        if monitor.served is not None and whole["served"]:
            monitor.served.load(whole["served"])
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        monitor.windows.clear()
        _log.warning("the saved windows cannot be read and are left: %s", error)
        return False
    return True
