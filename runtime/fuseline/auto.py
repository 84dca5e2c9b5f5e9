"""variant="auto": which graphs of a folder run fastest on this machine, among those that are good enough.

Encoder and decoder are chosen each for itself: the graphs of all variants of a folder have the same inputs and outputs.
What was measured is kept in the user's cache folder, so a model is measured once a machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from .decoder import CachedDecoder, Encoded
from .folder import Folder
from .generation import GenerationConfig
from .machine import Times, recall, remember
from .session import open_session

EXACT = "fp32"
# The share of CIDEr that a variant may lose to fp32 where the folder says nothing else: what int4 is made to keep.
MAX_LOSS = 0.02
# Another graph must be this much faster than the one it would replace: runs of one graph differ by some percent.
GAIN = 0.05
SECONDS = 1.8  # for all that is measured; what does not fit in any more is not chosen
_CONDITIONS = ("dataset", "dataset_sha256", "photos", "num_beams", "tokenizer")
_WARM_UP_SECONDS, _SECONDS_EACH, _RUNS, _STEPS = 0.15, 0.15, 5, 12

Part = Literal["encoder", "decoder"]
Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Choice:
    """What was chosen and why.

    encoder, decoder: the variants whose graphs are used; left_out: why a variant is not good enough, by its name;
    times: milliseconds of one photo's encoder run or of one decoder step, by graph, of those that were measured.
    """

    encoder: str
    decoder: str
    left_out: Mapping[str, str]
    times: Times

    def applied(self, folder: Folder) -> Folder:
        """The folder with these graphs in use."""
        return folder.using(self.decoder)

    def sentence(self, folder: Folder) -> str:
        """Both parts with what they were compared with, then what was left out."""
        parts = [self._part(folder, "encoder", self.encoder), self._part(folder, "decoder", self.decoder)]
        return "; ".join([*parts, *(f"{name} is left out: {why}" for name, why in self.left_out.items())])

    def _part(self, folder: Folder, part: Part, chosen: str) -> str:
        graphs = {name: _graph(folder, part, name) for name in folder.variants if name not in self.left_out}
        others = {name: graph for name, graph in graphs.items() if graph != _graph(folder, part, chosen)}
        if not others:
            return f"{part} {chosen}, the only one to choose"
        said = [f"{name} {self._time(graph)}" for name, graph in others.items()]
        unit = "for a photo" if part == "encoder" else "for a step"
        return f"{part} {chosen}, {self._time(_graph(folder, part, chosen))} {unit} ({', '.join(said)})"

    def _time(self, graph: str) -> str:
        return f"{self.times[graph]:.2f} ms" if graph in self.times else "not measured, since there was no more time"


def choose(folder: Folder, device: str = "cpu", threads: int | None = None) -> Choice:
    """The fastest encoder and decoder here among the variants within the folder's quality limit.

    Measures for about two seconds at most, and once only for a model, machine, number of threads and version; never
    where there is nothing to choose. An encoder other than that of fp32 is chosen only where it is faster.
    """
    left_out = {name: why for name in folder.variants if (why := _too_bad(folder, name)) is not None}
    good = [name for name in folder.variants if name not in left_out]
    default = folder.default_variant if folder.default_variant in good else (good or [folder.default_variant])[0]
    exact = EXACT if EXACT in good else default
    encoders, decoders = _candidates(folder, "encoder", exact, good), _candidates(folder, "decoder", default, good)
    if len(encoders) == len(decoders) == 1:
        return Choice(encoders[0], decoders[0], left_out, {})
    times = recall(folder, device, threads)
    if times is None:
        times = _measured(folder, encoders, decoders, device, threads)
        remember(folder, device, threads, times)
    encoder, decoder = _fastest(folder, "encoder", encoders, times), _fastest(folder, "decoder", decoders, times)
    return Choice(encoder, decoder, left_out, times)


def loss(folder: Folder, name: str) -> tuple[float, str] | None:
    """What a variant loses to fp32 as a share, and of what; None where the folder does not tell.

    CIDEr and error rates count where both variants were measured on the same; else what the exporter compared.
    """
    found, exact = folder.quality.get(name, {}), folder.quality.get(EXACT, {})
    if found and all(found.get(key) == exact.get(key) for key in _CONDITIONS):
        mine, base = _number(found.get("CIDEr")), _number(exact.get("CIDEr"))
        if mine is not None and base:
            return 1 - mine / base, "of CIDEr"
        mine, base = _number(found.get("word error rate")), _number(exact.get("word error rate"))
        if mine is not None and base is not None:
            return mine - base, "of the words"
    for key, what in (("tokens", "of the next tokens"), ("beam", "of the texts")):
        share = _number(folder.agreement.get(name, {}).get(key))
        if share is not None:
            return 1 - share, f"{what} on generated photos"
    return None


def _too_bad(folder: Folder, name: str) -> str | None:
    """Why a variant is not to be chosen by itself; None for one that may be."""
    limit = MAX_LOSS if folder.max_loss is None else folder.max_loss
    if not folder.has(name):
        return "its files are not here"
    if name == EXACT:
        return None
    found = loss(folder, name)
    if found is None:
        return None if name == folder.default_variant else "how good it is was not measured"
    lost, what = found
    return f"it loses {lost:.2%} {what} and may lose {limit:.2%}" if lost > limit else None


def _number(value: object) -> float | None:
    number = isinstance(value, float | int) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if number and isinstance(value, float | int) else None


def _graph(folder: Folder, part: Part, name: str) -> str:
    variant = folder.variants[name]
    return variant.encoder if part == "encoder" else variant.decoder


def _candidates(folder: Folder, part: Part, first: str, good: Sequence[str]) -> list[str]:
    """One variant for each graph: the one to fall back on first, then the smaller ones before the larger."""
    graphs: dict[str, str] = {}
    for name in [first, *sorted(good, key=lambda name: folder.bytes_of(_graph(folder, part, name)))]:
        graphs.setdefault(_graph(folder, part, name), name)
    return list(graphs.values())


def _fastest(folder: Folder, part: Part, names: Sequence[str], times: Times) -> str:
    """The first, unless it was measured and another is faster by more than chance."""
    own = times.get(_graph(folder, part, names[0]))
    if own is None:
        return names[0]
    best = min(names, key=lambda name: times.get(_graph(folder, part, name), math.inf))
    return best if times[_graph(folder, part, best)] < own * (1 - GAIN) else names[0]


class _Clock:
    """Begins what may still fit into the time: what would take as long as the longest so far."""

    def __init__(self, seconds: float) -> None:
        self._end, self._longest = perf_counter() + seconds, 0.0

    def timed(self, measure: Callable[[], float]) -> float | None:
        """What `measure` returns, or None where there is no time for it."""
        began = perf_counter()
        if began + self._longest > self._end:
            return None
        result = measure()
        self._longest = max(self._longest, perf_counter() - began)
        return result


def _measured(
    folder: Folder, encoders: Sequence[str], decoders: Sequence[str], device: str, threads: int | None
) -> dict[str, float]:
    """Milliseconds by graph. The decoders before the other encoders: they are most of a caption."""
    clock, times = _Clock(SECONDS), dict[str, float]()
    encoded: list[Encoded] = []

    def encoder(name: str) -> float:
        path, pixels = folder.path / _graph(folder, "encoder", name), _photo(folder)
        session, outputs = open_session(path, device, threads), [each.name for each in folder.encoder_signature.outputs]

        def run() -> None:
            values = session.run_with_ort_values(outputs, {"pixel_values": _value(pixels)})
            encoded[:] = [Encoded(1, dict(zip(outputs, values, strict=True)))]

        return _least(run, _RUNS)

    def decoder(name: str) -> float:
        sizes, beams = folder.decoder, _beams(folder)
        session = open_session(folder.path / _graph(folder, "decoder", name), device, threads)
        made = CachedDecoder(session, sizes)
        state, tokens = made.start(encoded[0], beams, _STEPS + 1), np.zeros((beams, 1), np.int64)
        return _least(lambda: made.step(state, tokens, None), min(_STEPS, sizes.max_positions) - 1)

    order: list[tuple[Part, str]] = [("encoder", encoders[0])]
    order += [("decoder", name) for name in decoders] if len(decoders) > 1 else []
    order += [("encoder", name) for name in encoders[1:]]
    for part, name in order:
        found = clock.timed(lambda part=part, name=name: encoder(name) if part == "encoder" else decoder(name))  # type: ignore[misc]
        if found is not None:
            times[_graph(folder, part, name)] = round(found * 1000, 4)
    return times


def _least(run: Callable[[], object], most: int) -> float:
    """Seconds of the fastest run: others on the machine only make it slower. A first run that is long counts too."""
    began = perf_counter()
    run()
    least = perf_counter() - began
    if least > _WARM_UP_SECONDS:
        return least
    least, end = math.inf, perf_counter() + _SECONDS_EACH
    for _ in range(max(1, most)):
        began = perf_counter()
        run()
        least = min(least, perf_counter() - began)
        if perf_counter() > end:
            break
    return least


def _photo(folder: Folder) -> Array:
    """A grey photo as the encoder takes it, float32[1, 3, height, width]."""
    from PIL import Image

    from .images import ImageProcessor

    prepare = ImageProcessor.from_config(folder.preprocessor_config, str(folder.path / "preprocessor_config.json"))
    return np.ascontiguousarray(prepare([Image.new("RGB", (224, 224), "grey")]))


def _beams(folder: Folder) -> int:
    return GenerationConfig.from_folder(folder.generation_config, folder.config, folder.path).num_beams or 1


def _value(pixels: Array) -> Any:
    from onnxruntime import OrtValue

    return OrtValue.ortvalue_from_numpy(pixels)
