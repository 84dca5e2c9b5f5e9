"""The recipe of the default captioner, on photos and captions made here: every part beside its reference."""

from __future__ import annotations

import dataclasses
import itertools
import json
import random
import re
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import TensorProto
from PIL import Image
from tokenizers import Tokenizer
from transformers import GPT2Config, GPT2LMHeadModel

import fuseline
from fuseline.export.graphs.graph import model_of
from fuseline.export.quality.data import read_data
from fuseline.export.quantizing import convolutions
from fuseline.kernels.layers import join_layers
from recipes.default_captioner import corpus, export, made, phases
from recipes.default_captioner import words as recipe_words
from recipes.default_captioner.__main__ import main
from recipes.default_captioner.batches import Corpus, Hints, PhotoSet, SentenceBatches, photo_batches
from recipes.default_captioner.captioner import (
    BOS,
    EOS,
    FAINT,
    HINT_COUNTS,
    PAD,
    UNK,
    Captioner,
    Encoded,
    Inputs,
    Noise,
    Shape,
    gpt2_state_dict,
)
from recipes.default_captioner.convolutions_graph import FEATURES, FRONT, LOGITS, conv_model, convolutions_in_rows
from recipes.default_captioner.convolutions_graph import convolutions as written
from recipes.default_captioner.data import (
    FEATURE_STEP,
    Photo,
    Views,
    five,
    held_out,
    read_captions,
    read_kinds,
)
from recipes.default_captioner.efficientnet import LITE0, LITE1, LITE2, EfficientNetLite, block_shapes, imagenet_weights
from recipes.default_captioner.encoder_graph import HIDDEN, hint_encoder, photo_encoder
from recipes.default_captioner.features import with_features
from recipes.default_captioner.prepare import make_views, prepare
from recipes.default_captioner.search import FORBIDDEN, beam_search
from recipes.default_captioner.self_critical import RUNS, TRAINED
from recipes.default_captioner.words import (
    Classes,
    Sentences,
    build_tokenizer,
    content_words,
    hint_ids,
    plural,
    some_words,
    token_ids,
)

TINY = Shape(
    vocab_size=23, image_size=80, width=32, heads=4, bridge_layers=1, bridge_inner=64, layers=2, max_positions=12
)
WORDS = ["a", "man", "dog", "woman", "child", "red", "runs", "jumps", "plays", "sits", "in", "the", "grass", "ball"]
OF_CLASS = np.arange(1000) % 7  # seven everyday words
CLASS_TOKENS = np.array([[4, 0], [5, 6], [7, 0], [8, 0], [9, 10], [11, 0], [12, 0]])


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


@pytest.fixture
def captioner() -> Captioner:
    """A tiny captioner whose outputs vary: fresh GPT-2 weights say the same word for every photo."""
    torch.manual_seed(3)
    model = Captioner(TINY, OF_CLASS, CLASS_TOKENS).eval()
    model.cnn.load_imagenet()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if not name.startswith("cnn") and weight.ndim == 2:
                weight.mul_(9)
    return model


def made_captions(rng: np.random.Generator, photos: int) -> list[Photo]:
    captions = [[list(rng.choice(WORDS, rng.integers(3, 9))) for _ in range(5)] for _ in range(photos)]
    return [Photo(Path(f"{i}.jpg"), each) for i, each in enumerate(captions)]


def ids_of(photos: list[Photo], vocabulary: dict[str, int], length: int = 12) -> np.ndarray:
    ids = np.full((len(photos), 5, length), PAD)
    for p, photo in enumerate(photos):
        for c, caption in enumerate(photo.captions):
            row = [BOS, *(vocabulary[word] for word in caption), EOS]
            ids[p, c, : len(row)] = row
    return ids


def vocabulary_of(words: list[str]) -> dict[str, int]:
    return {word: i for i, word in enumerate(["<pad>", "<s>", "</s>", "<unk>", *words])}


def some_inputs(model: Captioner, photos: int) -> Inputs:
    """Random features with their labels, and hints of no, one and two tokens."""
    features = torch.rand(photos, model.shape.photo_positions, 1280)
    hints = torch.tensor([[0, 0, 0], [5, EOS, 0], [7, 9, EOS]])[torch.arange(photos) % 3]
    return Inputs(features, *model.labels(model.class_logits(features)), hints, hints != PAD)


