"""Works to measure, one function per work; each gives one figure per contender."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.serving import bare, bodies, load, trials
from benchmarks.serving.bodies import Body
from benchmarks.serving.contest import CORES, HALLMARK, STOCK, Setting, contest, only
from benchmarks.serving.load import Sample
from benchmarks.serving.processes import Contender, Served
from benchmarks.serving.report import Figure
from hallmark.declaration.serving_config import ServingConfig

RIVALS = ("mosec", "litserve", "bentoml", "mlserver")
SMALL, ROWS, PIXELS = "32 floats, JSON", "64 rows, binary", "3×224×224, binary"
PHOTO, ORDER, STEADY = "JPEG 224, MobileNetV2", "an order, 17 fields, JSON", "32 floats, 1,000 req/s"


def _rest(given: Sequence[Body], connections: int) -> Callable[[Served, int], Sample]:
    return lambda server, seconds: load.wrk(server, given, seconds=seconds, connections=connections)


def small(setting: Setting) -> list[Figure]:
    """Everyone."""
    body = bodies.json_floats(1, 32)
    others = [Contender("plain FastAPI", "fastapi"), Contender("bare ASGI, msgspec", "asgi")]
    others += [Contender(name, name, python=setting.pythons[name]) for name in RIVALS if name in setting.pythons]
    alone = ServingConfig(batching="off")
    ours = [HALLMARK, *setting.hallmark("hallmark, batching off", alone)]
    ours += setting.hallmark("hallmark, batching off, one worker per core", alone, workers=setting.cores)
    ours += setting.hallmark(CORES, workers=setting.cores)
    folder = setting.folders["small"]
    return contest(
        setting,
        SMALL,
        "small",
        [STOCK, *others, *ours],
        body,
        _rest([body], 32),
        alone=lambda: bare.run(folder, processes=1, seconds=1),
    )


def rows(setting: Setting) -> list[Figure]:
    """A batch a request."""
    body = bodies.binary_floats(64, 32)
    return contest(setting, ROWS, "small", [STOCK, HALLMARK], body, _rest([body], 32))


def pixels(setting: Setting) -> list[Figure]:
    """600 KB a request."""
    body = bodies.binary_floats(1, 3, 224, 224)
    return contest(setting, PIXELS, "cnn", [STOCK, HALLMARK], body, _rest([body], 8), least=2)


def photo(setting: Setting) -> list[Figure]:
    """A worker a core, and the same work without a server."""
    cores = setting.cores
    ours = setting.hallmark(CORES, workers=cores) + setting.hallmark(
        "hallmark, cache 64 MiB", ServingConfig(cache=64 * 2**20), workers=cores
    )
    folder, files = setting.folders["photo"], setting.scratch / "photos"

    def measure(server: Served, seconds: int) -> Sample:
        return load.wrk(server, setting.taken(server.contender), seconds=seconds, connections=32)

    return contest(
        setting,
        PHOTO,
        "photo",
        [Contender(f"{STOCK.name}, one worker per core", "stock", workers=cores), *ours],
        None,
        measure,
        alone=lambda: bare.run(folder, files, processes=cores, seconds=max(2, setting.seconds)),
        least=2,
    )


def order(setting: Setting) -> list[Figure]:
    """The fraud domain's own fields and feature code before a forest of 300 trees."""
    body = bodies.order()
    return contest(setting, ORDER, "order", [STOCK, HALLMARK], body, _rest([body], 32))


def steady(setting: Setting) -> list[Figure]:
    """Latency where neither is at its limit, from the moment each request was to be sent."""
    body = bodies.json_floats(1, 32)

    def measure(server: Served, seconds: int) -> Sample:
        return only(
            load.timed(server, [body], mode="open", seconds=seconds, rate=1000.0), "rate p50 p99 lag_p99 cpu errors"
        )

    return contest(setting, STEADY, "small", [STOCK, HALLMARK], body, measure)


WORKS: dict[str, Callable[[Setting], list[Figure]]] = {
    SMALL: small,
    ROWS: rows,
    PIXELS: pixels,
    PHOTO: photo,
    ORDER: order,
    STEADY: steady,
    trials.OVERLOAD: trials.overload,
    trials.FLOOD: trials.flood,
    trials.KILL: trials.kill,
    trials.COLD: trials.cold,
}
