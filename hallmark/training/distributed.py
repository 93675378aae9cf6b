"""One training on several nodes: what a domain's `fit` is given to share the work, and the step that has it done by a TrainJob."""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from hallmark.declaration import domain as domains
from hallmark.errors import DeclarationError
from hallmark.training import cache, pods
from hallmark.training.closure import courier

if TYPE_CHECKING:
    import torch

    from hallmark.training.distributed_job import TrainJobs

FOLDER = "distributed"
"""Folder of distributed models in a domain's part of the bucket, each under its job's name."""


class Rows(Protocol):
    """Sequence that can be sliced with a stride: a tensor, an array, a list."""

    def __getitem__(self, key: slice, /) -> Any: ...


@dataclass(frozen=True)
class Ranks:
    """The processes of one training, and which of them this is.

    A domain's `fit` that takes `ranks: Ranks = ALONE` can be trained on several nodes. All processes draw the same numbers from
    the same seed, so that they start alike and cut the same batches; then three things are done otherwise:

        rows = ranks.shard(batch)                # this process's part of each batch
        loss(rows).backward()
        ranks.average(network, rows=len(rows))   # the gradient of the whole batch, the same in all, before optimizer.step()
        if ranks.first and progress: …           # one speaks for all

    What a network counts by itself (batch statistics) stays each process's own; the first one's is kept.
    """

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """True for the one process that reports for all, and writes the result."""
        return self.rank == 0

    @property
    def device(self) -> str:
        """Device of this process: its own GPU, or the processor."""
        import torch

        return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if torch.cuda.is_available() else "cpu"

    def shard(self, batch: Rows) -> Any:
        """Every count-th of a batch, beginning with this process's own; the parts differ by one at most, and make up the whole."""
        return batch[self.rank :: self.count]

    def average(self, module: torch.nn.Module, *, rows: int) -> None:
        """Make the gradients those of the whole batch: the mean over its rows, of which `rows` were this process's; 0 is allowed."""
        if self.count == 1:
            return
        import torch
        from torch import distributed

        weights = [weight for weight in module.parameters() if weight.requires_grad]
        total = torch.tensor([float(rows)], device=weights[0].device)
        distributed.all_reduce(total)
        parts = [weight.grad if rows and weight.grad is not None else torch.zeros_like(weight) for weight in weights]
        flat = torch.cat([part.reshape(-1) for part in parts]) * (rows / max(1.0, float(total)))
        distributed.all_reduce(flat)
        for weight, part in zip(weights, torch.split(flat, [weight.numel() for weight in weights]), strict=True):
            weight.grad = part.reshape(weight.shape).to(weight.dtype)

    def mean(self, value: float, *, rows: int) -> float:
        """The mean of a number over the rows of all, such as a loss; 0 where nobody has any."""
        if self.count == 1:
            return value
        import torch
        from torch import distributed

        both = torch.tensor([value * rows if rows else 0.0, float(rows)], dtype=torch.float32, device=self.device)
        distributed.all_reduce(both)
        return float(both[0] / both[1]) if both[1] else 0.0


ALONE = Ranks()


@contextlib.contextmanager
def joined() -> Iterator[Ranks]:
    """The processes that torchrun has started, once all of them are there; they end together, unless one fails.

    Reads RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT.
    """
    import torch
    from torch import distributed

    distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield Ranks(rank=distributed.get_rank(), count=distributed.get_world_size())
        distributed.barrier()
    finally:
        distributed.destroy_process_group()


def shares(domain: str) -> bool:
    """True if a domain's `fit` takes ranks."""
    return "ranks" in inspect.signature(domains.module(domain, "model").fit).parameters


@courier
def train(
    domain: str,
    *,
    seed: int,
    options: dict[str, Any],
    training: Path,
    validation: Path,
    trained: Path,
    addresses: dict[str, str],
    code: str,
    jobs: TrainJobs | None = None,
) -> None:
    """Have the nodes that the domain declares train its model, and put it into the folder `trained`.

    addresses: where training, validation and trained lie for others, such as s3://bucket/…
    code:      digest of what decides the result besides these inputs.

    The job's name says what is trained, on what and by which code. So a step that is started again takes up the job that it had
    begun, and where that has ended, the model that it left.
    """
    from hallmark.training import distributed_job as job
    from hallmark.training import distributed_store as store

    declared = domains.load(domain)
    if not shares(domain):
        raise DeclarationError(
            f"domains/{domain}/model.py cannot be trained on {declared.training.nodes} nodes",
            expected="fit(…, ranks: Ranks = ALONE), which shares each batch (hallmark.training.distributed)",
            got="a fit without ranks",
            fix="take ranks there, or set training.nodes to 1 in domain.yaml",
        )
    content = {"training": cache.digest(training), "validation": cache.digest(validation)}
    parameters = {"seed": seed, "options": options, "nodes": declared.training.nodes}
    name = f"train-{cache.key('train', code=code, parameters=parameters, inputs=content)[:20]}"
    place = store.beside(addresses["trained"], domain, FOLDER, name)
    arguments = {
        "--domain": domain,
        "--seed": str(seed),
        "--options": json.dumps(options, sort_keys=True),
        "--training": addresses["training"],
        "--validation": addresses["validation"],
        "--place": place,
    }
    if not store.sealed(place):
        wanted = job.train_job(declared, name, image=os.environ.get(pods.IMAGE_VARIABLE, ""), arguments=arguments)
        running = jobs or job.TrainJobs.here(declared.namespace)
        running.run(
            wanted, limit=declared.training.timeout, done=lambda: store.sealed(place), note=store.progress(place)
        )
    with tempfile.TemporaryDirectory() as scratch:
        found = store.fetch(place, Path(scratch) / "model")
        trained.mkdir(parents=True, exist_ok=True)
        for file in sorted(found.iterdir()):
            (trained / file.name).write_bytes(file.read_bytes())