def test_encoder_is_imagenets_efficientnet_with_its_norms_folded():
    """Recomputed here with torch's own batch_norm, from the published tensors by their names."""
    state = torch.load(imagenet_weights(LITE1), weights_only=True)
    network = EfficientNetLite(LITE1, 64)
    network.load_imagenet()
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
        expected = network(x).mean((2, 3)) @ state["_fc.weight"].T + state["_fc.bias"]
        torch.testing.assert_close(network.classifier(network(x).mean((2, 3))), expected)


def test_sizes_of_the_encoders():
    """Those of the published networks; sides that a stride does not divide are rounded up."""
    assert [len(list(block_shapes(each, 224))) for each in (LITE0, LITE1, LITE2)] == [16, 21, 21]
    ends = [list(block_shapes(each, each.image_size))[-1].size for each in (LITE0, LITE1, LITE2)]
    assert ends == [7, 8, 9]
    network = EfficientNetLite(LITE1, 80)
    assert network(torch.zeros(1, 3, 80, 80)).shape == (1, 1280, 3, 3)


def test_decoder_is_transformers_gpt2(captioner):
    """What cross-attention reads is photo and labels side by side, the hint alike but through weights of its own; what
    is not there is not read."""
    config = GPT2Config(vocab_size=23, n_positions=12, n_embd=32, n_layer=2, n_head=4, add_cross_attention=True)
    reference = GPT2LMHeadModel(config).eval()
    state = {name: torch.from_numpy(value) for name, value in gpt2_state_dict(captioner).items()}
    reference.load_state_dict(state)
    inputs = some_inputs(captioner, 2)
    tokens = torch.tensor([[[1, 5, 6, 7, 2], [1, 9, 2, 0, 0]], [[1, 8, 8, 2, 0], [1, 4, 20, 11, 2]]])
    with torch.no_grad():
        encoded = captioner.encode(inputs, Noise())
        assert encoded.hidden.shape == (2, 9 + 6 + 3 * HINT_COUNTS, 32)
        assert encoded.there.sum(1).tolist() == [15, 15 + 2 * HINT_COUNTS]
        for layer in captioner.transformer.h:  # transformers has one way to keys and values
            layer.crossattention.hint_attn.load_state_dict(layer.crossattention.c_attn.state_dict())
        ours = captioner(inputs, tokens, Noise())
        given = tokens[..., :-1].flatten(0, 1)
        hidden, mask = encoded.hidden.repeat_interleave(2, 0), encoded.there.repeat_interleave(2, 0)
        theirs = reference(given, encoder_hidden_states=hidden, encoder_attention_mask=mask).logits
        kept = tokens[..., 1:].flatten(0, 1) != PAD
        torch.testing.assert_close(ours, theirs[kept], atol=1e-4, rtol=1e-4)
        memory = captioner.transformer.memory(encoded)
        for position in range(3):
            stepped = captioner.logits(captioner.transformer.step(given[:, position], position, memory))
            torch.testing.assert_close(stepped, theirs[:, position], atol=1e-4, rtol=1e-4)


def test_labels_are_sums_over_the_classes_of_a_word(captioner):
    logits = torch.randn(3, 1000) * 4
    labels, probabilities = captioner.labels(logits)
    every = np.maximum(torch.softmax(logits, -1).numpy() - FAINT, 0)
    sums = np.stack([every[:, word == OF_CLASS].sum(1) for word in range(7)], 1)
    np.testing.assert_allclose(probabilities.numpy(), -np.sort(-sums, 1)[:, :6], rtol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(sums, labels.numpy(), 1), probabilities.numpy(), rtol=1e-5)
    assert all(len(set(row)) == 6 for row in labels.tolist())  # of words that are as likely, any


def test_what_is_left_out_is_as_if_it_were_not_there(captioner):
    """Without a photo, labels or a hint the rest is encoded as alone, to the bit of rounding."""
    inputs = some_inputs(captioner, 3)
    no, yes = torch.zeros(3, 9, dtype=torch.bool), torch.ones(3, dtype=torch.bool)
    with torch.no_grad():
        alone = captioner.encode(dataclasses.replace(inputs, features=None), Noise()).hidden[:, :6]
        masked = captioner.encode(dataclasses.replace(inputs, photo_there=no, labels_there=yes), Noise())
        torch.testing.assert_close(masked.hidden[:, 9:15], alone, atol=1e-5, rtol=1e-5)
        assert not masked.there[:, :9].any() and masked.there[:, 9:15].all()
        # a label's probability and its word both count
        other = captioner.encode(dataclasses.replace(inputs, probabilities=inputs.probabilities * 0.5), Noise())
        assert (other.hidden[:, 9:15] - captioner.encode(inputs, Noise()).hidden[:, 9:15]).abs().max() > 1e-3


