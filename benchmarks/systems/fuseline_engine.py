"""fuseline, every variant that its exporter writes; and its graphs on onnxruntime alone, without the kernel library."""

from __future__ import annotations

from . import CHECKPOINT, Export, Spec

VARIANTS = ("fp32", "int8", "fp16", "bf16", "int4")
QUICK_BODIES = ("fp32", "int8")  # the bodies of the others take minutes
EXPORTS = {
    "fuseline": Export(CHECKPOINT, "export"),
    "standard": Export("fuseline", "export_standard"),
    **{f"fuseline-standard-{name}": Export(CHECKPOINT, f"laid_out_{name}") for name in ("fp32", "int8")},
}
SPECS = [Spec(f"fuseline-{name}", name, "fuseline", {"variant": name}, scaling=True) for name in VARIANTS] + [
    Spec(
        f"onnxruntime-{name}",
        name,
        "fuseline",
        {"variant": name},
        {"FUSELINE_KERNELS": "off"},
        quick=name in QUICK_BODIES,
    )
    for name in VARIANTS
]


def export(checkpoint, out):
    from fuseline.export.convert import SCHEMES, export

    export(checkpoint, out, [name for name in VARIANTS if name in SCHEMES])


def export_standard(folder, out):
    """The float graphs without an operator of ours, for a system that knows no functions of a model."""
    import json
    import shutil

    from fuseline.export.plain.operators import plain
    from fuseline.export.writing.graphs import load_graph, save_graph
    from fuseline.folders.open import open_folder

    found = open_folder(folder, "fp32")
    out.mkdir()
    for part, path in (("encoder", found.encoder_path), ("decoder", found.decoder_path)):
        save_graph(plain(load_graph(path)), out / f"{part}.onnx")
    for name in ("config.json", "generation_config.json", "preprocessor_config.json"):
        shutil.copy(folder / name, out)
    (out / "decoder.json").write_text(json.dumps(vars(found.decoder)))


def laid_out_fp32(checkpoint, out):
    """A folder with the layout that device="openvino" runs."""
    _laid_out(checkpoint, out, "fp32")


def laid_out_int8(checkpoint, out):
    """The same with matrices in 8 bits."""
    _laid_out(checkpoint, out, "int8")


def _laid_out(checkpoint, out, format):
    from fuseline.export import export, layouts

    export(checkpoint, out, ["fp32"])
    layouts(out, ["standard"], format=format)


def imports():
    import fuseline
    from fuseline.inputs.images import load_image

    return fuseline, load_image


class System:
    def __init__(self, folder, threads, variant, device="cpu", options=None):
        fuseline, self.load_image = imports()
        self.model = fuseline.Model.from_pretrained(folder, variant, device, threads, device_options=options)

    def pixels(self, photos):
        return self.model.image_processor([self.load_image(photo) for photo in photos])

    def encode(self, pixels):
        return self.model.encode(pixels)

    def generate(self, pixels, num_beams, max_length):
        generation = self.model.generate(pixels, num_beams=num_beams, max_length=max_length)
        self.steps = generation.timings.steps
        return generation.sequences.tolist()

    def search_share(self, pixels, num_beams, max_length):
        timings = self.model.generate(pixels, num_beams=num_beams, max_length=max_length).timings
        return timings.search / timings.total
