"""Photos into arrays, by the name that programs import: see fuseline.inputs.images."""

from .inputs.images import ImageProcessor, load_image

__all__ = ["ImageProcessor", "load_image"]