def test_the_way_of_words_is_open_at_the_start():
    """A fresh captioner finds a word that it reads in a hint likelier than it is without."""
    torch.manual_seed(0)
    shape = dataclasses.replace(TINY, width=128, heads=4, vocab_size=200)
    model = Captioner(shape, OF_CLASS, CLASS_TOKENS).eval()
    better = 0
    for word in range(20, 40):
        hint = torch.tensor([[word, EOS]])
        with torch.no_grad():
            found = []
            for hints in (hint, torch.tensor([[100, EOS]])):
                memory = model.transformer.memory(Encoded(model.encode_hint(hints), hints=2))
                found.append(model.logits(model.transformer.step(torch.tensor([BOS]), 0, memory))[0])
        better += bool((found[0] - found[1]).argmax() == word)
    assert better >= 15  # of 20, where chance finds none


def test_encoder_graphs_are_the_torch_encoders(captioner):
    inputs = some_inputs(captioner, 3)
    photos = torch.randn(3, 3, 80, 80)
    with torch.no_grad():
        features = captioner.features(captioner.cnn.front(photos))
        labels = captioner.labels(captioner.class_logits(features))
        expected = captioner.encode(Inputs(features, *labels), Noise()).hidden
        hints = captioner.encode_hint(inputs.hints)
    found = run(photo_encoder(captioner, "fp32"), HIDDEN, pixel_values=photos.numpy())
    np.testing.assert_allclose(found[:, 6:], expected[:, :9].numpy(), atol=2e-4)  # in the graph the labels are first
    np.testing.assert_allclose(found[:, :6], expected[:, 9:].numpy(), atol=2e-4)
    ids = inputs.hints.numpy()
    found = run(hint_encoder(captioner, "fp32"), HIDDEN, input_ids=ids, attention_mask=np.ones_like(ids))
    np.testing.assert_allclose(found, hints.numpy(), atol=1e-5)


def test_the_int8_encoder_has_its_convolutions_in_rows_of_channels(captioner):
    """The same features at the same positions, but for the rounding of weights and activations: 11% of their size."""
    photos = torch.randn(2, 3, 80, 80)
    with torch.no_grad():
        expected = captioner.cnn(photos).permute(0, 2, 3, 1).flatten(1, 2).numpy()
    g, pooled = convolutions_in_rows(captioner.cnn, 80)
    g.output(FEATURES, TensorProto.FLOAT, ["B", 9, 1280])
    g.output(pooled, TensorProto.FLOAT, ["B", 1280])
    found, mean = (run(model_of(g), name, pixel_values=photos.numpy()) for name in (FEATURES, pooled))
    off = np.sqrt(np.square(found - expected).mean() / np.square(expected).mean())
    assert 0 < off < 0.15
    np.testing.assert_allclose(mean, found.mean(1), atol=1e-5)
    encoder = photo_encoder(captioner, "int8")
    assert join_layers(encoder) == []
    operators = [node.op_type for node in encoder.graph.node]
    assert operators.count("EncoderLayer") == TINY.bridge_layers
    assert "Conv" not in operators and operators.count("ConvRelu6") == operators.count("Int8SeparableConv") == 1
    assert sum(each.startswith("Int8InvertedBottleneck") for each in operators) == 20


def run(graph, name, **feeds):
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([name], feeds)[0]


def test_the_front_and_the_classes_that_are_kept_are_the_networks(captioner):
    graph, photos = conv_model(captioner.cnn, 80), torch.randn(2, 3, 80, 80)
    with torch.no_grad():
        front = captioner.cnn.front(photos)
        logits = captioner.class_logits(captioner.features(front))
    np.testing.assert_allclose(run(graph, FRONT, pixel_values=photos.numpy()), front.numpy(), atol=1e-3)
    np.testing.assert_allclose(run(graph, LOGITS, pixel_values=photos.numpy()), logits.numpy(), atol=1e-3)


def test_int8_convolutions_are_float_ones_with_rounded_weights(captioner, monkeypatch):
    """Each weight is off by at most half a step of its channel; dead channels of 1e-20 keep their bias."""
    monkeypatch.setattr(convolutions, "SMALL", 400)
    conv = captioner.cnn.front[1].convs[1].conv
    with torch.no_grad():
        conv.weight[3], conv.weight[4] = 1e-20, 0  # what ImageNet training left in some channels
        conv.bias[3] = 2.5
    photo = np.random.default_rng(0).uniform(-1, 1, (1, 3, 80, 80)).astype(np.float32)
    floats = front_of(captioner)
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
    floats = front_of(captioner)
    photos = np.random.default_rng(1).uniform(-1, 1, (4, 1, 3, 80, 80)).astype(np.float32)
    static = convolutions.calibrate_convolutions(floats, [{"pixel_values": photo} for photo in photos[:3]])
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in static.graph.node}
    expected, found = (features(graph, photos[3]) for graph in (floats, static))
    off = np.sqrt(np.square(found - expected).mean() / np.square(expected).mean())
    assert 0 < off < 0.1


