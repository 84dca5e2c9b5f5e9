"""Moonshine's weights out of its package's graphs, by the names of transformers' state dict, in float32.

The graphs were exported from transformers' model and quantized by onnxruntime: a matrix of 8 bits has a scale and a zero
point beside it, which are its name's with other endings. Matrices have lost their names; the nodes that multiply by
them have kept theirs, which say where in the model they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fuseline.errors import ExportError

from .ort_format import Node, OrtGraph, read_ort

Array = npt.NDArray[Any]

_CODES, _SCALE, _ZERO = "_quantized", "_scale", "_zero_point"
_PRODUCT = re.compile(r"/(?P<place>(?:[\w.]+/)*[\w.]+)/MatMul(?:_quant)?")
_GROUPNORM = {"/groupnorm/Mul": "groupnorm.weight", "/groupnorm/Add": "groupnorm.bias"}
