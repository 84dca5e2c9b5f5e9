"""One file per decoder architecture: each makes graphs of a checkpoint's state dict, written in fuseline.export.graph."""