def front_of(captioner):
    """Its first three blocks as a graph."""
    cnn = captioner.cnn
    blocks, cnn.front, cnn.tail = cnn.front, cnn.front[:3], torch.nn.Sequential()
    graph, _ = written(cnn, 80)
    cnn.front = blocks
    graph.output(FEATURES, 1, ["B", 24, "rows", "columns"])
    return model_of(graph)


def features(graph, photo):
    return run(graph, FEATURES, pixel_values=photo)


def test_beam_search_beats_greedy_and_one_beam_is_greedy(captioner):
    torch.manual_seed(1)
    encoded = Encoded(torch.randn(6, 9, TINY.width))

    def score(tokens: torch.Tensor) -> torch.Tensor:
        """Mean log-probability of each caption, teacher-forced."""
        rows = torch.cat([torch.full((len(tokens), 1), BOS), tokens], 1).unsqueeze(1)
        keep = tokens != PAD
        with torch.no_grad():
            memory = captioner.transformer.memory(encoded)
            logits = captioner.logits(captioner.transformer(rows[..., :-1].flatten(0, 1), keep, memory, Noise()))
        logits[:, FORBIDDEN] = -torch.inf
        chosen = logits.log_softmax(-1).gather(1, tokens[keep].unsqueeze(1)).squeeze(1)
        rows_of = keep.nonzero()[:, 0]
        return torch.zeros(len(tokens)).index_add(0, rows_of, chosen) / keep.sum(1)

    one, four = (beam_search(captioner, encoded, beams=beams, max_tokens=8) for beams in (1, 4))
    assert (one != four).any()
    assert score(four).mean() > score(one).mean()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    captions = [["a", "man's", "t-shirt"]] * 4 + [["zebra", "dog"]] * 3 + [["dog", "runs"]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe_words, "PIECES", 46)  # so few that rare words are no pieces
        return build_tokenizer(captions, ["espresso"])


def test_rare_words_are_written_in_pieces_and_any_word_can_be_said(tokenizer):
    assert {"a", "man's", "t-shirt", "dog", "espresso"} <= set(tokenizer.get_vocab())
    assert not {"zebra", "runs"} & set(tokenizer.get_vocab())
    for text in ("a zebra runs", "lisbon 28", "a man's t-shirt"):
        assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False).ids) == text
    assert tokenizer.encode("Tram, LISBOA! é").ids == tokenizer.encode("tram lisboa e").ids
    assert tokenizer.encode("東京").tokens == ["</s>"]  # a hint has at least its end
    ids = token_ids(tokenizer, [["dog"], ["a"] * 40])
    assert ids[0].tolist()[:4] == [BOS, tokenizer.token_to_id("dog"), EOS, PAD]
    assert ids.shape == (2, 24) and ids[1, -1] == EOS
    hints, there = hint_ids(tokenizer, [["dog"], []])
    assert hints[0].tolist()[:3] == [tokenizer.token_to_id("dog"), EOS, PAD]
    assert there.sum(1).tolist() == [2, 0]


def test_hints_are_words_that_say_something():
    caption = ["a", "small", "dog", "runs", "through", "the", "grass", "with", "a", "dog"]
    assert content_words(caption) == ["small", "dog", "runs", "grass"]
    drawn = [some_words(caption, random.Random(seed)) for seed in range(50)]
    assert {len(words) for words in drawn} == {1, 2, 3}
    assert {word for words in drawn for word in words} == {"small", "dog", "runs", "grass"}
    assert some_words(["in", "the"], random.Random(0)) == []


def test_classes_are_found_in_sentences():
    classes = Classes.read()
    assert len(classes.of_class) == 1000
    found = [
        classes.names[i]
        for i in classes.in_words(["two", "dogs", "next", "to", "a", "dog", "and", "a", "coffee", "mug", "on", "buses"])
    ]
    assert found[0] == "dog" and found[-1] == "bus" and found.count("dog") == 1
    plurals = {"dog": "dogs", "bus": "buses", "couch": "couches", "puppy": "puppies", "toy": "toys"}
    assert {word: plural(word) for word in plurals} == plurals


