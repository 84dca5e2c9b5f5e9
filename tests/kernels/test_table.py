"""What the library registers is what the bodies define: names, inputs and their types, outputs, attributes."""

from __future__ import annotations

import ctypes
import re

import numpy as np
import onnx
import pytest

from fuseline.kernels import library_info
from fuseline.kernels.bodies import body, operators

from .nodes import NODES, run

pytestmark = pytest.mark.skipif(library_info().path is None, reason="the kernel library was not built")

LINE = re.compile(r"(\w+)(?:<(.*)>)?\((.*)\) => \((.*)\)")


def registered() -> dict[str, tuple[dict[str, str], dict[str, str], list[str]]]:
    """By operator: attributes and inputs with their types, and outputs."""
    library = ctypes.CDLL(str(library_info().path))
    library.fuseline_operators.restype = ctypes.c_char_p
    found = {}
    for line in library.fuseline_operators().decode().splitlines():
        match = LINE.fullmatch(line)
        assert match, line
        name, attributes, inputs, outputs = match.groups()
        found[name] = (typed(attributes), typed(inputs), outputs.split(", "))
    return found


def typed(slots: str | None) -> dict[str, str]:
    return dict(slot.split(": ") for slot in slots.split(", ")) if slots else {}


REGISTERED = registered() if library_info().path else {}


def test_the_same_operators_are_registered_and_defined() -> None:
    assert set(REGISTERED) == set(operators())


@pytest.mark.parametrize("operator", operators())
def test_an_operator_is_what_its_body_says(operator: str) -> None:
    attributes, inputs, outputs = REGISTERED[operator]
    defined: onnx.FunctionProto = body(operator)
    assert list(inputs) == list(defined.input)
    assert outputs == list(defined.output)
    assert sorted(attributes) == sorted(defined.attribute)


@pytest.mark.parametrize("operator", operators())
def test_the_types_are_those_that_the_body_runs_with(operator: str) -> None:
    attributes, inputs, _ = REGISTERED[operator]
    node = NODES[operator]
    assert list(inputs.values()) == [array.dtype.name for array in node.feed.values()]
    kinds = {
        name: "ints" if isinstance(value, list) else type(value).__name__ for name, value in node.attributes.items()
    }
    assert attributes == kinds
    for found, right in zip(run(node), run(node, fused=False), strict=True):
        np.testing.assert_allclose(found, right, rtol=1e-4, atol=1e-4)
