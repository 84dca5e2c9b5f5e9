"""Graphs as they are written: the vocabulary that decoders and encoders are written in, and how weights are stored."""
