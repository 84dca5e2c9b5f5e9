"""OpenVINO through optimum-intel, exported on opening as its documentation does."""

from __future__ import annotations

from . import CHECKPOINT, Export, Spec
from . import optimum_onnx as onnx

REQUIREMENTS = "optimum-intel"
EXPORTS = {"optimum-openvino": Export(CHECKPOINT, "export")}
SPECS = [Spec("openvino-optimum-fp32", reads="optimum-openvino")]


def export(checkpoint, out):
    from optimum.exporters.openvino import main_export

    main_export(checkpoint, output=out, task="image-to-text-with-past", library_name="transformers")


def imports():
    import torch
    from optimum.intel import OVModelForVision2Seq

    # transformers 5 does not give it out at its top without torchvision, which nothing else here needs.
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    return torch, AutoImageProcessor, OVModelForVision2Seq


class System(onnx.System):
    def __init__(self, folder, threads):
        self.torch, processor, kind = imports()
        self.torch.set_num_threads(threads)
        self.processor = processor.from_pretrained(folder, backend="pil")
        settings = {"INFERENCE_NUM_THREADS": str(threads), "INFERENCE_PRECISION_HINT": "f32"}
        self.model = kind.from_pretrained(folder, ov_config=settings, use_cache=True)
