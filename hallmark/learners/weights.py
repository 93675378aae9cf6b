"""The file of a network's weights, which names the architecture that they are of.

Imports torch, so only learners that do import it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from hallmark.learners.model import unrestorable

WEIGHTS = "weights.safetensors"


def save(network: Any, folder: Path, *, beside: dict[str, Tensor] | None = None) -> None:
    """Write a network's weights, and tensors beside them; its attribute `architecture` is plain JSON."""
    state = {name: value.contiguous() for name, value in network.state_dict().items()} | (beside or {})
    save_file(state, folder / WEIGHTS, metadata={"architecture": json.dumps(network.architecture)})


def read(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The architecture and the tensors that `save` wrote."""
    with safe_open(folder / WEIGHTS, framework="pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
        return json.loads(file.metadata()["architecture"]), state


@contextmanager
def restoring(what: str, *, expected: str) -> Iterator[None]:
    """`ModelRefused` where what is read is not what `save` wrote."""
    try:
        yield
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise unrestorable(what, expected=expected, error=error) from error


def restored(folder: Path, build: Callable[..., nn.Module], *, what: str) -> Any:
    """The network of an architecture, by `build` with it as keywords, and the weights in `folder`."""
    expected = "safetensors with the weights of the architecture they name"
    with restoring(f"{WEIGHTS} is not {what}", expected=expected):
        architecture, state = read(folder)
        network = build(**architecture)
        network.load_state_dict(state)
    return network
