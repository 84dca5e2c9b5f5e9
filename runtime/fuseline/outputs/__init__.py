"""Tokens as what people read."""
