"""The targets of issue 3, "A model server at the machine's limit"."""

from __future__ import annotations

from benchmarks.serving.contest import CORES, HALLMARK, NO_SERVER, STOCK
from benchmarks.serving.report import Target
from benchmarks.serving.trials import COLD, KILL, OVERLOAD
from benchmarks.serving.works import PHOTO, PIXELS, ROWS, SMALL

_OURS, _STOCK = HALLMARK.name, STOCK.name


def _of_stock(work: str, bound: float) -> Target:
    return Target(work=work, text="× stock", of=_OURS, against=_STOCK, quantity="rate", bound=bound)


def _no_worse(quantity: str, text: str) -> Target:
    return Target(work=COLD, text=text, of=_OURS, against=_STOCK, quantity=quantity, bound=1, at="most")


TARGETS = (
    _of_stock(SMALL, 9),
    Target(work=SMALL, text="× mosec", of=_OURS, against="mosec", quantity="rate", bound=1),
    Target(work=SMALL, text="of stock's p99", of=_OURS, against=_STOCK, quantity="p99", bound=1 / 3, at="most"),
    Target(
        work=SMALL,
        text="× one worker, by one worker per core",
        of=CORES,
        against=_OURS,
        quantity="rate",
        bound=1.6,
        shared=True,
    ),
    _of_stock(ROWS, 5),
    _of_stock(PIXELS, 8),
    Target(work=PHOTO, text="of the loop without a server", of=CORES, against=NO_SERVER, quantity="rate", bound=0.9),
    Target(work=OVERLOAD, text="of its peak answered in time", of=CORES, quantity="share", bound=0.9),
    Target(work=OVERLOAD, text="to a refusal (p99)", of=CORES, quantity="refusal_p99", bound=5, at="most", unit=" ms"),
    Target(work=OVERLOAD, text="more memory after it", of=CORES, quantity="growth", bound=8, at="most", unit=" MiB"),
    *(
        Target(work=KILL, text=f"lost: {of}", of=of, quantity="lost", bound=0, at="most")
        for of in (f"{_OURS}, 32 floats", f"{CORES}, 32 floats", f"{CORES}, photos")
    ),
    _no_worse("ready", "of stock's time to the first answer"),
    _no_worse("memory", "of stock's memory once ready"),
    _no_worse("loaded", "of stock's memory after load"),
)
