"""From a Hugging Face checkpoint to a fuseline folder that says what transformers says: `export`."""

from __future__ import annotations

import gc
import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import onnx

from fuseline.errors import ExportError
from fuseline.folders.description import FUSED, LAYOUTS
from fuseline.generation.config import GenerationConfig

from .adapters import ModelAdapter, Parts, model_adapter
from .check import Agreement, ask, compare
from .checkpoints.checkpoint import Checkpoint, load_model, open_checkpoint
from .checkpoints.dry_run import try_out
from .ctranslate2.folder import is_ctranslate2
from .ctranslate2.write import write_ctranslate2
from .graphs.weights import Array, Scheme
from .graphs.weights_file import WeightsFile
from .plain.write import layouts as write_layouts
from .plain.write import layouts_of
from .refusals import in_one_sentence, need
from .sources import Source, source_of
from .via_optimum import prepared, write_via_optimum
from .writing.folder import check_schemes, write_to
from .writing.graphs import GraphSource
from .writing.parts import DECODER, ENCODER
from .writing.place import Place, check_out, claimed

SCHEMES: Mapping[str, Scheme] = {
    "fp32": "fp32",
    "fp16": "fp16",
    "bf16": "bf16",
    "int8": "int8",
    "int4": "int4",
}

Progress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class ExportReport:
    """What was written. files: bytes by path in the folder; agreement: by variant."""

    path: Path
    files: Mapping[str, int]
    agreement: Mapping[str, Agreement]
    remark: str = ""
    """what is to be known of it beside"""


@dataclass(frozen=True)
class _Plan:
    """A checkpoint that can be exported, as far as its small files tell."""

    checkpoint: Checkpoint
    adapter: ModelAdapter
    source: Source
    generation: dict[str, Any] | None
    schemes: Mapping[str, Scheme]
    max_length: int | None


@in_one_sentence("exported")
def export(
    source: str | Path,
    out: str | Path,
    variants: Sequence[str] = ("fp32",),
    max_length: int | None = None,
    *,
    force: bool = False,
    via: str | None = None,
    interpolate_pos_encoding: bool = False,
    layouts: Sequence[str] = (FUSED,),
    progress: Progress | None = None,
) -> ExportReport:
    """Write the fuseline folder `out` of an encoder/decoder checkpoint or a GPT-2, and compare it with transformers.

    source: a local folder or a hub id; a folder of CTranslate2 is compared with CTranslate2, where it is installed;
    variants: some of fp32, fp16, bf16, int8 and int4, the first is the default; max_length: the longest text in tokens
    (default: as long as the model's positions reach), positions beyond it are
    left out; force: replace an older fuseline folder at `out`; via: "optimum" exports with optimum-onnx what no adapter
    here knows, see via_optimum.py (one variant, fp32, of full length, and no fuseline.json); interpolate_pos_encoding:
    photos of another size than the encoder's positions are for get interpolated ones, as transformers' generate does
    where it is told so; layouts: fused, which there always is, and standard, static and contrib, in which all
    variants are written too, see fuseline.export.layouts; progress: is called with the step, the number of steps and
    what is done.
    Everything but the graphs comes from the checkpoint as it is, except a longer max_length in generation_config.json,
    what a model's own generate says instead of that file (BLIP's), and an image processor within
    processor_config.json, which becomes
    a preprocessor_config.json. `out` is complete at the end, or as it was if anything fails.
    Raises ExportError for what cannot be exported and for an fp32 variant that differs from transformers, FolderError
    for a preprocessor or a generation configuration that the runtime does not know.
    """
    others = [name for name in layouts_of(layouts or (FUSED,), LAYOUTS) if name != FUSED]
    if others and via is not None:
        raise ExportError("optimum's graphs are in plain operators already; leave layouts out")
    report = _export(source, Path(out), variants, max_length, force, via, interpolate_pos_encoding, progress)
    if not others:
        return report
    write_layouts(out, others, variants=variants, progress=progress)
    return replace(report, files=sizes_of(Path(out)))


