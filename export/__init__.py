"""fuseline.export: turns Hugging Face encoder/decoder checkpoints into fuseline folders.

Needs onnx, and `export` torch and transformers too; the runtime never imports it.
"""

from .refusals import NotInstalled, need

try:
    from .adapters.gpt2 import append_cross_kv, build_decoder, decoder_info
    from .check import Agreement
    from .convert import ExportReport, export
    from .embedding import EmbedReport, embed
    from .plain.write import LayoutsReport, layouts
    from .quality import Evaluation, evaluate
    from .quantizing.quantize import QuantizeReport, quantize
    from .writing.folder import add_variants, write_confidence, write_folder
except ImportError:
    need("fuseline.export", "onnx")  # raises what says how to get it
    raise

__all__ = [
    "Agreement",
    "EmbedReport",
    "Evaluation",
    "ExportReport",
    "LayoutsReport",
    "NotInstalled",
    "QuantizeReport",
    "add_variants",
    "append_cross_kv",
    "build_decoder",
    "decoder_info",
    "embed",
    "evaluate",
    "export",
    "layouts",
    "quantize",
    "write_confidence",
    "write_folder",
]
