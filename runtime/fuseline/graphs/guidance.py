"""Guidance: what a model says with a source against what it says without it.

With scale g the scores are g log p(with) + (1 - g) log p(without), of the same decoder over the same inputs: 1 is the
model itself, bit for bit, 0 the model without the source, and above 1 what the source brings counts more than it does
by itself (Ho and Salimans, 2207.12598; of text Sanchez et al., 2306.17806).
"""

from __future__ import annotations

from collections.abc import Mapping

from ..errors import InputError, shown, written
from .contract import Decoder, Encoded
from .fused import MOST_WEIGHT, FusedDecoder, FusedEncoded, number_of
from .sources import Encoders, Encodes

Guidance = Mapping[str, float]  # by source, the scale g


def guided(
    decoder: Decoder, encoder: Encodes, encoded: Encoded, guidance: Guidance
) -> tuple[FusedDecoder, FusedEncoded]:
    """A decoder that is guided by these sources, and what it reads.

    Of several sources each is left out alone: the scores are log p + sum (g_m - 1) (log p - log p without m).
    Raises InputError for a model with one source, an unknown one, one that it needs, and a scale that is no number from
    0 on.
    """
    right = "guidance must be a number of at least 0 by source"
    if not isinstance(guidance, Mapping) or not guidance:
        raise InputError(f'{right}, as in {{"hint": 1.5}}, not {written(guidance)}')
    if not isinstance(encoder, Encoders):
        raise InputError("guidance needs a model with several sources, and this one has no source to leave out")
    parts, weights = [encoded], [1.0]
    for name, given in guidance.items():
        if name not in encoder.encoders:
            known = ", ".join(encoder.encoders)
            raise InputError(f"guidance has {shown(name, 40)}, and this model's sources are {known}")
        scale = number_of(given)
        if scale is None or not 0 <= scale <= MOST_WEIGHT:
            raise InputError(f"{right} and at most {MOST_WEIGHT:.0f}, and that of {name} is {written(given)}")
        weights[0] = scale if len(guidance) == 1 else weights[0] + (scale - 1)
        weights.append(1 - scale)
        parts.append(encoded if scale == 1 else encoder.without(encoded, name))
    fused = FusedDecoder([decoder] * len(parts), weights)
    return fused, fused.joined(parts)
