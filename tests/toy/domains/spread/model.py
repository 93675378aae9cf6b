"""A small network that can be trained by several processes: what a domain does to share the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from hallmark.features.fields import Output
from hallmark.learners.model import Examples, ModelSpec, Progress
from hallmark.training.distributed import ALONE, Ranks

OUTPUTS = (Output(name="score", datatype="FP32", minimum=0, maximum=1),)


class Trained:
    """A network of two layers."""

    def __init__(self, network: nn.Sequential) -> None:
        self.network = network

    def predict(self, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """(n,) scores."""
        with torch.inference_mode():
            scores: NDArray[np.float32] = self.network(torch.from_numpy(inputs)).sigmoid().squeeze(1).numpy()
        return scores

    def save(self, folder: Path) -> None:
        """As safetensors."""
        from safetensors.torch import save_file

        save_file(self.network.state_dict(), folder / "weights.safetensors")

    def export(self, path: Path) -> None:
        """As ONNX."""
        from onnx import TensorProto, helper, numpy_helper

        weights = [
            numpy_helper.from_array(value.numpy(), name.replace(".", "_"))
            for name, value in self.network.state_dict().items()
        ]
        nodes = [
            helper.make_node("Gemm", ["input", "0_weight", "0_bias"], ["hidden"], transB=1),
            helper.make_node("Tanh", ["hidden"], ["bent"]),
            helper.make_node("Gemm", ["bent", "2_weight", "2_bias"], ["logit"], transB=1),
            helper.make_node("Sigmoid", ["logit"], ["column"]),
            helper.make_node("Reshape", ["column", "flat"], ["score"]),
        ]
        graph = helper.make_graph(
            nodes,
            "spread",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 2])],
            [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["batch"])],
            [*weights, numpy_helper.from_array(np.array([-1], dtype=np.int64), "flat")],
        )
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        path.write_bytes(made.SerializeToString())


def fit(
    train: Examples,
    validation: Examples,
    *,
    seed: int,
    progress: Progress | None = None,
    ranks: Ranks = ALONE,
    epochs: int = 6,
    batch: int = 33,
    **options: Any,
) -> Trained:
    """Stochastic gradient descent with momentum; every process cuts the same batches and does its part of each."""
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    network = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    inputs, answers = torch.from_numpy(train.inputs), torch.from_numpy(train.labels).float()
    for epoch in range(epochs):
        losses = []
        for rows in torch.randperm(len(inputs)).split(batch):
            mine = ranks.shard(rows)
            loss = functional.binary_cross_entropy_with_logits(network(inputs[mine]).squeeze(1), answers[mine])
            optimizer.zero_grad()
            loss.backward()
            ranks.average(network, rows=len(mine))
            optimizer.step()
            losses.append(ranks.mean(float(loss.detach()), rows=len(mine)))
        if progress is not None:
            progress(epoch + 1, epochs, f"loss {np.mean(losses):.6f}")
    return Trained(network)


def restore(folder: Path) -> Trained:
    """From safetensors."""
    from safetensors.torch import load_file

    network = nn.Sequential(nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 1))
    network.load_state_dict(load_file(folder / "weights.safetensors"))
    return Trained(network)


SPEC = ModelSpec(task="binary", outputs=OUTPUTS, fit=fit, restore=restore)
