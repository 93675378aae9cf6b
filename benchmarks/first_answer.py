"""CPU and time from `hallmark up` to the first answered request, against another commit's.

`python benchmarks/first_answer.py --against DIR`, where DIR is a checkout of the commit to compare with. A small real
model is released as fraud in a state folder of each, by its own code. Then each is started, asked until it answers, and stopped, in turn and
in changing order, so that both meet the same machine. DIR's tests have to make the same model (from f581db9 on).
CPU is that of all processes of the state folder, and of those that they waited for, up to that answer. Asked for: no more of it than before.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.local_cluster.real_model import NAME, request

HERE = Path(__file__).parents[1]
MORE = 1.05
"""The median ratio of CPU that still counts as the same; time is that of whatever else the machine does."""
_SECONDS = 120.0


class Checkout:
    """A checkout with version 1 of fraud released, in a state folder of its own."""

    def __init__(self, root: Path, state: Path) -> None:
        self.root = root.resolve()
        self.state = state
        self.last = "none"
        self.environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("HALLMARK_")},
            "HALLMARK_ROOT": str(self.root),
            "HALLMARK_STATE": str(state),
            "HALLMARK_RELEASES": str(state / "releases"),
            "PYTHONPATH": str(self.root),
        }

    def hallmark(self, *arguments: str) -> None:
        """Run its command line; what it says is shown where it fails."""
        command = [sys.executable, "-m", "hallmark.cli", *arguments]
        done = subprocess.run(command, env=self.environment, cwd=self.root, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"{self.root}: hallmark {' '.join(arguments)}: {done.stderr}")

    def _python(self, code: str, *arguments: object) -> str:
        command = [sys.executable, "-c", code, *map(str, arguments)]
        done = subprocess.run(
            command, env=self.environment, cwd=self.root, stdout=subprocess.PIPE, text=True, check=True
        )
        return done.stdout

    def prepare(self) -> None:
        """Release version 1, then stop."""
        make = (
            "import sys, pathlib; from tests.local_cluster.real_model import real_model;"
            "print(real_model(pathlib.Path(sys.argv[1])))"
        )
        digest = self._python(make, self.state / "models" / NAME / "1").strip()
        told = dict.fromkeys(("data", "commit", "metric"), "none") | {"value": "0", "digest": digest}
        register = (
            "import json, sys; from hallmark.settings import Settings; from mlflow.tracking import MlflowClient;"
            "uri = Settings.load().prepared().tracking; client = MlflowClient(tracking_uri=uri, registry_uri=uri);"
            "client.create_registered_model(sys.argv[1]);"
            "client.create_model_version(sys.argv[1], source=sys.argv[2], tags=json.loads(sys.argv[3]))"
        )
        self._python(register, NAME, f"pvc://models/{NAME}/1", json.dumps(told))
        self.hallmark("up", "--port", "0")
        self.hallmark("release", NAME, "--candidate", "1")
        self.hallmark("down")

    def first_answer(self) -> tuple[float, float]:
        """Seconds from the start of `hallmark up` to the first answer of the model, and of CPU until then."""
        began = time.monotonic()
        command = [sys.executable, "-m", "hallmark.cli", "up", "--port", "0"]
        up = subprocess.Popen(
            command, env=self.environment, cwd=self.root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            while not self._answers():
                if time.monotonic() - began > _SECONDS:
                    sys.exit(f"{self.root}: no answer in {_SECONDS:g} s, the last: {self.last}\n{self._logs()}")
                time.sleep(0.01)
            return time.monotonic() - began, self._cpu()
        finally:
            up.wait()

    def _logs(self) -> str:
        """The end of every log of its cluster."""
        found = sorted((self.state / "cluster").rglob("*.log"))
        return "\n".join(f"== {path}\n{path.read_text(errors='replace')[-2000:]}" for path in found)

    def _cpu(self) -> float:
        """Seconds of CPU of the processes that name this folder so far, and of their children that have ended."""
        mark, ticks = str(self.state).encode(), 0
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if any(mark in (process / each).read_bytes() for each in ("environ", "cmdline")):
                    fields = (process / "stat").read_text().rpartition(")")[2].split()
                    ticks += sum(map(int, fields[11:15]))
        return ticks / os.sysconf("SC_CLK_TCK")

    def _answers(self) -> bool:
        try:
            port = json.loads((self.state / "cluster" / "state.json").read_bytes())["port"]
            url = f"http://127.0.0.1:{port}/serving/{NAME}/{NAME}/v2/models/{NAME}/infer"
            asked = urllib.request.Request(url, data=request(1.0), headers={"content-type": "application/json"})
            with urllib.request.urlopen(asked, timeout=5) as answer:
                return bool(answer.status == 200)
        except urllib.error.HTTPError as error:
            self.last = f"{error.code} {error.read().decode(errors='replace')[:500]}"
        except (OSError, ValueError, KeyError) as error:
            self.last = repr(error)
        return False


def main() -> int:
    """Measure, print, and give 1 where the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--against", type=Path, help="checkout of the commit to compare with; none: only this one's figures"
    )
    parser.add_argument("--pairs", type=int, default=5)
    given = parser.parse_args()
    roots = {"now": HERE} | ({"before": given.against} if given.against else {})
    measured: dict[str, list[tuple[float, float]]] = {each: [] for each in roots}
    with tempfile.TemporaryDirectory() as folder:
        checkouts = {name: Checkout(root, Path(folder) / name) for name, root in roots.items()}
        try:
            for each in checkouts.values():
                each.prepare()
            for number in range(given.pairs):
                for name in sorted(checkouts, reverse=bool(number % 2)):
                    measured[name].append(checkouts[name].first_answer())
                    checkouts[name].hallmark("down")
        finally:
            for each in checkouts.values():
                each.hallmark("down")
    found: dict[str, object] = {"pairs": given.pairs}
    ratios = {}
    for place, what in enumerate(("seconds", "cpu")):
        values = {name: [each[place] for each in pairs] for name, pairs in measured.items()}
        found |= {f"{name}_{what}": _spread(each) for name, each in values.items()}
        if given.against:
            divided = [now / before for now, before in zip(values["now"], values["before"], strict=True)]
            ratios[what], found[f"ratio_of_{what}"] = statistics.median(divided), _spread(divided)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return int(ratios.get("cpu", 0.0) > MORE)


def _spread(values: list[float]) -> dict[str, float]:
    """Median, lowest and highest."""
    told = {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}
    return {name: round(value, 2) for name, value in told.items()}


if __name__ == "__main__":
    sys.exit(main())