def test_every_template_makes_sentences():
    sentences = Sentences.read()
    assert len(sentences.templates) > 1000
    rng = random.Random(0)
    for template in sentences.templates:
        words = Sentences([template]).one(rng)
        assert 4 <= len(words) <= 17 and not set("".join(words)) & set("{}|"), template
        for article, word in itertools.pairwise(words):
            if article == "an":
                assert word[0] in "aeiouhx", template
    assert Sentences(["a {red|blue} {big |}ball"]).words() == {"a": 1, "red": 1, "blue": 1, "big": 1, "ball": 1}


def a_corpus(tokenizer: Tokenizer, photos: list[Photo], things: list[Photo]) -> Corpus:
    def photo_set(name: str, some: list[Photo], share: float) -> PhotoSet:
        front = np.zeros((len(some), 2, 112, 5, 5), np.float16)
        logits = np.zeros((len(some), 2, 1000), np.float16)
        ids = token_ids(tokenizer, [caption for photo in some for caption in photo.captions])
        return PhotoSet(name, some, Views(front, logits), ids.reshape(len(some), 5, ids.shape[1]), share)

    sets = [photo_set("train", photos, 1.0), photo_set("kinds", things, 0.5)]
    return Corpus(sets, {}, tokenizer, Classes.read(), Sentences.read())


def test_a_step_has_right_wrong_and_no_hints_and_no_target_is_its_own_hint():
    rng = np.random.default_rng(2)
    photos = made_captions(rng, 200)
    things = [Photo(Path("t.jpg"), [["a", "ball"]] * 5, ("ball",)) for _ in range(40)]
    known = build_tokenizer([caption for photo in photos for caption in photo.captions], [])
    whole = a_corpus(known, photos, things)
    seen, kinds, photo_there, labels_there = [], 0, [], []
    for batch in photo_batches(whole, random.Random(4), Hints(0.4)):
        assert (batch.photo_there | batch.labels_there).all()
        photo_there += batch.photo_there.tolist()
        labels_there += batch.labels_there.tolist()
        for row in range(len(batch.tokens)):
            said = [known.decode([t for t in each if t > UNK]).split() for each in batch.tokens[row].tolist()]
            left_out = [c for c in range(5) if not said[c]]
            assert len(left_out) <= 1
            hint = known.decode([t for t in batch.hints[row].tolist() if t > UNK]).split()
            assert batch.hints_there[row].sum() == (len(hint) + 1 if hint else 0)
            if left_out:
                kept = [caption for caption in said if caption]
                left = [set(p.captions[left_out[0]]) for p in photos if all(c in p.captions for c in kept)]
                assert hint and any(set(hint) <= words for words in left)
            kinds += hint == ["ball"] and not left_out
            seen.append(bool(left_out))
    assert len(seen) == 220
    assert 0.25 < np.mean(seen) < 0.5 and kinds
    assert 0.75 < np.mean(photo_there) < 1 and 0.75 < np.mean(labels_there) < 1


def test_sentences_come_with_what_a_classifier_might_say(captioner):
    known = build_tokenizer([], list(Sentences.read().words()))
    whole = a_corpus(known, made_captions(np.random.default_rng(2), 5), [])
    weights = captioner.cnn.classifier.weight.detach().numpy()
    drawn = SentenceBatches(whole, weights, 6)
    inputs, tokens = drawn.draw(random.Random(3), 200)
    assert inputs.features is None and inputs.labels.shape == inputs.probabilities.shape == (200, 6)
    assert (inputs.probabilities.diff(dim=1) <= 0).all() and (inputs.probabilities.sum(1) <= 1).all()
    right = 0
    for labels, row in zip(inputs.labels.tolist(), tokens[:, 0].tolist(), strict=True):
        assert len(set(labels)) == 6
        words = known.decode([t for t in row if t > UNK]).split()
        right += bool(set(labels) & set(whole.classes.in_words(words)))
    assert right > 120
    assert 0.3 < float((inputs.hints_there.sum(1) > 0).float().mean()) < 0.7


