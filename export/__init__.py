"""fuseline.export: turns Hugging Face encoder/decoder checkpoints into fuseline folders.

Needs onnx, and `export` torch and transformers too; the runtime never imports it.
"""

from .adapters.gpt2 import append_cross_kv, build_decoder, decoder_info
from .check import Agreement
from .convert import ExportReport, export
from .folder import write_folder

__all__ = ["Agreement", "ExportReport", "append_cross_kv", "build_decoder", "decoder_info", "export", "write_folder"]
