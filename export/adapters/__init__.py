"""One file per decoder architecture: each writes a state dict down as graphs, in the words of fuseline.export.graph."""
