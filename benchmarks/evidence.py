"""Bytes and CPU of one tick of the watch that reads the answers of all pods, against another commit's.

`python benchmarks/evidence.py --against DIR`, where DIR is a git worktree of the commit to compare with, such as 51687b8, or 6f787fc,
which is of before tasks and is asked of five domains, whose answers it can hold; some minutes.
Seven domains of six pods, three of each variant, with 20,000 answers each that the watch has not read, a tenth of them with a final
label. Both commits read the same answers, domain by domain in turn, each in a process of its own. Bytes are those of the bodies that
pass the API server; CPU is that of the monitors' and the watch's work on them, without HTTP, and that of the watch alone.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve()
COLUMNS = {  # numbers and words that each domain's monitor watches, beside those that its rollout looks at
    "authentication": (8, 2),
    "fraud": (12, 3),
    "listing": (6, 0),
    "marketing": (14, 4),
    "pricing": (10, 5),
    "recommendations": (8, 4),
    "search": (12, 3),
}
LISTS = frozenset({"pricing", "recommendations"})
"""Domains whose answers are lists, which the oldest commit cannot hold: they are left out beside it."""
ROOT = Path(os.environ.get("HALLMARK_ROOT", HERE.parents[1]))
AT = datetime(2026, 11, 1, tzinfo=UTC).timestamp()
LATER = datetime(2027, 11, 1, tzinfo=UTC)


def main() -> int:
    """Measure, print, and give 1 where a mark is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--against", type=Path, help="worktree of the commit to compare with; none: only this one's figures"
    )
    parser.add_argument("--rows", type=int, default=20_000, help="answers a pod (%(default)s)")
    parser.add_argument("--pods", type=int, default=3, help="of each variant (%(default)s)")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        domain, phase = given.child.split(":")
        sys.stdout.write(json.dumps(tick(domain, phase=phase, rows=given.rows, count=given.pods)))
        return 0
    missed, oldest = 0, given.against is not None and by_answers(given.against)
    for phase in ("shadow", "canary"):
        sums: dict[str, dict[str, float]] = {"before": {}, "now": {}}
        for domain in [each for each in COLUMNS if not (oldest and each in LISTS)]:
            for name, root in (("before", given.against), ("now", HERE.parents[1])):
                if root is None:
                    continue
                found = run(root, domain, phase, given)
                sums[name] = {key: sums[name].get(key, 0.0) + value for key, value in found.items()}
                sys.stdout.write(f"{phase} {domain:<16}{name:<7}{shown(found)}\n")
        for name, found in sums.items():
            if not found:
                continue
            sys.stdout.write(f"{phase} {'all':<16}{name:<7}{shown(found)}\n")
        if not sums["before"]:
            continue
        ratios = {key: sums["before"][key] / sums["now"][key] for key in sums["now"]}
        sys.stdout.write(f"{phase}: 1/{ratios['bytes']:.0f} of the bytes, 1/{ratios['cpu']:.1f} of the CPU, ")
        sys.stdout.write(f"1/{ratios['watch']:.1f} of the watch's\n")
        missed += ratios["bytes"] < 50 or ratios["cpu" if oldest else "watch"] < 10
    return int(missed > 0)


def by_answers(root: Path) -> bool:
    """Is it a commit of before tasks, whose watch keeps `answers`?"""
    return (root / "hallmark/rollout/answers.py").is_file()


def shown(found: dict[str, float]) -> str:
    """One line of it."""
    return f"{found['bytes'] / 1e6:9.3f} MB {found['cpu']:8.2f} s CPU, {found['watch']:8.2f} s of it the watch's"


