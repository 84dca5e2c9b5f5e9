"""transformers with a static cache and torch.compile over its forward passes."""

from __future__ import annotations

from . import Spec
from . import transformers_eager as eager

REQUIREMENTS = "transformers"
SPECS = [
    Spec("transformers-compile-fp32", settings={"dtype": "float32"}, quick=False),
    Spec("transformers-compile-bf16", "bf16", settings={"dtype": "bfloat16"}, quick=False),
]
imports = eager.imports


class System(eager.System):
    def __init__(self, folder, threads, dtype):
        super().__init__(folder, threads, dtype)
        self.encoder.forward = self.torch.compile(self.encoder.forward)
        decoder = self.model.text_decoder if hasattr(self.model, "text_decoder") else self.model.decoder
        decoder.forward = self.torch.compile(decoder.forward)
        self.model.generation_config.cache_implementation = "static"
