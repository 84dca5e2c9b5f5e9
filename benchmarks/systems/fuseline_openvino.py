"""fuseline's layout `standard` on OpenVINO, as device="openvino" runs it: in floats, with matrices in 8 bits, and with
those where OpenVINO rounds what they are multiplied with to 8 bits, too, as it does by itself where the CPU has VNNI.

What it is to be measured beside is openvino_onnx: OpenVINO's own way with the same graphs, under the same search.
"""

from __future__ import annotations

from . import Spec, fuseline_engine

REQUIREMENTS = "onnxruntime-openvino"
WITH_FUSELINE = True
_ROUNDS = {"load_config": '{"CPU": {"DYNAMIC_QUANTIZATION_GROUP_SIZE": "32"}}'}
SPECS = [
    Spec(
        f"fuseline-openvino-{name}",
        kind,
        f"fuseline-standard-{kind}",
        {"variant": "fp32", "device": "openvino", "options": options},
        quick=False,
    )
    for name, kind, options in (("fp32", "fp32", {}), ("int8", "int8", {}), ("int8-rounded", "int8", _ROUNDS))
]
imports, System = fuseline_engine.imports, fuseline_engine.System
