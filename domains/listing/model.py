"""The listing model: a small residual network, trained from nothing on photos of one garment each."""

from __future__ import annotations

import copy
import json
import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from domains.listing import data
from domains.listing.features import SIDE
from hallmark.errors import HallmarkError, ModelRefused
from hallmark.features.fields import Output
from hallmark.learners import augmentation
from hallmark.learners.model import Examples, ModelSpec, Progress

LABELS: tuple[str, ...] = data.LABELS
OUTPUTS: tuple[Output, ...] = (
    Output(name="probabilities", datatype="FP32", shape=(len(LABELS),), minimum=0.0, maximum=1.0),
)
WEIGHTS = "weights.safetensors"


class Recipe(BaseModel):
    """How a network is built and trained: `side` is that of the squares it sees, cut from a photo's 112 px.

    One side from first to last: a network this small tells place by the zeros around its maps, and one that grows from
    64 px to 96 at the end of its training, or is asked at 112 px, loses 5 to 20 points.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    widths: tuple[int, ...] = (32, 64, 128, 256)
    depths: tuple[int, ...] = (1, 1, 1, 1)
    side: int = 96
    epochs: int = 64
    batch: int = 32
    rate: float = 3e-3
    decay: float = 0.05
    smoothing: float = 0.1
    dropout: float = 0.1
    mixing: float = 0.0
    smallest_crop: float = 0.35
    erasing: float = 0.1
    average: float = 0.995
    threads: int = 2  # on a busy machine two wait for each other: there --option threads=1 is the faster


QUICK = Recipe(
    widths=(16, 32, 64),
    depths=(1, 1, 1),
    side=48,
    epochs=12,
    batch=16,
    rate=4e-3,
    average=0.9,
    threads=1,
)
"""Seconds for a few hundred photos: tests and first looks."""


class Block(nn.Module):
    """Two 3x3 convolutions beside a shortcut; the first block of a stage halves the sides."""

    def __init__(self, inner: int, outer: int, *, stride: int) -> None:
        super().__init__()
        self.first = _convolution(inner, outer, stride=stride)
        norm = nn.BatchNorm2d(outer)
        nn.init.zeros_(norm.weight)  # a new block passes its shortcut on, so that depth costs no learning
        self.second = nn.Sequential(nn.Conv2d(outer, outer, 3, padding=1, bias=False), norm)
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inner != outer:
            shrink = nn.AvgPool2d(stride, ceil_mode=True)
            self.shortcut = nn.Sequential(shrink, nn.Conv2d(inner, outer, 1, bias=False), nn.BatchNorm2d(outer))

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.second(self.first(x)) + self.shortcut(x))


class Network(nn.Module):
    """Photos (n, 3, h, w) to logits (n, classes), h and w of 32 pixels or more.

    The stem and every stage halve the sides, so that the last blocks see the whole garment.
    """

    def __init__(
        self, widths: tuple[int, ...], *, depths: tuple[int, ...], side: int, classes: int, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.widths, self.depths, self.side, self.classes = widths, depths, side, classes
        self.stem = _convolution(3, widths[0], stride=2)
        blocks, inner = [], widths[0]
        for outer, depth in zip(widths, depths, strict=True):
            for place in range(depth):
                blocks.append(Block(inner, outer, stride=1 if place else 2))
                inner = outer
        self.blocks = nn.Sequential(*blocks)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(inner, classes)
        self.temperature: Tensor
        self.register_buffer("temperature", torch.ones(()))
        self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.dropout(self.blocks(self.stem(x)).mean((2, 3))))
        return logits


class Serving(nn.Module):
    """What is exported: probabilities (n, classes), the mean over four views of a photo."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        return (self.views(x) / self.network.temperature).softmax(2).mean(0)

    def views(self, x: Tensor) -> Tensor:
        """Logits (4, n, classes): of the whole photo and of its middle, which is more like a crop in training; and mirrored."""
        size = (self.network.side, self.network.side)
        straight = torch.cat([functional.interpolate(part, size, mode="bilinear") for part in (x, _middle(x))])
        logits: Tensor = self.network(torch.cat((straight, straight.flip(3))))
        return logits.reshape(4, -1, self.network.classes)


