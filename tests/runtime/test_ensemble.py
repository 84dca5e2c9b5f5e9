"""Ensembles of real models, against a search in float64 over the models' own logits."""

from __future__ import annotations

import copy
import hashlib
import io
import json
import pickle
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fuseline
from fuseline import InputError, Model
from fuseline.ensembles import Ensemble
from fuseline.export import export
from tests import small_whisper, text_models, tiny

MEANS = {"image_mean": [0.2, 0.4, 0.6], "size": {"height": 32, "width": 32}}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Model]:
    home = tmp_path_factory.mktemp("ensemble")
    return [Model.from_pretrained(tiny.tiny_folder(home / str(seed), seed), threads=1) for seed in (0, 1, 2)]


@pytest.fixture(scope="module")
def other_means(models: list[Model], tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The second model, with another mean of photos."""
    home = _changed(models[1], tmp_path_factory.mktemp("means") / "folder", "preprocessor_config.json", MEANS)
    return Model.from_pretrained(home, threads=1)


def _changed(model: Model, home: Path, file: str, fields: dict[str, Any]) -> Path:
    """A copy of a model's folder in which a file says something else."""
    shutil.copytree(model.folder.path, home)
    content = json.dumps(json.loads((home / file).read_text()) | fields).encode()
    (home / file).write_bytes(content)
    listed = json.loads((home / "fuseline.json").read_text())
    listed["files"][file] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (home / "fuseline.json").write_text(json.dumps(listed))
    return home


class Reference:
    """Beam search over sum lambda_i log p_i of the models' logits after whole sequences, in float64, a photo at a time.

    length_penalty 1, early_stopping False: the rules of fuseline.search.beam's docstring, written anew.
    """

    def __init__(self, models: list[Model], weights: tuple[float, ...], rule: str, normalize: bool) -> None:
        self.models, self.weights, self.rule, self.normalize = models, weights, rule, normalize

    def scores(self, encoded: list[Any], tokens: tuple[int, ...]) -> np.ndarray:
        """float64[V]."""
        logs = []
        for model, each in zip(self.models, encoded, strict=True):
            state = model.decoder.start(each, 1, len(tokens))
            logs.append(_log_softmax(model.decoder.step(state, np.array([tokens]), None)[0].astype(np.float64)))
        if self.rule == "linear":
            found = np.log(sum(weight * np.exp(log) for weight, log in zip(self.weights, logs, strict=True)))
        else:
            found = sum(weight * log for weight, log in zip(self.weights, logs, strict=True))
        return _log_softmax(found) if self.normalize else np.asarray(found)

    def best(self, photo: np.ndarray, beams: int) -> tuple[tuple[int, ...], float]:
        encoded = [model.encode(photo) for model in self.models]
        opened: list[tuple[tuple[int, ...], float]] = [((tiny.START,), 0.0)]
        pool: list[tuple[tuple[int, ...], float]] = []
        for count in range(1, tiny.MAX_LENGTH):
            ranked = sorted(
                (
                    ((*tokens, token), total + each)
                    for tokens, total in opened
                    for token, each in enumerate(self.scores(encoded, tokens))
                ),
                key=lambda one: -one[1],
            )[: 2 * beams]
            ends = [one for one in ranked[:beams] if one[0][-1] == tiny.END or count == tiny.MAX_LENGTH - 1]
            pool = sorted(pool + [(one, total / count) for one, total in ends], key=lambda one: -one[1])[:beams]
            opened = [one for one in ranked if one[0][-1] != tiny.END][:beams]
            if len(pool) == beams and opened[0][1] / count <= pool[-1][1]:
                break
            if beams == 1 and pool:
                break
        return pool[0]


def _log_softmax(scores: Any) -> np.ndarray:
    shifted = np.asarray(scores - scores.max())
    return np.asarray(shifted - np.log(np.exp(shifted).sum()))


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize(
    ("weights", "rule", "normalize"),
    [
        ((0.5, 0.5), "log_linear", True),
        ((1.0, 0.7), "log_linear", False),
        ((1.4, -0.4), "log_linear", True),
        ((1.3, -0.3), "log_linear", False),
        ((0.3, 0.7), "linear", True),
        ((0.6, 0.4), "linear", False),
    ],
)
def test_a_search_adds_up_what_the_rule_gives(
    models: list[Model], weights: tuple[float, float], rule: str, normalize: bool, beams: int
) -> None:
    photos = tiny.photos(5, seed=7)
    together = fuseline.ensemble(models[:2], weights, rule, normalize)
    found = together.generate(photos, num_beams=beams)
    reference = Reference(models[:2], weights, rule, normalize)
    for number, photo in enumerate(photos):
        tokens, score = reference.best(photo[None], beams)
        assert tiny.ended(found.sequences[number], tiny.END) == tokens
        assert found.sequences_scores[number] == pytest.approx(score, abs=2e-5)


@pytest.mark.parametrize("beams", [1, 4])
@pytest.mark.parametrize("weights", [(1, 0), (0, 1), (1.0, 0.0)])
def test_a_model_alone_is_itself_bit_for_bit(models: list[Model], weights: tuple[float, float], beams: int) -> None:
    photos = tiny.photos(6, seed=3)
    options = {"num_beams": beams, "output_scores": True, "output_logits": True}
    found = fuseline.ensemble(models[:2], weights).generate(photos, **options)
    alone = models[0 if weights[0] else 1].generate(photos, **options)
    for name in ("sequences", "sequences_scores", "token_logprobs"):
        assert getattr(found, name).tobytes() == getattr(alone, name).tobytes()
    assert found.logits is not None and alone.logits is not None
    assert [each.tobytes() for each in found.logits] == [each.tobytes() for each in alone.logits]


@pytest.mark.parametrize("rule", ["log_linear", "linear"])
@pytest.mark.parametrize("normalize", [True, False])
def test_two_copies_at_a_half_are_one(models: list[Model], rule: str, normalize: bool) -> None:
    photos = tiny.photos(6, seed=4)
    copies = [models[0], Model.from_pretrained(models[0].folder.path, threads=1)]
    found = fuseline.ensemble(copies, (0.5, 0.5), rule, normalize).generate(photos)
    alone = models[0].generate(photos)
    assert found.sequences.tolist() == alone.sequences.tolist()
    np.testing.assert_allclose(found.sequences_scores, alone.sequences_scores, atol=1e-5)


OPTIONS: list[dict[str, Any]] = [
    {"num_beams": 1},
    {"num_beams": 3, "num_return_sequences": 3},
    {"num_beams": 4, "no_repeat_ngram_size": 1},
    {"num_beams": 4, "num_beam_groups": 2, "diversity_penalty": 0.5},
    {"num_beams": 1, "do_sample": True, "seed": 5, "top_k": 7, "temperature": 1.3},
    {"num_beams": 3, "do_sample": True, "seed": 5},
    {"num_beams": 2, "length_penalty": -0.5, "early_stopping": True, "min_length": 4},
    {"num_beams": 1, "repetition_penalty": 1.4, "output_confidences": True},
    {"num_beams": 2, "output_attentions": True, "bad_words_ids": [[10]]},
]


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("options", OPTIONS)
def test_batches_say_what_their_photos_say_alone(models: list[Model], options: dict[str, Any], normalize: bool) -> None:
    photos = tiny.photos(9, seed=6)
    together = fuseline.ensemble(models, (0.5, 0.7, -0.2), normalize=normalize)
    whole = together.generate(photos, **options)
    each = options.get("num_return_sequences", 1)
    for number in range(len(photos)):
        alone = together.generate(photos[number : number + 1], **options)
        rows = whole.sequences[number * each : (number + 1) * each]
        assert [tiny.ended(row, tiny.END) for row in rows] == [tiny.ended(row, tiny.END) for row in alone.sequences]
        np.testing.assert_allclose(whole.sequences_scores[number * each : (number + 1) * each], alone.sequences_scores)


def test_options_change_what_is_said(models: list[Model]) -> None:
    together, photos = fuseline.ensemble(models[:2]), tiny.photos(8, seed=6)
    for row in together.generate(photos, no_repeat_ngram_size=1).sequences:
        said = tiny.ended(row, tiny.END)
        assert len(set(said)) == len(said)
    drawn = [together.generate(photos, do_sample=True, num_beams=1, seed=seed).sequences.tolist() for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    confident = together.generate(photos, output_confidences=True, num_beams=1)
    assert confident.confidences is not None
    np.testing.assert_allclose(confident.confidences, confident.token_logprobs, atol=1e-5)


@pytest.mark.parametrize("beams", [1, 4])
def test_confidences_of_scores_that_are_not_normalised_are_probabilities(models: list[Model], beams: int) -> None:
    raw = fuseline.ensemble(models[:2], (1.0, 0.7), normalize=False)
    found = raw.generate(tiny.photos(3), output_confidences=True, output_scores=True, num_beams=beams)
    assert found.confidences is not None and found.scores is not None
    assert (found.confidences <= 1e-6).all()
    row = 0 if found.beam_indices is None else int(found.beam_indices[0, 0])
    first = _log_softmax(found.scores[0][row].astype(np.float64))
    assert found.confidences[0, 0] == pytest.approx(first[found.sequences[0, 1]], abs=1e-5)
    assert found.token_logprobs[0, 0] == found.scores[0][row, found.sequences[0, 1]]


@pytest.mark.parametrize("beams", [1, 4])
def test_a_stream_says_what_generate_says(models: list[Model], beams: int) -> None:
    together, photo = fuseline.ensemble(models[:2]), tiny.photos(1, seed=9)
    told = list(together.stream(photo, num_beams=beams))
    found = together.generate(photo, num_beams=beams)
    assert "".join(event.text for event in told) == together.decode(found.sequences)[0]
    assert told[-1].generation is not None
    assert told[-1].generation.sequences.tolist() == found.sequences.tolist()


@pytest.mark.parametrize("normalize", [True, False])
def test_the_score_of_a_text_is_what_a_search_gives_it(models: list[Model], normalize: bool) -> None:
    together, photo = fuseline.ensemble(models[:2], (0.8, 0.5), normalize=normalize), tiny.photos(1, seed=9)
    found = together.generate(photo)
    score = together.score(photo, together.decode(found.sequences)[0])
    assert score.labels[0].tolist() == found.sequences[0, 1:].tolist()
    assert -score.loss[0] == pytest.approx(found.sequences_scores[0], abs=1e-5)


def test_all_ways_to_give_the_same_inputs_say_the_same(models: list[Model]) -> None:
    together, photos = fuseline.ensemble(models[:2]), tiny.photos(2, seed=2)
    expected = together.generate(photos).sequences.tolist()
    ways: list[Any] = [
        lambda: together.generate(pixel_values=photos),
        lambda: together.generate({"pixel_values": photos}),
        lambda: together.generate([photos, photos]),
        lambda: together.generate({0: photos, 1: {"pixel_values": photos}}),
        lambda: together.generate(list(photos)),  # two photos: no array of all dimensions
        lambda: together.generate(together.encode(photos)),
        lambda: fuseline.ensemble([together]).generate(photos),
    ]
    for way in ways:
        assert way().sequences.tolist() == expected


def _photo(seed: int) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(coarse.repeat(8, axis=0).repeat(8, axis=1))


def test_each_model_reads_a_photo_its_own_way(models: list[Model], other_means: Model) -> None:
    together = fuseline.ensemble([models[0], other_means])
    photos = [_photo(seed) for seed in range(3)]
    made = together.inputs(photos)
    own = [model.image_processor(photos) for model in together.models]  # type: ignore[attr-defined]
    assert not np.array_equal(own[0], own[1])
    expected = together.decode(together.generate(own).sequences)
    assert together.decode(together.generate(made).sequences) == expected
    captioner = fuseline.pipeline("image-to-text", together)
    for size in (1, 2):
        found = captioner(photos, batch_size=size)
        assert [each[0]["generated_text"] for each in found] == expected
    assert "".join(captioner(photos[0], stream=True)) == expected[0]
    with pytest.raises(InputError, match=r"in different ways; give one each, as in \{0: ..., 1: ...\}"):
        together.generate(own[0])
    with pytest.raises(InputError, match="no one image_processor"):
        together.image_processor  # noqa: B018


def test_a_pipeline_gives_one_photo_to_models_that_prepare_it_alike(models: list[Model]) -> None:
    together, photo = fuseline.ensemble(models[:2]), _photo(4)
    expected = together.decode(together.generate(models[0].image_processor([photo])).sequences)[0]
    assert fuseline.pipeline(model=together)(photo)[0]["generated_text"] == expected
    content = io.BytesIO()
    photo.save(content, "png")
    assert fuseline.pipeline(model=together)(content.getvalue())[0]["generated_text"] == expected


def test_models_that_read_texts(tmp_path: Path) -> None:
    opened = []
    for seed in (0, 1):
        text_models.write_checkpoint(text_models.text_model("bart", seed), tmp_path / f"checkpoint{seed}")
        export(tmp_path / f"checkpoint{seed}", tmp_path / f"folder{seed}", ["fp32"])
        opened.append(Model.from_pretrained(tmp_path / f"folder{seed}", threads=1))
    together = fuseline.ensemble(opened)
    rows = [(text_models.texts(20)[1] * 2)[:length] for length in (7, 1, 12)]
    batch = {name: tensor.numpy() for name, tensor in text_models.batch(rows, text_models.PAD).items()}
    whole = together.generate(batch, num_beams=2)
    ends = tuple(together.generation_config.ends)
    for number, row in enumerate(rows):
        alone = together.generate(np.array([row]), num_beams=2)
        assert tiny.ended(whole.sequences[number], *ends) == tiny.ended(alone.sequences[0], *ends)
    by_each = together.generate([batch, batch], num_beams=2)
    assert by_each.sequences.tolist() == whole.sequences.tolist()


def test_models_that_read_speech(tmp_path: Path) -> None:
    opened = [
        Model.from_pretrained(small_whisper.exported(tmp_path / str(seed), seed)[0], threads=1) for seed in (0, 1)
    ]
    sound = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
    pairs = fuseline.ensemble(opened, (1, 0)), fuseline.ensemble(opened, (0, 1)), fuseline.ensemble(opened)
    said = [fuseline.pipeline("automatic-speech-recognition", each)(sound)["text"] for each in (*opened, *pairs)]
    assert said[:2] == said[2:4]
    assert said[0] != said[1] and said[4]


def test_the_longest_text_is_the_shortest_of_all(models: list[Model], tmp_path: Path) -> None:
    short = tiny.tiny_vit_gpt2(1, n_positions=20)
    tiny.write_checkpoint(short, tmp_path / "checkpoint")
    export(tmp_path / "checkpoint", tmp_path / "folder", ["fp32"])
    together = fuseline.ensemble([models[0], Model.from_pretrained(tmp_path / "folder", threads=1)])
    assert together.generate(tiny.photos(1), max_length=21, eos_token_id=96).sequences.shape[1] == 21
    with pytest.raises(InputError, match="this model's decoder has 20 positions"):
        together.generate(tiny.photos(1), max_length=22)


def test_a_search_that_is_out_of_time_or_cancelled_gives_what_it_has(models: list[Model]) -> None:
    together, stop = fuseline.ensemble(models[:2]), threading.Event()
    assert "max_time" in together.generate(tiny.photos(2), max_time=1e-9).finish_reasons
    stop.set()
    partial = together.generate(tiny.photos(2), cancel=stop, partial=True)
    assert partial.finish_reasons == ("cancelled", "cancelled")


def test_an_ensemble_is_pickled_copied_shown_and_closed_with_its_models(models: list[Model]) -> None:
    own = [Model.from_pretrained(model.folder.path, threads=1) for model in models[:2]]
    together = fuseline.ensemble(own, (0.25, 0.75), "linear", False)
    assert isinstance(together, Model) and copy.deepcopy(together) is together
    again = pickle.loads(pickle.dumps(together))
    assert isinstance(again, Ensemble)
    photos = tiny.photos(2)
    assert again.generate(photos).sequences_scores.tobytes() == together.generate(photos).sequences_scores.tobytes()
    assert str(models[0].folder.path) in repr(together) and repr(together).endswith("weights 0.25, 0.75>")
    with together:
        pass
    assert "closed" in repr(together) and "closed" in repr(own[0])
    for call in (lambda: together.generate(photos), lambda: own[1].generate(photos), lambda: pickle.dumps(together)):
        with pytest.raises(InputError, match="was closed"):
            call()
    with pytest.raises(InputError, match="was closed"):
        fuseline.ensemble(own)
    again.models[1].close()
    with pytest.raises(InputError, match="was closed"):
        again.generate(photos)


def test_files_that_change_are_noticed(models: list[Model], tmp_path: Path) -> None:
    shutil.copytree(models[1].folder.path, tmp_path / "folder")
    together = fuseline.ensemble([models[0], Model.from_pretrained(tmp_path / "folder", threads=1)])
    graph = next((tmp_path / "folder").glob("onnx/decoder*.onnx"))
    graph.touch()
    with pytest.raises(fuseline.FolderError, match="was changed while it is open"):
        together.generate(tiny.photos(1))


def test_models_with_other_tokens_are_refused(models: list[Model], tmp_path: Path) -> None:
    fields = json.loads((models[1].folder.path / "tokenizer.json").read_text())
    vocab = fields["model"]["vocab"]
    vocab["word5"], vocab["word6"] = vocab["word6"], vocab["word5"]
    swapped = _changed(models[1], tmp_path / "swapped", "tokenizer.json", {"model": fields["model"]})
    with pytest.raises(InputError, match="model 2 of the ensemble.*tokenizers differ, as 'word5' is 6 there and 5 in"):
        fuseline.ensemble([models[0], Model.from_pretrained(swapped, threads=1)])
    for name, value in {"eos_token_id": 3, "pad_token_id": 3, "decoder_start_token_id": 3}.items():
        home = _changed(models[1], tmp_path / name, "generation_config.json", {name: value})
        kind = name.split("_")[-3].replace("eos", "end")
        with pytest.raises(InputError, match=f"its {kind} token is .*3.* and the first's is"):
            fuseline.ensemble([models[0], Model.from_pretrained(home, threads=1)])


def test_what_is_no_ensemble_is_refused(models: list[Model]) -> None:
    two, photos = models[:2], tiny.photos(2)
    for given in ([], None, [models[0], "folder"], models[0]):
        with pytest.raises(InputError, match="models must be a list of open models"):
            fuseline.ensemble(given)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="2 finite numbers"):
        fuseline.ensemble(two, [1.0])
    together: Any = fuseline.ensemble(two)
    for call, sentence in [
        (lambda: together.generate([photos]), "has 2 models, and there are 1 inputs"),
        (lambda: together.generate([photos, None]), "model 1 of the ensemble: pixel_values must be float32"),
        (lambda: together.generate([[photos[0], 1], 2]), "model 0 of the ensemble: pixel_values must be float32"),
        (lambda: together.generate([]), "model 0 of the ensemble: pixel_values must be float32"),
        (lambda: together.generate({0: photos}), "must have 0 to 1, not 0"),
        (lambda: together.generate({0: photos, 1: photos[:1]}), "as many inputs, not 2 and 1"),
        (lambda: together.generate(photos[:, :, :8]), "model 0 of the ensemble: pixel_values must be float32"),
        (lambda: together.generate(None), "not None"),
        (lambda: together.generate(models[0].encode(photos)), "of another model"),
        (lambda: together.generate(photos, source_weights={"image": 1}), "this ensemble has none"),
        (lambda: together.generate(photos, guidance={"image": 1}), "takes no guidance"),
        (lambda: models[0].generate(photos, guidance={"image": 1}), "no source to leave out"),
        (lambda: type(together).from_pretrained(models[0].folder.path), "an ensemble has no folder"),
    ]:
        with pytest.raises(InputError, match=sentence):
            call()


def test_the_public_name_is_a_function_whatever_is_imported_first() -> None:
    import fuseline.ensembles

    assert fuseline.ensemble is fuseline.ensembles.ensemble and "ensemble" in fuseline.__all__
