"""The GPT-2 decoder graph, run by onnxruntime with numpy inputs, against transformers and against its own definitions.

Reference: GPT2LMHeadModel of transformers with eager attention, which recomputes every hypothesis from its first token.
Tolerance: 2e-4 on logits of size 1 to 5, the project's bound; float32 in another order of additions gives 1e-5.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto

from fuseline.errors import ExportError
from fuseline.export import append_cross_kv, build_decoder, decoder_info
from fuseline.export.graphs.graph import linear, model_of, new_graph
from fuseline.export.graphs.weights import quantize_columns
from tests import tiny
from tests.encoders import export_encoder

ATOL = 2e-4
Array = np.ndarray[Any, Any]
START_TOKENS = np.array([5, 17, 3, 88, 42])


def session_of(model: onnx.ModelProto, optimized: Path | None = None) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@dataclass
class Hypotheses:
    """R rows stepped through the graph as a host does it: numpy caches and a beam table, which alone is reordered."""

    session: ort.InferenceSession
    cross: dict[str, Array]
    rows: int
    capacity: int
    position: int = 0
    table: Array = field(init=False)
    caches: dict[str, Array] = field(init=False)
    tokens: Array = field(init=False)

    def __post_init__(self) -> None:
        self.table = np.tile(np.arange(self.rows)[:, None], (1, self.capacity))
        self.caches = {
            value.name: np.zeros((self.capacity, self.rows, value.shape[2]), np.float32)
            for value in self.session.get_inputs()
            if ".decoder." in value.name
        }
        self.cross = dict(self.cross)  # which other hypotheses have too
        for value in self.session.get_inputs():
            if value.type == "tensor(float16)":
                floats_BSE, heads = self.cross[value.name], value.shape[1]
                floats_BSHD = floats_BSE.reshape(*floats_BSE.shape[:2], heads, -1)
                self.cross[value.name] = floats_BSHD.transpose(0, 2, 1, 3).astype(np.float16, order="C")
        self.tokens = np.zeros((self.rows, 0), np.int64)

    def feeds(self, tokens: Array) -> dict[str, Array]:
        steering = {"input_ids": tokens, "position": np.array([self.position]), "beam_table": self.table}
        return steering | self.caches | self.cross

    def reorder(self, parents: Array) -> None:
        self.table[:, : self.position] = self.table[parents, : self.position]
        self.tokens = self.tokens[parents]

    def step(self, tokens: Array) -> Array:
        """tokens: int64[R, T]. Returns logits, float32[R, V]."""
        names = [value.name for value in self.session.get_outputs()]
        results = dict(zip(names, self.session.run(names, self.feeds(tokens)), strict=True))
        self.caches = {name: results[name.replace("past_key_values", "present")] for name in self.caches}
        self.position += tokens.shape[1]
        self.tokens = np.concatenate([self.tokens, tokens], axis=1)
        logits: Array = results["logits"]
        return logits


def decoder_of(seed: int = 0, **changes: Any) -> Any:
    model = tiny.tiny_vit_gpt2(seed, **changes)
    model.set_attn_implementation("eager")  # of the two it is the one that knows all the flags
    return model


def cross_kv(model: Any, hidden: Array) -> dict[str, Array]:
    """Every layer's cross-attention K/V of encoder_hidden_states [B, S, E], by torch."""
    result: dict[str, Array] = {}
    for layer, block in enumerate(model.decoder.transformer.h):
        key, value = block.crossattention.c_attn(torch.from_numpy(hidden)).chunk(2, dim=-1)
        result[f"past_key_values.{layer}.encoder.key"] = key.detach().numpy()
        result[f"past_key_values.{layer}.encoder.value"] = value.detach().numpy()
    return result


