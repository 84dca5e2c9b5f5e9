"""OpenVINO reading fuseline's own ONNX files, under fuseline's search."""

from __future__ import annotations

from . import Spec

REQUIREMENTS = "openvino"
WITH_FUSELINE = True  # its search and its image processor
SPECS = [Spec(f"openvino-onnx-{name}", name, "fuseline", {"variant": name}) for name in ("fp32", "int8")]


def imports():
    import numpy
    import openvino

    from fuseline import model, search

    return numpy, openvino, model, search


class System:
    def __init__(self, folder, threads, variant):
        from fuseline.folder import Folder
        from fuseline.generation import GenerationConfig
        from fuseline.images import ImageProcessor, load_image

        self.np, openvino, _, search = imports()
        self.load_image, self.search, found = load_image, search.search, Folder.open(folder, variant)
        self.config = GenerationConfig.from_folder(found.generation_config, found.config, found.path)
        self.processor = ImageProcessor.from_config(found.preprocessor_config, "preprocessor_config.json")
        settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        core = openvino.Core()
        self.encoder = core.compile_model(found.encoder_path, "CPU", settings)
        self.decoder = Decoder(self.np, core.compile_model(found.decoder_path, "CPU", settings), found.decoder)

    def pixels(self, photos):
        return self.processor([self.load_image(photo) for photo in photos])

    def encode(self, pixels):
        return {port.any_name: value for port, value in self.encoder([pixels]).items()}

    def generate(self, pixels, num_beams, max_length):
        from fuseline.decoder import Encoded

        config = self.config.override(num_beams=num_beams, max_length=max_length)
        encoded = Encoded(len(pixels), self.encode(pixels))
        found = self.search(self.decoder, encoded, config.prompt(len(pixels)), config, encoder_ms=0.0)
        self.steps = found.timings.steps
        return found.sequences.tolist()


class Decoder:
    """The step contract of fuseline/decoder.py; past and present change places instead of being one."""

    def __init__(self, np, compiled, sizes):
        self.np, self.compiled, self.sizes = np, compiled, sizes

    def start(self, encoded, num_beams, max_length):
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
