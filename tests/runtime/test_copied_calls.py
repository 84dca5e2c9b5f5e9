"""Calls written for transformers and optimum: the same meaning, or a sentence that names what to do instead."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuseline import GenerationConfig, Model, pipeline
from fuseline.errors import DeviceError, Error, InputError
from fuseline.inputs.images import load_image
from fuseline.migrating.copied_calls import CAPTION, GENERATE, OPEN, PIPELINE, TABLE
from fuseline.pipelines.image_to_text import ImageToText
from tests import tiny

torch = pytest.importorskip("torch")
transformers: Any = pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def model(tiny_path: Path) -> Model:
    return Model.from_pretrained(tiny_path, "fp32", threads=1)


@pytest.fixture(scope="module")
def captioner(model: Model) -> ImageToText:
    return pipeline("image-to-text", model)


PICTURE = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)


class _Something:
    """An object of another package, which the names of tests show alike in every process."""

    def __repr__(self) -> str:
        return "something"


SOMETHING = _Something()

# A call and keywords that pass, as snippets have them.
PASS: list[tuple[str, dict[str, Any]]] = [
    (OPEN, {"torch_dtype": "auto", "low_cpu_mem_usage": True, "trust_remote_code": True}),
    (OPEN, {"dtype": torch.float32, "device_map": "auto"}),
    (
        OPEN,
        {"torch_dtype": np.float32, "use_cache": True, "use_merged": True, "use_io_binding": False, "export": False},
    ),
    (OPEN, {"provider": "CPUExecutionProvider", "session_options": None, "local_files_only": True}),
    (OPEN, {"providers": ["CPUExecutionProvider"], "revision": "main", "subfolder": "", "token": True}),
    (OPEN, {"device": -1, "cache_dir": None, "use_auth_token": False, "force_download": False}),
    (OPEN, {"device": torch.device("cpu"), "attn_implementation": "eager"}),
    (PIPELINE, {"device": "cpu:0", "framework": "pt", "use_fast": True, "tokenizer": None, "model_kwargs": {}}),
    (PIPELINE, {"device": None, "num_workers": 2, "num_beams": 2, "max_length": 9, "top_k": 5, "use_cache": True}),
    (PIPELINE, {"accelerator": "ort", "image_processor": None, "generation_config": {"num_beams": 2}}),
    (CAPTION, {"num_workers": 0, "timeout": 10, "prompt": None, "interpolate_pos_encoding": False}),
    (CAPTION, {"generate_kwargs": {"max_length": 9}, "generation_config": {"num_beams": 2}, "batch_size": 2}),
    (GENERATE, {"attention_mask": None, "labels": None, "use_cache": True, "trust_remote_code": False}),
    (GENERATE, {"attention_mask": torch.ones(1, 5), "max_length": None, "max_new_tokens": 5, "early_stopping": 0}),
    (GENERATE, {"stop_strings": ["word5"], "tokenizer": SOMETHING, "interpolate_pos_encoding": False}),
]

REFUSED: list[tuple[str, dict[str, Any], str]] = [
    (OPEN, {"torch_dtype": torch.int8}, 'variant="fp32", "fp16", "bf16", "int8" or "int4"'),
    (OPEN, {"torch_dtype": "float16"}, "say different things; give variant alone"),
    (OPEN, {"tokenizer": "gpt2"}, "tokenizer='gpt2' is not taken by from_pretrained: the files in the model's folder"),
    (OPEN, {"export": True}, "fuseline export MODEL FOLDER"),
    (OPEN, {"revision": "v2"}, "huggingface_hub.snapshot_download"),
    (OPEN, {"cache_dir": "/tmp/x"}, "HF_HUB_CACHE"),
    (OPEN, {"token": "hf_x"}, "HF_TOKEN"),
    (OPEN, {"use_cache": False}, "the cache is always used"),
    (OPEN, {"load_in_8bit": True}, 'variant="int8"'),
    (OPEN, {"providers": ["CUDAExecutionProvider", "CPUExecutionProvider"]}, "a model runs on one; give it as device="),
    (OPEN, {"session_options": SOMETHING}, "threads="),
    (OPEN, {"device_map": {"": 0}}, 'device="cpu"'),
    (OPEN, {"varient": "fp32"}, "varient is no argument of from_pretrained; did you mean variant?"),
    (OPEN, {"device": 0}, "there is no device 'cuda' here"),
    (OPEN, {"device": "cuda:0"}, "there is no device 'cuda' here"),
    (OPEN, {"device": torch.device("cuda", 1)}, "there is no device 'cuda:1' here"),
    (PIPELINE, {"framework": "tf"}, "everything runs on onnxruntime"),
    (PIPELINE, {"feature_extractor": SOMETHING}, "the files in the model's folder count"),
    (PIPELINE, {"batchsize": 2}, "batchsize is no argument of pipeline; did you mean batch_size?"),
    (PIPELINE, {"min_confidence": 0.5}, "a pipeline's results have confidence and unsure"),
    (PIPELINE, {"num_beam": 2}, "num_beam is no argument of pipeline; did you mean num_beams?"),
    (PIPELINE, {"device": 0}, "the model is open already; give device='cuda' to Model.from_pretrained"),
    (PIPELINE, {"variant": "int8"}, "the model is open already; give variant='int8' to Model.from_pretrained"),
    (PIPELINE, {"prompt": "a photo of"}, "decoder_input_ids"),
    (PIPELINE, {"timeout": 0}, "timeout must be a number of seconds above 0, not 0"),
    (PIPELINE, {"allow_downloads": 1}, "allow_downloads must be True or False, not 1"),
    (CAPTION, {"top_k": 5}, "top_k is an option of generation; give it as generate_kwargs={'top_k': ...}"),
    (CAPTION, {"max_length": 9}, "give it as generate_kwargs={'max_length': ...}"),
    (CAPTION, {"prompt": "a photo of"}, "prompt: this model was not made to go on with a text"),
    (CAPTION, {"prompt": 5}, "prompt must be a text, not 5"),
    (CAPTION, {"max_new_token": 5}, "max_new_token is no argument of a pipeline's call; did you mean max_new_tokens?"),
    (CAPTION, {"min_confidence": 0.5}, "Model.unsure_below is the model's border"),
    (CAPTION, {"guidance": {"hint": 2}}, "it is an argument of Model.generate, stream and score"),
    (CAPTION, {"generation_config": 5}, "generation_config must be a GenerationConfig, of fuseline or transformers"),
    (CAPTION, {"generation_config": {"num_beam": 5}}, "num_beam is not a generation option; did you mean num_beams?"),
    (GENERATE, {"labels": [[1]]}, "Model.score"),
    (GENERATE, {"attention_mask": [[1, 0]]}, "all of a photo is looked at"),
    (GENERATE, {"input_ids": [[1, 0]]}, "decoder_input_ids"),
    (GENERATE, {"encoder_outputs": ((),)}, "Model.encode"),
    (GENERATE, {"interpolate_pos_encoding": True}, "the one size that the graph has"),
    (GENERATE, {"use_cache": False}, "use_cache=False is not supported"),
    (GENERATE, {"streamer": SOMETHING}, "streamer="),
    (GENERATE, {"pixelvalues": 1}, "pixelvalues is not a generation option"),
    (GENERATE, {"inputs": tiny.photos(1)}, "inputs is given twice"),
    (GENERATE, {"pixel_values": tiny.photos(1)}, "inputs and pixel_values are the same thing"),
]


def call(model: Model, captioner: ImageToText, name: str, keywords: dict[str, Any]) -> object:
    calls: dict[str, Callable[[], object]] = {
        OPEN: lambda: Model.from_pretrained(model.folder.path, "fp32", **keywords),
        PIPELINE: lambda: pipeline("image-to-text", model, **keywords),
        CAPTION: lambda: captioner(PICTURE, **keywords),
        GENERATE: lambda: model.generate(tiny.photos(1), **keywords),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return calls[name]()


@pytest.mark.parametrize(("name", "keywords"), PASS, ids=str)
def test_what_changes_nothing_or_means_the_same_passes(
    model: Model, captioner: ImageToText, name: str, keywords: dict[str, Any]
) -> None:
    assert call(model, captioner, name, keywords)


@pytest.mark.parametrize(("name", "keywords", "message"), REFUSED, ids=str)
def test_the_others_are_refused_with_what_to_do(
    model: Model, captioner: ImageToText, name: str, keywords: dict[str, Any], message: str
) -> None:
    with pytest.raises(Error) as caught:
        call(model, captioner, name, keywords)
    assert message in str(caught.value)


@pytest.mark.parametrize("name", [OPEN, PIPELINE, CAPTION, GENERATE])
def test_every_row_of_the_table_is_asked(model: Model, captioner: ImageToText, name: str) -> None:
    """Whatever stands for a keyword, it passes, or an error of fuseline names it."""
    for row in (row for row in TABLE if name in row.calls):
        for keyword in row.names:
            try:
                call(model, captioner, name, {keyword: SOMETHING})
            except (InputError, DeviceError) as error:
                assert keyword in str(error)
            else:
                assert keyword == "tokenizer" and name == GENERATE


def test_names_of_the_model(tiny_path: Path) -> None:
    for keyword in ("pretrained_model_name_or_path", "model_id"):
        opened = Model.from_pretrained(**{keyword: tiny_path}, variant="fp32")
        assert opened.folder.path == tiny_path.resolve()
    with pytest.raises(InputError, match="say different things; give folder alone"):
        Model.from_pretrained("a", model_id="b")
    assert Model.from_pretrained(tiny_path, torch_dtype="float32").variant == "fp32"


def test_names_of_the_photos(model: Model, captioner: ImageToText) -> None:
    expected = captioner(PICTURE)
    assert captioner(inputs=PICTURE) == captioner(images=PICTURE) == captioner.predict(PICTURE) == expected
    with pytest.raises(InputError, match="there is no photo; give a path"):
        captioner()  # type: ignore[call-overload]
    photos = tiny.photos(2)
    tokens = model.generate(photos).sequences
    for keywords in ({"inputs": photos}, {"pixel_values": torch.from_numpy(photos)}):
        np.testing.assert_array_equal(model.generate(**keywords).sequences, tokens)  # type: ignore[arg-type]
    ids = torch.tensor([[1, 7], [1, 9]])
    given = model.generate(photos, decoder_input_ids=ids).sequences
    assert given[:, :2].tolist() == ids.tolist()


def test_what_a_processor_of_transformers_makes(model: Model, tiny_path: Path) -> None:
    processor = transformers.ViTImageProcessor.from_pretrained(tiny_path)
    for kind in ("np", "pt"):
        inputs = processor(PICTURE, return_tensors=kind)
        expected = model.generate(model.image_processor([load_image(PICTURE)])).sequences
        np.testing.assert_array_equal(model.generate(**inputs).sequences, expected)


def test_open_files_and_memory_are_one_photo(captioner: ImageToText, tmp_path: Path) -> None:
    from PIL import Image

    path = tmp_path / "photo.png"
    Image.fromarray(PICTURE).save(path)
    expected = captioner(PICTURE)
    with path.open("rb") as file, path.open("rb", buffering=0) as raw:
        assert captioner(file) == captioner(raw) == captioner(io.BytesIO(path.read_bytes())) == expected
        file.seek(0)
        assert captioner([file, io.BytesIO(path.read_bytes())]) == [expected, expected]


GIVEN: list[dict[str, Any]] = [
    {"num_beams": 2},
    {"max_new_tokens": 5},
    {"max_length": 7, "num_beams": 1},
    {"num_beams": 3, "early_stopping": True, "length_penalty": 0.5, "use_cache": False},
    {"do_sample": False, "top_k": None, "repetition_penalty": 1.4},
]


@pytest.mark.parametrize("version", ["4.30.0", "4.57.6", None])
@pytest.mark.parametrize("given", GIVEN, ids=str)
def test_a_generation_config_is_merged_as_by_transformers(
    model: Model, given: dict[str, Any], version: str | None
) -> None:
    """Before 4.50 a model's own options, but for its tokens, gave way to all of a given configuration."""
    photos, reference = tiny.photos(3), tiny.tiny_model(0)
    config = transformers.GenerationConfig(**given)
    before = reference.generation_config.transformers_version
    reference.generation_config.transformers_version = version or before
    try:
        with torch.no_grad():
            expected = reference.generate(torch.from_numpy(photos), generation_config=config, min_length=4).numpy()
    finally:
        reference.generation_config.transformers_version = before
    content = dict(model.folder.generation_config) | {"transformers_version": version}
    content = {name: value for name, value in content.items() if value is not None}
    ours = Model(_with(model.folder, content))
    np.testing.assert_array_equal(ours.generate(photos, generation_config=config, min_length=4).sequences, expected)
    settings = {name: value for name, value in given.items() if name != "use_cache"}
    for same in (given, GenerationConfig(**settings)):
        np.testing.assert_array_equal(ours.generate(photos, generation_config=same, min_length=4).sequences, expected)


