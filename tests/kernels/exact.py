"""What the operators for texts compute, in numpy and float64.

Nothing beyond a length is looked at: the reference slices it away.
"""

from __future__ import annotations

from typing import Any

import ml_dtypes  # type: ignore[import-untyped]
import numpy as np

Array = np.ndarray[Any, Any]


def softmax(scores: Array) -> Array:
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    result: Array = weights / weights.sum(axis=-1, keepdims=True)
    return result


def rounded(array: Array) -> Array:
    """To the nearest bfloat16, as float64."""
    result: Array = array.astype(np.float32).astype(ml_dtypes.bfloat16).astype(np.float64)
    return result


def attended(
    query: Array, key: Array, value: Array, heads: int, scale: float, bias: Array | None = None, bfloat16: bool = False
) -> Array:
    """query [Q, E] over key and value [P, E] -> [Q, E]; bias [H, Q, P], added to the scores. No positions: zeros.

    bfloat16: round these, and the weights before they are made to sum up to 1.
    """
    query, key, value = (rounded(each) if bfloat16 else each.astype(np.float64) for each in (query, key, value))
    mixed = np.zeros(query.shape)
    size = query.shape[1] // heads
    for h in range(heads if len(key) else 0):
        part = slice(h * size, (h + 1) * size)
        scores = query[:, part] @ key[:, part].T * scale
        weights = softmax(scores if bias is None else scores + bias[h])
        if bfloat16:
            largest = weights.max(axis=-1, keepdims=True)
            weights = rounded(weights / largest) * largest
        mixed[:, part] = weights @ value[:, part]
    return mixed


def check_attention(found: Array, wanted: Array, operator: str) -> None:
    """Of an encoder's attention.

    In bfloat16 an exponential that is nearly between two numbers may become the other one, up to a hundredth of itself
    away, so few results may be that far from what is wanted; most are as near as in float32.
    """
    if not operator.startswith("BFloat16"):
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=4e-6, err_msg=operator)
        return
    np.testing.assert_allclose(found, wanted, rtol=0, atol=2**-7, err_msg=operator)
    far = np.abs(found - wanted) > 2e-5
    assert far.mean() < 0.25, f"{operator}: {far.mean():.0%} of the results are not what is rounded where it says"


def cross_attention(query: Array, key: Array, value: Array, lengths: Array, heads: int, scale: float) -> Array:
    """query [N, E]; key, value [B, S, E], or as halves [B, H, S, D]; lengths [B, 1]."""
    if key.ndim == 4:
        key, value = (each.transpose(0, 2, 1, 3).reshape(len(each), each.shape[2], -1) for each in (key, value))
    of_input = np.split(query, len(key))
    parts = [
        attended(rows, key[b, :n], value[b, :n], heads, scale)
        for b, (rows, n) in enumerate(zip(of_input, lengths[:, 0], strict=True))
    ]
    return np.concatenate(parts)


def sources_attention(
    query: Array, key: Array, value: Array, lengths: Array, starts: Array, weights: Array, *, heads: int, scale: float
) -> tuple[Array, Array, Array]:
    """query [N, E]; key, value [B, S, E], or as halves [B, H, S, D]; lengths, weights [B, M]; starts [M + 1].

    -> flat [N, E], parts [N, M x E] and share [N, H, M]: shares are made of L_m, flat of the shares and each c_m.
    """
    if key.ndim == 4:
        key, value = (each.transpose(0, 2, 1, 3).reshape(len(each), each.shape[2], -1) for each in (key, value))
    (rows, width), sources, size = query.shape, len(starts) - 1, query.shape[1] // heads
    alone, sums = np.zeros((rows, sources, width)), np.full((rows, heads, sources), -np.inf)
    each_weight = np.zeros((rows, sources))
    for n in range(rows):
        b = n // (rows // len(key))
        for m in range(sources):
            seen = slice(starts[m], starts[m] + lengths[b, m])
            if lengths[b, m] == 0 or weights[b, m] == 0:
                continue
            each_weight[n, m] = weights[b, m]
            alone[n, m] = attended(query[n : n + 1], key[b, seen], value[b, seen], heads, scale)[0]
            for h in range(heads):
                part = slice(h * size, (h + 1) * size)
                scores = key[b, seen, part].astype(np.float64) @ query[n, part].astype(np.float64) * scale
                sums[n, h, m] = np.log(np.exp(scores - scores.max()).sum()) + scores.max()
            sums[n, :, m] += np.log(each_weight[n, m])
    share = np.zeros(sums.shape)
    there = each_weight.max(axis=1) > 0
    share[there] = softmax(sums[there])
    flat = np.einsum("nhm,nmhd->nhd", share, alone.reshape(rows, sources, heads, size)).reshape(rows, width)
    return flat, (alone * each_weight[..., None]).reshape(rows, -1), share