class TrainedNetwork:
    """A trained listing model (hallmark.learners.model.Trained)."""

    def __init__(self, network: Network, *, threads: int = 1) -> None:
        self.serving = Serving(network).eval()
        self.threads = threads

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """Probabilities (n, 17) of photos (n, 3, 112, 112), in the order of `LABELS`."""
        return self._run(self.serving, inputs, axis=0)

    def logits(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """What the probabilities are made of: (4, n, 17), by view."""
        return self._run(self.serving.views, inputs, axis=1)

    def _run(
        self, function: Callable[[Tensor], Tensor], inputs: NDArray[np.float32], *, axis: int
    ) -> NDArray[np.float32]:
        parts = []
        with torch.inference_mode(), _threads(self.threads):
            for start in range(0, max(1, len(inputs)), 256):
                batch = torch.from_numpy(np.ascontiguousarray(inputs[start : start + 256], dtype=np.float32))
                parts.append(function(batch.contiguous(memory_format=torch.channels_last)).numpy())
        return np.concatenate(parts, axis=axis)

    def save(self, folder: Path) -> None:
        """Write the weights, which name their architecture, into `folder`."""
        network = self.serving.network
        parts = {name: getattr(network, name) for name in ("widths", "depths", "side", "classes")}
        state = {name: value.contiguous() for name, value in network.state_dict().items()}
        save_file(state, folder / WEIGHTS, metadata={"architecture": json.dumps(parts)})

    def export(self, path: Path) -> None:
        """Write the ONNX model: `input` (n, 3, 112, 112) to `probabilities` (n, 17), any n."""
        # the exporter says at each call that torchvision, which nothing here needs, is not installed
        logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)
        with warnings.catch_warnings():
            # torch 2.13 uses what it has itself deprecated
            warnings.filterwarnings("ignore", message=".*treespec", category=FutureWarning)
            program = torch.onnx.export(
                self.serving,
                (torch.zeros(2, 3, SIDE, SIDE),),
                dynamo=True,
                verbose=False,
                input_names=["input"],
                output_names=["probabilities"],
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
            )
        if program is None:
            raise HallmarkError("torch exported nothing", expected="an ONNX program", got="None")
        program.save(path, external_data=False)


def fit(
    train: Examples,
    validation: Examples,
    *,
    seed: int,
    progress: Progress | None = None,
    quick: bool = False,
    **options: Any,
) -> TrainedNetwork:
    """A network trained on `train`; `validation` only sets how sure it is. `options` are fields of `Recipe`.

    One seed, one number of threads and one kind of processor give the same weights, bit for bit.
    """
    recipe = Recipe.model_validate({**(QUICK if quick else Recipe()).model_dump(), **options})
    with _threads(recipe.threads), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = _train(train, recipe, progress)
    _calibrate(network, validation, threads=recipe.threads)
    return TrainedNetwork(network, threads=recipe.threads)


def restore(folder: Path) -> TrainedNetwork:
    """The model that `save` wrote into `folder`; `ModelRefused` where its weights are not those of its architecture."""
    try:
        with safe_open(folder / WEIGHTS, framework="pt") as file:
            architecture = json.loads(file.metadata()["architecture"])
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
        network = Network(**architecture)
        network.load_state_dict(state)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ModelRefused(
            f"{WEIGHTS} is not a listing model",
            expected="safetensors with the weights of the architecture they name",
            got=(str(error).splitlines() or [type(error).__name__])[0],
            fix="restore the folder from the registry",
        ) from error
    return TrainedNetwork(network)


