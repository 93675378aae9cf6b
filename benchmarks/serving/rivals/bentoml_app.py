"""BentoML: `bentoml serve`, which takes the service by its name; one worker."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import bentoml  # type: ignore[import-not-found,unused-ignore]

from benchmarks.serving.contenders import ROUTE, Place, scorer


@bentoml.service(workers=1, traffic={"timeout": 30}, logging={"access": {"enabled": False}})  # type: ignore[misc,unused-ignore]
class Score:
    """V2 JSON in, V2 JSON out; `BENCH_FOLDER` names the model folder."""

    def __init__(self) -> None:
        self.score = scorer(Path(os.environ["BENCH_FOLDER"]))

    @bentoml.api(route=ROUTE)  # type: ignore[untyped-decorator,misc,unused-ignore]
    def infer(self, inputs: list[dict[str, Any]], id: str = "") -> dict[str, Any]:  # noqa: A002  the body's own key
        """One request."""
        return self.score({"id": id, "inputs": inputs})


def serve(place: Place) -> None:
    """Become the command."""
    os.environ |= {"BENCH_FOLDER": str(place.folder), "BENTOML_DO_NOT_TRACK": "True"}
    command = ["bentoml", "serve", f"{__name__}:Score", f"--port={place.http}", "--host=127.0.0.1"]
    os.execv(str(Path(sys.executable).with_name("bentoml")), [*command, "--working-dir", str(Path.cwd())])  # noqa: S606