def self_attention(
    qkv: Array,
    lengths: Array,
    heads: int,
    scale: float,
    distance_bias: Array | None = None,
    bfloat16: bool = False,
) -> Array:
    """qkv [B, S, 3 E]; lengths [B, 1]; distance_bias [H, 2 M - 1]."""
    mixed = np.zeros((*qkv.shape[:2], qkv.shape[2] // 3))
    for b, n in enumerate(lengths[:, 0]):
        query, key, value = np.split(qkv[b, :n], 3, axis=1)
        bias = None
        if distance_bias is not None:
            most = distance_bias.shape[1] // 2
            bias = distance_bias[:, np.clip(np.arange(n) - np.arange(n)[:, None], -most, most) + most]
        mixed[b, :n] = attended(query, key, value, heads, scale, bias, bfloat16)
    return mixed


def window_attention(
    qkv: Array,
    windows: Array,
    regions: Array,
    place_bias: Array,
    *,
    heads: int,
    scale: float,
    bfloat16: bool = False,
) -> Array:
    """qkv [B, S, 3 E]; windows, regions [W, P]; place_bias [H, P, P]."""
    mixed = np.zeros((*qkv.shape[:2], qkv.shape[2] // 3))
    for b in range(len(qkv)):
        for places, region in zip(windows, regions, strict=True):
            query, key, value = np.split(qkv[b, places], 3, axis=1)
            bias = np.where(region[:, None] == region, place_bias.astype(np.float64), -np.inf)
            mixed[b, places] = attended(query, key, value, heads, scale, bias, bfloat16)
    return mixed


def cached_self_attention(
    qkv: Array, key: Array, value: Array, position: int, table: Array, heads: int, scale: float, distance_bias: Array
) -> tuple[Array, Array, Array]:
    """qkv [R x T, 3 E]; key, value [C, R, E]; table [R, C]; distance_bias [H, M]."""
    rows = key.shape[1]
    queries, keys, values = (np.split(each, rows) for each in np.split(qkv, 3, axis=1))
    key, value = key.copy(), value.copy()
    tokens = len(qkv) // rows
    for r in range(rows):
        key[position : position + tokens, r], value[position : position + tokens, r] = keys[r], values[r]
    mixed = np.zeros((len(qkv), key.shape[2]))
    for r in range(rows):
        for t in range(tokens):
            seen = np.arange(position + t + 1)
            places = table[r, seen]
            far = np.minimum(position + t - seen, distance_bias.shape[1] - 1)
            mixed[r * tokens + t] = attended(
                queries[r][t : t + 1], key[seen, places], value[seen, places], heads, scale, distance_bias[:, None, far]
            )
    return mixed, key, value


def rms_norm(x: Array, scale: Array, epsilon: float) -> Array:
    """x [..., I]; scale [I]."""
    x64 = x.astype(np.float64)
    result: Array = x64 / np.sqrt(np.square(x64).mean(-1, keepdims=True) + epsilon) * scale
    return result


def rotary(qkv: Array, cosines: Array, sines: Array, position: int, rows: int, heads: int) -> Array:
    """qkv [R x T, 3 E]; cosines, sines [P, F]. Pairs of neighbours as complex numbers, turned by their angles."""
    lines, pairs = len(qkv), cosines.shape[1]
    result = qkv.astype(np.float64).reshape(lines, 3, heads, -1)
    size = result.shape[-1]
    places = position + np.arange(lines) % (lines // rows)
    turn = (cosines.astype(np.float64) + 1j * sines.astype(np.float64))[places][:, None, None]
    numbers = (result[:, :2, :, 0 : 2 * pairs : 2] + 1j * result[:, :2, :, 1 : 2 * pairs : 2]) * turn
    result[:, :2, :, 0 : 2 * pairs : 2], result[:, :2, :, 1 : 2 * pairs : 2] = numbers.real, numbers.imag
    return result.reshape(lines, 3 * heads * size)