def test_misled_sentences_have_labels_of_what_their_words_are_taken_for(captioner):
    """Of those with a hint the likeliest label is no word of the sentence, and there is some of a photo; those without
    are as before."""
    known = build_tokenizer([], list(Sentences.read().words()))
    whole = a_corpus(known, made_captions(np.random.default_rng(2), 5), [])
    whole.sets[0] = dataclasses.replace(whole.sets[0], features=np.full((5, 2, 9, 1280), 85, np.uint8))
    weights = captioner.cnn.classifier.weight.detach().numpy()
    first_is_right: dict[bool, list[bool]] = {True: [], False: []}
    for misled in (0.0, 1.0):
        inputs, tokens = SentenceBatches(whole, weights, 6, misled).draw(random.Random(3), 400)
        if misled:
            torch.testing.assert_close(inputs.features, torch.full((400, 9, 1280), 2.0))
            with_photo = inputs.photo_there.any(1)
            assert not with_photo[~inputs.hints_there.any(1)].any()
            assert 0.9 < with_photo[inputs.hints_there.any(1)].float().mean() < 1
            assert 0.4 < inputs.photo_there[with_photo].float().mean() < 0.7
            assert inputs.labels_there.all()
        for labels, row, there in zip(inputs.labels, tokens[:, 0].tolist(), inputs.hints_there.any(1), strict=True):
            named = whole.classes.in_words(known.decode([t for t in row if t > UNK]).split())
            if named and (there or misled):
                first_is_right[bool(there and misled)].append(labels[0].item() in named)
    assert np.mean(first_is_right[True]) < 0.35 < 0.5 < np.mean(first_is_right[False])


def test_features_are_kept_in_8_bits_and_stand_for_the_front(tmp_path, captioner):
    """At most half a step off, mapped from disk, and not made twice."""
    photos = made_captions(np.random.default_rng(2), 20)
    known = build_tokenizer([caption for photo in photos for caption in photo.captions], [])
    whole = a_corpus(known, photos, [])
    front = np.random.default_rng(4).normal(size=(20, 2, 112, 5, 5)).astype(np.float16)
    sets = [dataclasses.replace(whole.sets[0], views=Views(front, whole.sets[0].views.logits))]
    whole = dataclasses.replace(whole, sets=sets, val={"val": dataclasses.replace(sets[0], name="val")})
    found = with_features(whole, captioner, tmp_path)
    written = (tmp_path / "features_train.npy").stat().st_mtime_ns
    with torch.no_grad():
        expected = captioner.features(torch.from_numpy(front[:, 1].astype(np.float32)))
    for each in (found.sets[0], found.val["val"]):
        seen = torch.from_numpy(each.seen(slice(None), 1))
        assert seen.shape == (20, 9, 1280) and captioner.features(seen) is seen
        off = (seen - expected).abs()
        assert off.max() < 0.2 and off.mean() < FEATURE_STEP
    assert with_features(whole, captioner, tmp_path).sets[0].features is not None
    assert (tmp_path / "features_train.npy").stat().st_mtime_ns == written
    batch = next(photo_batches(found, random.Random(1), Hints(0.5, similar=0.5)))
    assert batch.seen.shape == (20, 9, 1280) and batch.seen.dtype == torch.float32


