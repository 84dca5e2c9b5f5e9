"""Every architecture of speech to text, from weights to graphs and to tokens, against transformers on the same weights.

Tolerance: token ids are equal; float32 logits of size 1 to 12 within 2e-4, the project's bound.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fuseline import Model
from fuseline.errors import ExportError, InputError
from fuseline.export import export
from fuseline.export.adapters import model_adapter
from tests import exported_folders, speech_models, tiny

BOUND = 2e-4
CASES = [
    pytest.param(name, seed, marks=[] if seed == 0 else pytest.mark.slow, id=f"{name}, seed {seed}")
    for name in speech_models.MODELS
    for seed in range(3)
]


def arrays(model: Any, sounds: list[Any]) -> dict[str, np.ndarray[Any, Any]]:
    """A batch as the runtime takes it."""
    return {name: tensor.numpy() for name, tensor in speech_models.batch(model, sounds).items()}


@pytest.mark.parametrize(("name", "seed"), CASES)
def test_tokens_and_logits_are_those_of_transformers(name: str, seed: int, tmp_path: Path) -> None:
    """Ten clips of 0.2 to 2 seconds, one by one, greedy and with 4 beams."""
    reference = speech_models.speech_model(name, seed)
    report = export(speech_models.write_checkpoint(reference, tmp_path / "source"), tmp_path / "out")
    agreement = report.agreement["fp32"]
    assert (agreement.greedy, agreement.beam, agreement.first_difference) == (1.0, 1.0, None)
    assert (agreement.kind, agreement.inputs) == ("clips", 4)
    assert agreement.logits < BOUND
    model, heard = Model.from_pretrained(tmp_path / "out", threads=1), set()
    assert model.task == "automatic-speech-recognition"
    ends = model.generation_config.ends
    for sound in speech_models.clips(10, seed):
        for beams in (1, 4):
            options = {"num_beams": beams, "max_length": tiny.MAX_LENGTH}
            expected = speech_models.generate(reference, speech_models.batch(reference, [sound]), **options).numpy()
            found = model.generate(arrays(reference, [sound]), **options).sequences
            assert tiny.ended(found[0], *ends) == tiny.ended(expected[0], *ends)
            heard.add(tiny.ended(found[0], *ends))
    assert len(heard) > 5


@pytest.mark.parametrize("name", ["whisper", "moonshine"])
def test_a_batch_says_what_its_clips_say_alone(name: str, tmp_path: Path) -> None:
    reference = speech_models.speech_model(name, 0)
    export(speech_models.write_checkpoint(reference, tmp_path / "source"), tmp_path / "out", ("fp32", "int8"))
    sounds = speech_models.clips(5, seed=3)
    for variant in ("fp32", "int8"):
        model = Model.from_pretrained(tmp_path / "out", variant, threads=1)
        options: dict[str, Any] = {"num_beams": 3, "max_length": tiny.MAX_LENGTH, "output_logits": True}
        together = model.generate(arrays(reference, sounds), **options)
        ends = model.generation_config.ends
        for at, sound in enumerate(sounds):
            alone = model.generate(arrays(reference, [sound]), **options)
            assert tiny.ended(together.sequences[at], *ends) == tiny.ended(alone.sequences[0], *ends)
            assert together.logits is not None and alone.logits is not None
            np.testing.assert_array_equal(together.logits[0][3 * at], alone.logits[0][0])


@pytest.mark.parametrize("name", speech_models.MODELS)
def test_layers_are_fused_operators(name: str) -> None:
    reference = speech_models.speech_model(name, 0)
    parts = model_adapter({"architectures": [type(reference).__name__]}).parts(reference)
    assert parts.written is not None
    encoder, config = parts.written
    weights = tiny.state_dict_of(reference)
    graphs = (
        encoder.build_encoder(weights, config, "hidden", "int8"),
        parts.decoder.build_decoder(weights, parts.decoder_config, "int8", padded=name.startswith("moonshine")),
    )
    for graph in graphs:
        own = {node.op_type for node in graph.graph.node if node.domain == ""}
        assert own.isdisjoint({"MatMul", "Gemm", "Softmax", "LayerNormalization"})


def test_layers_are_joined(tmp_path: Path) -> None:
    """Each is one node in the file, rotary positions too."""
    import onnx

    for name in ("whisper", "moonshine"):
        source = speech_models.write_checkpoint(speech_models.speech_model(name, 0), tmp_path / name / "source")
        out = tmp_path / name / "out"
        export(source, out, ("int8",))
        for part, operator, layers in (("decoder", "DecoderLayer", 3), ("encoder", "EncoderLayer", 2)):
            graph = onnx.load(next(out.glob(f"onnx/{part}*.onnx")), load_external_data=False).graph
            assert sum(node.op_type == operator for node in graph.node) == layers


def test_bad_inputs_are_refused(tmp_path: Path) -> None:
    heard = Model.from_pretrained(exported_folders.speech("moonshine", tmp_path / "moonshine"))
    with pytest.raises(InputError, match="clip 1 has 800 samples and this model needs 895"):
        heard.generate(np.zeros((1, 800), np.float32))
    with pytest.raises(InputError, match="clip 1 has 2000000 samples and this model reads 1572864"):
        heard.generate(np.zeros((1, 2_000_000), np.float32))
    with pytest.raises(InputError, match="attention_mask of clip 2 must be ones"):
        heard.generate(input_values=np.zeros((2, 900), np.float32), attention_mask=[[1] * 900, [0] * 900])
    with pytest.raises(InputError, match="NaN"):
        heard.generate(np.full((1, 900), np.nan, np.float32))
    bands = Model.from_pretrained(exported_folders.speech("whisper", tmp_path / "whisper"))
    with pytest.raises(InputError, match=r"input_features must be float32\[B, 80, 200\], not of shape \[1, 80, 100\]"):
        bands.generate(np.zeros((1, 80, 100), np.float32))


def test_a_checkpoint_that_cannot_be_is_refused(tmp_path: Path) -> None:
    source = speech_models.write_checkpoint(speech_models.speech_model("moonshine", 0), tmp_path / "source")
    config = json.loads((source / "config.json").read_text())
    for change, sentence in (
        ({"rope_scaling": {"rope_type": "linear", "factor": 2.0}}, "has rope_scaling"),
        ({"decoder_num_key_value_heads": 2}, "has 2 heads of keys for 4 of queries"),
    ):
        (source / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(ExportError, match=sentence):
            export(source, tmp_path / "out")
    (source / "config.json").write_text(json.dumps(config))
    (source / "preprocessor_config.json").unlink()
    with pytest.raises(ExportError, match="has no preprocessor_config.json, so how speech is to be prepared"):
        export(source, tmp_path / "out")
