"""Options of generation, what they do to scores, and what comes back."""

from .config import GenerationConfig
from .result import Generation, Timings

__all__ = ["Generation", "GenerationConfig", "Timings"]