def test_folders_of_photos(tmp_path: Path):
    """captions.jsonl, COCO's own layout, and things with labels."""
    for name in ("images/a.jpg", "c.jpg", "d.jpg", "coco/train2017/7.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"a photo")
    lines = [{"file": "images/a.jpg", "captions": ["A dog.", "Dogs run"], "split": "train"}]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (found,) = read_captions(tmp_path, "train")
    assert found == Photo(
        tmp_path / "images/a.jpg", [["a", "dog"], ["dogs", "run"], ["a", "dog"], ["dogs", "run"], ["a", "dog"]]
    )
    with pytest.raises(fuseline.Error, match='has no photos with "split": "val"'):
        read_captions(tmp_path, "val")
    assert len(read_captions(tmp_path, None)) == 1
    coco = tmp_path / "coco"
    (coco / "annotations").mkdir(parents=True)
    annotations = [{"image_id": 7, "caption": "A cat"}, {"image_id": 7, "caption": "cats"}]
    images = [{"id": 7, "file_name": "7.jpg"}, {"id": 8, "file_name": "8.jpg"}]
    about = json.dumps({"images": images, "annotations": annotations})
    (coco / "annotations" / "captions_train2017.json").write_text(about)
    assert read_captions(coco, "train") == [Photo(coco / "train2017/7.jpg", five([["a", "cat"], ["cats"]]))]
    about = json.dumps({"images": images[:1], "annotations": annotations})
    (coco / "annotations" / "captions_val2017.json").write_text(about)
    (coco / "val2017").mkdir()
    (coco / "val2017" / "7.jpg").write_bytes(b"a photo")
    read = {key: value for key, value in held_out(coco).items() if key != "name"}
    assert len(read_data(read.pop("data"), **read).items) == 1
    assert held_out(tmp_path)["split"] == "val"
    entries = [{"file": "c.jpg", "label": "cup", "split": "dev"}, {"file": "d.jpg", "label": "cup", "split": "train"}]
    (tmp_path / "labels.jsonl").write_text("\n".join(map(json.dumps, entries)))
    (thing,) = read_kinds(tmp_path, "dev")
    assert thing.names[0] == "cup" and len(thing.captions) == 5


@pytest.mark.parametrize(
    ("write", "says"),
    [
        ("", r"captions.jsonl is not there"),
        ('{"file": "a.jpg"}', r'line 1: it must be an object with "file" and "captions"'),
        ("[3]", r'line 1: it must be an object with "file" and "captions"'),
        ('{"file": "a.jpg", "captions": ["a dog"]}', r'has no photos with "split": "train"'),
        (
            '{"file": "a.jpg", "captions": ["a dog"], "split": "train"}',
            r'1 of 1 photos with "split": "train" are not there, as .*a.jpg',
        ),
    ],
)
def test_a_folder_that_lacks_something_is_refused_in_a_sentence(tmp_path, monkeypatch, capsys, write: str, says: str):
    data = tmp_path / "flickr8k"
    data.mkdir()
    if write:
        (data / "captions.jsonl").write_text(write)
    monkeypatch.setattr("sys.argv", ["recipe", "--data", str(data), "--work", str(tmp_path / "work")])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert re.search(says, said) and said.count("\n") == 1


def test_other_photos_than_flickr8k_need_terms_of_their_own(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["recipe", "--data", str(tmp_path / "mine"), "--work", str(tmp_path / "work")])
    for says in (
        "mine is no folder\n",
        "mine is not flickr8k; say with --license and --terms how the model may be used\n",
    ):
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 2 and capsys.readouterr().err.endswith(says)
        (tmp_path / "mine").mkdir(exist_ok=True)


def test_what_is_exported_is_the_mean_of_runs_and_some_of_where_they_began():
    start, *runs = (torch.nn.Linear(1, 1) for _ in range(3))
    for model, value in ((start, 10.0), (runs[0], 1.0), (runs[1], 3.0)):
        for parameter in model.parameters():
            torch.nn.init.constant_(parameter, value)
    for parameter in phases.mean_of(start, runs).parameters():
        assert parameter.item() == pytest.approx(0.2 * 10 + 0.8 * 2)
    assert start.weight.item() == 10


def test_an_unknown_kind_is_named(tmp_path):
    (tmp_path / "labels.jsonl").write_text('{"file": "a.jpg", "label": "gizmo", "split": "train"}')
    with pytest.raises(fuseline.Error, match=r"nothing is known of 'gizmo'; write it into objects_words.json"):
        read_kinds(tmp_path, "train")


def write_photos(folder: Path, photos: list[Photo], splits: list[str]) -> None:
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(9)
    lines = []
    for photo, split in zip(photos, splits, strict=True):
        Image.fromarray(rng.integers(0, 255, (40, 60, 3), np.uint8)).save(folder / "images" / photo.file)
        captions = [" ".join(caption) for caption in photo.captions]
        lines.append(json.dumps({"file": f"images/{photo.file}", "captions": captions, "split": split}))
    (folder / "captions.jsonl").write_text("\n".join(lines))


def test_views_are_kept_and_the_same_each_time(tmp_path: Path):
    write_photos(tmp_path, made_captions(np.random.default_rng(1), 2), ["train"] * 2)
    photos = read_captions(tmp_path, "train")
    prepare(tmp_path / "work", "train", photos, 3, LITE1, 80)
    views = Views.load(tmp_path / "work", "train")
    assert views.front.shape == (2, 3, 112, 5, 5) and views.logits.shape == (2, 3, 1000)
    pixels = make_views(photos[1].file, 3, 80)
    np.testing.assert_array_equal(pixels, make_views(photos[1].file, 3, 80))
    np.testing.assert_array_equal(pixels[1], pixels[0][..., ::-1])
    network = EfficientNetLite(LITE1, 80)
    network.load_imagenet()
    with torch.no_grad():
        front = network.front(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(views.front[1], front, atol=2e-2)


def test_views_of_another_encoder_are_not_taken(tmp_path: Path):
    """Where a work folder is used again with another one."""
    write_photos(tmp_path, made_captions(np.random.default_rng(1), 2), ["train"] * 2)
    photos = read_captions(tmp_path, "train")
    prepare(tmp_path / "work", "train", photos, 1, LITE1, 80)
    prepare(tmp_path / "work", "train", photos, 1, LITE1, 80)
    with pytest.raises(ValueError, match=r"front_train.npy is of .* another encoder: \[2, 1, 112, 5, 5\] instead of"):
        prepare(tmp_path / "work", "train", photos, 1, LITE2, 80)


@pytest.mark.slow
def test_the_recipe_runs_resumes_and_its_folder_captions(tmp_path: Path, monkeypatch):
    data, work = tmp_path / "data", tmp_path / "work"
    write_photos(data, made_captions(np.random.default_rng(9), 12), ["val"] * 4 + ["train"] * 8)
    monkeypatch.setattr(phases, "CROSS_ENTROPY", dataclasses.replace(phases.CROSS_ENTROPY, epochs=2))
    for name in ("HINTS", "SELF_CRITICAL"):
        monkeypatch.setattr(phases, name, dataclasses.replace(getattr(phases, name), epochs=1))
    monkeypatch.setattr(made, "PICTURES", 4)
    whole = corpus.load_corpus(work, data, None, [], [])
    captioner = phases.train(whole, work)
    epochs = [json.loads(line).get("epoch") for line in (work / "log.jsonl").read_text().splitlines()]
    again = phases.train(corpus.load_corpus(work, data, None, [], []), work)  # everything is there: nothing is trained
    assert epochs == [None, 1, 2, None, 1, *[None, 1] * RUNS]
    assert len((work / "log.jsonl").read_text().splitlines()) == len(epochs)
    for ours, theirs in zip(captioner.parameters(), again.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    before = torch.load(work / "hints.pt", weights_only=True)["averaged"]
    runs = [torch.load(work / f"self_critical_{run + 1}.pt", weights_only=True)["averaged"] for run in range(RUNS)]
    changed = {name for name, value in captioner.state_dict().items() if not torch.allclose(value, before[name])}
    assert "transformer.h.0.mlp.c_fc.weight" in changed and all(name.startswith(TRAINED) for name in changed)
    for name, value in captioner.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, sum(run[name] for run in runs) / RUNS)
    assert not torch.equal(runs[0]["transformer.ln_f.weight"], runs[1]["transformer.ln_f.weight"])
    shipped = export.export(again, whole, data, work)
    about = json.loads((shipped / "fuseline.json").read_text())
    assert set(about["variants"]) == {"int8"} and set(about["quality"]) == {"fp32", "int8"}
    assert len((work / "captions_int8.txt").read_text().splitlines()) == 4
    assert says_what_torch_says(again, whole, fuseline.Model.from_pretrained(work / "folder", "fp32", threads=1))


def test_a_work_folder_is_of_the_photos_it_was_made_of(tmp_path: Path, monkeypatch):
    data, work = tmp_path / "data", tmp_path / "work"
    photos = made_captions(np.random.default_rng(9), 3)
    write_photos(data, photos, ["val", "train", "train"])
    monkeypatch.setattr(made, "PICTURES", 4)
    corpus.load_corpus(work, data, None, [], [])
    text = (data / "captions.jsonl").read_text()
    (data / "captions.jsonl").write_text(text.replace(" ".join(photos[1].captions[0]), "a red ball"))
    with pytest.raises(fuseline.Error, match="work is of other photos, captions or another encoder"):
        corpus.load_corpus(work, data, None, [], [])


def says_what_torch_says(captioner: Captioner, whole: Corpus, model: fuseline.Model) -> bool:
    """With hints and without, on the plain views of val."""
    photos = whole.val["val"].photos
    hints = [[], ["dog"], ["lisbon", "man"], []]
    pixels = np.concatenate([make_views(photo.file, 1, 240) for photo in photos])
    ids, there = hint_ids(whole.tokenizer, hints)
    with torch.no_grad():
        features = captioner.eval().features(captioner.cnn.front(torch.from_numpy(pixels)))
        labels = captioner.labels(captioner.class_logits(features))
        inputs = Inputs(features, *labels, torch.from_numpy(ids), torch.from_numpy(there))
        rows = beam_search(captioner, captioner.encode(inputs, Noise())).tolist()
    expected = [whole.tokenizer.decode([t for t in row if t > UNK]) for row in rows]
    hinted = model.inputs_of("hint")([" ".join(words) or None for words in hints])
    plain = {"repetition_penalty": 1.0, "source_weights": {"image": 1, "hint": 1}}
    found = model.generate({"image": pixels, "hint": hinted}, max_length=22, **plain)
    return model.decode(found.sequences) == expected
