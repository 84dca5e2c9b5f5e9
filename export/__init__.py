"""fuseline.export: turns Hugging Face encoder/decoder checkpoints into fuseline folders.

Needs onnx; the runtime never imports it.
"""

from .adapters.gpt2 import append_cross_kv, build_decoder, decoder_info
from .folder import write_folder

__all__ = ["append_cross_kv", "build_decoder", "decoder_info", "write_folder"]
