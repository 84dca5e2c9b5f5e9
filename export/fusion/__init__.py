"""fuseline.export.fusion: several sources in one decoder, as a PyTorch class that people train and then export.

Needs torch and transformers; `fuseline.export` alone imports neither.
"""

from ..refusals import need

try:
    from .config import ABSENT, MODES, FusionConfig
    from .model import FusionEncoderDecoder
    from .sources import EncodedSources
except ImportError:
    need("fuseline.export.fusion", "torch", "transformers")  # raises what says how to get it
    raise

__all__ = ["ABSENT", "MODES", "EncodedSources", "FusionConfig", "FusionEncoderDecoder"]
