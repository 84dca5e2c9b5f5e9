"""Samples of speech, 16,000 a second, into what an encoder reads; fuseline.inputs.audio says it for the runtime.

Dimensions: `B` clips, `N` samples of the longest, `M` mel bands, `F` frames of 10 ms.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto

from fuseline.inputs.audio import SAMPLING_RATE, LogMel
from fuseline.inputs.log_mel import FLOOR, RANGE, SILENCE, Spectra, mel_filters

from .nodes import Nodes, Value

SAMPLES, LENGTHS = "samples", "sample_lengths"
LENGTHS_WHAT, WHOLE = Value(TensorProto.INT64, ["B or 1"]), -1  # of a clip that is as long as there are samples


@dataclass(frozen=True)
class Clips:
    """values: float32[B, N], zeros after a clip's end; lengths: int64[B]; longest: N, int64 without dimensions."""

    values: str
    lengths: str
    longest: str


def clips(g: Nodes, samples: str, lengths: str, least: int, most: int | None) -> Clips:
    """float32[n] or float32[B, n], and how many of them each clip has. A run fails where a clip has fewer than `least`
    samples, or more than `most`, or one that is no number."""
    shape = g.op("Shape", samples)
    rank, last = g.op("Size", shape), g.op("Gather", g.joined(g.ints(0), shape), g.whole(-1))
    some = g.op("Greater", g.op("Size", samples), g.whole(0))
    right = g.op("And", g.op("Equal", g.op("Clip", rank, g.whole(1), g.whole(2)), rank), some)
    batch = g.checked(g.whole(-1), right, f"{SAMPLES} must be float32[n] or float32[B, n], and not empty")
    rows = g.op("Reshape", samples, g.joined(g.one(batch), g.one(last)))
    lengths_B = _lengths(g, lengths, rows, last)
    shortest, longest = (g.op(kind, lengths_B, keepdims=0) for kind in ("ReduceMin", "ReduceMax"))
    good = g.op("GreaterOrEqual", shortest, g.whole(least))
    longest = g.checked(longest, good, f"a clip must have at least {least} {SAMPLES}")
    if most is not None:
        rule = f"a clip may have {most} {SAMPLES}, which are {most / SAMPLING_RATE:g} s; cut longer sounds"
        longest = g.checked(longest, g.op("LessOrEqual", longest, g.whole(most)), rule)
    rows = g.op("Slice", rows, g.ints(0), g.one(longest), g.ints(1))
    heard = g.op("Less", g.counted(longest), g.op("Unsqueeze", lengths_B, g.ints(1)))
    values = g.op("Where", heard, rows, g.number(0))
    nothing = g.op("ReduceSum", g.op("Mul", values, g.number(0)), keepdims=0)  # times 0, infinity is no number either
    longest = g.checked(longest, g.op("Equal", nothing, g.number(0)), f"{SAMPLES} must be finite")
    return Clips(values, lengths_B, longest)


def _lengths(g: Nodes, given: str, rows_Bn: str, there: str) -> str:
    """int64[B]: those that are given, or as many as there are samples."""
    count, batch = g.size(given, 0), g.sizes(rows_Bn, 0)
    fits = g.op("Or", g.op("Equal", count, g.whole(1)), g.op("Equal", count, g.op("Squeeze", batch)))
    lengths = g.checked(given, fits, f"{LENGTHS} must be one, or one for each clip")
    lengths = g.op("Expand", g.op("Where", g.op("Equal", lengths, g.whole(WHOLE)), there, lengths), batch)
    inside = g.all(g.op("Equal", g.op("Clip", lengths, g.whole(1), there), lengths))
    rule = f"{LENGTHS} must be from 1 to as many {SAMPLES} as there are, or {WHOLE} for all of them"
    return g.checked(lengths, inside, rule)


def input_features(g: Nodes, heard: Clips, log_mel: LogMel) -> str:
    """float32[B, M, F] as LogMel makes them, of speech to 4e-5: base-10 logarithms of the power in mel bands.

    As there only the frames that a clip reaches are computed; in all others there is silence.
    """
    spectra = log_mel.spectra
    with g.scope("log_mel"):
        window = g.whole(log_mel.frames * spectra.hop)
        reached = g.op("Min", g.op("Add", heard.longest, g.whole(spectra.half)), window)
        frames = g.op("Add", g.op("Div", reached, g.whole(spectra.hop)), g.whole(1))
        frames = g.op("Min", frames, g.whole(log_mel.frames))
        power = _power(g, _framed_sound(g, heard, reached, window, spectra), spectra)
        power = g.op("Slice", power, g.ints(0), g.one(frames), g.ints(2))
        logs = g.op("Mul", g.op("Log", g.op("Max", power, g.number(float(FLOOR)))), g.number(1 / np.log(10)))
        silent = g.op("Sub", g.whole(log_mel.frames), frames)
        after = g.joined(g.ints(0, 0, 0, 0, 0), g.one(silent))
        logs = g.op("Pad", logs, after, g.number(float(SILENCE)))
        loudest = g.op("ReduceMax", logs, g.ints(1, 2), keepdims=1)
        logs = g.op("Max", logs, g.op("Sub", loudest, g.number(float(RANGE))))
        scaled = g.op("Div", g.op("Add", logs, g.number(4)), g.number(4))
        # Said again, since onnxruntime lays convolutions out by sizes that it knows.
        return g.op("Reshape", scaled, g.ints(-1, log_mel.bands, log_mel.frames))


def _framed_sound(g: Nodes, heard: Clips, reached: str, window: str, spectra: Spectra) -> str:
    """float32[B, 1, n]: the clips, as much silence as their last frames need, and at both ends what mirrors them.

    What is after the last hop of a window is cut off.
    """
    half, hop = spectra.half, spectra.hop
    size = g.op("Min", g.op("Add", reached, g.whole(half + hop)), window)
    silence = g.joined(g.ints(0, 0, 0), g.one(g.op("Sub", size, heard.longest)))
    padded = g.op("Pad", heard.values, silence)
    return g.op("Unsqueeze", g.op("Pad", padded, g.ints(0, half, 0, half), mode="reflect"), g.ints(1))


def _power(g: Nodes, sound_B1n: str, spectra: Spectra) -> str:
    """float32[B, M, F]: the power of each frame in each band. A Fourier transform of frames that overlap is a
    convolution."""
    length, bins = 2 * spectra.half, 1 + spectra.half
    angles = 2 * np.pi * np.outer(np.arange(bins), np.arange(length)) / length
    waves = np.concatenate([np.cos(angles), np.sin(angles)]) * spectra.window
    kernel = g.weight("log_mel/waves", waves.astype(np.float32)[:, None, :])
    parts = g.op("Conv", sound_B1n, kernel, strides=[spectra.hop])
    filters = np.tile(mel_filters(bins, spectra.bands, SAMPLING_RATE).T, 2).astype(np.float32)
    return g.op("MatMul", g.weight("log_mel/filters", filters), g.op("Mul", parts, parts))
