"""Files of a folder: read inside it only, regular, bounded; and what an ONNX file holds."""
