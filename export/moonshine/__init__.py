"""Moonshine as its own package brings it: graphs in onnxruntime's format, and a list of tokens."""
