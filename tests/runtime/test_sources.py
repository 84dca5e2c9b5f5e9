"""Sources of a model: inputs by array, by name, by mapping; lengths; what is refused."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fuseline import FolderError, InputError, Model
from fuseline.export import export
from fuseline.graphs.contract import Encoded
from tests import text_models

LENGTHS = (7, 1, 30, 12)


@pytest.fixture(scope="module")
def reference() -> Any:
    return text_models.text_model("bart", 0)


@pytest.fixture(scope="module")
def model(reference: Any, tmp_path_factory: pytest.TempPathFactory) -> Model:
    home = tmp_path_factory.mktemp("sources")
    text_models.write_checkpoint(reference, home / "checkpoint")
    export(home / "checkpoint", home / "folder", ["fp32", "int8"])
    return Model.from_pretrained(home / "folder", "fp32", threads=1)


@pytest.fixture(scope="module")
def batch() -> dict[str, np.ndarray]:
    rows = [(text_models.texts(20)[1] * 2)[start : start + length] for start, length in enumerate(LENGTHS)]
    return {name: tensor.numpy() for name, tensor in text_models.batch(rows, text_models.PAD).items()}


def test_all_ways_to_give_the_same_inputs_say_the_same(model: Model, batch: dict[str, np.ndarray]) -> None:
    ids, mask = batch["input_ids"], batch["attention_mask"]
    expected = model.generate(batch).sequences
    ways: list[Any] = [
        lambda: model.generate(input_ids=ids, attention_mask=mask),
        lambda: model.generate(**batch),
        lambda: model.generate(ids, attention_mask=mask),
        lambda: model.generate({"encoder": batch}),
        lambda: model.generate(inputs=ids, attention_mask=mask),
        lambda: model.generate(ids),  # pad tokens are not looked at, as in transformers
        lambda: model.generate(ids.astype(np.int32), attention_mask=mask.astype(bool)),
        lambda: model.generate(ids.tolist(), attention_mask=mask.tolist()),
        lambda: model.generate(torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)),
        lambda: model.generate(model.encode(batch)),
        lambda: model.generate(model.encode(**batch)),
        lambda: model.generate(np.pad(ids, ((0, 0), (0, 9))), attention_mask=np.pad(mask, ((0, 0), (0, 9)))),
        lambda: list(model.stream(batch))[-1].generation,
    ]
    for way in ways:
        np.testing.assert_array_equal(way().sequences, expected)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_a_batch_says_bit_for_bit_what_its_members_say(
    model: Model, batch: dict[str, np.ndarray], variant: str, beams: int
) -> None:
    with Model.from_pretrained(model.folder.path, variant, threads=1) as opened:
        together = opened.generate(batch, num_beams=beams, output_logits=True)
        for row, length in enumerate(LENGTHS):
            alone = opened.generate(batch["input_ids"][row : row + 1, :length], num_beams=beams, output_logits=True)
            assert alone.sequences_scores[0] == together.sequences_scores[row]
            assert alone.logits is not None and together.logits is not None
            np.testing.assert_array_equal(alone.logits[0], together.logits[0][row * beams : (row + 1) * beams])
            said = together.sequences[row, : alone.sequences.shape[1]]
            np.testing.assert_array_equal(alone.sequences[0], said)


def test_cross_attentions_are_those_of_transformers_and_nothing_beyond_a_length(
    model: Model, reference: Any, batch: dict[str, np.ndarray]
) -> None:
    tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
    expected = reference.generate(
        **tensors, num_beams=1, max_length=6, output_attentions=True, return_dict_in_generate=True
    )
    found = model.generate(batch, num_beams=1, max_length=6, output_attentions=True).cross_attentions
    assert found is not None
    for step, layers in enumerate(expected.cross_attentions):
        for layer, weights in enumerate(layers):
            np.testing.assert_allclose(found[:, step, layer], weights[:, :, -1].detach().numpy(), atol=2e-5)
    for row, length in enumerate(LENGTHS):
        assert not found[row, ..., length:].any()


def test_the_score_of_given_texts_is_the_cross_entropy_of_transformers(
    model: Model, reference: Any, batch: dict[str, np.ndarray]
) -> None:
    texts = ["word9 word10 word11", "word12", "word20 word21", "word30 word31 word32 word33"]
    found = model.score(batch, texts)
    tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
    with torch.no_grad():
        logits = reference(**tensors, labels=torch.from_numpy(found.labels)).logits
    expected = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), torch.from_numpy(found.labels), reduction="none"
    )
    np.testing.assert_allclose(found.cross_entropy, expected.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    "options", [{"encoder_no_repeat_ngram_size": 1}, {"encoder_repetition_penalty": 3.0, "num_beams": 1}], ids=str
)
def test_options_of_the_inputs_tokens_are_those_of_transformers(
    model: Model, reference: Any, batch: dict[str, np.ndarray], options: dict[str, Any]
) -> None:
    for row, length in enumerate(LENGTHS):
        ids = batch["input_ids"][row : row + 1, :length]
        expected = reference.generate(torch.from_numpy(ids), **options).numpy()
        found = model.generate(ids, **options).sequences
        np.testing.assert_array_equal(found[:, : expected.shape[1]], expected[:, : found.shape[1]])


ONE = np.array([[3, 4, 5]])
REFUSED: dict[str, tuple[Any, str]] = {
    "nothing": (None, "input_ids must be whole numbers"),
    "a text": ("dogs", r"input_ids must be whole numbers of shape \[B, S\]"),
    "floats": (ONE.astype(np.float32), "input_ids must be whole numbers"),
    "a row": (ONE[0], "input_ids must be whole numbers"),
    "none of it": (ONE[:, :0], "at least one text and one token"),
    "no text": (ONE[:0], "at least one text and one token"),
    "bools": (ONE > 3, "input_ids must be whole numbers"),
    "huge": (ONE.astype(np.uint64) + 2**63, "input_ids has 9223372036854775813, which is no token"),
    "ragged": ([[3, 4], [5]], "input_ids must be whole numbers"),
    "no such token": (ONE + 95, "outside the vocabulary, whose ids are 0 to 96"),
    "negative": (ONE - 9, "input_ids has -6"),
    "too long": (np.full((2, 80), 9), "text 1 has 80 tokens and this model reads 70"),
    "padded on the left": ({"input_ids": ONE, "attention_mask": [[0, 1, 1]]}, "attention_mask of text 1 must be ones"),
    "a hole": ({"input_ids": ONE, "attention_mask": [[1, 0, 1]]}, "attention_mask of text 1 must be ones"),
    "masked away": ({"input_ids": ONE, "attention_mask": [[0, 0, 0]]}, "at least one, and then zeros"),
    "other mask": ({"input_ids": ONE, "attention_mask": [[1, 1]]}, r"must have the shape of input_ids, \[1, 3\]"),
    "twos": ({"input_ids": ONE, "attention_mask": [[2, 2, 2]]}, "attention_mask of text 1 must be ones"),
    "no tokens": ({"attention_mask": [[1]]}, "must have input_ids, and may have attention_mask; these have attention"),
    "pixels": ({"pixel_values": ONE}, "must have input_ids, and may have attention_mask; these have pixel_values"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_input_is_refused_in_one_sentence(model: Model, case: str) -> None:
    given, sentence = REFUSED[case]
    with pytest.raises(InputError, match=sentence):
        model.generate(given)


@pytest.mark.parametrize(
    ("keywords", "sentence"),
    [
        ({"pixel_values": np.zeros((1, 3, 8, 8), np.float32)}, "pixel_values is not taken|this model reads texts"),
        ({"token_type_ids": [[0, 1]]}, "this model's texts are of one kind"),
        ({"input_id": ONE}, "did you mean input_ids|is not a generation option"),
        ({"inputs": ONE, "input_ids": ONE}, "are the same thing; give input_ids alone"),
    ],
    ids=str,
)
def test_keywords_that_are_none_of_this_model(model: Model, keywords: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        model.generate(**({"input_ids": ONE} | keywords))


def test_texts_become_inputs_and_a_text_that_is_too_long_is_named(model: Model) -> None:
    made = model.inputs(["word9 word10", "word11"])
    assert made["attention_mask"].sum(axis=1).tolist() == [2, 1]
    long = " ".join(["word9"] * 200)
    with pytest.raises(InputError, match="text 2 has 200 tokens"):
        model.inputs(["word9", long])
    assert model.inputs([long], truncation=True)["input_ids"].shape == (1, 70)
    with pytest.raises(InputError, match="made of a text or a list of texts"):
        model.inputs([])
    with pytest.raises(InputError, match="foo is no option of a text's inputs"):
        model.inputs(["word9"], foo=1)
    with pytest.raises(InputError, match="has no image_processor"):
        _ = model.image_processor


def test_what_is_encoded_knows_sources_and_lengths(model: Model, batch: dict[str, np.ndarray]) -> None:
    encoded = model.encode(batch)
    assert encoded.sources == ("encoder",)
    assert encoded.lengths is not None and encoded.lengths[:, 0].tolist() == list(LENGTHS)
    assert [len(tokens) for tokens in encoded.tokens] == list(LENGTHS)
    assert isinstance(copy.copy(encoded), Encoded)


def test_a_folder_of_texts_says_its_task_and_its_source(model: Model) -> None:
    assert (model.task, model.folder.source.inputs) == ("text2text-generation", ("input_ids", "attention_mask"))
    assert not Path(model.folder.path, "preprocessor_config.json").exists()


@pytest.mark.parametrize("name", ["target_tokenizer.json", "tokenizer_config.json", "generation_config.json"])
def test_a_file_that_would_count_and_is_not_listed_is_refused(model: Model, name: str, tmp_path: Path) -> None:
    """Texts would be made by another tokenizer, or otherwise, without a word."""
    folder = tmp_path / "folder"
    shutil.copytree(model.folder.path, folder)
    if name == "target_tokenizer.json":
        shutil.copy(folder / "tokenizer.json", folder / name)
    about = json.loads((folder / "fuseline.json").read_text())
    about["files"].pop(name, None)
    (folder / "fuseline.json").write_text(json.dumps(about))
    with pytest.raises(FolderError, match=f"has {name}, which fuseline.json does not list"):
        Model.from_pretrained(folder, "fp32")
