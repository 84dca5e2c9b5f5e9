"""How the schemes store a matrix: rounded to codes, and laid out in the blocks that the kernels read.

`I` inputs, `O` outputs, K = ceil(O / 16) blocks of outputs. The layouts are those of
kernels/include/fuseline_kernels.h; kernels/bodies.py has the same as ONNX.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper, numpy_helper

from .rounding import gptq, nearest, search_scales

Array = npt.NDArray[Any]
Scheme = Literal["fp32", "fp16", "bf16", "int8", "int4"]  # how weights are stored; all arithmetic results are float32

BLOCK = 16  # outputs whose weights lie together
GROUP = 128  # inputs that share a scale in 4 bits; smaller matrices take SMALL_GROUP
SMALL_GROUP = 32
# From so many inputs on groups of 128 are worth their smaller size: ViT-GPT2 has 0.155 of float32's, with 32 0.165.
LARGE_INPUTS = 768

FORMATS = {"fp32": "Float", "fp16": "Half", "bf16": "BFloat16", "int8": "Int8", "int4": "Int4"}
FLOATS: tuple[Scheme, ...] = ("fp32", "fp16", "bf16")  # that have no scales


@dataclass(frozen=True)
class Stored:
    """A matrix as a scheme stores it: weight in blocks, and its scales (None for floats).

    numpy has no bfloat16: its bits are uint16 here, as nothing else is.
    """

    weight: Array
    scale: Array | None


def tensor_type(weight: Array) -> int:
    """The TensorProto type of what a scheme stores."""
    if weight.dtype == np.uint16:
        return TensorProto.BFLOAT16
    found: int = helper.np_dtype_to_tensor_dtype(weight.dtype)
    return found


def tensor_of(array: Array, name: str) -> TensorProto:
    """What a scheme stores, as a tensor of a graph."""
    return TensorProto(name=name, dims=array.shape, data_type=tensor_type(array), raw_data=array.tobytes())


def content_of(tensor: TensorProto) -> Array:
    """The other way round. tensor: one within the graph."""
    if tensor.data_type != TensorProto.BFLOAT16:
        return numpy_helper.to_array(tensor)
    if not tensor.HasField("raw_data"):
        return np.array(tensor.int32_data, np.uint16).reshape(tensor.dims)
    return np.frombuffer(tensor.raw_data, "<u2").astype(np.uint16, copy=False).reshape(tensor.dims)


def table_scheme(scheme: Scheme) -> Scheme:
    """How tables of tokens, and heads, are stored beside linear layers of a scheme."""
    others: dict[Scheme, Scheme] = {"int4": "int8", "bf16": "fp16"}
    return others.get(scheme, scheme)


def store(weight_IO: Array, scheme: Scheme, moments_II: Array | None = None) -> Stored:
    """A float32[I, O] matrix in the layout of the scheme.

    moments: float[I, I], the mean of x x' over inputs seen, by which 4 bits are rounded so that errors cancel.
    """
    if scheme == "int8":
        codes_IO, scale_O = quantize_columns(weight_IO)
        return Stored(_blocks(codes_IO, 4, 128), scale_O)
    if scheme == "int4":
        return _store_int4(weight_IO, GROUP if len(weight_IO) >= LARGE_INPUTS else SMALL_GROUP, moments_II)
    if scheme == "bf16":
        return Stored(_blocks(to_bfloat16(weight_IO), 2, 0), None)
    kind = np.float16 if scheme == "fp16" else np.float32
    padded_IO = _padded(weight_IO.astype(kind), 1, 0)
    return Stored(padded_IO.reshape(len(padded_IO), -1, BLOCK).transpose(1, 0, 2), None)


def to_bfloat16(numbers: Array) -> npt.NDArray[np.uint16]:
    """The bits of the nearest bfloat16, of two equally near ones the even; NaN stays NaN."""
    bits = np.ascontiguousarray(numbers, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(numbers), bits >> 16 | 0x40, rounded).astype(np.uint16)


def of_bfloat16(bits: Array) -> npt.NDArray[np.float32]:
    """The numbers of which these are the bits."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def quantize_columns(weight_IO: Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """Symmetric 8 bits an output channel: uint8[I, O] with zero point 128, and float32[O] scales.

    weight = (quantized - 128) * scale, quantized in 1..255. Unsigned, because that is what VNNI multiplies with signed
    activations, and onnxruntime multiplies u8 x u8 exactly everywhere.
    """
    scale_O = np.abs(weight_IO).max(axis=0).astype(np.float32) / np.float32(127)
    scale_O[scale_O == 0] = 1  # a column of zeros: any scale is right
    return (np.rint(weight_IO / scale_O) + 128).astype(np.uint8), scale_O


def quantize_groups(
    weight_IO: Array, group: int, moments_II: Array | None = None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float16]]:
    """4 bits with a scale for every `group` inputs of an output: uint8[I', O] codes, float16[I' / group, O] scales.

    weight = (code - 8) * scale; I' is I rounded up to whole groups. rounding.py finds scales and codes.
    """
    missing = -len(weight_IO) % group
    whole_IO = np.pad(weight_IO, ((0, missing), (0, 0)))
    scales = search_scales(whole_IO, group)
    if moments_II is None:
        codes = nearest(whole_IO, scales, group)
    else:
        codes = gptq(whole_IO, scales, group, np.pad(moments_II, ((0, missing), (0, missing))))
    return codes, scales.astype(np.float16)


def restore(weight: Array, scale: Array | None, inputs: int, outputs: int) -> npt.NDArray[np.float32]:
    """The float32[I, O] matrix that blocks of any scheme stand for; what `store` rounded stays rounded."""
    if weight.dtype == np.uint16:
        return of_bfloat16(_unblocked(weight)[:inputs, :outputs])
    if weight.dtype != np.uint8:
        return _unblocked(weight[..., None])[:inputs, :outputs].astype(np.float32)
    assert scale is not None, "codes have scales"
    if scale.ndim == 1:
        codes_IO = _unblocked(weight)[:inputs, :outputs].astype(np.float32)
        return (codes_IO - 128) * scale[:outputs]
    pairs = np.stack([weight & 15, weight >> 4], axis=2)  # [K, I' / 8, 2, 16, 4]
    blocks = pairs.reshape(len(weight), -1, BLOCK, 4)
    scale_GO = _unblocked(scale[..., None]).astype(np.float32)
    codes_IO = _unblocked(blocks).astype(np.float32) - 8
    spread_IO = np.repeat(scale_GO, len(codes_IO) // len(scale_GO), axis=0)
    return (codes_IO * spread_IO)[:inputs, :outputs]


def _store_int4(weight_IO: Array, group: int, moments_II: Array | None) -> Stored:
    codes_IO, scale_GO = quantize_groups(weight_IO, group, moments_II)
    codes_IO = _padded(codes_IO, 1, 8)
    pairs = codes_IO.reshape(-1, 2, 4, codes_IO.shape[1])
    bytes_IO = (pairs[:, 0] | pairs[:, 1] << 4).reshape(-1, codes_IO.shape[1])
    padded_GO = _padded(scale_GO, 1, 0)
    return Stored(_blocks(bytes_IO, 4, 0x88), padded_GO.reshape(len(padded_GO), -1, BLOCK).transpose(1, 0, 2))


def _blocks(codes_IO: Array, inputs: int, zero: int) -> Array:
    """[I, O] -> [K, I / inputs, 16, inputs], what is missing filled with `zero`."""
    codes_IO = _padded(codes_IO, inputs, zero)
    return codes_IO.reshape(len(codes_IO) // inputs, inputs, -1, BLOCK).transpose(2, 0, 3, 1)


def _unblocked(blocks: Array) -> Array:
    """[K, I / inputs, 16, inputs] -> [I, O], padding included."""
    inputs = blocks.shape[1] * blocks.shape[3]
    return blocks.transpose(1, 3, 0, 2).reshape(inputs, -1)


def _padded(matrix_IO: Array, inputs: int, zero: int) -> Array:
    """Rounded up to a multiple of `inputs` and of 16 outputs."""
    rows, columns = matrix_IO.shape
    if rows % inputs == 0 and columns % BLOCK == 0:  # nothing to add: np.pad would copy all of it
        return matrix_IO
    return np.pad(matrix_IO, ((0, -rows % inputs), (0, -columns % BLOCK)), constant_values=zero)
