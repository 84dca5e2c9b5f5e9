"""One file per architecture: each writes a state dict down as graphs, in the words of fuseline.export.graph."""

from . import gpt2
from .registry import DecoderAdapter, decoder_adapter, known_decoders, register

__all__ = ["DecoderAdapter", "decoder_adapter", "gpt2", "known_decoders", "register"]
