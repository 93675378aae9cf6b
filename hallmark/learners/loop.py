"""The loop of gradient descent: one-cycle AdamW, a running average of the weights, an early stop, and going on after a kill."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from hallmark.errors import DeclarationError, HallmarkError
from hallmark.learners.checkpoint import Checkpoint
from hallmark.learners.model import Examples, Measured, Progress


class Recipe(BaseModel):
    """Training settings of a network; a domain's own recipe adds its architecture and the augmentation of its examples.

    rate, decay: of AdamW, at the top of its one cycle.
    average:     share of the running average of the weights that each step keeps; the average is the model.
    patience:    epochs without a better answer to the validation examples after which it stops; 0: never.
    threads:     how a sum is cut among threads decides its last bits, so it is a part of the recipe. On a busy machine two
                 wait for each other: there --option threads=1 is the faster.
    half:        multiply in bfloat16 where the processor does that itself; small matrices gain nothing by it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(default=32, ge=1)
    batch: int = Field(default=32, ge=1)
    rate: float = Field(default=3e-3, gt=0)
    decay: float = Field(default=0.05, ge=0)
    average: float = Field(default=0.995, ge=0, lt=1)
    patience: int = Field(default=0, ge=0)
    threads: int = Field(default=2, ge=1)
    half: bool = True

    def changed(self, options: Mapping[str, Any]) -> Any:
        """This recipe with `options` in place of its own; `DeclarationError` at one that it does not have, or of another type."""
        try:
            return type(self).model_validate({**self.model_dump(), **options})
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            name = ".".join(map(str, first["loc"]))
            raise DeclarationError(
                f"{name} is not an option of this network"
                if first["type"] == "extra_forbidden"
                else f"option {name} is not what it should be: {first['msg'][:1].lower()}{first['msg'][1:]}",
                expected=", ".join(type(self).model_fields),
                got=f"{name}={first['input']!r}",
            ) from error


class Shared(Protocol):
    """The processes of one training, of which this is one (hallmark.training.distributed.Ranks)."""

    @property
    def rank(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def first(self) -> bool: ...
    @property
    def device(self) -> str: ...
    def shard(self, batch: Any) -> Any: ...
    def average(self, module: Any, *, rows: int) -> None: ...
    def mean(self, value: float, *, rows: int) -> float: ...


class Alone:
    """One process that shares with nobody, on the processor."""

    rank, count, first, device = 0, 1, True, "cpu"

    def shard(self, batch: Any) -> Any:
        """All of it."""
        return batch

    def average(self, module: Any, *, rows: int) -> None:
        """Nothing: the gradients are those of the whole batch."""

    def mean(self, value: float, *, rows: int) -> float:
        """The value."""
        return value


ALONE = Alone()

R = TypeVar("R", bound=Recipe)


class TrainingLoop(Generic[R]):
    """One training: a network, the running average of its weights, and all that the next step hangs on."""

    def __init__(
        self,
        network: nn.Module,
        recipe: R,
        train: Examples,
        *,
        loss: Callable[[Tensor, Tensor, R], Tensor],
        vary: Callable[[Tensor, Tensor, R], tuple[Tensor, Tensor]],
        judge: Callable[[nn.Module], float] | None,
        ranks: Shared = ALONE,
    ) -> None:
        """judge: how far the average is from the validation examples; none where there are none to stop by.   ranks: who shares the work."""
        self.network, self.recipe, self.loss, self.vary, self.judge = (
            network.to(ranks.device),
            recipe,
            loss,
            vary,
            judge,
        )
        self.ranks = ranks
        self.inputs, self.labels = torch.from_numpy(train.inputs), targets(train.labels)
        self.weights = counts(train)
        self.average = copy.deepcopy(self.network).eval()
        self.batches = max(1, round(len(self.inputs) / recipe.batch))
        self.optimizer, self.schedule = _optimizer(self.network, recipe, steps=recipe.epochs * self.batches)
        self.lowered = recipe.half and _bfloat16()
        self.best: dict[str, Any] = {"value": math.inf, "epoch": 0, "state": {}}

    def run(self, progress: Progress | None, kept: Checkpoint | None) -> nn.Module:
        """The running average at the end of the epochs, or of the best one where the recipe stops early."""
        recipe, done = self.recipe, self._resume(kept)
        for epoch in range(done, recipe.epochs):
            if self._still(epoch):
                break
            mean = self._epoch()
            if not math.isfinite(mean):
                raise HallmarkError("training diverged", expected="a finite loss", got=str(mean), fix="lower `rate`")
            judged, note = self._judge(epoch), f"loss {mean:.3f}"
            if judged is not None:
                note = Measured(f"{note}, validation {judged:.3f}", value=judged, higher=False)
            if kept is not None:
                kept.write(self._state(epoch + 1))
            if progress is not None and self.ranks.first:
                progress(epoch + 1, recipe.epochs, note)
        if self.best["state"]:
            self.average.load_state_dict(self.best["state"])
        return self.average.cpu()

    def _epoch(self) -> float:
        losses = []
        self.network.train()
        device = torch.device(self.ranks.device)
        for whole in torch.tensor_split(self._order(), self.batches):
            rows = self.ranks.shard(whole)
            self.optimizer.zero_grad()
            loss = torch.zeros(())
            if len(rows):
                x, target = self.vary(self.inputs[rows], self.labels[rows], self.recipe)
                with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.lowered):
                    answers = self.network(laid_out(x).to(device))
                loss = weighed(self.loss(answers.float(), target.to(device), self.recipe), self._counts(rows))
                loss.backward()  # type: ignore[no-untyped-call]
            self.ranks.average(self.network, rows=len(rows))
            self.optimizer.step()
            self.schedule.step()
            steps = self.schedule.last_epoch
            _follow(self.average, self.network, keep=min(self.recipe.average, (1 + steps) / (10 + steps)))
            losses.append(self.ranks.mean(float(loss.detach()), rows=len(rows)))
        return float(np.mean(losses))

    def _order(self) -> Tensor:
        """The examples in the order of one epoch; processes that share them draw it apart from all else, so that they agree."""
        if self.ranks.count == 1:
            return torch.randperm(len(self.inputs))
        alike = torch.Generator().manual_seed(torch.initial_seed() + self.schedule.last_epoch)
        return torch.randperm(len(self.inputs), generator=alike)

    def _counts(self, rows: Tensor) -> Tensor | None:
        return None if self.weights is None else self.weights[rows]

    def _judge(self, epoch: int) -> float | None:
        """Keep the average where it answers the validation examples best so far; how far it is from them, where that is asked."""
        if not self.recipe.patience or self.judge is None:
            return None
        value = self.judge(self.average)
        if value < self.best["value"]:
            state = {name: part.clone() for name, part in self.average.state_dict().items()}
            self.best = {"value": value, "epoch": epoch + 1, "state": state}
        return value

    def _still(self, epoch: int) -> bool:
        patience = self.recipe.patience
        return bool(patience and self.best["state"] and epoch - self.best["epoch"] >= patience)

    def _state(self, done: int) -> dict[str, Any]:
        return {
            "done": done,
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "random": torch.get_rng_state(),
            "best": self.best,
        }

    def _resume(self, kept: Checkpoint | None) -> int:
        """Number of finished epochs: none, or those of the checkpoint, with everything as it was after them."""
        state = None if kept is None else kept.read()
        if state is None:
            return 0
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.best = state["best"]
        torch.set_rng_state(state["random"])
        return int(state["done"])


