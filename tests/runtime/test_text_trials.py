"""What is tried with made-up texts, by variant="auto" and for a device; what `fuseline info` tells; scores of texts."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuseline import InputError, Model
from fuseline.cli import main
from fuseline.folders.open import open_folder
from fuseline.graphs.open import open_graphs
from fuseline.trials import auto, device_check, probe

torch = pytest.importorskip("torch")
onnx = pytest.importorskip("onnx")
from fuseline.kernels.layers import join_layers, split_layers  # noqa: E402
from tests import text_models  # noqa: E402
from tests.bodies import ON_BODIES  # noqa: E402
from tests.exported_texts import LANGUAGES, folder_with_languages, text_folder  # noqa: E402


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(auto, "SECONDS", 600.0)  # so that a busy machine measures everything too


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return text_folder(tmp_path_factory.mktemp("texts"), "bart")


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "model"))


def describe(folder: Path, **changes: Any) -> None:
    file = folder / "fuseline.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_a_probe_is_of_the_vocabulary_and_the_second_text_is_shorter(folder: Path) -> None:
    opened = open_folder(folder)
    found = probe.inputs(opened, texts=2)
    assert found["attention_mask"].sum(axis=1).tolist() == [12, 7]
    assert found["input_ids"].max() < text_models.VOCAB_SIZE
    np.testing.assert_array_equal(found["input_ids"], probe.inputs(opened, texts=2)["input_ids"])
    assert probe.inputs(opened)["input_ids"].shape == (1, 12)
    about = json.loads((folder / "fuseline.json").read_text())
    about["sources"]["encoder"]["longest"] = 3
    (folder / "fuseline.json").write_text(json.dumps(about))
    assert probe.inputs(open_folder(folder), texts=2)["attention_mask"].tolist() == [[1, 1, 1]] * 2


def chrf(fp32: float, int8: float, **of_int8: Any) -> dict[str, Any]:
    common = {"dataset": "d", "texts": 9, "num_beams": 4, "tokenizer": "13a"}
    return {"quality": {"fp32": {**common, "chrF": fp32}, "int8": {**common, **of_int8, "chrF": int8}}}


@pytest.mark.parametrize(
    ("about", "left_out"),
    [
        (chrf(50.0, 49.5), {}),
        (chrf(50.0, 48.0), {"int8": "it loses 4.00% of chrF and may lose 2.00%"}),
        ({"agreement": {"int8": {"tokens": 0.9}}}, {"int8": "it loses 10.00% of the next tokens on generated texts"}),
        ({"agreement": {}} | chrf(50.0, 49.5, to="de"), {"int8": "how good it is was not measured"}),
    ],
)
def test_what_is_good_enough(about: dict[str, Any], left_out: dict[str, str], folder: Path) -> None:
    describe(folder, **about)
    found = auto.choose(open_folder(folder))
    assert found.left_out.keys() == left_out.keys()
    assert all(found.left_out[name].startswith(why) for name, why in left_out.items())


def test_auto_measures_texts_and_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    describe(folder, **chrf(50.0, 49.9))
    choice = auto.choose(open_folder(folder))
    assert set(choice.times) == {"fp32", "int8"}
    assert choice.sentence(open_folder(folder)).endswith(" ms)")
    assert Model.from_pretrained(folder, "auto").variant == choice.variant
    assert main(["info", str(folder)]) == 0
    assert f"auto uses {choice.variant}: {choice.times[choice.variant]:.2f} ms for a text on" in capsys.readouterr().out


def test_a_variant_is_named_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    assert "auto uses int8: the only one to choose" in capsys.readouterr().out


def test_a_device_is_compared_on_texts_of_unequal_length(folder: Path) -> None:
    one, other = open_folder(folder, "fp32"), open_folder(folder, "int8")
    tried = device_check._tried(one, open_graphs(one, ON_BODIES, 1), ON_BODIES, 1)
    assert tried == {"same": True, "in place": True, "as fused": True}
    graphs = open_graphs(one, threads=1)
    found = device_check._tokens(one, graphs, probe.room(graphs.decoder, one), None)
    assert [each.shape[0] for each in found] == [2, 2, 2]
    mistaken = open_graphs(_another(other.path), threads=1)
    assert not device_check._tried(one, mistaken, ON_BODIES, 1)["same"]


def _another(path: Path) -> Any:
    """The same sizes, other weights: those of another seed."""
    source = text_models.write_checkpoint(text_models.text_model("bart", 1), path.parent / "seed")
    from fuseline.export import export

    export(source, path.parent / "other")
    return open_folder(path.parent / "other")


def test_info_tells_task_sources_and_languages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = folder_with_languages(tmp_path)
    assert main(["info", "--json", str(folder)]) == 0
    model = json.loads(capsys.readouterr().out)["model"]
    assert model["task"] == "text2text-generation"
    assert model["sources"] == {
        "encoder": {"inputs": ["input_ids", "attention_mask"], "longest": 70, "absent": "refuse"}
    }
    assert set(LANGUAGES) <= set(model["languages"])
    assert model["variants"]["fp32"]["layers"] == {"joined": 3, "of": 3, "not joined": []}
    assert main(["info", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "text2text-generation: the encoder reads input_ids and attention_mask, at most 70 tokens" in out
    assert "  languages: " in out and "decoder layers" not in out


def test_info_of_a_captioner(tiny_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", "--json", str(tiny_path)]) == 0
    model = json.loads(capsys.readouterr().out)["model"]
    assert (model["task"], model["languages"]) == ("image-to-text", [])
    layers = [variant["layers"] for variant in model["variants"].values()]
    assert all(each["joined"] == each["of"] > 0 and not each["not joined"] for each in layers)


def test_info_says_which_layers_could_not_be_joined_and_why(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = folder / open_folder(folder).variants["fp32"].decoder
    graph = split_layers(onnx.load(path))
    norm = next(node for node in graph.graph.node if node.name.startswith("layer.1/") and node.op_type == "LayerNorm")
    next(each for each in norm.attribute if each.name == "epsilon").f = 0.5
    assert len(join_layers(graph)) == 1
    path.write_bytes(graph.SerializeToString())
    about = json.loads((folder / "fuseline.json").read_text())
    facts = {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    about["files"][path.relative_to(folder).as_posix()] = facts
    (folder / "fuseline.json").write_text(json.dumps(about))
    assert main(["info", str(folder)]) == 0
    out = capsys.readouterr().out
    assert "2 of 3 decoder layers run as one node each, which is faster:" in out
    assert "layer.1 has operators that differ in epsilon, which a layer has once" in out
    assert main(["info", "--json", str(folder)]) == 0
    found = json.loads(capsys.readouterr().out)["model"]["variants"]
    assert (found["fp32"]["layers"]["joined"], found["int8"]["layers"]["joined"]) == (2, 3)


@pytest.mark.parametrize("name", ["bart", "t5 v1.1", "roberta, roberta"])
def test_a_score_is_the_cross_entropy_of_transformers_logits(name: str, tmp_path: Path) -> None:
    """Of given translations of texts of unequal length, by the labels that transformers shifts itself."""
    reference = text_models.text_model(name, 0)
    model = Model.from_pretrained(text_folder(tmp_path, name, ("fp32",)), threads=1)
    rows, said = text_models.texts(4, seed=5), [[9], [30, 31, 32, 33, 34], [40, 8], [11, 12, 13]]
    inputs = text_models.batch(rows, reference.config.pad_token_id)
    found = model.score(
        {key: value.numpy() for key, value in inputs.items()}, [" ".join(f"word{i}" for i in ids) for ids in said]
    )
    labels = np.full((4, 6), -100)
    for row, ids in zip(labels, said, strict=True):
        row[: len(ids) + 1] = [*ids, text_models.END]
    np.testing.assert_array_equal(found.labels, labels)
    start, pad = reference.config.decoder_start_token_id, reference.config.pad_token_id
    before = np.concatenate([np.full((4, 1), start), np.where(labels == -100, pad, labels)[:, :-1]], axis=1)
    with torch.no_grad():
        logits = reference(**inputs, decoder_input_ids=torch.from_numpy(before)).logits
    each = torch.nn.functional.cross_entropy(
        logits.permute(0, 2, 1), torch.from_numpy(labels), reduction="none"
    ).numpy()
    np.testing.assert_allclose(found.cross_entropy, each, rtol=1e-5, atol=2e-4)
    means = [row[kept].mean() for row, kept in zip(each, labels != -100, strict=True)]
    np.testing.assert_allclose(found.loss, means, rtol=1e-5, atol=2e-4)


def test_a_score_counts_the_token_of_the_language(tmp_path: Path) -> None:
    """As transformers' tokenizers write labels of mBART-50, NLLB and M2M100: the language, the words, the end."""
    model = Model.from_pretrained(folder_with_languages(tmp_path), threads=1)
    inputs = model.inputs(["word9 word10 word11"], src_lang="en_XX")
    found = model.score(inputs, "word12 word13", tgt_lang="de_DE")
    assert found.labels.tolist() == [[LANGUAGES["de_DE"], 12, 13, text_models.END]]
    said = model.generate(inputs, forced_bos_token_id=LANGUAGES["de_DE"], num_beams=1)
    with pytest.raises(InputError, match="'xx' is no language of this model"):
        model.score(inputs, "word12", tgt_lang="xx")
    text = model.decode(said.sequences)[0]
    assert model.score(inputs, text, tgt_lang="de_DE").labels[0, : said.sequences.shape[1] - 1].tolist() == list(
        said.sequences[0, 1:]
    )


def test_a_score_of_a_captioner_has_no_language(tiny_path: Path) -> None:
    with pytest.raises(InputError, match="reads photos and has no languages; leave tgt_lang out"):
        Model.from_pretrained(tiny_path).score(np.zeros((1, 3, 32, 32), np.float32), "word9", tgt_lang="de_DE")