def expected_logits(model: Any, tokens: Array, hidden: Array) -> Array:
    """Logits of the last token of each row, from scratch. tokens: int64[R, T], hidden: float32[B, S, E]."""
    repeated = hidden.repeat(len(tokens) // len(hidden), axis=0)
    with torch.no_grad():
        out = model.decoder(torch.from_numpy(tokens), encoder_hidden_states=torch.from_numpy(repeated), use_cache=False)
    logits: Array = out.logits[:, -1].numpy()
    return logits


def hidden_states(batch: int, width: int = 32) -> Array:
    return np.random.default_rng(batch).normal(size=(batch, 17, width)).astype(np.float32)


def walk(model: Any, graph: onnx.ModelProto, batch: int, beams: int, prompt: int, capacity: int) -> float:
    """The largest difference of logits over a prompt and the steps that fit, with random parents."""
    rng = np.random.default_rng(batch * 100 + beams * 10 + prompt)
    hidden, rows = hidden_states(batch), batch * beams
    hypotheses = Hypotheses(session_of(graph), cross_kv(model, hidden), rows, capacity)
    tokens, worst = np.tile(START_TOKENS[:prompt], (rows, 1)), 0.0
    while True:
        logits = hypotheses.step(tokens)
        worst = max(worst, float(np.abs(logits - expected_logits(model, hypotheses.tokens, hidden)).max()))
        if hypotheses.position >= min(capacity, 12):
            return worst
        photo_starts = np.arange(rows) // beams * beams
        hypotheses.reorder(photo_starts + rng.integers(0, beams, rows))
        tokens = rng.integers(0, logits.shape[1], (rows, 1))


@pytest.mark.parametrize("prompt", [1, 5])
@pytest.mark.parametrize(("batch", "beams"), [(1, 1), (1, 4), (2, 3), (3, 1), (3, 4)])
@pytest.mark.parametrize("capacity", [9, 40])
def test_logits_are_those_of_transformers(batch: int, beams: int, prompt: int, capacity: int) -> None:
    model = decoder_of()
    graph = build_decoder(tiny.state_dict_of(model), model.config.decoder.to_dict())
    assert walk(model, graph, batch, beams, prompt, capacity) < ATOL


CONFIGS: dict[str, dict[str, Any]] = {
    "untied head": {"tie_word_embeddings": False},
    "gelu": {"activation_function": "gelu"},
    "relu": {"activation_function": "relu"},
    "tanh gelu by its other name": {"activation_function": "gelu_pytorch_tanh"},
    "unscaled attention": {"scale_attn_weights": False},
    "attention scaled by layer": {"scale_attn_by_inverse_layer_idx": True},
    "upcast attention": {"reorder_and_upcast_attn": True, "scale_attn_by_inverse_layer_idx": True},
    "odd sizes": {
        "n_embd": 32,
        "n_head": 2,
        "n_layer": 2,
        "n_inner": None,
        "vocab_size": 101,
        "layer_norm_epsilon": 1e-3,
    },
    "one head of 32": {"n_head": 1},
    "32 heads of 1": {"n_head": 32},
}


@pytest.mark.parametrize("changes", CONFIGS.values(), ids=CONFIGS)
def test_config_fields_mean_what_they_mean_in_transformers(changes: dict[str, Any]) -> None:
    model = decoder_of(1, **changes)
    graph = build_decoder(tiny.state_dict_of(model), model.config.decoder.to_dict())
    assert walk(model, graph, batch=2, beams=2, prompt=2, capacity=12) < ATOL


def test_what_config_json_leaves_out_has_the_default_of_transformers() -> None:
    model = decoder_of()
    weights = tiny.state_dict_of(model)
    full, defaults = model.config.decoder.to_dict(), type(model.config.decoder)().to_dict()
    sparse = {name: value for name, value in full.items() if value != defaults.get(name)}
    assert "activation_function" not in sparse
    assert build_decoder(weights, full) == build_decoder(weights, sparse)


@pytest.mark.parametrize("prefix", ["decoder.transformer.", "transformer.", "decoder.", ""])
def test_state_dicts_are_known_by_any_prefix(prefix: str) -> None:
    model = decoder_of(tie_word_embeddings=False)
    weights, config = tiny.state_dict_of(model), model.config.decoder.to_dict()
    outer = prefix.removesuffix("transformer.")
    renamed = {
        name.replace("decoder.transformer.", prefix).replace("decoder.lm_head", f"{outer}lm_head"): array
        for name, array in weights.items()
        if not name.startswith("encoder.")
    }
    assert build_decoder(renamed, config) == build_decoder(weights, config)


def test_positions_can_be_cut() -> None:
    model = decoder_of()
    weights, config = tiny.state_dict_of(model), model.config.decoder.to_dict()
    graph = build_decoder(weights, config, max_positions=9)
    stored = {tensor.name: list(tensor.dims) for tensor in graph.graph.initializer}
    assert stored["wpe.weight"] == [9, 32]
    assert decoder_info(config, 9) == {"layers": 3, "heads": 4, "head_size": 8, "vocab_size": 97, "max_positions": 9}
    assert walk(model, graph, batch=1, beams=2, prompt=1, capacity=9) < ATOL
    with pytest.raises(ExportError, match="max_positions 41 must be 1 to 40"):
        build_decoder(weights, config, max_positions=41)


@pytest.mark.parametrize(("scheme", "bytes_each"), [("fp32", 4), ("int8", 1)])
def test_every_weight_is_stored_once(scheme: Any, bytes_each: int) -> None:
    model = decoder_of(n_embd=128, n_inner=512, vocab_size=997)
    weights, config = tiny.state_dict_of(model), model.config.decoder.to_dict()
    size = build_decoder(weights, config, scheme).ByteSize()
    unique = {id(parameter): parameter.numel() for parameter in model.decoder.parameters()}
    cross = sum(array.size for name, array in weights.items() if "crossattention.c_attn" in name)
    matrices = sum(unique.values()) - cross
    assert size < 1.1 * bytes_each * matrices + 4 * 40 * 128 + 60_000  # positions stay float32; 60 kB of nodes


@pytest.mark.parametrize("scheme", ["fp32", "int8"])
def test_cache_bound_to_one_memory_is_written_in_place(scheme: Any) -> None:
    model = decoder_of()
    graph = build_decoder(tiny.state_dict_of(model), model.config.decoder.to_dict(), scheme)
    session, cross = session_of(graph), cross_kv(model, hidden_states(2))
    unbound, bound = Hypotheses(session, cross, rows=6, capacity=11), Hypotheses(session, cross, rows=6, capacity=11)
    rng = np.random.default_rng(0)
    for tokens in [rng.integers(0, 97, (6, 3)), *rng.integers(0, 97, (8, 6, 1))]:
        parents = np.repeat([0, 3], 3) + rng.integers(0, 3, 6)
        binding = session.io_binding()
        bound.reorder(parents)
        unbound.reorder(parents)
        for name, array in bound.feeds(tokens).items():
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array))
        for name, array in bound.caches.items():
            shared = ort.OrtValue.ortvalue_from_numpy(array)
            binding.bind_ortvalue_output(name.replace("past_key_values", "present"), shared)
        logits = np.zeros((6, 97), np.float32)
        binding.bind_ortvalue_output("logits", ort.OrtValue.ortvalue_from_numpy(logits))
        session.run_with_iobinding(binding)
        bound.position += tokens.shape[1]
        np.testing.assert_array_equal(logits, unbound.step(tokens))
    for name, array in bound.caches.items():
        assert np.abs(array).min() > 0  # all 11 positions of the array itself were filled
        np.testing.assert_array_equal(array, unbound.caches[name])