def run(root: Path, domain: str, phase: str, given: argparse.Namespace) -> dict[str, float]:
    """`tick` with the code of `root`."""
    command = [sys.executable, str(HERE), "--rows", str(given.rows), "--pods", str(given.pods)]
    command += ["--child", f"{domain}:{phase}"]
    environment = {**os.environ, "PYTHONPATH": str(root), "HALLMARK_ROOT": str(root)}
    done = subprocess.run(command, cwd=root, env=environment, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def tick(name: str, *, phase: str, rows: int, count: int) -> dict[str, float]:
    """Bytes, and seconds of CPU of all and of the watch, of one tick with the code on the path."""
    from hallmark.settings import Settings

    if by_answers(ROOT):
        from hallmark import domain as domains
    else:
        from hallmark.declaration import domain as domains

    domain = domains.load(name, Settings.load())
    pods = {
        variant: [ring(domain, variant, number, phase=phase, rows=rows) for number in range(count)]
        for variant in ("stable", "canary")
    }
    once = Watch(domain, phase)  # what a process imports and compiles at its first tick is no part of a tick
    for variant in pods:
        once.read(variant, ring(domain, variant, 0, phase=phase, rows=500))
    once.judge()
    watch = Watch(domain, phase)
    gc.collect()
    gc.freeze()  # what each pod holds is nothing that the watch, or another pod, has to look through for garbage
    began = time.process_time()
    size = sum(watch.read(variant, pod) for variant, each in pods.items() for pod in each)
    watch.judge()
    return {"bytes": size, "cpu": time.process_time() - began, "watch": watch.cpu}


class Watch:
    """The watch of one domain with the code on the path: of today, or of before evidence was gathered in the pods."""

    def __init__(self, domain: Any, phase: str) -> None:
        if by_answers(ROOT):
            from hallmark.rollout import answers as responses
        else:
            from hallmark.rollout import responses

        self.domain, self.cpu, policy, self.responses = domain, 0.0, domain.rollout, responses
        self.fresh = hasattr(responses, "PodEvidence")
        if self.fresh:
            from hallmark.rollout.aggregates import EvidenceRequest

            self.answers = responses.CapturedResponses(shadow=policy.shadow, task=domain.task)
            costs = policy.labels.costs
            self.asked = EvidenceRequest(
                since=0.0, until=LATER.timestamp(), paired=phase == "shadow", shadow=policy.shadow, costs=costs
            )
        elif by_answers(ROOT):
            self.answers = responses.Answers(since=0.0, shadow=policy.shadow)
        else:
            self.answers = responses.CapturedResponses(since=0.0, shadow=policy.shadow, task=domain.task)

    def read(self, variant: str, pod: Any) -> int:
        """Ask one pod, and take in what it tells; bytes of that and of the question."""
        size = 0
        for body, asked in self._bodies(variant, pod):
            began = time.process_time()
            size += len(body) + asked
            if self.fresh:
                from hallmark.rollout.aggregates import PodEvidence

                self.answers.take(variant, PodEvidence.read(body))
            else:
                found, self.cursor, lost = self.responses.parsed(body)
                self.answers.take(variant, found, lost=lost)
            self.cpu += time.process_time() - began
        return size

    def _bodies(self, variant: str, pod: Any) -> Iterator[tuple[bytes, int]]:
        if self.fresh:
            from inference_services.drift_monitor import evidence

            bare = self.asked.shadow.model_copy(update={"slices": ()})
            asked = self.asked if variant == "stable" else self.asked.model_copy(update={"shadow": bare})
            yield evidence.gather(pod, asked, self.domain.task, variant=variant).encoded(), len(asked.path())
            return
        from starlette.responses import JSONResponse

        self.cursor, count = 0, 4000
        while count == 4000:
            found, cursor, lost = pod.after(self.cursor, limit=4000, variant=variant)
            count = len(found)
            told = {"variant": variant, "cursor": cursor, "lost": lost, "rows": [row.shown() for row in found]}
            yield bytes(JSONResponse(told).body), len(f"answers?after={self.cursor}&limit=4000")

    def judge(self) -> None:
        """Make evidence of it."""
        began = time.process_time()
        self.answers.slices(), self.answers.scores()
        if self.fresh:
            self.answers.means(), self.answers.cost(self.domain)
        else:
            self.answers.means(self.domain.rollout.shadow), self.answers.cost(self.domain, now=LATER)
        self.cpu += time.process_time() - began


def ring(domain: Any, variant: str, pod: int, *, phase: str, rows: int) -> Any:
    """The answers of one pod's monitor. In shadow a candidate has copies, of which stable still holds the policy's share."""
    if by_answers(ROOT):
        from inference_services.drift_monitor.answers import Answers as CapturedResponses
        from inference_services.drift_monitor.answers import Known as SentLabel
    else:
        from inference_services.drift_monitor.responses import CapturedResponses, SentLabel

    found = CapturedResponses()
    draw = np.random.default_rng([pod, len(variant)])
    each = 50 if domain.name == "search" else 1
    asked, answered = columns(domain, draw, rows), outputs(domain, draw, rows)
    labels = []
    for number in range(rows // each):
        place = pod * (rows // each) + number
        copied = phase == "shadow" and (variant == "stable" or number % 100 < 100 * domain.rollout.shadow.share)
        seed = f"{place}" if copied else f"{variant}-{place}"
        exchange, client = hashlib.md5(seed.encode()).hexdigest(), hashlib.sha256(seed.encode()).hexdigest()  # noqa: S324
        found.add(
            variant,
            columns={name: values[number * each : (number + 1) * each] for name, values in asked.items()},
            outputs={name: values[number * each : (number + 1) * each] for name, values in answered.items()},
            records=each,
            at=AT + place / 10,
            exchange=f"{exchange[:8]}-{exchange[8:12]}-{exchange[12:16]}-{exchange[16:20]}-{exchange[20:]}",
            request=hashlib.sha256(client.encode()).hexdigest()[:32],
            trace=client[:32],
            shadow=phase == "shadow" and variant != "stable",
        )
        if number % 10 == 0:
            labels += [SentLabel(client, label(domain, draw), at=AT, row=row) for row in range(each)]
    found.label(labels)
    return found


def columns(domain: Any, draw: np.random.Generator, rows: int) -> dict[str, np.ndarray[Any, Any]]:
    """Watched columns of so many records."""
    numbers, words = COLUMNS[domain.name]
    names = [f"a_watched_number_{number}" for number in range(numbers)]
    found: dict[str, Any] = {name: np.round(draw.lognormal(3, 1, rows), 2) for name in names}
    for name in [f"a_watched_word_{number}" for number in range(words)]:
        found[name] = draw.choice(["card", "wallet", "invoice", "voucher"], rows).astype(object)
    for name in domain.rollout.shadow.slices:
        if name in ("amount", "price", "brightness", "megapixels"):
            found[name] = np.round(draw.lognormal(3, 1, rows), 2)
        else:
            found[name] = draw.choice([f"{name} {number}" for number in range(20)], rows).astype(object)
    return found


def outputs(domain: Any, draw: np.random.Generator, rows: int) -> dict[str, np.ndarray[Any, Any]]:
    """The model's answers to so many records."""
    found = np.empty(rows, dtype=object)
    kind = kind_of(domain)
    if kind == "retrieval":
        found[:] = [[f"i{each}" for each in ids] for ids in (draw.pareto(1, (rows, 10)) * 100).astype(int).tolist()]
    elif kind == "regression":
        found[:] = np.outer(draw.lognormal(3, 1, rows), [0.8, 1.0, 1.3]).astype(np.float32).astype(float).tolist()
    elif kind == "multiclass":
        found[:] = draw.choice(["coats", "dresses", "shoes", "bags", "shirts"], rows).tolist()
    else:
        found[:] = draw.beta(1, 20, rows).astype(np.float32).astype(float).tolist()
    return {domain.rollout.shadow.output: found}


def label(domain: Any, draw: np.random.Generator) -> Any:
    """What turns out to be true of one answer."""
    yes = int(draw.random() < 0.05)
    return {
        "binary": yes,
        "multiclass": "coats",
        "regression": float(draw.lognormal(3, 1)),
        "ranking": yes,
        "retrieval": [f"i{number}" for number in (draw.pareto(1, 3) * 100).astype(int)],
        "uplift": {"label": yes, "treatment": 1, "propensity": 0.5},
    }[kind_of(domain)]


def kind_of(domain: Any) -> str:
    """The kind of its task; before there were tasks an answer was a word or a score."""
    if by_answers(ROOT):
        return "multiclass" if domain.name == "listing" else "binary"
    return str(domain.task.kind)


if __name__ == "__main__":
    sys.exit(main())
