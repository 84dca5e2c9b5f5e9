"""Encoders of texts, written in the words of fuseline.export.graph."""

from .text_encoder import EncoderLayer, SourceTexts, TextEncoder

__all__ = ["EncoderLayer", "SourceTexts", "TextEncoder"]
