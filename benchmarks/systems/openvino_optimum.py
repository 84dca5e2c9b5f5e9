"""OpenVINO through optimum-intel, exported on opening as its documentation does."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from . import CHECKPOINT, Export, Spec
from . import optimum_onnx as onnx

REQUIREMENTS = "optimum-intel"
EXPORTS = {"optimum-openvino": Export(CHECKPOINT, "export")}
SPECS = [Spec("openvino-optimum-fp32", reads="optimum-openvino", quick=False)]


def _without_torchvision():
    # PyPI has it for torch with CUDA alone; beside a torch for CPUs transformers cannot be imported with it. Nothing
    # here needs it.
    sys.modules["torchvision"] = None


def export(checkpoint, out):
    _without_torchvision()
    from optimum.exporters.openvino import main_export

    main_export(checkpoint, output=out, task="image-to-text-with-past", library_name="transformers")
    # It writes none where it cannot load the processor, which takes torchvision.
    shutil.copy(Path(checkpoint) / "preprocessor_config.json", out)


def imports():
    _without_torchvision()
    import torch
    from optimum.intel import OVModelForVision2Seq

    # transformers 5 does not give it out at its top without torchvision.
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    return torch, AutoImageProcessor, OVModelForVision2Seq


class System(onnx.System):
    def __init__(self, folder, threads):
        self.torch, processor, kind = imports()
        self.torch.set_num_threads(threads)
        self.processor = processor.from_pretrained(folder, backend="pil")
        settings = {"INFERENCE_NUM_THREADS": str(threads), "INFERENCE_PRECISION_HINT": "f32"}
        self.model = kind.from_pretrained(folder, ov_config=settings, use_cache=True)
