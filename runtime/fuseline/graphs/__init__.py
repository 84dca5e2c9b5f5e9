"""Graphs that run: onnxruntime sessions, encoders, and decoders that fulfil the step contract."""
