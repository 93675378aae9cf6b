"""Behaviour of a server under overload, at SIGTERM and at a cold start: works that are not a contest of speed."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta

from benchmarks.serving import bodies, load
from benchmarks.serving.bodies import Body
from benchmarks.serving.contest import CORES, HALLMARK, STOCK, Setting, common, figures
from benchmarks.serving.load import Sample
from benchmarks.serving.processes import Contender, Served
from benchmarks.serving.report import Figure
from hallmark.declaration import timeouts
from hallmark.declaration.serving_config import ServingConfig

OVERLOAD, FLOOD = "twice the load, JPEG 224", "twice the load, 32 floats"
KILL, COLD = "kill -TERM under load", "cold start and memory"
DEADLINE = 1.0
"""Seconds that an answer under overload is of use: the server's deadline, and what the client holds it to."""


def overload(setting: Setting) -> list[Figure]:
    """The peak by a closed loop, then twice that, on time, whatever is answered, and the peak again: speed wanders."""
    cores, seconds, name = setting.cores, max(4, 3 * setting.seconds), OVERLOAD
    stock = Contender(f"{STOCK.name}, one worker per core", "stock", workers=cores)
    contenders = [stock] if setting.rounds > 2 else []
    contenders += setting.hallmark(
        CORES, ServingConfig(timeouts=timeouts.of(timedelta(seconds=DEADLINE))), workers=cores
    )
    contenders = setting.paired(contenders)
    samples: dict[str, list[Sample]] = {contender.name: [] for contender in contenders}
    with setting.serving(contenders, "photo") as servers:
        for number in range(setting.few):
            for server in servers:
                server.thaw()
                photos = setting.taken(server.contender)
                if number == 0:
                    _peak(setting, server, photos)
                peak, before = _peak(setting, server, photos), server.memory()
                options = {"rate": 2 * peak, "deadline": DEADLINE, "warm": 2 * DEADLINE, "lanes": 128}
                found = load.timed(server, photos, mode="open", seconds=seconds, **options)
                server.settle()
                growth, again = server.memory() - before, _peak(setting, server, photos)
                server.freeze()
                extra = {"peak": (peak + again) / 2, "offered": 2 * peak, "growth": growth}
                samples[server.contender.name].append(found | extra | {"share": found["rate"] / extra["peak"]})
                line = f"{server.contender.name} {found['rate']:,.0f} of {extra['peak']:,.0f}/s in time"
                setting.report(name, f"round {number + 1}: {line}")
    wanted = "rate p50 p99 cpu client errors peak offered share refused late unanswered refusal_p50 refusal_p99 lag_p99 growth"
    return common(name, samples, wanted)


def _peak(setting: Setting, server: Served, photos: Sequence[Body]) -> float:
    """Answers a second to 32 clients that each wait for theirs."""
    peak = load.timed(server, photos, mode="closed", seconds=max(2, setting.seconds))["rate"]
    server.settle()
    if not peak:
        raise SystemExit(f"{server.contender.name} answered nothing; the end of its log:\n{server.tail()}")
    return peak


def flood(setting: Setting) -> list[Figure]:
    """The small model, whose load only a C program can make: 512 connections, each at its part of the rate."""
    body, samples = bodies.json_floats(1, 32), {HALLMARK.name: list[Sample]()}
    with setting.serving([HALLMARK], "small", body) as (server,):
        server.thaw()
        for number in range(setting.few):
            peak = load.flood(server, body, rate=0, seconds=setting.seconds, connections=64)["rate"]
            before = server.memory()
            found = load.flood(server, body, rate=2 * peak, seconds=setting.seconds, connections=512)
            extra = {"peak": peak, "offered": 2 * peak, "growth": server.memory() - before}
            samples[HALLMARK.name].append(found | extra | {"share": found["rate"] / peak})
            setting.report(FLOOD, f"round {number + 1}: {found['rate']:,.0f} of {peak:,.0f}/s")
    return common(FLOOD, samples, "rate p50 p99 cpu client errors peak offered share refused refusal_p99 growth")


def kill(setting: Setting) -> list[Figure]:
    """32 connections that always have a request under way; SIGTERM in the midst; until nobody can connect."""
    body, samples = bodies.json_floats(1, 32), dict[str, list[Sample]]()
    contenders = [HALLMARK, *setting.hallmark(CORES, workers=setting.cores)]
    for number in range(setting.few):
        for contender, model, given in (
            *((each, "small", [body]) for each in contenders),
            (contenders[-1], "photo", setting.photos),
        ):
            name = f"{contender.name}, {'photos' if model == 'photo' else '32 floats'}"
            server = Served(contender, setting.folders[model], given[0], log=setting.scratch / "kill.log")
            try:
                with load.start(server, given, mode="drain", seconds=20, lanes=32) as process:
                    time.sleep(1.5)
                    server.terminate()
                    sample = load.outcome(process)
            finally:
                code = server.end()
            sample["exit"] = code
            samples.setdefault(name, []).append(sample)
            line = f"{name}: {sample['lost']:.0f} lost of {sample['answered']:,.0f}"
            setting.report(KILL, f"round {number + 1}: {line}")
    wanted = ("answered", "lost", "errors", "turned_away", "exit")
    return figures(
        KILL, {name: [{key: each[key] for key in wanted} for each in all_] for name, all_ in samples.items()}
    )


def cold(setting: Setting) -> list[Figure]:
    """From the start of the process to the first answer; memory then, and after a second of load."""
    body, contenders = bodies.json_floats(1, 32), setting.paired([STOCK, HALLMARK])
    samples = {contender.name: list[Sample]() for contender in contenders}
    for number in range(setting.rounds):
        for contender in contenders:
            folder = setting.folder(contender, "small")
            server = Served(contender, folder, body, log=setting.scratch / "cold.log")
            try:
                sample = {"ready": server.ready, "memory": server.memory()}
                load.wrk(server, [body], seconds=1, connections=32)
                sample["loaded"] = server.memory()
            finally:
                server.end()
            samples[contender.name].append(sample)
            line = f"{contender.name} ready in {sample['ready']:.2f} s, {sample['memory']:.0f} MiB"
            setting.report(COLD, f"round {number + 1}: {line}")
    return figures(COLD, samples)
