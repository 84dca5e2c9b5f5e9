"""From a checkpoint of FusionEncoderDecoder to a fuseline folder that says what the class says."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from fuseline.errors import ExportError
from fuseline.folders.description import TASKS
from fuseline.folders.tensors import GATED, HIERARCHICAL, READS

from ..adapters.fused_layers import Fusion
from ..adapters.registry import decoder_adapter
from ..adapters.vision_encoder_decoder import is_tied
from ..check import BEAMS, MAX_LENGTH, Agreement, Answers, compare, until_end
from ..checkpoints.checkpoint import Checkpoint
from ..checkpoints.tokenizer import tokenizer_json
from ..graphs.weights import Array, Scheme
from ..graphs.weights_file import WeightsFile
from ..writing.folder import write_to
from ..writing.graphs import GraphSource
from ..writing.parts import DECODER, part_of
from ..writing.place import Place
from .model import FusionEncoderDecoder
from .parts import SourcePart, parts_of

REFERENCE = "FusionEncoderDecoder"


def write_fusion(
    folder: Path,
    place: Place,
    schemes: Mapping[str, Scheme],
    max_length: int | None,
    tell: Callable[[int, str], None],
) -> dict[str, Agreement]:
    """Write the folder and compare every variant before it takes its place.

    folder: of the checkpoint; schemes, max_length: as export has them; tell: is called with the step and what is done
    in it. Raises ExportError, FolderError.
    """
    tell(1, "loading the weights")
    model = FusionEncoderDecoder.from_pretrained(folder).eval()
    if len(model.config.sources) < 2:
        raise ExportError(
            f"{folder} has one source; export a VisionEncoderDecoderModel or another model of one instead"
        )
    tell(2, "making the graphs")
    parts = parts_of(model, folder)
    adapter, config = _decoder(model)
    most = adapter.decoder_info(config)["max_positions"] + 1
    if max_length is not None and max_length > most:
        raise ExportError(f"max_length {max_length} is more than the {most} tokens that the decoder can write")
    positions = None if max_length is None else max_length - 1
    info, fusion = adapter.decoder_info(config, positions), _fusion(model, parts)

    def decoder(scheme: Scheme, outside: WeightsFile) -> onnx.ModelProto:
        made: onnx.ModelProto = adapter.build_decoder(
            fusion.weights[0], config, scheme, positions, outside, fusion=fusion
        )
        return made

    def graphs_of(scheme: Scheme) -> dict[str, GraphSource]:
        encoders = {part_of(part.name): partial(part.graph, adapter, config, scheme) for part in parts}
        return {**encoders, DECODER: partial(decoder, scheme)}

    graphs = {name: graphs_of(scheme) for name, scheme in schemes.items()}
    agreement: dict[str, Agreement] = {}

    def compared(written: Path) -> dict[str, Any]:
        tell(3, f"asking {REFERENCE}")
        inputs = {part.name: part.generated() for part in parts}
        answers = ask(model, inputs, info["max_positions"])
        for number, variant in enumerate(schemes):
            tell(4 + number, f"comparing {variant} with {REFERENCE}")
            agreement[variant] = compare(written, variant, answers, lambda: _Logits(model))
        return {variant: found.record() for variant, found in agreement.items()}

    files = {f"{part.name}/{name}": file for part in parts for name, file in part.files().items()}
    try:
        write_to(
            place,
            config=folder / "config.json",
            generation_config=_generation_config(model, max_length),
            tokenizer_json=tokenizer_json(Checkpoint(folder, config)),
            tokenizer_files={name: _text(file) for name, file in files.items()},
            reads={
                "task": _task(parts),
                "sources": {part.name: part.described() for part in parts},
                "fusion": model.config.fusion,
            },
            decoder_info=info,
            variants=graphs,
            default_variant=next(iter(schemes)),
            check=compared,
        )
    except OSError as error:
        raise ExportError(f"{place.path} cannot be written: {error.strerror or error}") from error
    return agreement


def ask(model: FusionEncoderDecoder, inputs: Mapping[str, Mapping[str, Array]], max_positions: int) -> Answers:
    """What the class says of inputs, by source; see check.ask."""
    import torch

    max_length = min(MAX_LENGTH, max_positions + 1)
    settings: Any = model.generation_config
    ends = settings.eos_token_id if isinstance(settings.eos_token_id, list) else [settings.eos_token_id]
    sequences: dict[int, list[Array]] = {}
    with torch.inference_mode():
        encoded = model.encode(inputs)
        for beams in (1, BEAMS):
            options: dict[str, Any] = {"num_beams": beams, "max_length": max_length, "do_sample": False}
            found = model.generate(inputs, **options).numpy()
            sequences[beams] = [until_end(row, ends) for row in found]
            if beams == 1:
                tokens = torch.from_numpy(found[:, :-1])
                logits = model(encoder_outputs=encoded, decoder_input_ids=tokens).logits.numpy()
    along = [each[: len(said) - 1] for each, said in zip(logits, sequences[1], strict=True)]
    return Answers(inputs, max_length, sequences, along, REFERENCE)  # type: ignore[arg-type]  # by source


class _Logits:
    """The model as check.compare asks it, where something differs."""

    def __init__(self, model: FusionEncoderDecoder) -> None:
        self._model = model

    def logits(self, inputs: Mapping[str, Any], tokens: Array) -> Array:
        """float32[B, T, V]. inputs: by source; tokens: int64[B, T]."""
        import torch

        with torch.inference_mode():
            found: Array = self._model(inputs, decoder_input_ids=torch.from_numpy(tokens)).logits.numpy()
        return found


def _decoder(model: FusionEncoderDecoder) -> tuple[Any, dict[str, Any]]:
    config = model.config.decoder.to_dict()
    config["tie_word_embeddings"] = is_tied(model.decoder)
    return decoder_adapter({**config, "architectures": [type(model.decoder).__name__]}), config


def _fusion(model: FusionEncoderDecoder, parts: Sequence[SourcePart]) -> Fusion:
    mode, names = model.config.fusion, [part.name for part in parts]
    gates, over = None, []
    if mode == GATED:
        state = model.fusion.state_dict()
        every = range(len(model.fusion))
        gates = np.array([[np.tanh(state[f"{i}.sources.{name}.gate"].item()) for name in names] for i in every])
        gates = gates.astype(np.float32)
    if mode == HIERARCHICAL:
        over = [_in_out(layer.over.state_dict()) for layer in model.fusion]  # type: ignore[union-attr]
    return Fusion(mode, names, [part.weights for part in parts], gates, over)


def _in_out(state: Mapping[str, Any]) -> dict[str, Array]:
    """Matrices as [in, out]."""
    return {name: np.ascontiguousarray(tensor.numpy().T) for name, tensor in state.items()}


def _task(parts: Sequence[SourcePart]) -> str:
    """That of the first source."""
    reads = READS[parts[0].inputs]
    return next(task for task, what in TASKS.items() if what == reads)


def _generation_config(model: FusionEncoderDecoder, longest: int | None) -> dict[str, Any]:
    settings: Any = model.generation_config
    options: dict[str, Any] = json.loads(settings.to_json_string())
    if longest is not None:
        limits = {"max_length": longest, "max_new_tokens": longest - 1}
        options |= {name: most for name, most in limits.items() if (options.get(name) or 0) > most}
    return options


def _text(file: Any) -> Any:
    return json.dumps(file, indent=2) if isinstance(file, Mapping) else file
