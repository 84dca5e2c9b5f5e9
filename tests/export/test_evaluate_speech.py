"""`evaluate` and `quantize` of models that hear speech: data sets, error rates, intervals, what is calibrated with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jiwer
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from transformers.models.whisper.english_normalizer import BasicTextNormalizer, EnglishTextNormalizer

from fuseline import cli
from fuseline.errors import ExportError, InputError
from fuseline.export import evaluate, export, quantize
from fuseline.export.quality.bootstrap import intervals
from fuseline.export.quality.clips import read_clips
from fuseline.export.quality.data import read_speech
from fuseline.export.quality.hearing import is_english, prompt_of, said_of
from fuseline.export.quality.reading import Reading
from fuseline.export.quality.speech_scores import SpeechScores, basic, normalized
from fuseline.export.quantizing.calibration import Calibration
from fuseline.export.writing.graphs import load_graph
from fuseline.folders.open import open_folder
from fuseline.inputs.audio import open_sound
from fuseline.model import Model
from fuseline.trials.auto import loss
from tests import sounds, speech_models, tiny, whisper_models

COUNT = 5
RATES = ["word error rate", "character error rate"]
NAMES = ["whisper, its end last", "moonshine"]


@pytest.fixture(scope="module", params=NAMES)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("speech")
    source = speech_models.write_checkpoint(speech_models.speech_model(request.param, 0), out / "source")
    export(source, out / "model", ("fp32", "int8"))
    return out / "model"


@pytest.fixture
def folder(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "models" / "tiny"))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of small clips, called 0.wav and so on."""
    out = tmp_path_factory.mktemp("clips")
    for number, sound in enumerate(speech_models.clips(COUNT)):
        (out / f"{number}.wav").write_bytes(sounds.wav(sound))
    return out


def said(folder: Path, clips: Path, variant: str = "fp32") -> list[str]:
    """What a variant says of each clip."""
    model = Model.from_pretrained(folder, variant, threads=1)
    paths = sorted(clips.glob("*.wav"))
    return [said_of(model, open_sound(path), None, tiny.NUM_BEAMS) for path in paths]


def data(place: Path, clips: Path, texts: list[str]) -> Path:
    """A copy of the clips with a text each."""
    here = Path(shutil.copytree(clips, place / "data"))
    lines = [json.dumps({"file": f"{number}.wav", "text": text}) for number, text in enumerate(texts)]
    (here / "metadata.jsonl").write_text("\n".join(lines))
    return here


def test_what_the_model_says_has_no_errors_and_is_recorded(folder: Path, clips: Path, tmp_path: Path) -> None:
    texts = said(folder, clips)
    assert len(set(texts)) > 2
    found = evaluate(folder, data(tmp_path, clips, texts), threads=1)
    base = found.variants["fp32"]
    assert list(base.texts) == texts
    assert dict(base.scores) == dict.fromkeys(RATES, 0.0)
    about = open_folder(folder).quality["int8"]  # checks every hash
    english = json.loads((folder / "config.json").read_text())["model_type"] == "whisper"
    words = SpeechScores([[text] for text in texts], "english" if english else "basic").about["words"]
    assert (about["clips"], about["words"], about["tokenizer"]) == (COUNT, words, "english" if english else "basic")
    assert about["dataset"] == "data"
    assert set(about["less fp32"]) == set(about["interval"]) == set(RATES)
    low, high = about["interval"][RATES[0]]["low"], about["interval"][RATES[0]]["high"]
    assert low <= about[RATES[0]] <= high
    card = (folder / "MODEL_CARD.md").read_text()
    assert f"data, {COUNT} clips, {words} words, beam 4, tokenizer" in card
    assert "After a comma: the 95% interval of the score itself." in card
    assert "(paired bootstrap over the clips)" in card
    judged = loss(open_folder(folder), "int8")
    assert judged == (about[RATES[0]], "of the words")


