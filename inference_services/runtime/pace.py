"""Recent cost of the model's calls: whether putting requests together pays, how many fit, how long a queue takes."""

from __future__ import annotations

from typing import Literal

from inference_services.protocol.errors import ServeError
from inference_services.runtime.executor import Executor

Batching = Literal["auto", "on", "off"]
_WEIGHT = 0.05
_PAYS = 0.9
_TRIAL = 64


class Pace:
    """Seconds a request of each way to run them, as moving averages that every call renews.

    alone:    one request a call.
    together: several a call.
    after:    what the model's thread does for each once it is answered.
    The way that does not pay is tried again once in 64 calls where it could be taken, so that neither figure grows old.
    """

    def __init__(self, model: Executor, *, batching: Batching, objective: float, most: int) -> None:
        self._batching = batching
        self._room = objective / 4
        self._most = most
        self._calls = 0
        self.after = 0.0
        try:
            self.alone, eight = model.cost(rows=1), model.cost(rows=8, repeats=3)
        except ServeError:  # the example does not suit the model's own code: the first calls will show it
            self.alone, eight = 0.001, 0.008
        self.together = eight / 8
        self._row = max(0.0, (eight - self.alone) / 7)

    @property
    def pays(self) -> bool:
        """Do requests cost a tenth less together?"""
        return self.together < _PAYS * self.alone

    @property
    def each(self) -> float:
        """Seconds that one more waiting request adds, the way they are run now."""
        batched = self._batching == "on" or (self._batching == "auto" and self.pays)
        return (self.together if batched else self.alone) + self.after

    def expected(self, rows: int) -> float:
        """Seconds that one request of `rows` records will take the model."""
        return self.alone + self._row * (rows - 1)

    def rows(self) -> int:
        """Records that the next call may take: 1 for one request alone; a quarter of the latency objective at most."""
        self._calls += 1
        trial = self._batching == "auto" and self._calls % _TRIAL == 0
        if self._batching == "off" or (self._batching == "auto" and self.pays == trial):
            return 1
        return max(2, min(self._most, int(self._room / max(self.together, 1e-9))))

    def learn_after(self, requests: int, seconds: float) -> None:
        """Renew the figure of what is done after a call's answers."""
        self.after += _WEIGHT * (seconds / requests - self.after)

    def learn(self, requests: int, seconds: float) -> None:
        """Renew the figures by one call."""
        if requests == 1:
            self.alone += _WEIGHT * (seconds - self.alone)
        else:
            self.together += _WEIGHT * (seconds / requests - self.together)