def counts(examples: Examples) -> Tensor | None:
    """(n,) how much each row counts, where the examples say it."""
    given = getattr(examples, "weights", None)
    return None if given is None else torch.from_numpy(np.asarray(given, dtype=np.float32))


def weighed(loss: Tensor, weights: Tensor | None) -> Tensor:
    """The mean of a loss (n,) of rows by (n,) weights; a loss of one number is taken as it is where none is said to count for more."""
    if weights is None:
        return loss if loss.ndim == 0 else loss.mean()
    if loss.ndim == 0:
        raise DeclarationError(
            "the examples have weights, and the loss is one number",
            expected="a loss for each row, or no data.weight in domain.yaml",
            got="()",
            fix="give `loss` reduction='none' in the domain's model.py",
        )
    weights = weights.to(loss.device)
    return (loss * weights).sum() / weights.sum().clamp_min(1e-12)


def _optimizer(network: nn.Module, recipe: Recipe, *, steps: int) -> tuple[AdamW, LambdaLR]:
    """AdamW over one cycle: up in a line, down in a cosine; only what multiplies is decayed, and what is frozen stays."""
    learning = [weight for weight in network.parameters() if weight.requires_grad]
    matrices = [weight for weight in learning if weight.ndim > 1]
    others = [weight for weight in learning if weight.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.decay}, {"params": others, "weight_decay": 0.0}]

    def height(step: int) -> float:
        done = (step + 0.5) / steps
        return done / 0.2 if done < 0.2 else 0.5 + 0.5 * math.cos(math.pi * min(1.0, (done - 0.2) / 0.8))

    optimizer = AdamW(groups, lr=recipe.rate)
    return optimizer, LambdaLR(optimizer, height)


def _follow(average: nn.Module, network: nn.Module, *, keep: float) -> None:
    """Move `average`, batch statistics and all, a little towards `network`."""
    with torch.no_grad():
        for mine, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
            if mine.dtype.is_floating_point:
                mine.lerp_(new, 1.0 - keep)


@contextmanager
def fixed_threads(count: int) -> Iterator[None]:
    """Torch with this many threads while it lasts: how a sum is cut among threads decides its last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _bfloat16() -> bool:
    """True if this processor multiplies bfloat16 itself; training is then twice as fast."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def laid_out(x: Tensor) -> Tensor:
    """Photos (n, c, h, w) with their channels last, which convolutions are fastest on."""
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def targets(labels: NDArray[Any]) -> Tensor:
    """Labels as a tensor: classes as they are, numbers in float32."""
    return torch.from_numpy(labels if labels.dtype.kind == "i" else np.asarray(labels, dtype=np.float32))