def test_the_rates_are_those_of_jiwer_over_all_clips(folder: Path, clips: Path, tmp_path: Path) -> None:
    """As Whisper's are computed: over all words at once, after its own normalisation of both texts."""
    others = said(folder, clips, "int8")
    texts = [f"Mr. {text.upper()}, isn't it?" for text in others[1:] + others[:1]]
    found = evaluate(folder, data(tmp_path, clips, texts), tokenizer="english", write=False, threads=1)
    clean = EnglishTextNormalizer({})
    wanted = [clean(text).strip() for text in texts]
    for scored in found.variants.values():
        heard = [clean(text).strip() for text in scored.texts]
        assert scored.scores[RATES[0]] == pytest.approx(jiwer.wer(wanted, heard))
        assert scored.scores[RATES[1]] == pytest.approx(jiwer.cer(wanted, heard))
    assert found.conditions["words"] == sum(len(text.split()) for text in wanted)
    assert found.conditions["normalizer signature"].startswith("transformers 4.57")


def test_several_references_and_silence() -> None:
    """The nearest reference counts. Where nothing is left of one, each word is one too many."""
    scores = SpeechScores([["a b c", "a x"], ["[noise]"]], "basic")
    words, characters = (metric.parts.tolist() for metric in scores.metrics(["A, X!", "um yes"]).values())
    assert words == [[0, 2], [2, 0]]
    assert characters == [[0, 3], [6, 0]]
    assert scores.about == {"words": 3}


def test_intervals_hold_what_one_clip_is_worth() -> None:
    """Of two clips, one heard and one not, a sample has none, half or all of the errors."""
    metrics = SpeechScores([["a b"], ["c d"]], "basic").metrics(["a b", "x y"])
    found = intervals(metrics)
    assert (found[RATES[0]].low, found[RATES[0]].high) == (0.0, 1.0)
    many = SpeechScores([["a b"], ["c d"]] * 200, "basic").metrics(["a b", "x y"] * 200)
    assert 0.44 < intervals(many)[RATES[0]].low < 0.5 < intervals(many)[RATES[0]].high < 0.56


@given(st.text())
@example("Don't (laughs) say <unk> that [music] -- naïve ½ ﬁsh, \uff26\uff35, हिन्दी İ")
@example("(a [b) c]")
def test_plain_normalisation_is_that_of_whisper(text: str) -> None:
    assert basic(text) == " ".join(BasicTextNormalizer()(text).split())


def test_english_is_normalised_as_whisper_does() -> None:
    clean = normalized("english")
    assert clean("He's got $20 million, hasn't he? Um, no.") == clean("he has got twenty million dollars has not he no")


def test_all_forms_say_the_same(clips: Path, tmp_path: Path) -> None:
    texts = [f"text {number}, with a comma" for number in range(COUNT)]
    here = Path(shutil.copytree(clips, tmp_path / "some" / "clips"))
    forms = {
        "metadata.csv": "file_name,transcription\n" + "".join(f'{n}.wav,"{text}"\n' for n, text in enumerate(texts)),
        "table.tsv": "path\tsentence\n" + "".join(f"{n}.wav\t{text}\n" for n, text in enumerate(texts)),
        "captions.jsonl": "".join(
            json.dumps({"file": f"{n}.wav", "captions": [t]}) + "\n" for n, t in enumerate(texts)
        ),
        "transcripts.txt": "".join(f"{n} {text}\n" for n, text in enumerate(texts)),
        "some.trans.txt": "".join(f"{n} {text}\r\n" for n, text in enumerate(texts)),
        "transcription": "".join(f"<s> {text} </s> ({n})\n" for n, text in enumerate(texts)),
    }
    expected = [(here / f"{number}.wav", (text,)) for number, text in enumerate(texts)]
    for name, content in forms.items():
        (here / name).write_text(content)
        others = [here] * (name != "table.tsv") + [tmp_path / "some"] * name.endswith(".trans.txt")
        for place in (here / name, *others):
            found = read_speech(place)
            assert [(clip.path, clip.references) for clip in found.items] == expected, name
            assert (found.kind, len(found.sha256)) == ("clips", 64)
        (here / name).unlink()
    objects = [
        {"file": "0.wav", "text": ["one", "two"], "split": "val"},
        {"file": "1.wav", "text": "x", "split": "test"},
    ]
    (here / "a.jsonl").write_text("\n".join(map(json.dumps, objects)))
    assert [clip.references for clip in read_speech(here / "a.jsonl").items] == [("one", "two")]
    assert [clip.name for clip in read_speech(here / "a.jsonl", "test").items] == ["1.wav"]


