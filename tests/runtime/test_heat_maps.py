"""Heat maps: what was planted in the attention lies in its place on the photo, and is shown there."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from fuseline import InputError, Model, cli, pipeline
from fuseline.generation.result import Generation
from fuseline.inputs.images import ImageProcessor
from fuseline.outputs.grids import Grid, grid_of
from fuseline.outputs.heat_colours import colours
from fuseline.outputs.heat_maps import LONGEST, HeatMap, heat_map, on_photo
from fuseline.outputs.heat_pages import text_page
from fuseline.outputs.looking import in_one, looking

RAW = {"do_rescale": False, "do_normalize": False}
# Processors of every way to frame a photo, with the patch that their models have.
PROCESSORS: dict[str, tuple[dict[str, Any], int]] = {
    "resized": ({"image_processor_type": "ViTImageProcessor", "size": {"height": 96, "width": 96}}, 8),
    "lying": ({"image_processor_type": "ViTImageProcessor", "size": {"height": 64, "width": 160}}, 8),
    "cropped": (
        {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 96}, "crop_size": 96},
        8,
    ),
    "crop of a crop": ({"image_processor_type": "DeiTImageProcessor", "size": 128, "crop_size": 96}, 8),
    "crop that pads": (
        {"image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 64}, "crop_size": 192},
        8,
    ),
    "cut to a share": ({"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": 96}}, 8),
    "padded": ({"image_processor_type": "DonutImageProcessor", "size": {"height": 160, "width": 96}}, 8),
    "turned": (
        {"image_processor_type": "DonutImageProcessor", "size": [96, 160], "do_align_long_axis": True},
        8,
    ),
    "bare": ({"image_processor_type": "NougatImageProcessor", "size": {"height": 160, "width": 96}}, 8),
}
SIZES = [(300, 300), (400, 220), (180, 370), (61, 97)]
SPOTS = [(0.5, 0.5), (0.42, 0.6), (0.6, 0.37)]  # shares of width and height that no crop cuts off


def page_with_spot(size: tuple[int, int], spot: tuple[float, float]) -> Image.Image:
    """White with a grey middle, in which there is a red spot."""
    width, height = size
    pixels = np.full((height, width, 3), 255, np.uint8)
    pixels[height // 8 : -(height // 6), width // 6 : -(width // 8)] = 110
    x, y, radius = spot[0] * width, spot[1] * height, max(3, min(size) // 20)
    rows, columns = np.mgrid[:height, :width]
    pixels[(columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 < radius**2] = (255, 0, 0)
    return Image.fromarray(pixels)


def reddest(pixel_values: npt.NDArray[np.float32], patch: int) -> npt.NDArray[np.float32]:
    """How red each patch is, float32[1, rows x columns]; a one where it is reddest."""
    red = pixel_values[0, 0] - pixel_values[0, 1]
    rows, columns = red.shape[0] // patch, red.shape[1] // patch
    means = red[: rows * patch, : columns * patch].reshape(rows, patch, columns, patch).mean((1, 3)).reshape(1, -1)
    found: npt.NDArray[np.float32] = np.maximum(means, 0) / np.maximum(means, 0).sum()
    return found


def middle(map: npt.NDArray[np.float32]) -> tuple[float, float]:
    """The centre of a map's strongest places, as shares of width and height."""
    strong = np.where(map > map.max() / 2, map, 0)
    rows, columns = strong.shape
    x = (strong.sum(0) * (np.arange(columns) + 0.5)).sum() / strong.sum() / columns
    return float(x), float((strong.sum(1) * (np.arange(rows) + 0.5)).sum() / strong.sum() / rows)


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("name", PROCESSORS)
def test_what_the_encoder_saw_in_a_patch_lies_in_its_place_on_the_photo(name: str, size: tuple[int, int]) -> None:
    config, patch = PROCESSORS[name]
    processor = ImageProcessor.from_config(config | RAW, "here")
    for spot in SPOTS:
        photo = page_with_spot(size, spot)
        seen = processor([photo])
        place = processor.placement(photo)
        assert place.photo == size and place.frame == (seen.shape[3], seen.shape[2])
        grid = Grid(0, seen.shape[2] // patch, seen.shape[3] // patch, patch)
        [map] = on_photo(reddest(seen, patch), grid, place)
        assert map.shape[0] * size[0] == pytest.approx(map.shape[1] * size[1], rel=0.02), "the photo's proportions"
        scale = patch / min(abs(place.across[0]), abs(place.down[0]))  # a patch, in pixels of the photo
        for found, wanted, edge in zip(middle(map), spot, size, strict=True):
            assert abs(found - wanted) * edge < scale / 2 + 2, f"{name}: {spot} was put at {middle(map)}"
        assert map.sum() == pytest.approx(1, abs=1e-5) and map.min() >= 0


def test_what_was_cut_off_was_not_looked_at_and_padding_is_left_out() -> None:
    crop = ImageProcessor.from_config(PROCESSORS["cropped"][0] | RAW, "here")
    wide = Image.new("RGB", (400, 200))
    [map] = on_photo(np.full((1, 144), 1 / 144, np.float32), Grid(0, 12, 12, 8), crop.placement(wide))
    edge = map.shape[1] // 4
    assert not map[:, : edge - 1].any() and not map[:, -edge + 1 :].any()
    np.testing.assert_allclose(map[:, edge + 1 : -edge - 1], map[0, edge + 1], rtol=1e-5)
    pads = ImageProcessor.from_config(PROCESSORS["padded"][0] | RAW, "here")
    weights = np.zeros((2, 20 * 12), np.float32)
    weights[0, 0] = weights[1, 10 * 12 + 6] = 1  # in the padding above a lying page, and on the page
    maps = on_photo(weights, Grid(0, 20, 12, 8), pads.placement(wide))
    assert not maps[0].any() and maps[1].sum() == pytest.approx(1)


def test_a_map_is_smooth_and_peaks_in_the_middle_of_the_patch() -> None:
    processor = ImageProcessor.from_config(PROCESSORS["resized"][0] | RAW, "here")
    photo = Image.new("RGB", (240, 240))
    weights = np.zeros((1, 145), np.float32)
    weights[0, 0], weights[0, 1 + 3 * 12 + 7] = 0.5, 0.5  # the class token is no patch
    [map] = on_photo(weights, Grid(1, 12, 12, 8), processor.placement(photo))
    peak = np.unravel_index(map.argmax(), map.shape)
    assert [abs(int(at) - wanted) <= 1 for at, wanted in zip(peak, (3.5 * 20, 7.5 * 20), strict=True)] == [True, True]
    assert np.abs(np.diff(map, axis=0)).max() < map.max() / 15
    large = on_photo(weights, Grid(1, 12, 12, 8), processor.placement(Image.new("RGB", (4000, 1000))))
    assert large.shape == (1, LONGEST // 4, LONGEST)


CONFIGS: dict[str, tuple[dict[str, Any], tuple[int, int], int, Grid]] = {
    "ViT": ({"encoder": {"patch_size": 16}}, (224, 224), 197, Grid(1, 14, 14, 16)),
    "DeiT": ({"encoder": {"patch_size": 16}}, (224, 384), 2 + 14 * 24, Grid(2, 24, 14, 16)),
    "BLIP": ({"vision_config": {"patch_size": 16}}, (384, 384), 577, Grid(1, 24, 24, 16)),
    "SigLIP": ({"encoder": {"patch_size": 16}}, (224, 224), 196, Grid(0, 14, 14, 16)),
    "registers": ({"encoder": {"patch_size": 14, "num_register_tokens": 4}}, (224, 224), 261, Grid(5, 16, 16, 14)),
    "Donut": ({"encoder": {"patch_size": 4, "depths": [2, 2, 14, 2]}}, (960, 1280), 1200, Grid(0, 40, 30, 32)),
    "odd Swin": ({"encoder": {"patch_size": 4, "depths": [1, 2]}}, (36, 40), 25, Grid(0, 5, 5, 8)),
    "EfficientNet": ({"encoder": {"image_size": 256}}, (256, 256), 64, Grid(0, 8, 8, 32)),
    "LeViT": ({"encoder": {"patch_size": 16, "hidden_sizes": [1, 2, 3]}}, (224, 224), 16, Grid(0, 4, 4, 64)),
    "PVT": ({"encoder": {"patch_sizes": [4, 2, 2, 2], "depths": [2, 2, 2, 2]}}, (224, 224), 50, Grid(1, 7, 7, 32)),
    "hybrid": ({"encoder": {"patch_size": 1}}, (384, 384), 577, Grid(1, 24, 24, 16)),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_the_grid_of_each_kind_of_encoder(name: str) -> None:
    config, frame, positions, grid = CONFIGS[name]
    assert grid_of(config, frame, positions) == grid


@pytest.mark.parametrize(
    ("config", "positions"),
    [({"encoder": {"patch_size": 16}}, 64), ({"encoder": {}, "qformer_config": {}}, 49), ({}, 33)],
    ids=["other positions", "queries", "no square"],
)
def test_positions_that_are_no_grid_are_refused(config: Mapping[str, Any], positions: int) -> None:
    with pytest.raises(InputError, match=rf"^a heat map needs .* the {positions} positions .* 224 x 224 pixels are no"):
        grid_of(config, (224, 224), positions)


def test_heads_that_look_everywhere_count_for_nothing() -> None:
    attentions = np.full((3, 2, 2, 8), 1 / 8, np.float32)
    attentions[0, 1, 0] = np.eye(8)[5]
    attentions[2] = 0  # after the end
    mixed = in_one(attentions)
    np.testing.assert_allclose(mixed[0], np.eye(8)[5], atol=1e-5)
    np.testing.assert_allclose(mixed[1], 1 / 8, atol=1e-6)  # where all do, that is what is shown
    assert not mixed[2].any()
    np.testing.assert_allclose(in_one(np.ones((1, 1, 1, 1), np.float32)), 1)


@pytest.fixture(scope="module")
def model() -> Model:
    return Model.from_pretrained(threads=1)


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """Synthetic: a red disc on green, lying."""
    rows, columns = np.mgrid[:180, :320]
    pixels = np.full((180, 320, 3), (60, 140, 60), np.uint8)
    pixels[(columns - 240) ** 2 + (rows - 60) ** 2 < 40**2] = (220, 30, 30)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def generation(model: Model, photo: Image.Image) -> Generation:
    return model.generate(model.image_processor([photo]), output_attentions=True)


@pytest.fixture(scope="module")
def shown(model: Model, generation: Generation, photo: Image.Image) -> HeatMap:
    return heat_map(generation, photo, model)


def test_each_word_of_the_caption_has_a_map(shown: HeatMap, model: Model, generation: Generation) -> None:
    assert shown.text == model.decode(generation.sequences)[0]
    assert list(shown.words) == shown.text.split()
    assert shown.maps.shape == (len(shown.words), 144, 256) and shown.maps.dtype == np.float32
    np.testing.assert_allclose(shown.maps.sum((1, 2)), 1, atol=1e-5)


def test_attention_that_is_planted_in_a_result_is_found_on_the_photo(
    model: Model, generation: Generation, photo: Image.Image
) -> None:
    assert generation.cross_attentions is not None
    before = 6  # positions of words, which are no part of the photo
    planted = np.full_like(generation.cross_attentions, 1 / (before + 64))
    layers, heads = planted.shape[2:4]
    for step in range(planted.shape[1]):
        planted[0, step, step % layers, step % heads] = np.eye(before + 64)[before + step * 5 % 64]
    found = heat_map(replace(generation, cross_attentions=planted), photo, model)
    assert len(found.words) > 2
    for step, map in enumerate(found.maps):  # this tokenizer's words are tokens
        row, column = divmod(step * 5 % 64, 8)
        x, y = middle(map)
        assert abs(x - (column + 0.5) / 8) < 0.07 and abs(y - (row + 0.5) / 8) < 0.07


def test_words_of_a_prompt_were_not_looked_for(model: Model, photo: Image.Image) -> None:
    prompt = [model.encode_text("a red ball")]
    made = model.generate(model.image_processor([photo]), prompt, output_attentions=True)
    found = heat_map(made, photo, model)
    assert found.text.split()[:3] == ["a", "red", "ball"] and len(found.words) > 1
    assert list(found.words) == found.text.split()[3:]


def test_a_photo_lies_as_people_see_it_whatever_way_its_file_is_turned(model: Model, tmp_path: Path) -> None:
    upright = page_with_spot((200, 300), (0.3, 0.7))
    exif = Image.Exif()
    exif[0x0112] = 6
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    [plain] = pipeline("image-to-text", model)(upright, heat_map=True)
    [turned] = pipeline("image-to-text", model)(tmp_path / "turned.png", heat_map=True)
    assert turned["heat_map"].photo.size == (200, 300)
    np.testing.assert_array_equal(turned["heat_map"].maps, plain["heat_map"].maps)


def test_a_result_without_attentions_is_refused(model: Model, photo: Image.Image, generation: Generation) -> None:
    with pytest.raises(InputError, match=r"^this generation has no cross-attentions.*output_attentions=True"):
        heat_map(model.generate(model.image_processor([photo]), max_length=4), photo, model)
    for index in (1, -1, True):
        with pytest.raises(InputError, match=r"^index must be that of a sequence, from 0 to 0, not"):
            looking(generation, model.decode, index)


def test_of_a_batch_each_sequence_has_its_own(model: Model, photo: Image.Image) -> None:
    other = page_with_spot((120, 90), (0.5, 0.5))
    captioner = pipeline("image-to-text", model, batch_size=2)
    both = captioner([photo, other], heat_map=True, generate_kwargs={"num_beams": 3, "num_return_sequences": 2})
    assert [len(captions) for captions in both] == [2, 2]
    for source, captions in zip((photo, other), both, strict=True):
        for caption in captions:
            assert " ".join(caption["heat_map"].words) == " ".join(caption["generated_text"].split())
            assert caption["heat_map"].photo.size == source.size
    alone = captioner(other, heat_map=True, generate_kwargs={"num_beams": 3, "num_return_sequences": 2})
    np.testing.assert_allclose(both[1][1]["heat_map"].maps, alone[1]["heat_map"].maps, atol=1e-6)
    assert "heat_map" not in captioner(other)[0]


def test_a_call_that_makes_no_sense_is_refused(model: Model, photo: Image.Image) -> None:
    captioner = pipeline("image-to-text", model)
    with pytest.raises(InputError, match=r"^heat_map=True shows a text that is whole, and stream=True"):
        captioner(photo, heat_map=True, stream=True)
    with pytest.raises(InputError, match=r"^heat_map must be True or False, not 'x.png'"):
        captioner(photo, heat_map="x.png")  # type: ignore[call-overload]


def test_the_picture_has_the_photo_once_a_word(shown: HeatMap, tmp_path: Path) -> None:
    shown.save(tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as opened:
        assert opened.mode == "RGB" and opened.size == shown.image().size
        pixels = np.asarray(opened)
    panel = round((224 * 224 * 320 / 180) ** 0.5) * round((224 * 224 * 180 / 320) ** 0.5)
    covered = (pixels != 255).any(axis=-1).sum()
    assert len(shown.words) * panel <= covered < (len(shown.words) + 1) * panel
    bright = np.array([253, 231, 37]) - pixels.astype(int)
    assert (np.abs(bright).sum(-1) < 120).sum() > 50 * len(shown.words), "each panel has its brightest place"


def test_colours_get_lighter_all_the_way() -> None:
    steps = colours(np.linspace(0, 1, 64, dtype=np.float32)).astype(float)
    assert (np.diff(steps @ [0.2126, 0.7152, 0.0722]) > 0).all()


@pytest.mark.parametrize("text", ["", "one", "unbelievably" * 40, "eine Katze schläft", "犬が走る"])
def test_pictures_and_pages_of_odd_texts(shown: HeatMap, text: str) -> None:
    words = tuple(text.split())
    odd = replace(shown, text=text, words=words, maps=shown.maps[: len(words)])
    width, height = odd.image().size
    assert 300 < width < 3000 and 150 < height < 3000
    assert len(Read.of(odd.page()).words) == len(words)


class Read(HTMLParser):
    """A page: its words, and what its elements point at."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.sources: list[str] = []
        self.open: list[str] = []

    @classmethod
    def of(cls, page: str) -> Read:
        found = cls()
        found.feed(page)
        found.close()
        assert not found.open, "every element is closed"
        return found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img"):
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if ("class", "word") in attrs:
            self.words.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["button"]:
            self.words[-1] += data


def test_the_page_has_every_word_and_needs_nothing_else(shown: HeatMap, tmp_path: Path) -> None:
    shown.save(tmp_path / "x.html")
    page = (tmp_path / "x.html").read_text("utf-8")
    read = Read.of(page)
    assert read.words == list(shown.words)
    assert len(read.sources) == 1 + len(shown.words)
    assert all(source.startswith("data:image/") for source in read.sources)
    assert not re.search(r"https?:|url\(|@import|fetch\(|//\w", re.sub(r"base64,[^\"]+", "", page))
    assert "default-src 'none'" in page


def test_texts_are_escaped(shown: HeatMap) -> None:
    bad = '<script>"&\x00\ud800'
    page = replace(shown, text=bad, words=(bad,), maps=shown.maps[:1]).page()
    assert Read.of(page).words == ['<script>"&\ufffd\ufffd'] and page.count("<script>") == 1
    page = text_page(bad, [bad], [bad, "x"], np.array([[0.9, 0.1]], np.float32))
    assert Read.of(page).words == ['<script>"&\ufffd\ufffd'] and page.count("<script>") == 1


@pytest.mark.parametrize("name", ["x.gif", "x", "x.png.txt"])
def test_another_suffix_is_refused(shown: HeatMap, tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"a heat map is a \.png or a \.html file"):
        shown.save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_where_nothing_can_be_written_nothing_is_left(shown: HeatMap, tmp_path: Path) -> None:
    (tmp_path / "x.png").mkdir()
    for path in (tmp_path / "x.png", tmp_path / "none" / "x.html"):
        with pytest.raises(InputError, match="it cannot be written"):
            shown.save(path)
    assert [each.name for each in tmp_path.iterdir()] == ["x.png"] and not list((tmp_path / "x.png").iterdir())


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    status = cli.main(["caption", "--threads", "1", *map(str, arguments)])
    out, err = capsys.readouterr()
    return status, out, err


def test_the_command_writes_a_picture(
    model: Model, photo: Image.Image, shown: HeatMap, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo.save(tmp_path / "disc.png")
    [known] = pipeline("image-to-text", model)(photo)
    status, out, _ = run(capsys, "--heat-map", tmp_path / "x.png", tmp_path / "disc.png")
    assert (status, out) == (0, f"{'unsure: ' if known['unsure'] else ''}{shown.text}\n")
    with Image.open(tmp_path / "x.png") as opened:
        np.testing.assert_array_equal(np.asarray(opened), np.asarray(shown.image()))


def test_of_several_photos_the_files_are_numbered(
    photo: Image.Image, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo.save(tmp_path / "a.png")
    photo.rotate(180).save(tmp_path / "c.png")
    names = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    status, out, _ = run(capsys, "--json", "--heat-map", tmp_path / "x.html", *names)
    lines = [json.loads(line) for line in out.splitlines()]
    assert status == 2 and [line.get("heat_map") for line in lines] == [
        str(tmp_path / "x-1.html"),
        None,
        str(tmp_path / "x-3.html"),
    ]
    assert sorted(each.name for each in tmp_path.glob("*.html")) == ["x-1.html", "x-3.html"]
    assert Read.of((tmp_path / "x-3.html").read_text("utf-8")).words == lines[2]["text"].split()


def test_no_photo_that_is_to_be_read_is_written_over(
    photo: Image.Image, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [tmp_path / "x-2.png", tmp_path / "b.png", tmp_path / "x-1.png"]
    for name in names:
        photo.save(name)
    before = names[0].read_bytes()
    status, out, err = run(capsys, "--heat-map", tmp_path / "x.png", *names)
    assert status == 2 and err.count("this is a photo that is to be read") == 2 and len(out.splitlines()) == 1
    assert all(name.read_bytes() == before for name in names) and (tmp_path / "x-3.png").exists()


def test_what_the_command_cannot_do_is_one_sentence(
    photo: Image.Image, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = tmp_path / "disc.png"
    photo.save(name)
    before = name.read_bytes()
    for arguments, sentence in {
        ("--heat-map", tmp_path / "x.jpg"): "a heat map is a .png or a .html file",
        ("--heat-map", tmp_path / "none" / "x.png"): "there is no folder",
        ("--stream", "--heat-map", tmp_path / "x.png"): "--heat-map shows a text that is whole",
        ("--heat-map", name): "this is a photo that is to be read",
    }.items():
        status, out, err = run(capsys, *arguments, name)
        assert status == 2 and not out
        [line] = [line for line in err.splitlines() if "note:" not in line]
        assert sentence in line
    assert [each.name for each in tmp_path.iterdir()] == ["disc.png"] and name.read_bytes() == before


def test_a_caption_without_them_loads_nothing_of_them(photo: Image.Image) -> None:
    data = io.BytesIO()
    photo.save(data, "PNG")
    code = (
        "import sys; from fuseline.cli import main; status = main(['caption', '-']);"
        "sys.exit(status or any('heat' in name or 'grids' in name for name in sys.modules))"
    )
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code], input=data.getvalue(), env=environment, capture_output=True)
    assert done.returncode == 0, done.stderr
