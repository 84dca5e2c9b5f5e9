"""optimum-onnx: its export of three decoders, and onnxruntime under transformers' generate."""

from __future__ import annotations

import shutil
from itertools import product

from . import CHECKPOINT, Export, Spec

REQUIREMENTS = "optimum-onnx"
EXPORTS = {
    "optimum-fp32": Export(CHECKPOINT, "export"),
    "optimum-int8": Export("optimum-fp32", "quantize"),
}
SPECS = [
    Spec(
        f"optimum-{precision}-{'merged' if merged else 'split'}{'-bound' if bound else ''}",
        precision,
        f"optimum-{precision}",
        {"use_merged": merged, "use_io_binding": bound},
        quick=merged and not bound,
        scaling=precision == "int8" and merged and not bound,
    )
    for precision, merged, bound in product(("fp32", "int8"), (True, False), (False, True))
]


def export(checkpoint, out):
    from optimum.exporters.onnx import main_export

    main_export(
        checkpoint, output=out, task="image-to-text-with-past", library_name="transformers", do_validation=False
    )


def quantize(source, out):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    shutil.copytree(source, out, ignore=shutil.ignore_patterns("*.onnx*"))
    for graph in sorted(source.glob("*.onnx")):
        extra = {"EnableSubgraph": True, "MatMulConstBOnly": True}  # the merged decoder is two subgraphs of an If
        quantize_dynamic(graph, out / graph.name, weight_type=QuantType.QInt8, extra_options=extra)


def imports():
    import onnxruntime
    import torch
    from optimum.onnxruntime import ORTModelForVision2Seq
    from transformers import AutoImageProcessor

    return torch, onnxruntime, AutoImageProcessor, ORTModelForVision2Seq


class System:
    def __init__(self, folder, threads, use_merged, use_io_binding):
        self.torch, onnxruntime, processor, kind = imports()
        self.torch.set_num_threads(threads)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.processor = processor.from_pretrained(folder, use_fast=False)
        bound = {"use_merged": use_merged, "use_io_binding": use_io_binding}
        self.model = kind.from_pretrained(folder, session_options=options, use_cache=True, **bound)

    def pixels(self, photos):
        from PIL import Image

        return self.processor([Image.open(photo).convert("RGB") for photo in photos], return_tensors="pt").pixel_values

    def encode(self, pixels):
        return self.model.encoder(pixel_values=pixels)

    def generate(self, pixels, num_beams, max_length):
        return self.model.generate(pixels, num_beams=num_beams, max_length=max_length).tolist()