def _train(train: Examples, recipe: Recipe, progress: Progress | None) -> Network:
    """The running average of a network's weights at the end of its epochs."""
    photos, answers = torch.from_numpy(train.inputs), torch.from_numpy(train.labels)
    network = Network(
        recipe.widths, depths=recipe.depths, side=recipe.side, classes=len(LABELS), dropout=recipe.dropout
    )
    average = copy.deepcopy(network).eval()
    batches = max(1, round(len(photos) / recipe.batch))
    optimizer, schedule = _optimizer(network, recipe, steps=recipe.epochs * batches)
    lowered = _bfloat16()
    for epoch in range(recipe.epochs):
        losses = []
        network.train()
        for rows in torch.tensor_split(torch.randperm(len(photos)), batches):
            x, target = _varied(photos[rows], answers[rows], recipe)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=lowered):
                logits = network(x.contiguous(memory_format=torch.channels_last))
            loss = functional.cross_entropy(logits.float(), target, label_smoothing=recipe.smoothing)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            schedule.step()
            _follow(average, network, keep=min(recipe.average, (1 + schedule.last_epoch) / (10 + schedule.last_epoch)))
            losses.append(float(loss.detach()))
        mean = float(np.mean(losses))
        if not math.isfinite(mean):
            raise HallmarkError("training diverged", expected="a finite loss", got=str(mean), fix="lower `rate`")
        if progress is not None:
            progress(epoch + 1, recipe.epochs, f"loss {mean:.3f}")
    return average


def _optimizer(network: Network, recipe: Recipe, *, steps: int) -> tuple[AdamW, LambdaLR]:
    """AdamW over one cycle: up in a line, down in a cosine; only what multiplies is decayed."""
    matrices = [weight for weight in network.parameters() if weight.ndim > 1]
    others = [weight for weight in network.parameters() if weight.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.decay}, {"params": others, "weight_decay": 0.0}]

    def height(step: int) -> float:
        done = (step + 0.5) / steps
        return done / 0.2 if done < 0.2 else 0.5 + 0.5 * math.cos(math.pi * min(1.0, (done - 0.2) / 0.8))

    optimizer = AdamW(groups, lr=recipe.rate)
    return optimizer, LambdaLR(optimizer, height)


def _varied(photos: Tensor, answers: Tensor, recipe: Recipe) -> tuple[Tensor, Tensor]:
    x = augmentation.moved(photos, side=recipe.side, smallest=recipe.smallest_crop)
    x = augmentation.erased(augmentation.coloured(x), share=recipe.erasing)
    target = functional.one_hot(answers, len(LABELS)).float()
    return augmentation.mixed(x, target, strength=recipe.mixing) if recipe.mixing else (x, target)


def _follow(average: Network, network: Network, *, keep: float) -> None:
    """Move `average`, batch statistics and all, a little towards `network`."""
    with torch.no_grad():
        for mine, new in zip(average.state_dict().values(), network.state_dict().values(), strict=True):
            if mine.dtype.is_floating_point:
                mine.lerp_(new, 1.0 - keep)


def _calibrate(network: Network, validation: Examples, *, threads: int) -> None:
    """Set the temperature at which `validation` is likeliest: smoothing and mixing leave a network too modest."""
    if not len(validation):
        return
    answers = torch.from_numpy(validation.labels)
    rows = torch.arange(len(answers))
    views = torch.from_numpy(TrainedNetwork(network, threads=threads).logits(validation.inputs))

    def surprise(temperature: float) -> float:
        chosen = (views / temperature).softmax(2).mean(0)[rows, answers]
        return float(-chosen.clamp_min(1e-7).log().mean())

    network.temperature.fill_(min(np.geomspace(0.25, 2.0, 43).tolist(), key=surprise))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Fixed while it lasts: how a sum is cut among threads decides its last bits."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself; training is then twice as fast."""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def _middle(photos: Tensor) -> Tensor:
    """Six sevenths of each side."""
    edge = SIDE // 14
    return photos[:, :, edge:-edge, edge:-edge]


def _convolution(inner: int, outer: int, *, stride: int) -> nn.Sequential:
    layer = nn.Conv2d(inner, outer, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outer), nn.ReLU(inplace=True))


SPEC = ModelSpec(task="multiclass", outputs=OUTPUTS, fit=fit, restore=restore, labels=LABELS)
