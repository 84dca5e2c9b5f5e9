"""Bodies of the convolutions, whose results are rows of channels; kernels/bodies.py puts them together.

`B` images, `Y` rows, `X` columns, `C` channels; of a bottleneck `M` channels in the middle, `O` outputs. Within a body
lie planes, as ONNX's Conv has them. Linear layers have their weights as numbers here, which onnxruntime computes once.
"""

from __future__ import annotations

_CLIP = """
        nothing = Constant<value = float {0.0}>()
        six = Constant<value = float {6.0}>()"""

# From planes to rows of channels, with as many zeros around as SAME_UPPER asks for.
CONV_RELU6 = f"""{_CLIP}
        weight_OCKK = Transpose<perm = [3, 0, 1, 2]>(weight)
        sums = Conv<auto_pad = "SAME_UPPER", strides: ints = @strides>(x, weight_OCKK, bias)
        y = Transpose<perm = [0, 2, 3, 1]>(Clip(sums, nothing, six))"""

_MATRICES = """
        starts = Constant<value = int64[2] {0, 0}>()
        axes = Constant<value = int64[2] {0, 1}>()
        planes = Constant<value = int64[2] {2, 3}>()
        zero_point = Constant<value = float {128.0}>()
        middle = Shape(depthwise_bias)"""


def _matrix(name: str, inputs: str) -> str:
    """The blocks of a linear layer in 8 bits as float32[O, I, 1, 1]; inputs: the value of I."""
    return f"""
        {name}_all = Flatten<axis = 2>(Transpose<perm = [1, 3, 0, 2]>({name}))
        {name}_ends = Concat<axis = 0>({inputs}, Shape({name}_bias))
        {name}_codes = Slice({name}_all, starts, {name}_ends, axes)
        {name}_IO = Mul(Sub(Cast<to = 1>({name}_codes), zero_point), {name}_scale)
        {name}_OI11 = Unsqueeze(Transpose<perm = [1, 0]>({name}_IO), planes)"""


# Each position in 127 steps of its own, as the rows of all linear layers.
_WIDEN = f"""
        seven_bits = Constant<value = float {{0.007874015748031496}}>()
        least = Constant<value = float {{1e-30}}>()
        x_planes = Transpose<perm = [0, 3, 1, 2]>(x)
        step = Max(Mul(ReduceMax<keepdims = 1>(Abs(x_planes), second), seven_bits), least)
        read = Mul(Round(Div(x_planes, step)), step)
        channels_0 = Constant<value_int: int = @channels>()
        first = Constant<value = int64[1] {{0}}>()
        channels_1 = Unsqueeze(channels_0, first){_matrix("expand", "channels_1")}
        wide = Clip(Conv(read, expand_OI11, expand_bias), nothing, six)"""
_AS_THEY_ARE = """
        wide = Transpose<perm = [0, 3, 1, 2]>(x)"""
# What lies from 0 to 6, in 127 steps.
_NARROW = f"""
        taps = Unsqueeze(Transpose<perm = [2, 0, 1]>(depthwise), second)
        sums = Conv<auto_pad = "SAME_UPPER", group: int = @group, strides: ints = @strides>(wide, taps, depthwise_bias)
        active = Clip(sums, nothing, six)
        active_step = Constant<value = float {{0.047244094488188976}}>()
        codes = QuantizeLinear(active, active_step)
        between = DequantizeLinear(codes, active_step){_matrix("project", "middle")}
        narrow = Conv(between, project_OI11, project_bias)
        found = Transpose<perm = [0, 2, 3, 1]>(narrow)"""
_SECOND = """
        second = Constant<value = int64[1] {1}>()"""

SEPARABLE = f"{_CLIP}{_MATRICES}{_SECOND}{_AS_THEY_ARE}{_NARROW}"
BOTTLENECK = f"{_CLIP}{_MATRICES}{_SECOND}{_WIDEN}{_NARROW}"
