"""4-bit codes: exact where they can be, better than the plain scheme, and GPTQ better still on the layer's output."""

from __future__ import annotations

import math

import numpy as np
import pytest
from onnx import TensorProto, helper

from fuseline.export.graphs.rounding import gptq, nearest, search_scales
from fuseline.export.quantizing.calibration import _Watched, products


def restored(codes: np.ndarray, scales: np.ndarray, group: int) -> np.ndarray:
    return (codes.astype(np.float32) - 8) * np.repeat(scales, group, axis=0)


@pytest.mark.parametrize("sign", [1, -1])
def test_what_has_sixteen_values_is_kept_exactly(sign: int) -> None:
    weight = sign * np.arange(-8, 8, dtype=np.float32)[:, None] * np.float32([0.25, 2.0])
    scales = search_scales(weight, 16)
    np.testing.assert_array_equal(restored(nearest(weight, scales, 16), scales, 16), weight)


def test_zeros_and_what_float16_cannot_hold_give_right_numbers() -> None:
    weight = np.zeros((32, 3), np.float32)
    weight[:, 1] = 1e-12
    weight[5, 2] = 3.0
    scales = search_scales(weight, 32)
    assert np.isfinite(scales).all() and (scales != 0).all()
    np.testing.assert_array_equal(scales, scales.astype(np.float16))
    found = restored(nearest(weight, scales, 32), scales, 32)
    np.testing.assert_allclose(found, weight, atol=1e-6)  # 1e-12 becomes 0


@pytest.mark.parametrize("group", [32, 128])
def test_the_search_beats_the_plain_scale_and_gptq_beats_the_search(group: int) -> None:
    random = np.random.default_rng(0)
    weight = random.standard_t(5, (128, 48)).astype(np.float32)
    # Inputs that depend on each other, as activations do; held-out ones are judged by.
    mix = random.normal(size=(24, 128))
    seen, held_out = ((random.normal(size=(n, 24)) @ mix + 0.1 * random.normal(size=(n, 128))) for n in (600, 300))
    scales = search_scales(weight, group)
    plain = np.abs(weight.reshape(-1, group, 48)).max(axis=1) / 7

    def error(codes: np.ndarray, scales: np.ndarray) -> float:
        return float(np.square(restored(codes, scales, group) - weight).sum())

    def output_error(codes: np.ndarray) -> float:
        return float(np.square(held_out @ (restored(codes, scales, group) - weight)).sum())

    # Measured on weights of real models: 15% off the error of max / 7, so 28% off its square.
    assert error(nearest(weight, scales, group), scales) < 0.85 * error(nearest(weight, plain, group), plain)
    codes = gptq(weight, scales, group, seen.T @ seen / len(seen))
    assert codes.max() <= 15
    assert output_error(codes) < 0.3 * output_error(nearest(weight, scales, group))


def test_gptq_without_moments_is_nearest() -> None:
    """Inputs that do not depend on each other leave nothing to make up for."""
    weight = np.random.default_rng(1).normal(size=(64, 8)).astype(np.float32)
    scales = search_scales(weight, 32)
    for moments in (np.eye(64), np.zeros((64, 64))):
        np.testing.assert_array_equal(gptq(weight, scales, 32, moments), nearest(weight, scales, 32))


def test_what_layers_see_is_summed_so_that_the_order_does_not_count() -> None:
    seen = np.random.default_rng(0).normal(size=(3000, 7)).astype(np.float32)
    exact = [[math.fsum(float(a) * float(b) for a, b in zip(x, y, strict=True)) for y in seen.T] for x in seen.T]
    np.testing.assert_allclose(products(seen), exact, rtol=1e-11)


def test_what_layers_see_does_not_depend_on_the_number_of_cores() -> None:
    nothing = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", nothing[:1], nothing[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = _Watched(model)._session.get_session_options()
    assert options.intra_op_num_threads == 2, "sums cut for another number of threads give other codes"