@pytest.mark.parametrize("width", [32, 48])  # 48 brings an enc_to_dec_proj
def test_encoder_makes_the_cross_attention_of_every_layer(width: int) -> None:
    model = decoder_of(encoder_width=width)
    encoder = export_encoder(model.encoder, (tiny.PHOTO, tiny.PHOTO))
    before = encoder.SerializeToString(deterministic=True)
    weights, config = tiny.state_dict_of(model), model.config.decoder.to_dict()
    graph = append_cross_kv(encoder, weights, config, "encoder_hidden_states")
    assert encoder.SerializeToString(deterministic=True) == before
    session = session_of(graph)
    assert {tuple(value.shape) for value in session.get_outputs()} == {("B", "S", 32)}
    names = [value.name for value in session.get_outputs()]
    for batch in (1, 3):
        pixel_values = tiny.photos(batch)
        with torch.no_grad():
            hidden = model.encoder(torch.from_numpy(pixel_values)).last_hidden_state
            hidden = model.enc_to_dec_proj(hidden) if width != 32 else hidden
        expected = cross_kv(model, hidden.numpy())
        assert set(names) == set(expected)
        for name, array in zip(names, session.run(names, {"pixel_values": pixel_values}), strict=True):
            np.testing.assert_allclose(array, expected[name], atol=ATOL)


# int8 ---------------------------------------------------------------------------------------------