def _export(
    source: str | Path,
    out: Path,
    variants: Sequence[str],
    max_length: int | None,
    force: bool,
    via: str | None,
    interpolate_pos_encoding: bool,
    progress: Progress | None,
) -> ExportReport:
    """As export, in the fused layout."""
    translates = via is None and is_ctranslate2(source)
    need("exporting", "onnx", *(() if translates else ("onnxscript", "torch", "transformers")))
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if via is not None:
        _check_via(via, variants, max_length)
        if interpolate_pos_encoding:
            raise ExportError("optimum exports no interpolated positions; leave interpolate_pos_encoding out")
        with claimed(out) as place:
            check_out(place.path, replace=force)
            return _via_optimum(source, place, out, progress)
    steps = 4 + len(variants)

    def tell(step: int, what: str) -> None:
        if progress is not None:
            progress(step, steps, what)

    with claimed(out) as place:
        tell(0, "reading the checkpoint")
        check_out(place.path, replace=force)
        if translates:
            if interpolate_pos_encoding:
                raise ExportError("CTranslate2's models read texts, so they interpolate no positions of photos")
            _check_lengths(variants, max_length)
            schemes = {name: SCHEMES[name] for name in variants}
            agreement, remark = write_ctranslate2(source, place, schemes, max_length, tell)
            tell(steps, "done")
            return ExportReport(out, sizes_of(out), agreement, remark)
        if is_fusion(source):
            if interpolate_pos_encoding:
                raise ExportError("a model of several sources interpolates no positions of photos")
            _check_lengths(variants, max_length)
            from .fusion.write import write_fusion

            with _quiet(), _offline():
                schemes = {name: SCHEMES[name] for name in variants}
                agreement = write_fusion(Path(source), place, schemes, max_length, tell)
            tell(steps, "done")
            return ExportReport(out, sizes_of(out), agreement)
        plan = _plan(source, variants, max_length, interpolate_pos_encoding)
        with _quiet(), _offline():
            plan.source.try_out(plan.checkpoint, plan.adapter)
            agreement = _write(plan, place, tell)
    tell(steps, "done")
    return ExportReport(out, sizes_of(out), agreement)


def is_fusion(source: str | Path) -> bool:
    """Whether it is a folder that FusionEncoderDecoder.save_pretrained wrote."""
    config = Checkpoint(Path(source), {}).json("config.json") if Path(source).is_dir() else None
    return config is not None and config.get("model_type") == "fuseline-fusion"


def _check_via(via: str, variants: Sequence[str], max_length: int | None) -> None:
    if via != "optimum":
        raise ExportError(f"via is {via!r}, and optimum is the only other exporter that is known")
    if list(variants) != ["fp32"] or max_length is not None:
        raise ExportError("optimum exports fp32 in full length; leave variants and max_length as they are")


def _via_optimum(source: str | Path, place: Place, out: Path, progress: Progress | None) -> ExportReport:
    """As export, by optimum-onnx."""
    steps = ("reading the checkpoint", "loading the weights", "exporting via optimum, and comparing with transformers")
    tell = progress or (lambda step, steps, what: None)
    tell(0, len(steps), steps[0])
    checkpoint, adapter, processor, photo = prepared(source)
    with _quiet(), _offline():
        try_out(checkpoint, adapter, photo)
        tell(1, len(steps), steps[1])
        reference = load_model(checkpoint, adapter.loader)
        tell(2, len(steps), steps[2])
        agreement = write_via_optimum(checkpoint, processor, place, reference)
    tell(len(steps), len(steps), "done")
    return ExportReport(out, sizes_of(out), {"fp32": agreement})


def _write(plan: _Plan, place: Place, tell: Callable[[int, str], None]) -> dict[str, Agreement]:
    """Write the folder and compare every variant before it takes its place.

    The model is let go when it has answered: with the folder's graphs opened beside it memory would hold it twice.
    """
    agreement: dict[str, Agreement] = {}

    def load() -> Any:
        model = load_model(plan.checkpoint, plan.adapter.loader)
        plan.source.loaded(plan.adapter.encoder(model))
        return model

    def compared(folder: Path) -> dict[str, Any]:
        graphs.clear()  # they are written, and what makes them holds the model
        gc.collect()  # as well as what torch made on the way
        tell(3, "asking transformers")
        answers = ask(models[0], inputs, ends, info["max_positions"])
        _empty(models.pop())
        again = cache(load)
        for number, variant in enumerate(plan.schemes):
            tell(4 + number, f"comparing {variant} with transformers")
            agreement[variant] = compare(folder, variant, answers, again)
        return {variant: found.record() for variant, found in agreement.items()}

    files = plan.source.files(plan.checkpoint)
    tell(1, "loading the weights")
    models = [load()]
    tell(2, "making the graphs")
    parts = plan.adapter.parts(models[0])
    graphs, info = _graphs(plan, models[0], parts)
    options = _generation_config(plan, models[0])
    ends = _ends(plan.checkpoint, json.loads(options.read_bytes()) if isinstance(options, Path) else options)
    inputs = plan.source.generated(parts, ends)
    files |= {
        "config": plan.checkpoint.path / "config.json",
        "generation_config": options,
        "reads": plan.source.described(parts),
    }
    del parts
    default = next(iter(plan.schemes))
    try:
        write_to(place, **files, decoder_info=info, variants=graphs, default_variant=default, check=compared)
    except OSError as error:
        raise ExportError(f"{place.path} cannot be written: {error.strerror or error}") from error
    return agreement


def _empty(model: Any) -> None:
    """Let go of a model's weights. Its parameters live on, since the rules of torch's optimizer keep the last graph."""
    import torch

    for parameter in model.parameters():
        parameter.data = torch.empty(0)
    gc.collect()


def _plan(source: str | Path, variants: Sequence[str], max_length: int | None, interpolate: bool) -> _Plan:
    """Everything that can be refused before weights are read is refused here."""
    _check_lengths(variants, max_length)
    checkpoint = open_checkpoint(source)
    adapter = model_adapter(checkpoint.config)
    adapter.check(checkpoint.config)
    read = source_of(checkpoint, adapter, source, interpolate=interpolate)
    generation = adapter.generation_config(checkpoint.config)
    own = checkpoint.json("generation_config.json") or {}
    options = own if generation is None else generation
    _ends(checkpoint, options)
    schemes = {name: SCHEMES[name] for name in variants}
    return _Plan(checkpoint, adapter, read, generation, schemes, max_length)