BAD: list[tuple[str, str, str]] = [
    ("x.jsonl", "", "x.jsonl has no clips; it must be a table"),
    ("x.jsonl", "{", "x.jsonl, line 1 is not JSON"),
    ("x.jsonl", '{"text": "a"}', 'x.jsonl, line 1: "file" must be the path of a clip, not None'),
    ("x.jsonl", '{"file": "0.wav"}', 'x.jsonl, line 1: "text" must be what is said in 0.wav'),
    ("x.jsonl", '{"file": "0.wav", "text": "a", "split": 1}', 'line 1: "split" must be a text, not 1'),
    ("x.jsonl", '{"file": "9.wav", "text": "a"}', "1 of the 1 clip of .* is not below .*: 9.wav"),
    ("x.jsonl", '{"file": "empty.wav", "text": "a"}', "is empty or may not be read: empty.wav"),
    ("x.csv", "file,text\n0.wav,a\n0.wav,b\n", "x.csv, line 3: 0.wav is there twice; give each clip one line"),
    ("x.csv", "name,words\n0.wav,a\n", 'x.csv, line 2: "file" must be the path of a clip'),
    ("x.csv", 'file,text\n0.wav,"' + "a" * 200_000, "x.csv, line 2 is no line of a table: field larger"),
    ("x.txt", "0\n", "x.txt, line 1 has no text after 0; it must be the name of a clip, a blank, a text"),
    ("x.txt", "<s> </s> (0)\n", "x.txt, line 1 has no text after 0"),
]