def _with(folder: Any, generation_config: dict[str, Any]) -> Any:
    from dataclasses import replace

    return replace(folder, generation_config=generation_config)


def test_a_models_own_configuration_counts_whole(model: Model) -> None:
    config = model.generation_config.override(num_beams=1, max_length=20)
    found = model.generate(tiny.photos(2), generation_config=config).sequences
    np.testing.assert_array_equal(found, model.generate(tiny.photos(2), num_beams=1, max_length=20).sequences)


def test_attributes_of_models_and_pipelines(model: Model, captioner: ImageToText) -> None:
    assert model.eval() is model and model.to("cpu") is model and model.to(torch.device("cpu")) is model
    with pytest.raises(InputError, match="this model is on cpu and stays there"):
        model.to("cuda")
    assert (captioner.task, captioner.framework, captioner.device) == ("image-to-text", "onnx", "cpu")
    assert captioner.tokenizer is model.tokenizer and captioner.image_processor is model.image_processor
    assert captioner.feature_extractor is model.feature_extractor is model.image_processor
    assert captioner.generation_config.num_beams == model.generation_config.num_beams
    with pytest.raises(InputError, match="^Model has no forward: generate gives texts"):
        model(pixel_values=tiny.photos(1))
    for owner, name, instead in [
        (model, "cuda", "device="),
        (model, "half", "fp16"),
        (captioner, "save_pretrained", "copy"),
    ]:
        assert not hasattr(owner, name)
        with pytest.raises(InputError, match=instead):
            getattr(owner, name)
    with pytest.raises(AttributeError, match="no attribute 'colour'"):
        model.colour  # type: ignore[attr-defined]  # noqa: B018


def test_config_json_is_read_as_that_of_transformers(model: Model) -> None:
    theirs = tiny.tiny_model(0).config
    assert model.config.decoder.vocab_size == theirs.decoder.vocab_size == model.config["decoder"]["vocab_size"]
    assert model.config.model_type == theirs.model_type and "encoder" in model.config
    assert model.config.to_dict() == dict(model.folder.config)
    with pytest.raises(InputError, match="cannot be changed here; give max_length to generate"):
        model.config.max_length = 5
    with pytest.raises(AttributeError, match="config.json says nothing of colour"):
        model.config.colour  # noqa: B018
