"""How long texts may be where nobody says it, as in transformers' pipeline, and what is said where one was cut off."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from PIL import Image
from tokenizers import Tokenizer, processors

from fuseline import Model, cli, pipeline
from fuseline.export import export
from tests import tiny, zoo

hf: Any = transformers  # its pipeline is typed for one kind of tokenizer only
NEVER = 96  # a word that seldom comes, as the end


def pictures(count: int) -> list[Image.Image]:
    """Coloured patches, 50 x 40 pixels."""
    coarse = np.random.default_rng(0).integers(0, 256, (count, 4, 5, 3), np.uint8)
    return [Image.fromarray(picture.repeat(10, axis=0).repeat(10, axis=1)) for picture in coarse]


@pytest.fixture(scope="module")
def reference() -> Any:
    """A model whose texts hardly end, of 300 positions, that sets no length."""
    model = tiny.tiny_vit_gpt2(0, n_positions=300)
    for settings in (model.config, model.config.decoder, model.generation_config):
        settings.eos_token_id = NEVER
    model.generation_config.max_length, model.generation_config.num_beams = 20, 1
    return model


@pytest.fixture(scope="module")
def model(reference: Any, tmp_path_factory: pytest.TempPathFactory) -> Model:
    out = tmp_path_factory.mktemp("length")
    export(tiny.write_checkpoint(reference, out / "source"), out / "out")
    return Model.from_pretrained(out / "out", threads=1)


def with_options(model: Model, **options: Any) -> Model:
    """The model whose generation_config.json says this too; one that is None it does not say."""
    content = {k: v for k, v in (dict(model.folder.generation_config) | options).items() if v is not None}
    return Model(replace(model.folder, generation_config=content), threads=1)


def theirs(reference: Any, folder: Path, **keywords: Any) -> Any:
    tokenizer = hf.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"), pad_token="<pad>", bos_token="<s>", eos_token="</s>"
    )
    processor = hf.ViTImageProcessor.from_pretrained(folder)
    return hf.pipeline("image-to-text", reference, tokenizer=tokenizer, image_processor=processor, **keywords)


# What the model says, what the pipeline is given, what the call is given.
LENGTHS: list[tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = [
    ({}, {}, {}),
    ({"max_length": 20}, {}, {}),
    ({"max_length": 12}, {}, {}),
    ({}, {"max_length": 12}, {}),
    ({}, {"max_new_tokens": 30}, {}),
    ({}, {"num_beams": 2, "max_new_tokens": 15}, {}),
    ({}, {}, {"max_new_tokens": 30}),
    ({}, {"max_new_tokens": 9}, {"max_new_tokens": 30}),
    ({"max_length": 12}, {}, {"max_new_tokens": 30}),
    ({"max_length": 12}, {}, {"generate_kwargs": {"max_length": 9}}),
    ({}, {}, {"generate_kwargs": {"generation_config": transformers.GenerationConfig(num_beams=2)}}),
]


@pytest.mark.parametrize(("said", "of_pipeline", "of_call"), LENGTHS, ids=str)
def test_texts_are_as_long_as_those_of_transformers(
    model: Model, reference: Any, said: dict[str, Any], of_pipeline: dict[str, Any], of_call: dict[str, Any]
) -> None:
    ours = pipeline("image-to-text", with_options(model, **said), **of_pipeline)
    before = reference.generation_config
    reference.generation_config = transformers.GenerationConfig(**(before.to_diff_dict() | said))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = theirs(reference, model.folder.path, **of_pipeline)(pictures(3), **of_call)
            assert ours(pictures(3), **of_call) == expected
    finally:
        reference.generation_config = before


def test_a_length_that_somebody_chose_counts_where_transformers_leaves_it_to_the_default(model: Model) -> None:
    """Its pipeline's 256 new tokens win over a call's max_length, and over max_new_tokens of the model."""

    def words(captioner: Any, picture: Any = None, **options: Any) -> int:
        return len(captioner(picture or pictures(1)[0], **options)[0]["generated_text"].split())

    assert words(pipeline("image-to-text", model), generate_kwargs={"max_length": 9}) == 8
    assert words(pipeline("image-to-text", with_options(model, max_new_tokens=30))) in range(21, 31)
    with pytest.warns(UserWarning):
        assert max(words(pipeline("image-to-text", model), picture) for picture in pictures(4)) > 200


def test_a_model_of_few_positions_is_not_refused(tiny_path: Path) -> None:
    short = with_options(Model.from_pretrained(tiny_path, "fp32"), max_length=None, eos_token_id=NEVER, num_beams=None)
    with pytest.warns(UserWarning, match="a text ended after 40 new tokens, as many as this model's decoder has pos"):
        texts = pipeline("image-to-text", short)(pictures(4))
    assert max(len(text[0]["generated_text"].split()) for text in texts) > 20
    assert short.generate(tiny.photos(1)).sequences.shape[1] <= 21  # generate's own default


def test_a_text_that_nobody_limited_is_told_once(model: Model) -> None:
    captioner = pipeline("image-to-text", model)
    with pytest.warns(UserWarning, match="ended after 256 new tokens, since neither .* max_new_tokens allows") as told:
        captioner(pictures(4))
        captioner(pictures(4))
    assert len(told) == 1 and told[0].filename == __file__
    with pytest.warns(UserWarning, match="ended after 256 new tokens"):
        for picture in pictures(4):
            list(pipeline("image-to-text", model)(picture, stream=True))


def test_a_limit_that_somebody_chose_is_not_mentioned(model: Model) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pipeline("image-to-text", model)(pictures(2), max_new_tokens=5)
        pipeline("image-to-text", with_options(model, max_length=7))(pictures(2))


def test_the_command_has_the_same_default(model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = []
    for index, picture in enumerate(pictures(4)):
        names.append(str(tmp_path / f"{index}.png"))
        picture.save(names[-1])
    command = ["caption", "--model", str(model.folder.path), "--json"]
    assert cli.main([*command, *names]) == 0
    out, err = capsys.readouterr()
    found = [json.loads(line) for line in out.splitlines()]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = pipeline("image-to-text", model)(names)
    assert [each["text"] for each in found] == [each[0]["generated_text"] for each in expected]
    assert "max_length" in {each["finish_reason"] for each in found}
    note = "a text ended after 256 new tokens, since neither the model nor the call says how many; --max-length allows"
    assert err.count(note) == 1
    assert cli.main([*command, "--max-length", "9", *names]) == 0
    out, err = capsys.readouterr()
    assert {json.loads(line)["finish_reason"] for line in out.splitlines()} == {"max_length"} and note not in err
    assert cli.main(["caption", "--model", str(model.folder.path), "--stream", *names]) == 0
    assert capsys.readouterr().err.count(note) == 1


def test_a_prompt_of_blip_is_gone_on_with(tmp_path: Path) -> None:
    reference = zoo.blip(0)
    source = zoo.write_checkpoint(reference, tmp_path / "source")
    export(source, tmp_path / "out")
    captioner = pipeline("image-to-text", tmp_path / "out", threads=1)
    tokenizer = Tokenizer.from_file(str(source / "tokenizer.json"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    fast = hf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        model_input_names=["input_ids", "attention_mask"],
    )
    processor = hf.ViTImageProcessor.from_pretrained(source)
    other = hf.pipeline("image-to-text", reference, tokenizer=fast, image_processor=processor)
    photos = pictures(4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for prompt in ("word7 word9 word12", "word5", ""):
            options = {"max_new_tokens": 12}
            assert captioner(photos, prompt=prompt, **options) == other(photos, prompt=prompt, **options)
        inputs = {"input_ids": fast(["word7 word9"], return_tensors="pt").input_ids}
        pixels = processor(photos[0], return_tensors="pt").pixel_values
        found = captioner.model.generate(pixels, **inputs, max_new_tokens=12).sequences
        expected = reference.generate(pixels, input_ids=inputs["input_ids"].clone(), max_new_tokens=12).numpy()
    np.testing.assert_array_equal(found, expected)