def _ends(checkpoint: Checkpoint, options: Mapping[str, Any]) -> Sequence[int]:
    """The tokens that end texts. options: those of generation_config.json. Raises FolderError for what is not known."""
    return GenerationConfig.from_folder(options, checkpoint.config, checkpoint.path).ends


def _check_lengths(variants: Sequence[str], max_length: int | None) -> None:
    check_schemes(variants, SCHEMES)
    if max_length is not None and max_length < 2:
        raise ExportError(f"max_length {max_length} must be at least 2, the start token and one more")


def _graphs(plan: _Plan, reference: Any, parts: Parts) -> tuple[dict[str, dict[str, GraphSource]], dict[str, int]]:
    """What makes the graphs of every variant, by part, and what fuseline.json says of the decoder."""
    adapter, config = parts.decoder, parts.decoder_config
    weights: dict[str, Array] = {name: tensor.numpy() for name, tensor in reference.state_dict().items()}
    positions = _positions(plan, parts)
    encoder = plan.source.encoder(parts, weights, once=len(plan.schemes) == 1)
    padded = plan.source.padded

    def decoder(scheme: Scheme, outside: WeightsFile) -> onnx.ModelProto:
        return adapter.build_decoder(weights, config, scheme, positions, outside, padded=padded)

    def graphs_of(scheme: Scheme) -> dict[str, GraphSource]:
        encoders: dict[str, GraphSource] = {} if encoder is None else {ENCODER: partial(encoder, scheme)}
        return {**encoders, DECODER: partial(decoder, scheme)}

    graphs = {name: graphs_of(scheme) for name, scheme in plan.schemes.items()}
    return graphs, adapter.decoder_info(config, positions)


def _positions(plan: _Plan, parts: Parts) -> int | None:
    """How many positions to keep: one less than max_length, since nothing follows the last token."""
    if plan.max_length is None:
        return None
    most = parts.decoder.decoder_info(parts.decoder_config)["max_positions"] + 1
    if plan.max_length > most:
        raise ExportError(f"max_length {plan.max_length} is more than the {most} tokens that the decoder can write")
    return plan.max_length - 1


def _generation_config(plan: _Plan, reference: Any) -> Path | dict[str, Any]:
    """The adapter's, the checkpoint's or what transformers makes of config.json; lengths lowered to what is left."""
    path, longest = plan.checkpoint.file("generation_config.json"), plan.max_length
    path, own = (None, plan.generation) if plan.generation else (path, plan.checkpoint.json("generation_config.json"))
    if plan.source.reads_text and (own is None or own.get("_from_model_config") is True):
        path, own = None, _settled(reference)
    options: dict[str, Any] = own if own is not None else json.loads(reference.generation_config.to_json_string())
    changes = {}
    if longest is not None:
        limits = {"max_length": longest, "max_new_tokens": longest - 1}
        changes = {name: most for name, most in limits.items() if (options.get(name) or 0) > most}
    return path if path is not None and not changes else options | changes


def _settled(reference: Any) -> dict[str, Any]:
    """What generate goes by until transformers 5, where a generation configuration was made of config.json.

    config.json counts where it has options that are no defaults of its class: a Marian's forced_eos_token_id is one.
    """
    from transformers import GenerationConfig as Options

    options = reference.generation_config
    if options._from_model_config and reference.config._get_non_default_generation_parameters():
        options = Options.from_model_config(reference.config)  # equal to what there was, if nothing was changed since
    found: dict[str, Any] = json.loads(options.to_json_string())
    about = ("_from_model_config", "transformers_version")
    return {name: value for name, value in found.items() if name not in about} or {"use_cache": True}


def sizes_of(folder: Path) -> dict[str, int]:
    """Bytes by path, with forward slashes."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the remarks of transformers and torch, whose settings are as before afterwards."""
    import transformers

    remarks: Any = transformers.utils.logging  # without types
    level, bars = remarks.get_verbosity(), remarks.is_progress_bar_enabled()
    torch_log = logging.getLogger("torch.onnx")
    torch_level = torch_log.level
    remarks.set_verbosity_error()
    remarks.disable_progress_bar()
    torch_log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        remarks.set_verbosity(level)
        torch_log.setLevel(torch_level)
        if bars:
            remarks.enable_progress_bar()


@contextmanager
def _offline() -> Iterator[None]:
    """The checkpoint is on this machine by now, so nothing is asked of the hub, whatever a configuration says."""
    import transformers
    from huggingface_hub import constants

    hub: Any = transformers.utils.hub  # without types
    before, theirs = constants.HF_HUB_OFFLINE, hub._is_offline_mode
    constants.HF_HUB_OFFLINE = hub._is_offline_mode = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, hub._is_offline_mode = before, theirs
