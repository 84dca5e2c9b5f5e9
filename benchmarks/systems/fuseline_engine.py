"""fuseline, every variant that its exporter writes; and its graphs on onnxruntime alone, without the kernel library."""

from __future__ import annotations

from . import CHECKPOINT, Export, Spec

VARIANTS = ("fp32", "int8", "fp16", "int4")
EXPORTS = {"fuseline": Export(CHECKPOINT, "export")}
SPECS = [Spec(f"fuseline-{name}", name, "fuseline", {"variant": name}, scaling=True) for name in VARIANTS] + [
    Spec(f"onnxruntime-{name}", name, "fuseline", {"variant": name}, {"FUSELINE_KERNELS": "off"}) for name in VARIANTS
]


def export(checkpoint, out):
    from fuseline.export.convert import SCHEMES, export

    export(checkpoint, out, [name for name in VARIANTS if name in SCHEMES])


def imports():
    import fuseline
    from fuseline.images import load_image

    return fuseline, load_image


class System:
    def __init__(self, folder, threads, variant):
        fuseline, self.load_image = imports()
        self.model = fuseline.Model.from_pretrained(folder, variant, threads=threads)

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
