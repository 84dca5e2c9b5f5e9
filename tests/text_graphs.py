"""The graphs of a text model run by onnxruntime alone, without the runtime: encoder, then decoder step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from fuseline.export.adapters import model_adapter
from fuseline.export.graphs.weights import Scheme
from fuseline.kernels import library_info, to_halves
from tests.tiny import state_dict_of

Array = np.ndarray[Any, Any]
HIDDEN = "encoder_hidden_states"


class TextGraphs:
    """Encoder and decoder of a model of transformers, in one scheme."""

    def __init__(self, model: Any, scheme: Scheme = "fp32") -> None:
        parts = model_adapter({"architectures": [type(model).__name__]}).parts(model)
        assert parts.written is not None
        encoder, config = parts.written
        weights = state_dict_of(model)
        made = encoder.build_encoder(weights, config, HIDDEN, scheme)
        self.encoder = parts.decoder.append_cross_kv(made, weights, parts.decoder_config, HIDDEN, scheme, in_place=True)
        self.decoder = parts.decoder.build_decoder(weights, parts.decoder_config, scheme, padded=True)
        self.longest = encoder.longest(config)
        self.info = parts.decoder.decoder_info(parts.decoder_config)
        self._encode, self._step = _session(self.encoder), _session(self.decoder)

    def encoded(self, input_ids: Array, attention_mask: Array) -> dict[str, Array]:
        """Cross-attention K/V by their names, as the encoder gives them."""
        names = [value.name for value in self._encode.get_outputs()]
        found = self._encode.run(names, {"input_ids": input_ids, "attention_mask": attention_mask})
        return dict(zip(names, found, strict=True))

    def logits(self, inputs: dict[str, Array], tokens: Array, at_once: int = 1) -> Array:
        """float32[B, T, V] after every token of int64[B, T], where the first `at_once` are one step."""
        kv = {name: self._kept(name, value) for name, value in self.encoded(**inputs).items()}
        rows, count = tokens.shape
        width = self.info["heads"] * self.info["head_size"]
        feed: dict[str, Array] = kv | {"lengths": inputs["attention_mask"].sum(axis=1, keepdims=True)}
        feed["beam_table"] = np.repeat(np.arange(rows)[:, None], count, axis=1)
        for value in self._step.get_inputs():
            if value.name.endswith(("decoder.key", "decoder.value")):
                feed[value.name] = np.zeros((count, rows, width), np.float32)
        names = ["logits", *(value.name for value in self._step.get_outputs() if value.name.startswith("present"))]
        found, position = [], 0
        while position < count:
            some = at_once if position == 0 else 1
            now = {"input_ids": tokens[:, position : position + some], "position": np.array([position])}
            logits, *present = self._step.run(names, feed | now)
            feed |= {
                name.replace("present", "past_key_values"): value
                for name, value in zip(names[1:], present, strict=True)
            }
            found.append(logits)
            position += some
        return np.stack(found, axis=1)

    def _kept(self, name: str, value: Array) -> Array:
        shape = next(each for each in self._step.get_inputs() if each.name == name).shape
        if len(shape) == 3:
            return value
        halves = np.empty((value.shape[0], shape[1], value.shape[1], shape[3]), np.float16)
        to_halves(value, halves)
        return halves


def _session(model: onnx.ModelProto) -> ort.InferenceSession:
    onnx.checker.check_model(model)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    library = library_info().path
    if library is not None:
        options.register_custom_ops_library(str(library))
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