def quantize_rows(x: Array) -> tuple[Array, Array]:
    """Symmetric 8 bits a row, in float64: int64[..., I] in -127..127 and the scales [..., 1]."""
    scale = np.abs(x.astype(np.float64)).max(axis=-1, keepdims=True) / 127
    return np.rint(x / np.where(scale == 0, 1, scale)).astype(np.int64), scale


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("shape", [(1, 7), (4, 32), (3, 5, 65)])
def test_int8_linear_is_its_definition(shape: tuple[int, ...], bias: bool) -> None:
    rng = np.random.default_rng(len(shape))
    # The largest products that there are, in the first column too: integers must not saturate on any CPU.
    x, weight_IO = rng.normal(size=shape).astype(np.float32), rng.normal(size=(shape[-1], 33)).astype(np.float32)
    x[..., : shape[-1] // 2] = np.abs(x).max()
    weight_IO[:, 0] = weight_IO[:, 0].max()
    weight_IO[:, 5] = 0
    x[0] *= 1000  # a loud row must not drown the others
    x[-1, ..., :] = 0 if len(x) > 1 else x[-1]
    bias_O = rng.normal(size=33).astype(np.float32) if bias else None
    g = new_graph("linear")
    x_name = g.input("x", TensorProto.FLOAT, [*shape[:-1], shape[-1]])
    name = linear(g, x_name, weight_IO, bias_O, "int8", "layer", result="y")
    g.output(name, TensorProto.FLOAT, [*shape[:-1], 33])
    [found] = session_of(model_of(g)).run(None, {"x": x})

    weight_u8, scale_O = quantize_columns(weight_IO)
    assert (np.abs((weight_u8.astype(np.float32) - 128) * scale_O - weight_IO) <= scale_O * 0.501).all()
    x_i64, x_scale = quantize_rows(x)
    product = x_i64 @ (weight_u8.astype(np.int64) - 128)
    expected = product * x_scale * scale_O + (0 if bias_O is None else bias_O)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_an_int8_caption_does_not_depend_on_its_neighbours() -> None:
    model = decoder_of()
    session = session_of(build_decoder(tiny.state_dict_of(model), model.config.decoder.to_dict(), "int8"))
    hidden = hidden_states(3)
    hidden[1] *= 20
    tokens = np.random.default_rng(1).integers(0, 97, (4, 3, 1))
    together = Hypotheses(session, cross_kv(model, hidden), rows=3, capacity=8)
    alone = [Hypotheses(session, cross_kv(model, hidden[i : i + 1]), rows=1, capacity=8) for i in range(3)]
    for token in tokens:
        expected = np.concatenate([run.step(token[i : i + 1]) for i, run in enumerate(alone)])
        np.testing.assert_allclose(together.step(token), expected, rtol=1e-4, atol=1e-4)


def test_int8_stays_near_fp32() -> None:
    """The error of the logits is at most 0.08 of their spread, over 16 steps (measured: 0.048)."""
    model = decoder_of()
    weights, config = tiny.state_dict_of(model), model.config.decoder.to_dict()
    hidden = hidden_states(3)
    runs = [
        Hypotheses(session_of(build_decoder(weights, config, scheme)), cross_kv(model, hidden), rows=3, capacity=16)
        for scheme in ("fp32", "int8")
    ]
    tokens, errors, sizes = np.random.default_rng(0).integers(0, 97, (16, 3, 1)), [], []
    for token in tokens:
        exact, quantized = (run.step(token) for run in runs)
        errors.append(np.square(exact - quantized).mean())
        sizes.append(exact.var())
    relative = np.sqrt(np.mean(errors) / np.mean(sizes))
    assert 0 < relative < 0.08


@pytest.mark.parametrize("tied", [True, False])
def test_int8_embedding_and_head_share_one_tensor(tied: bool) -> None:
    model = decoder_of(tie_word_embeddings=tied)
    graph = build_decoder(tiny.state_dict_of(model), model.config.decoder.to_dict(), "int8").graph
    blocks = [7, 8, 16, 4]  # 97 words in blocks of 16, 32 inputs in fours
    tables = [tensor for tensor in graph.initializer if list(tensor.dims) == blocks]
    readers = Counter(name for node in graph.node for name in node.input if name == "wte.weight")
    assert len(tables) == (1 if tied else 2)
    assert readers == {"wte.weight": 2 if tied else 1}


# What is refused ----------------------------------------------------------------------------------


REFUSED_CONFIGS: dict[str, tuple[dict[str, Any], str]] = {
    "no cross-attention": ({"add_cross_attention": False}, "add_cross_attention = true"),
    "activation": (
        {"activation_function": "mish"},
        "'mish' of the GPT-2 decoder is not known; known are gelu_new",
    ),
    "heads": ({"n_head": 5}, "n_embd 32 of the GPT-2 decoder must be a multiple of n_head 5"),
    "pruned": ({"pruned_heads": {"0": [1]}}, "pruned heads"),
}


@pytest.mark.parametrize(("changes", "sentence"), REFUSED_CONFIGS.values(), ids=REFUSED_CONFIGS)
def test_configs_without_a_graph_are_refused(changes: dict[str, Any], sentence: str) -> None:
    model = decoder_of()
    with pytest.raises(ExportError, match=sentence):
        build_decoder(tiny.state_dict_of(model), model.config.decoder.to_dict() | changes)


def test_all_missing_and_misshapen_tensors_are_reported_at_once() -> None:
    model = decoder_of()
    weights = tiny.state_dict_of(model)
    del weights["decoder.transformer.h.0.ln_1.bias"], weights["decoder.transformer.h.2.crossattention.q_attn.weight"]
    weights["decoder.transformer.h.1.mlp.c_fc.weight"] = np.zeros((72, 32), np.float32)
    with pytest.raises(ExportError) as error:
        build_decoder(weights, model.config.decoder.to_dict())
    assert str(error.value) == (
        "the GPT-2 decoder's tensors do not fit its config: decoder.transformer.h.0.ln_1.bias is missing; "
        "decoder.transformer.h.1.mlp.c_fc.weight is [72, 32] and must be [32, 72]; "
        "decoder.transformer.h.2.crossattention.q_attn.weight is missing"
    )


def test_an_untied_head_must_be_there() -> None:
    model = decoder_of(tie_word_embeddings=False)
    weights = tiny.state_dict_of(model)
    del weights["decoder.lm_head.weight"]
    with pytest.raises(ExportError, match=r"decoder\.lm_head\.weight is missing"):
        build_decoder(weights, model.config.decoder.to_dict())


def encoder_of(width: int) -> onnx.ModelProto:
    """hidden states in, hidden states out: float32[B, 17, width]."""
    g = new_graph("encoder")
    hidden = g.input("hidden_states", TensorProto.FLOAT, ["B", 17, width])
    g.output(g.op("Identity", hidden, name="encoder_hidden_states"), TensorProto.FLOAT, ["B", 17, width])
    return model_of(g)


def test_encoders_that_do_not_fit_are_refused() -> None:
    model = decoder_of()
    encoder, weights, config = encoder_of(32), tiny.state_dict_of(model), model.config.decoder.to_dict()
    with pytest.raises(ExportError, match=r"no value 'hidden'; its outputs are \['encoder_hidden_states'\]"):
        append_cross_kv(encoder, weights, config, "hidden")
    wide = {"decoder.transformer.wte.weight": np.zeros((97, 64), np.float32)}
    with pytest.raises(ExportError, match=r"wte\.weight is \[97, 64\] and must be \[97, 32\]"):
        append_cross_kv(encoder, weights | wide, config, "encoder_hidden_states")
    with pytest.raises(
        ExportError, match=r"'encoder_hidden_states' is float\['B', 17, 48\] and must be float\[B, S, 32\]"
    ):
        append_cross_kv(encoder_of(48), weights, config, "encoder_hidden_states")
    encoder.opset_import[0].version = 13
    with pytest.raises(ExportError, match="opset 13; it must be 17 to 21"):
        append_cross_kv(encoder, weights, config, "encoder_hidden_states")


# The tiny models are worth testing with -----------------------------------------------------------


@pytest.mark.parametrize("seed", [0])
def test_tiny_models_say_varied_things(seed: int) -> None:
    model: Any = tiny.tiny_vit_gpt2(seed)
    pixel_values = torch.from_numpy(tiny.photos(20))
    beam = model.generate(pixel_values, num_beams=4)
    greedy = model.generate(pixel_values, num_beams=1)
    assert len({tuple(row) for row in beam.tolist()}) > 15
    assert len(set(beam.flatten().tolist())) > 10
    ended = (beam == tiny.END).any(dim=1).float().mean()
    assert 0.05 <= ended <= 0.95  # some captions end and some are cut
    width = min(beam.shape[1], greedy.shape[1])
    assert (beam[:, :width] != greedy[:, :width]).any(dim=1).float().mean() > 0.5
