"""The size of photos: the image processor decides it, and an encoder that cannot take it is refused without weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fuseline import Model, cli
from fuseline.errors import ExportError
from fuseline.export import convert, export
from fuseline.export.checkpoints.photo_size import arriving_size, generated_pixels
from fuseline.inputs.images import ImageProcessor
from tests import tiny, zoo

VIT, CLIP, DONUT = "ViTImageProcessor", "CLIPImageProcessor", "DonutImageProcessor"


def processor_of(kind: str, **fields: Any) -> dict[str, Any]:
    return {"image_processor_type": kind, **fields}


@pytest.mark.parametrize(
    ("processor", "image_size", "expected"),
    [
        (processor_of(VIT, size={"height": 48, "width": 32}), 32, (48, 32)),
        (processor_of(CLIP, size={"shortest_edge": 40}, crop_size=24), None, (24, 24)),
        (processor_of(DONUT, size={"height": 80, "width": 64}), [40, 32], (80, 64)),
        # Photos of many sizes: the graph is for those that the encoder is for.
        (processor_of(VIT, do_resize=False), [40, 32], (40, 32)),
        (processor_of(CLIP, size={"shortest_edge": 40}, do_center_crop=False), 40, (40, 40)),
    ],
)
def test_the_size_is_what_the_processor_makes(processor: Any, image_size: Any, expected: tuple[int, int]) -> None:
    processor = ImageProcessor.from_config(processor, "preprocessor_config.json")
    assert arriving_size(processor, {"image_size": image_size}) == expected
    assert generated_pixels(processor, 2, expected).shape == (2, 3, *expected)


@pytest.mark.parametrize(
    ("image_size", "sentence"),
    [(48, "gives photos of different sizes, none of them 48 x 48"), (None, "image_size None of the encoder must be")],
)
def test_no_size_is_refused(image_size: Any, sentence: str) -> None:
    config = processor_of(CLIP, size={"shortest_edge": 40}, do_center_crop=False)
    with pytest.raises(ExportError, match=sentence):
        arriving_size(ImageProcessor.from_config(config, "preprocessor_config.json"), {"image_size": image_size})


def size_48(folder: Path) -> None:
    path = folder / "preprocessor_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"size": {"height": 48, "width": 48}}))


def section(name: str, **fields: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        config[name].update(fields)
        (folder / "config.json").write_text(json.dumps(config))

    return change


encoder, decoder = partial(section, "encoder"), partial(section, "decoder")


def tensors(rename: Callable[[str], str | None]) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        from safetensors.torch import load_file, save_file

        stored = load_file(folder / "model.safetensors")
        kept = {new: tensor for name, tensor in stored.items() if (new := rename(name)) is not None}
        save_file(kept, folder / "model.safetensors", {"format": "pt"})

    return change


CONV = {"depths": [1, 1], "hidden_sizes": [8, 16], "num_stages": 2}
REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "another size": (size_48, "photos of 48 x 48 pixels, and the encoder vit has positions for 32 x 32"),
    "one channel": (encoder(num_channels=1), "reads photos of 1 channels (num_channels in config.json)"),
    "heads": (
        encoder(num_attention_heads=5),
        "transformers cannot make a model of config.json: ValueError: ",
    ),
    "patches": (encoder(patch_size=64), "transformers cannot run the encoder vit: "),
    "activation": (encoder(hidden_act="no such"), "transformers cannot make a model of config.json: KeyError: "),
    "map of features": (
        encoder(model_type="convnext", **CONV),
        "transformers cannot run convnext in a VisionEncoderDecoderModel either",
    ),
    "two in one": (encoder(model_type="clip"), "its part for photos is called clip_vision_model"),
    "at random": (encoder(model_type="vit_mae"), "vit_mae hides patches at random"),
    "optimum": (decoder(model_type="rembert", architectures=None), "; --via optimum can export it"),
    "no table": (
        tensors(lambda name: None if "wte" in name or "lm_head" in name else name),
        "lack decoder.transformer.wte.weight or decoder.lm_head.weight",
    ),
    "wrapped": (tensors(lambda name: f"module.{name}"), "it has module.decoder."),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused_before_weights_are_read(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*arguments: Any) -> Any:
        raise AssertionError("no weights should be read")

    monkeypatch.setattr(convert, "load_model", read)
    change, sentence = REFUSED[case]
    source = tiny.write_checkpoint(tiny.tiny_model(0), tmp_path / "source")
    change(source)
    with pytest.raises(ExportError) as error:
        export(source, tmp_path / "out")
    assert sentence in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("lost", ["wte", "lm_head"])
def test_an_untied_head_needs_both_tables(lost: str, tmp_path: Path) -> None:
    source = tiny.write_checkpoint(tiny.tiny_vit_gpt2(0, tie_word_embeddings=False), tmp_path / "source")
    tensors(lambda name: None if lost in name else name)(source)
    with pytest.raises(ExportError, match=f"lack decoder[.a-z]*{lost}.weight"):
        export(source, tmp_path / "out")


@pytest.mark.slow
def test_a_page_of_another_size_than_config_json_has(tmp_path: Path) -> None:
    reference = zoo.vision_encoder_decoder("donut", 0)
    source = zoo.write_checkpoint(reference, tmp_path / "source")
    page = processor_of(DONUT, size={"height": 80, "width": 64})
    (source / "preprocessor_config.json").write_text(json.dumps(page))
    agreement = export(source, tmp_path / "out").agreement["fp32"]
    assert (agreement.greedy, agreement.beam) == (1.0, 1.0)
    reference = type(reference).from_pretrained(source)  # its Swin keeps the windows of the first photos that it saw
    pixels = np.random.default_rng(0).normal(size=(3, 3, 80, 64)).astype(np.float32)
    expected = reference.generate(torch.from_numpy(pixels), num_beams=4, max_length=16).numpy()
    found = Model.from_pretrained(tmp_path / "out", threads=1).generate(pixels, num_beams=4, max_length=16).sequences
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("name", ["vit", pytest.param("blip", marks=pytest.mark.slow)])
def test_positions_are_interpolated_where_that_is_said(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As by transformers' generate(..., interpolate_pos_encoding=True)."""
    reference = zoo.blip(0) if name == "blip" else zoo.vision_encoder_decoder("bert", 0)
    source = zoo.write_checkpoint(reference, tmp_path / "source")
    size_48(source)
    with pytest.raises(ExportError, match="has positions for 32 x 32"):
        export(source, tmp_path / "out")
    switches = ["--interpolate-pos-encoding", "--json"]
    assert cli.main(["export", str(source), str(tmp_path / "out"), *switches]) == 0
    agreement = json.loads(capsys.readouterr().out)["agreement"]["fp32"]
    assert (agreement["greedy"], agreement["beam"]) == (1.0, 1.0)
    model, pixels = Model.from_pretrained(tmp_path / "out", threads=1), torch.randn(3, 3, 48, 48)
    options = {"num_beams": 4, "max_length": tiny.MAX_LENGTH}
    expected = reference.generate(pixels, interpolate_pos_encoding=True, **options).numpy()
    found = model.generate(pixels.numpy(), **options).sequences
    ends = model.generation_config.ends
    assert [tiny.ended(row, *ends) for row in found] == [tiny.ended(row, *ends) for row in expected]
