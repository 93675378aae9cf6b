"""The real model server, which fails or is killed right after one step of its start: `broken_runtime.py STEP KIND MARK FLAGS…`.

The file MARK is there once it came so far. STEP is a key of `STEPS`; KIND is raise or kill.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

STEPS = {
    "config read": "hallmark.declaration.serving_config:read",
    "seal checked": "hallmark.artifacts.bundle:read",
    "published": "hallmark.artifacts.publication:publish",
    "port taken": "inference_services.runtime.server:listen",
    "index opened": "inference_services.runtime.retrieval:open_unit",
    "models opened": "inference_services.runtime.searching:RetrievalModel.__init__",
    "log opened": "inference_services.runtime.change_log:connect",
    "journal opened": "inference_services.runtime.items:Deltas.open",
    "changes read": "inference_services.runtime.items:LiveItems._read",
    "changes applied": "inference_services.runtime.items:LiveItems.__init__",
    "recall watched": "inference_services.runtime.searching:RecallCheck.__init__",
    "service made": "inference_services.runtime.server:_service",
    "listening": "inference_services.transport.endpoint:Listener.open",
    "asked whether ready": "inference_services.runtime.service:Service.check_ready",
}
"""What a new version goes through until traffic is sent to it, in order."""


def main() -> int:
    """Serve, up to the step."""
    step, kind, mark, *flags = sys.argv[1:]
    where, _, path = STEPS[step].partition(":")
    owner: Any = importlib.import_module(where)
    *owners, name = path.split(".")
    for each in owners:
        owner = getattr(owner, each)
    honest = getattr(owner, name)

    def broken(*given: Any, **options: Any) -> Any:
        honest(*given, **options)
        Path(mark).touch()
        if kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        raise RuntimeError(f"injected after: {step}")

    setattr(owner, name, broken)
    from inference_services.runtime.__main__ import main as serve

    return serve(flags)


if __name__ == "__main__":
    sys.exit(main())
