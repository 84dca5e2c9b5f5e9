"""fuseline.export.fusion: a decoder that reads several sources, in PyTorch."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from transformers import (
    BertModel,
    T5Config,
    T5EncoderModel,
    VisionEncoderDecoderModel,
)

from fuseline import InputError
from fuseline.export.fusion import MODES, FusionEncoderDecoder
from fuseline.export.fusion.attention import attend, shares
from fuseline.export.fusion.sources import end_to_end
from tests import fusion_models as models
from tests.fusion_oracle import Layer

NAMES = ("image", "hint", "other")
# All pairs are held to the formulas below, and as folders to this class; for the rest each mode has two of the four.
EVERY = [
    pytest.param(mode, writer, marks=() if (at - place) % 4 in (0, 1) else pytest.mark.slow)
    for place, mode in enumerate(MODES)
    for at, writer in enumerate(models.FAMILIES)
]


@cache
def model_of(mode: str, writer: str = "gpt2") -> Any:
    """Shared by tests, so not to be changed."""
    return models.fusion_model(mode, writer)


@torch.no_grad()
def logits(model: Any, inputs: Any, weights: Any = None) -> torch.Tensor:
    count = len(next(iter(each["input_ids"] if isinstance(each, dict) else each for each in inputs.values())))
    said: torch.Tensor = model(inputs, weights, decoder_input_ids=models.prompts(count)).logits
    assert said.isfinite().all()
    return said


def without(inputs: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: each for name, each in inputs.items() if name not in names}


def test_importing_the_export_imports_no_torch() -> None:
    code = "import sys, fuseline.export; assert 'torch' not in sys.modules and 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("writer", [*models.FAMILIES, "gpt2, scaled by layer", "trocr, wide"])
def test_a_layer_computes_the_formula_of_its_mode(mode: str, writer: str) -> None:
    untouched = models.decoder(writer).double()
    model = models.fusion_model(mode, writer).double()
    layers = model.family.layers(untouched)
    own = {
        f"{name}.{key}": tensor.numpy()
        for name, module in model.family.copies(layers[1]).items()
        for key, tensor in module.state_dict().items()
    }
    sublayer = model.fusion[1]
    fused = {name: tensor.numpy() for name, tensor in sublayer.state_dict().items()}
    epsilon = model.family.own(layers[1]).norm.eps
    sizes = {"heads": 5, "scale": sublayer.scale, "norm_first": sublayer.norm_first, "epsilon": epsilon}
    oracle = Layer(own, fused, NAMES, sizes)
    width = model.family.copies(layers[1])["k"].weight.shape[1]
    torch.manual_seed(5)
    x = torch.randn(3, 2, models.WIDTH, dtype=torch.float64)
    states = [torch.randn(3, size, width, dtype=torch.float64) for size in (1, 7, 4)]
    lengths, weights = (
        torch.tensor([[1, 3, 4], [1, 7, 0], [0, 5, 2]]),
        torch.tensor([[1, 0.5, 2], [3, 1, 1], [1, 1, 0]]),
    )
    for each, valid in zip(states, lengths.T, strict=True):
        each[torch.arange(each.shape[1]) >= valid[:, None]] = torch.nan
    with torch.no_grad():
        said, share = sublayer(x, model.family.layers(model.decoder)[1], end_to_end(states, lengths, weights))
    for b, t in np.ndindex(3, 2):
        valid = [each[b, :length].numpy() for each, length in zip(states, lengths[b], strict=True)]
        right, shared = oracle(mode, x[b, t].numpy(), valid, weights[b].double().numpy())
        np.testing.assert_allclose(said[b, t], right, rtol=1e-6, atol=1e-6)  # weights are float32
        np.testing.assert_allclose(share[b, :, t], shared, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("writer", models.DECODERS)
def test_flat_with_one_source_is_the_vision_encoder_decoder_model(writer: str) -> None:
    photos = models.given(4)["image"]
    # GPT-2 of transformers scales by layer in its eager attention alone.
    writers = [models.decoder(writer, eager="scaled" in writer) for _ in range(2)]
    pair = VisionEncoderDecoderModel(encoder=models.vit(), decoder=writers[0]).eval()
    fused = FusionEncoderDecoder({"image": models.vit()}, writers[1]).eval()
    if hasattr(pair, "enc_to_dec_proj"):
        fused.enc_to_dec_proj["image"].load_state_dict(pair.enc_to_dec_proj.state_dict())
    assert hasattr(pair, "enc_to_dec_proj") == (writer != "trocr, wide")
    pair.generation_config = fused.generation_config
    tokens = models.prompts(4)
    with torch.no_grad():
        right = pair(pixel_values=photos, decoder_input_ids=tokens).logits
    torch.testing.assert_close(logits(fused, {"image": photos}), right, rtol=1e-4, atol=1e-4)
    for beams in (1, 4):
        said = fused.generate({"image": photos}, num_beams=beams, max_length=models.MAX_LENGTH, do_sample=False)
        right = pair.generate(photos, num_beams=beams, max_length=models.MAX_LENGTH, do_sample=False)
        assert said.tolist() == right.tolist()
        assert len({tuple(each) for each in said.tolist()}) > 1


def test_flat_is_one_attention_over_all_valid_positions() -> None:
    torch.manual_seed(0)
    query, lengths = torch.randn(2, 3, 4, 6), [torch.tensor([5, 2]), torch.tensor([1, 3]), torch.tensor([0, 4])]
    keys, values = ([torch.randn(2, 3, size, 6) for size in (5, 3, 4)] for _ in range(2))
    read = [attend(query, k, v, n, 0.4) for k, v, n in zip(keys, values, lengths, strict=True)]
    weights = torch.tensor([[1.0, 0.5, 0.0], [0.25, 1.0, 0.5]])
    share = shares(torch.stack([each for _, each in read], dim=-1), weights)
    said = sum(part * share[..., m, None] for m, (part, _) in enumerate(read))
    torch.testing.assert_close(share.sum(dim=-1), torch.ones(2, 3, 4))
    for b in range(2):
        key, value = (
            torch.cat([each[b, :, : n[b]] for each, n in zip(of, lengths, strict=True)], dim=1).double()
            for of in (keys, values)
        )
        logs = torch.cat([torch.full((int(n[b]),), float(w)).log() for n, w in zip(lengths, weights[b], strict=True)])
        scores = (query[b].double() @ key.transpose(1, 2) * 0.4 + logs).softmax(dim=-1)
        torch.testing.assert_close(said[b], (scores @ value).float(), rtol=1e-6, atol=1e-6)


def test_an_input_without_any_source_has_no_share() -> None:
    assert shares(torch.tensor([[[[1.0, float("-inf")]]]]), torch.zeros(1, 2)).tolist() == [[[[0.0, 0.0]]]]


@pytest.mark.parametrize("mode", MODES)
def test_the_order_of_a_mapping_changes_no_bit(mode: str) -> None:
    inputs, model = models.given(2), model_of(mode)
    weights = {"image": 0.5, "hint": 0.8}
    turned = dict(reversed(inputs.items())), dict(reversed(weights.items()))
    assert torch.equal(logits(model, inputs, weights), logits(model, *turned))


@pytest.mark.parametrize(("mode", "writer"), EVERY)
def test_weight_0_is_absent_is_length_0(mode: str, writer: str) -> None:
    inputs, model = models.given(2), model_of(mode, writer)
    no_photo, no_hint = logits(model, without(inputs, "image")), logits(model, without(inputs, "hint"))
    assert not torch.equal(no_photo, logits(model, inputs))
    nan = inputs | {"image": torch.full_like(inputs["image"], torch.nan)}
    assert torch.equal(logits(model, nan, {"image": 0}), no_photo)
    assert torch.equal(logits(model, nan, {"image": [0.0, 0.0]}), no_photo)
    ids = inputs["hint"]["input_ids"]
    empty = inputs | {"hint": {"input_ids": ids, "attention_mask": torch.zeros_like(ids)}}
    assert torch.equal(logits(model, empty), no_hint)
    assert torch.equal(logits(model, inputs, {"hint": 0}), no_hint)


@pytest.mark.parametrize(("mode", "writer"), EVERY)
def test_a_source_may_be_absent_of_some_of_a_batch(mode: str, writer: str) -> None:
    inputs, model = models.given(2), model_of(mode, writer)
    weights = {"image": torch.tensor([0.0, 1.0])}
    said = logits(model, inputs, weights)
    hidden = inputs["image"].clone()
    hidden[0] = torch.nan
    assert torch.equal(logits(model, inputs | {"image": hidden}, weights), said)
    tokens = models.prompts(2)
    for b, alone in enumerate((without(models.row(inputs, 0), "image"), models.row(inputs, 1))):
        with torch.no_grad():
            right = model(alone, decoder_input_ids=tokens[b : b + 1]).logits
        torch.testing.assert_close(said[b : b + 1], right, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_only_ratios_of_weights_count(mode: str) -> None:
    inputs, model = models.given(2), model_of(mode)
    plain = logits(model, inputs)
    assert torch.equal(logits(model, inputs, dict.fromkeys(NAMES, 0.3)), plain)
    weights = {"image": 0.7, "hint": 0.3, "other": 0.4}
    said = logits(model, inputs, weights)
    assert not torch.allclose(said, plain, atol=1e-3)
    assert torch.equal(logits(model, inputs, {name: 4 * each for name, each in weights.items()}), said)
    scaled = logits(model, inputs, {name: 3 * each for name, each in weights.items()})
    torch.testing.assert_close(scaled, said, rtol=1e-4, atol=1e-4)


def test_the_same_source_twice_says_what_once_says() -> None:
    photo, tokens = models.given(2)["image"], models.prompts(2)
    model = FusionEncoderDecoder(dict.fromkeys(("one", "two"), models.vit()), models.decoder("gpt2")).eval()
    model.enc_to_dec_proj["two"].load_state_dict(model.enc_to_dec_proj["one"].state_dict())
    twice = {"one": photo, "two": photo}
    torch.testing.assert_close(logits(model, twice), logits(model, {"two": photo}), rtol=1e-4, atol=1e-4)
    share = model.source_attention(twice, tokens)
    torch.testing.assert_close(share, torch.full((2, 5, 2), 0.5))
    share = model.source_attention(twice, tokens, {"one": 0.7, "two": 0.3})
    torch.testing.assert_close(share[..., 0] / share[..., 1], torch.full((2, 5), 7 / 3))


def test_weights_multiply_the_odds_in_flat_and_are_the_shares_in_mix() -> None:
    inputs, weights = without(models.given(2), "other"), {"image": 0.7, "hint": 0.3}

    def first_layer(mode: str, given: Any) -> torch.Tensor:
        model, found = model_of(mode), []
        with torch.no_grad(), model._reading(model.encode(inputs, given), found.append):
            model.decoder(models.prompts(2))
        return found[0]

    plain, said = first_layer("flat", None), first_layer("flat", weights)
    torch.testing.assert_close(said[..., 0] / said[..., 1], plain[..., 0] / plain[..., 1] * (7 / 3), rtol=1e-4, atol=0)
    share = model_of("mix").source_attention(inputs, models.prompts(2), weights)
    torch.testing.assert_close(share, torch.tensor([0.7, 0.3, 0.0]).expand(2, 5, 3))


@pytest.mark.parametrize("mode", MODES)
def test_shares_sum_to_1_and_are_0_of_what_is_absent(mode: str) -> None:
    share = model_of(mode).source_attention(models.given(2), models.prompts(2), {"other": [0, 1]})
    assert share.shape == (2, 5, 3)
    torch.testing.assert_close(share.sum(dim=-1), torch.ones(2, 5))
    assert (share[0, :, 2] == 0).all() and (share[1] > 0).all()


@pytest.mark.parametrize("mode", MODES)
def test_what_lies_beyond_a_length_changes_no_bit(mode: str) -> None:
    inputs, model = models.given(3), model_of(mode)
    ids, mask = inputs["hint"].values()
    said = logits(model, inputs)
    odd = torch.where(mask == 1, ids, 17)
    assert not torch.equal(odd, ids)
    assert torch.equal(logits(model, inputs | {"hint": {"input_ids": odd, "attention_mask": mask}}), said)
    assert torch.equal(logits(model, inputs | {"hint": ids}), said)  # the mask that pad tokens make


@pytest.mark.parametrize("writer", ["gpt2", "mbart"])
def test_gates_at_0_are_the_decoder_without_sources(writer: str) -> None:
    alone = models.decoder(writer)
    model = FusionEncoderDecoder({"image": models.vit()}, copy.deepcopy(alone), "gated").eval()
    assert all(layer.sources["image"].o.bias.abs().max() > 0 for layer in model.fusion)
    with torch.no_grad():
        right = alone(models.prompts(2)).logits
        assert torch.equal(logits(model, {"image": models.given(2)["image"]}), right)
        for layer in model.fusion:
            layer.sources["image"].gate.fill_(0.5)
    assert not torch.allclose(logits(model, {"image": models.given(2)["image"]}), right, atol=1e-2)


@pytest.mark.parametrize("mode", MODES)
def test_zeros_are_zeros_that_are_read(mode: str) -> None:
    inputs, model = models.given(2), models.fusion_model(mode, absent={"image": "zeros"})
    left_out = logits(model, without(inputs, "image"))
    assert torch.equal(left_out, logits(model, inputs | {"image": torch.zeros_like(inputs["image"])}))
    assert not torch.allclose(left_out, logits(model_of(mode), without(inputs, "image")), atol=1e-3)


def test_a_source_that_must_be_there() -> None:
    model = models.fusion_model("flat", absent={"hint": "refuse"})
    logits(model, models.given(2))
    for inputs, weights in ((without(models.given(2), "hint"), None), (models.given(2), {"hint": [0, 1]})):
        with pytest.raises(InputError, match="source hint of input 1 is absent, and this model does not go without it"):
            model.encode(inputs, weights)


@pytest.mark.parametrize(("mode", "writer"), EVERY)
def test_a_batch_with_beams_says_what_its_inputs_say_alone(mode: str, writer: str) -> None:
    inputs, model = models.given(3), model_of(mode, writer)
    options = {"num_beams": 4, "num_return_sequences": 2, "max_length": models.MAX_LENGTH, "do_sample": False}
    said = model.generate(inputs, {"image": [1, 0, 0.5]}, **options)
    assert len({tuple(each) for each in said.tolist()}) > 2
    for b, weight in enumerate((1, 0, 0.5)):
        alone = model.generate(models.row(inputs, b), {"image": weight}, **options)
        width = min(alone.shape[1], said.shape[1])
        assert said[2 * b : 2 * b + 2, :width].tolist() == alone[:, :width].tolist()
        assert (said[2 * b : 2 * b + 2, width:] == models.PAD).all()


@pytest.mark.parametrize("mode", MODES)
def test_the_cache_and_options_of_generate(mode: str) -> None:
    inputs, model = models.given(2), model_of(mode)
    said = model.generate(inputs, max_new_tokens=6, do_sample=False)
    assert said.tolist() == model.generate(inputs, max_new_tokens=6, do_sample=False, use_cache=False).tolist()
    banned = model.generate(inputs, max_new_tokens=6, do_sample=False, suppress_tokens=[int(said[0, 1])])
    assert said[0, 1] not in banned[:, 1:]
    prompted = model.generate(inputs, max_new_tokens=3, do_sample=False, decoder_input_ids=said[:, :3])
    assert prompted.tolist() == said[:, :6].tolist()


@pytest.mark.parametrize(("mode", "writer"), EVERY)
def test_a_saved_model_says_the_same(mode: str, writer: str, tmp_path: Path) -> None:
    inputs, model = models.given(2), models.fusion_model(mode, writer, absent={"other": "refuse"})
    model.save_pretrained(tmp_path)
    again = FusionEncoderDecoder.from_pretrained(tmp_path)
    options = {"num_beams": 4, "max_length": models.MAX_LENGTH, "do_sample": False}
    assert again.generate(inputs, **options).tolist() == model.generate(inputs, **options).tolist()
    assert torch.equal(logits(again, inputs), logits(model, inputs))
    eager = FusionEncoderDecoder.from_pretrained(tmp_path, attn_implementation="eager")
    for part in (*eager.encoders.values(), eager.decoder):
        assert part.config._attn_implementation == "eager"
    torch.testing.assert_close(logits(eager, inputs), logits(model, inputs), rtol=1e-3, atol=1e-3)
    for field in (
        "sources",
        "shared",
        "absent",
        "fusion",
        "gate",
        "decoder_start_token_id",
        "eos_token_id",
        "pad_token_id",
    ):
        assert getattr(again.config, field) == getattr(model.config, field)
    assert again.config.sources == list(NAMES) and again.config.shared == {"other": "image"}
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        names = set(file.keys())
    assert not any(name.startswith("encoders.other") for name in names)
    config = json.loads((tmp_path / "config.json").read_text())
    assert (config["model_type"], config["fusion"]) == ("fuseline-fusion", mode)
    assert any("cross" in name or "encoder_attn" in name for name in names) == (mode in ("flat", "mix"))


def test_speech_and_texts_of_encoders_that_are_parts_of_models(tmp_path: Path) -> None:
    torch.manual_seed(0)
    texts = T5EncoderModel(T5Config(vocab_size=60, d_model=20, d_kv=5, d_ff=30, num_layers=2, num_heads=4)).eval()
    model = FusionEncoderDecoder({"speech": models.whisper(), "hint": texts}, models.decoder("bart"), "gated", gate=1.0)
    model.eval().save_pretrained(tmp_path)
    again = FusionEncoderDecoder.from_pretrained(tmp_path)
    assert [type(each).__name__ for each in again.encoders.values()] == ["WhisperEncoder", "T5EncoderModel"]
    inputs = {"speech": np.ones((2, 8, 40), np.float32), "hint": np.array([[5, 6, 7], [8, 0, 0]])}
    assert torch.equal(logits(again, inputs), logits(model, inputs))


@pytest.mark.parametrize(("mode", "writer"), EVERY)
def test_training_lowers_the_loss_and_reaches_every_weight_of_fusion(mode: str, writer: str) -> None:
    model = models.fusion_model(mode, writer).train()
    inputs, labels = models.given(3), models.prompts(3).clone()
    labels[0, 3:] = -100
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    losses = []
    for _ in range(8):
        loss = model(inputs, {"image": [0, 1, 1]}, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        losses.append(float(loss.detach()))
        for name, tensor in model.named_parameters():
            if name.startswith(("fusion", "enc_to_dec_proj")) and not name.endswith("k.bias"):  # no softmax sees it
                assert tensor.grad is not None and tensor.grad.isfinite().all() and tensor.grad.abs().max() > 0, name
        optimizer.step()
    assert losses[-1] < 0.9 * losses[0]


def test_gates_that_start_at_0_learn() -> None:
    model = FusionEncoderDecoder({"image": models.vit()}, models.decoder("gpt2"), "gated").train()
    model({"image": models.given(2)["image"]}, labels=models.prompts(2)).loss.backward()
    for layer in model.fusion:
        assert layer.sources["image"].gate == 0 and layer.sources["image"].gate.grad.abs() > 0


def test_the_program_of_the_page_trains_saves_and_generates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = (Path(__file__).parents[2] / "docs/fusion.md").read_text()
    (program,) = (each for each in page.split("```python\n") if each.startswith("model.train()"))
    program = program.split("```")[0]
    inputs = models.given(2)
    names: dict[str, Any] = {
        "model": models.fusion_model("gated"),
        "torch": torch,
        "FusionEncoderDecoder": FusionEncoderDecoder,
    }
    names["batches"] = [(inputs["image"], inputs["hint"], models.prompts(2))] * 2
    before = copy.deepcopy(names["model"].state_dict())
    exec(program, names)
    after = names["model"].state_dict()
    assert not names["model"].training and not torch.equal(
        after["fusion.0.sources.hint.gate"], before["fusion.0.sources.hint.gate"]
    )


def test_the_loss_is_of_the_next_tokens() -> None:
    inputs, model, labels = models.given(2), model_of("flat"), models.prompts(2)
    said = model(inputs, labels=labels)
    moved = torch.cat([torch.full((2, 1), models.START), labels[:, :-1]], dim=1)
    right = model(inputs, decoder_input_ids=moved).logits.log_softmax(dim=-1).gather(2, labels[..., None]).mean()
    torch.testing.assert_close(said.loss, -right)


def test_weights_that_parts_have_in_common_are_kept_apart(tmp_path: Path) -> None:
    writer, reader = models.decoder("gpt2"), models.bert()
    twin = BertModel(reader.config)
    twin.embeddings = reader.embeddings
    model = FusionEncoderDecoder({"one": reader, "two": twin}, writer).eval()
    model.save_pretrained(tmp_path)
    again, inputs = (
        FusionEncoderDecoder.from_pretrained(tmp_path),
        dict.fromkeys(("one", "two"), torch.tensor([[5, 6]])),
    )
    assert torch.equal(logits(again, inputs), logits(model, inputs))
