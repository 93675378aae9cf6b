"""`python -m benchmarks.serving`: this model server beside the stock KServe server and others, on one machine, in turn.

Prints every figure, and the targets of issue 3 with what was measured and whether each is met. Needs wrk and h2load
(apt-get install wrk nghttp2-client). docs/performance.md has the columns.
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

from benchmarks.serving import bodies, load, models, plot
from benchmarks.serving.contest import Checkout, Setting
from benchmarks.serving.processes import ROOT
from benchmarks.serving.report import Figure, Machine, Report, judge, text, write_doc
from benchmarks.serving.targets import TARGETS
from benchmarks.serving.works import RIVALS, WORKS

_PHOTOS = 16
_QUIET = 0.1


def parser() -> argparse.ArgumentParser:
    """The flags."""
    flags = argparse.ArgumentParser(
        prog="python -m benchmarks.serving", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = flags.add_argument
    add("--quick", action="store_true", help="about 2 minutes: 2 rounds of 1 s; rough")
    add("--rounds", type=int, help="of each contender, in turn (5)")
    add("--seconds", type=int, help="each measurement, whole seconds (3)")
    add("--work", action="append", default=[], metavar="TEXT", help=f"only works that contain it: {'; '.join(WORKS)}")
    add("--venv", action="append", default=[], metavar="NAME=PATH", help=f"environment of one of {', '.join(RIVALS)}")
    add("--venvs", type=Path, metavar="DIR", help="a folder of them, as benchmarks.serving.venvs makes it")
    add(
        "--against",
        type=Path,
        metavar="DIR",
        help="another checkout with its .venv: measured in the same rounds, as a ratio",
    )
    add("--save", type=Path, metavar="DIR", help="write performance.json and performance.png there")
    add("--doc", type=Path, metavar="FILE", help="write the tables between the markers of this Markdown file")
    add("--read", type=Path, metavar="JSON", help="measure nothing: show (--save: draw, --doc: write) an earlier run")
    add("--strict", action="store_true", help="exit code 1 where a target is not met")
    return flags


def main() -> int:
    """Measure, or read; then show."""
    flags = parser()
    options = flags.parse_args()
    if options.read:
        report = Report.model_validate_json(options.read.read_bytes())
        report = report.model_copy(update={"verdicts": tuple(judge(target, report.figures) for target in TARGETS)})
    else:
        works = [
            work for work in WORKS if not options.work or any(each.lower() in work.lower() for each in options.work)
        ]
        if not works:
            flags.error(f"expected part of a work: {'; '.join(WORKS)}; got {', '.join(options.work)}")
        pythons = interpreters(options.venvs, dict(each.split("=", 1) for each in options.venv))
        report = measure(
            works,
            pythons,
            rounds=options.rounds or (2 if options.quick else 5),
            seconds=options.seconds or (1 if options.quick else 3),
            against=options.against,
        )
    print(text(report))
    if options.save:
        options.save.mkdir(parents=True, exist_ok=True)
        (options.save / "performance.json").write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")
        plot.draw(report, options.save / "performance.png")
    if options.doc:
        write_doc(options.doc, report)
    missed = [verdict for verdict in report.verdicts if verdict.met is False]
    return 1 if report.failed or (options.strict and missed) else 0


def interpreters(folder: Path | None, single: dict[str, str]) -> dict[str, str]:
    """Rivals' interpreters by name; ends where one that is named is not there."""
    found = dict(single)
    if unknown := found.keys() - set(RIVALS):
        raise SystemExit(f"--venv: expected a name of {', '.join(RIVALS)}; got {', '.join(unknown)}")
    if folder is not None:
        found = {name: str(folder / name) for name in RIVALS if (folder / name).is_dir()} | found
    pythons = {name: str(Path(path).absolute() / "bin" / "python") for name, path in found.items()}
    for name, python in pythons.items():
        if not Path(python).exists():
            raise SystemExit(f"--venv {name}: no {python}; make it with: python -m benchmarks.serving.venvs DIR {name}")
    return pythons


def checkout(root: Path, scratch: Path) -> Checkout:
    """The checkout at `root`, its models written to `scratch` by its own code; ends where it cannot serve."""
    root = root.absolute()
    python = root / ".venv" / "bin" / "python"
    if not python.exists():
        raise SystemExit(f"--against {root}: expected its environment, {python}; make it there with: make install")
    write = f"from pathlib import Path; from benchmarks.serving import models; models.folders(Path({str(scratch)!r}))"
    done = subprocess.run([str(python), "-c", write], cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"--against {root}: its benchmarks/serving/models.py failed:\n{done.stderr[-2000:]}")
    return Checkout(root, str(python), {folder.name: folder for folder in scratch.iterdir()})


def measure(works: list[str], pythons: dict[str, str], *, rounds: int, seconds: int, against: Path | None) -> Report:
    """All the works."""
    load.check_tools()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no contender is left behind
    busy = others()
    if busy > _QUIET:
        print(f"others use {busy:.0%} of the CPU: expect figures that are too low and wander", file=sys.stderr)
    begun = time.monotonic()
    found: list[Figure] = []
    failed: list[str] = []
    with tempfile.TemporaryDirectory(prefix="hallmark-bench-") as root:
        scratch = Path(root)
        photos = bodies.jpegs(_PHOTOS)
        (scratch / "photos").mkdir()
        for at, data in enumerate(photos):
            (scratch / "photos" / f"{at:02d}.jpg").write_bytes(data)
        setting = Setting(
            scratch=scratch,
            folders=models.folders(scratch / "models"),
            photos=[bodies.photo(data) for data in photos],
            texts=[bodies.photo_text(data) for data in photos],
            cores=len(os.sched_getaffinity(0)),
            rounds=rounds,
            seconds=seconds,
            pythons=pythons,
            earlier=checkout(against, scratch / "earlier") if against else None,
        )
        for work in works:
            try:
                found += WORKS[work](setting)
            except (SystemExit, subprocess.SubprocessError, OSError) as error:
                setting.report(f"{work} was NOT measured: {error}")
                failed.append(work)
    figures = tuple(found)
    verdicts = tuple(judge(target, figures) for target in TARGETS)
    took = time.monotonic() - begun
    return Report(
        machine=machine(busy),
        against=_commit(against) if against else "",
        rounds=rounds,
        seconds=seconds,
        took=took,
        figures=figures,
        verdicts=verdicts,
        failed=tuple(failed),
    )


def others() -> float:
    """The share of all cores that was in use over a second while we slept."""

    def ticks() -> tuple[int, int]:
        fields = [int(each) for each in Path("/proc/stat").read_text(encoding="ascii").split("\n")[0].split()[1:9]]
        return sum(fields), fields[3] + fields[4]

    total, idle = ticks()
    time.sleep(1)
    after, still = ticks()
    return 1 - (still - idle) / max(after - total, 1)


def machine(busy: float) -> Machine:
    """This one, now."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    packages = ("kserve", "onnxruntime", "numpy", "uvicorn")
    return Machine(
        cpu=names[0] if names else platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        kernel=platform.release(),
        python=platform.python_version(),
        versions={name: metadata.version(name) for name in packages},
        commit=_commit(ROOT),
        busy=busy,
        date=f"{datetime.now(UTC):%Y-%m-%d}",
    )


def _commit(root: Path) -> str:
    command = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False).stdout.strip() or "unknown"


if __name__ == "__main__":
    sys.exit(main())