@pytest.mark.parametrize(("name", "content", "message"), BAD)
def test_bad_data_is_refused(name: str, content: str, message: str, clips: Path, tmp_path: Path) -> None:
    here = Path(shutil.copytree(clips, tmp_path / "clips"))
    (here / "empty.wav").touch()
    (here / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_speech(here / name)


def test_a_folder_without_texts_and_clips_elsewhere(clips: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no texts for its clips; there must be metadata.csv, .* or \*.trans.txt"):
        read_clips(clips)
    (tmp_path / "transcripts.txt").write_text(f"{clips / '0.wav'} said\n")
    assert "1 clip that" in read_speech(tmp_path).remarks[0]


def test_options_that_speech_does_not_have(folder: Path, clips: Path, tmp_path: Path) -> None:
    here = data(tmp_path, clips, ["a"] * COUNT)
    whisper = json.loads((folder / "config.json").read_text())["model_type"] == "whisper"
    language = "knows English only" if whisper else "knows one language"
    cases: list[tuple[dict[str, Any], str]] = [
        ({"photos": "."}, "reads speech, so there is no folder of photos"),
        ({"references": "x"}, "reads speech, whose texts lie in the data; leave references out"),
        ({"tgt_lang": "en"}, "hears speech, of which only the language that is spoken can be given"),
        ({"truncation": True}, "hears speech, of which only"),
        ({"src_lang": "de"}, language),
        ({"tokenizer": "13a"}, "tokenizer must be english or basic, not '13a'"),
        ({"task": "caption"}, "task must be speech for"),
    ]
    for options, message in cases:
        with pytest.raises(InputError, match=message):
            evaluate(folder, here, write=False, **options)
    with pytest.raises(InputError, match="reads speech and has few convolutions; leave static out"):
        quantize(folder, static=True, calibrate=here)
    (here / "0.wav").write_text("no sound at all")
    with pytest.raises(InputError, match=r"the data set cannot be heard whole: .*0\.wav"):
        evaluate(folder, here, write=False, resume=False, threads=1)


def test_a_model_of_several_languages_begins_with_the_one_that_is_spoken(tmp_path: Path) -> None:
    model = Model.from_pretrained(whisper_models.exported(True, tmp_path), threads=1)
    sounds_ = [whisper_models.sound(3, seed) for seed in range(3)]
    encoded = model.encode(Reading().inputs(model, sounds_))
    at = whisper_models.layout(True)
    heard = prompt_of(model, encoded, None)
    assert heard is not None and heard.shape == (3, 4)
    for row, sound in zip(heard, sounds_, strict=True):
        alone = prompt_of(model, model.encode(Reading().inputs(model, [sound])), None)
        assert alone is not None and alone[0].tolist() == row.tolist()
        assert row[0] == at.start and row[1] in at.languages.values()
        assert row[2:].tolist() == [at.transcribe, at.no_timestamps]
    told = prompt_of(model, encoded, "German")
    assert told is not None and set(told[:, 1].tolist()) == {at.languages["<|de|>"]}
    english = [name for name in (None, "de", "en", "English", "auto") if is_english(model, name)]
    assert english == ["en", "English"]
    with pytest.raises(InputError, match="is none that this model knows"):
        Reading("klingon").check(model)


def test_smaller_variants_and_what_they_cost(folder: Path, clips: Path, tmp_path: Path) -> None:
    """Compared on made-up clips; with data by the words that a variant alone hears wrong."""
    report = quantize(folder, ["fp16", "int4"], threads=1)
    assert [made.agreement.kind for made in report.variants.values()] == ["clips", "clips"]
    assert report.variants["fp16"].agreement.inputs == 16
    assert report.variants["fp16"].agreement.divergence < report.variants["int4"].agreement.divergence
    here = data(tmp_path, clips, said(folder, clips))
    wrong = evaluate(folder, here, ["int4"], write=False, threads=1).variants["int4"].scores[RATES[0]]
    assert wrong > 0.01
    of = rf"int4 loses {wrong:.2%} of the words \({wrong:.4f} of them wrong, where fp32 has 0.0000\) and may lose 1.00%"
    with pytest.raises(ExportError, match=of):
        quantize(folder, ["int4"], data=here, max_loss=0.01, threads=1)


@pytest.mark.parametrize("made", NAMES[:1], indirect=True)
def test_clips_are_calibrated_with(folder: Path, tmp_path: Path) -> None:
    """Rounding by what layers see brings what the variant says of such clips nearer to the floats."""
    heard = tmp_path / "heard" / "deeper"
    heard.mkdir(parents=True)
    for number, sound in enumerate(speech_models.clips(12, seed=4)):
        (heard / f"{number}.wav").write_bytes(sounds.wav(sound))
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    quantize(folder, ["int4"], threads=1)
    quantize(other, ["int4"], calibrate=heard.parent, threads=1)
    exact = Model(open_folder(folder, "fp32"), threads=1)
    inputs = Reading().inputs(exact, speech_models.clips(6, seed=5))
    apart = [_apart(exact, Model(open_folder(each, "int4"), threads=1), inputs) for each in (folder, other)]
    assert apart[1] < apart[0]
    with pytest.raises(InputError, match="has 0 clips, and calibrating takes at least 8"):
        quantize(folder, ["int4"], calibrate=tmp_path / "other" / "onnx")


def _apart(base: Model, other: Model, inputs: Any) -> float:
    """The mean square of the differences of keys and values that the encoders give."""
    found = [model.encode(inputs).values for model in (base, other)]
    squares = [np.square(found[0][name].numpy() - found[1][name].numpy()).mean() for name in found[0]]
    return float(np.mean(squares))


def test_layers_see_of_a_batch_what_they_see_of_each_clip(folder: Path) -> None:
    model, files = Model(open_folder(folder, "fp32"), threads=1), open_folder(folder).variants["fp32"]
    heard, reading = speech_models.clips(3, seed=3), Reading()
    together = [[sound] for sound in heard] if "moonshine" in str(model.folder.config["model_type"]) else [heard]
    moments = []
    for some in (together, [[sound] for sound in reversed(heard)]):
        graphs = [load_graph(folder / path) for path in files.graphs]
        calibration = Calibration(model, *graphs, reading.config(model), reading)
        for batch in some:
            calibration.see(reading.inputs(model, batch))
        moments.append(calibration.moments("encoder") | calibration.moments("decoder"))
    assert moments[0]
    for name, value in moments[0].items():
        np.testing.assert_allclose(value, moments[1][name], rtol=1e-4, atol=1e-4 * np.abs(value).max())


def test_the_command(folder: Path, clips: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    here = data(tmp_path, clips, ["one two"] * COUNT)
    arguments = ["evaluate", str(folder), "--data", str(here), "--threads", "1", "--tokenizer", "basic"]
    assert cli.main(arguments) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == f"data, {COUNT} clips, {2 * COUNT} words, beam 4"
    assert any("ms a clip" in line for line in out)
    assert any(line.startswith("  word error rate ") and " to " in line for line in out)
    assert cli.main([*arguments, "--json", "--limit", "2", "--no-write"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["clips"], set(found["variants"]["fp32"]["interval"])) == (2, set(RATES))
