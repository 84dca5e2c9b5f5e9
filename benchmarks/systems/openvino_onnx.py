"""OpenVINO on fuseline's graphs, under fuseline's search; for int8 NNCF compresses the weights, as its guide says.

It knows no functions of a model, which our operators are to it. So it is given them in standard operators.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from . import Export, Spec

REQUIREMENTS = "openvino"
WITH_FUSELINE = True  # its search and its image processor
EXPORTS = {"openvino-int8": Export("standard", "compress")}
SPECS = [
    Spec("openvino-onnx-fp32", "fp32", "standard", {"suffix": "onnx"}),
    Spec("openvino-onnx-int8", "int8", "openvino-int8", {"suffix": "xml"}),
]


def compress(source, out):
    import nncf
    import openvino

    out.mkdir()
    for part in ("encoder", "decoder"):
        model = openvino.Core().read_model(source / f"{part}.onnx")
        openvino.save_model(nncf.compress_weights(model, mode=nncf.CompressWeightsMode.INT8_SYM), out / f"{part}.xml")
    for path in source.glob("*.json"):
        shutil.copy(path, out)


def imports():
    import numpy
    import openvino

    from fuseline import model, search

    return numpy, openvino, model, search


class System:
    def __init__(self, folder, threads, suffix):
        from fuseline.folders.tensors import DecoderSizes
        from fuseline.generation.config import GenerationConfig
        from fuseline.inputs.images import ImageProcessor, load_image

        self.np, openvino, _, search = imports()
        self.load_image, self.search = load_image, search.search
        read = {path.stem: json.loads(path.read_text()) for path in Path(folder).glob("*.json")}
        self.config = GenerationConfig.from_folder(read["generation_config"], read["config"], folder)
        self.processor = ImageProcessor.from_config(read["preprocessor_config"], "preprocessor_config.json")
        settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        core = openvino.Core()
        self.encoder, decoder = (
            core.compile_model(Path(folder) / f"{part}.{suffix}", "CPU", settings) for part in ("encoder", "decoder")
        )
        self.decoder = Decoder(self.np, decoder, DecoderSizes(**read["decoder"]))

    def pixels(self, photos):
        return self.processor([self.load_image(photo) for photo in photos])

    def encode(self, pixels):
        return {port.any_name: value for port, value in self.encoder([pixels]).items()}

    def generate(self, pixels, num_beams, max_length):
        from fuseline.graphs.contract import Encoded

        config = self.config.override(num_beams=num_beams, max_length=max_length)
        encoded = Encoded(len(pixels), self.encode(pixels))
        found = self.search(self.decoder, encoded, config.prompt(len(pixels)), config, encoder_ms=0.0)
        self.steps = found.timings.steps
        return found.sequences.tolist()


class Decoder:
    """The step contract of fuseline.graphs.contract; past and present change places instead of being one."""

    def __init__(self, np, compiled, sizes):
        self.np, self.compiled, self.sizes = np, compiled, sizes

    def start(self, encoded, num_beams, max_length, attentions=False):
        rows, sizes, state = encoded.batch * num_beams, self.sizes, type("State", (), {})()
        capacity = min(max_length, sizes.max_positions)
        names = [f"{i}.decoder.{part}" for i in range(sizes.layers) for part in ("key", "value")]
        state.past = {name: self.np.zeros((capacity, rows, sizes.width), "f4") for name in names}
        state.own, state.position = self.np.arange(rows)[:, None], 0
        state.table = self.np.repeat(state.own, capacity, axis=1)
        state.encoded, state.request = dict(encoded.values), self.compiled.create_infer_request()
        return state

    def step(self, state, tokens, parents):
        if parents is not None:
            state.table[:, : state.position] = state.table[parents, : state.position]
        given = {"input_ids": tokens, "position": self.np.array([state.position]), "beam_table": state.table}
        given |= state.encoded | {f"past_key_values.{name}": value for name, value in state.past.items()}
        outputs = state.request.infer(given, share_inputs=True)
        found = {port.any_name: value for port, value in outputs.items()}
        state.past = {name: found[f"present.{name}"] for name in state.past}
        state.position += tokens.shape[1]
        return found["logits"]
