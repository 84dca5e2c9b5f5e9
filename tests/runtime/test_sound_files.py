"""Sound files: WAV by own code, others by soundfile or ffmpeg, and what is refused or said of damaged ones."""

from __future__ import annotations

import io
import os
import random
import socket
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fuseline.errors import InputError
from fuseline.inputs.audio import load_audio, open_sound
from fuseline.inputs.sounds import by_ffmpeg, by_soundfile
from tests import sounds
from tests.sounds import chunk, extensible, form, riff, stored, wav

Float32 = npt.NDArray[np.float32]

CLIP = sounds.speech_like(20_000)
BYTES = stored(CLIP, 16)
EXACT = np.frombuffer(BYTES, "<i2").astype(np.float32) / 32768

needs_ffmpeg = pytest.mark.skipif(by_ffmpeg.program() is None, reason="ffmpeg is not installed")
needs_soundfile = pytest.mark.skipif(by_soundfile.library() is None, reason="soundfile is not installed")


@pytest.fixture
def without_soundfile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_soundfile, "library", lambda: None)


@pytest.fixture
def without_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(by_ffmpeg, "program", lambda: None)


@pytest.fixture
def alone(without_soundfile: None, without_ffmpeg: None) -> None:
    """Neither package nor program."""


def refusal(given: Any) -> str:
    """The sentence with which a sound is refused, with no warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InputError) as caught:
            load_audio(given)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    return message


def quietly(given: Any) -> Float32:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_audio(given)


# WAV.


@pytest.mark.parametrize(
    ("bits", "floats", "step"),
    [(8, False, 2**-8), (16, False, 2**-16), (24, False, 2**-24), (32, False, 2**-24), (32, True, 0), (64, True, 0)],
)
@pytest.mark.parametrize("wide", [False, True])
def test_every_kind_of_sample(alone: None, bits: int, floats: bool, step: float, wide: bool) -> None:
    head = (extensible if wide else form)(3 if floats else 1, 1, 16_000, bits)
    heard = quietly(riff(head, chunk(b"data", stored(CLIP, bits, floats))))
    assert heard.dtype == np.float32
    np.testing.assert_allclose(heard, CLIP, atol=step, rtol=0)


def test_samples_are_the_files_own(alone: None) -> None:
    np.testing.assert_array_equal(quietly(wav(CLIP)), EXACT)


@pytest.mark.parametrize("channels", [1, 2, 5, 6, 64])
@pytest.mark.parametrize("bits", [8, 16, 24, 32])
def test_channels(alone: None, channels: int, bits: int) -> None:
    frames = np.random.default_rng(channels).uniform(-1, 1, (3_000, channels))
    np.testing.assert_allclose(quietly(wav(frames, bits=bits)), frames.mean(axis=1), atol=2.0 ** -min(bits - 1, 20))


@pytest.mark.parametrize(("bits", "width"), [(24, 4), (20, 3), (12, 2), (17, 4)])
def test_bits_that_do_not_fill_their_bytes(alone: None, bits: int, width: int) -> None:
    """The highest are those that count."""
    head = extensible(1, 2, 16_000, bits, width)
    data = stored(np.stack([CLIP, CLIP], axis=1), 8 * width)
    np.testing.assert_allclose(quietly(riff(head, chunk(b"data", data))), CLIP, atol=2.0 ** -min(8 * width, 24))


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_other_rates(alone: None, rate: int) -> None:
    sound = open_sound(wav(CLIP, rate))
    assert sound.duration == len(CLIP) / rate
    assert len(load_audio(sound)) == -(-len(CLIP) * 16_000 // rate)


def test_paths_bytes_and_files(alone: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = wav(CLIP)
    path = tmp_path / "talk.anything"
    path.write_bytes(data)
    monkeypatch.setenv("HOME", str(tmp_path))
    with open(path, "rb") as file:
        file.read(10)
        memory = [data, bytearray(data), memoryview(data), io.BytesIO(data)]
        for given in (path, str(path), "~/talk.anything", *memory, file):
            np.testing.assert_array_equal(quietly(given), EXACT)
    assert open_sound(path).name == str(path)
    sound = open_sound(path)
    for start in (0, 1, 12_345, 19_999, 20_000, 30_000):
        blocks = list(sound.blocks(start))
        np.testing.assert_array_equal(np.concatenate([EXACT[:0], *blocks]), EXACT[start:])


def test_a_pipe_that_is_open(alone: None) -> None:
    reading, writing = os.pipe()
    thread = threading.Thread(target=lambda: (os.write(writing, wav(CLIP)), os.close(writing)))
    thread.start()
    np.testing.assert_array_equal(quietly(f"/dev/fd/{reading}"), EXACT)
    thread.join()
    os.close(reading)


@pytest.mark.parametrize("padding", [True, False])
@pytest.mark.parametrize("between", [b"", b"1", b"12", b"123"])
def test_chunks_before_and_after(alone: None, between: bytes, padding: bool) -> None:
    head = form(1, 1, 16_000, 16)
    extra = chunk(b"LIST", between, padding)
    data = riff(chunk(b"bext", between, padding), head, extra, chunk(b"data", BYTES), chunk(b"LIST", b"INFOabc"))
    np.testing.assert_array_equal(quietly(data), EXACT)


@pytest.mark.parametrize("size", [0, 36, 0xFFFFFFFF, 12, 10**6])
@pytest.mark.parametrize("said", [0xFFFFFFFF, 0x7FFFFFFF, 0x7FFFF000, 0x80000000])
def test_headers_written_before_their_end_was_known(alone: None, size: int, said: int) -> None:
    data = riff(form(1, 1, 16_000, 16), b"data" + said.to_bytes(4, "little") + BYTES, size=size)
    sound = open_sound(data)
    assert sound.duration == 1.25
    np.testing.assert_array_equal(quietly(sound), EXACT)


@pytest.mark.parametrize("size", [0, 36, 0xFFFFFFFF])
def test_a_size_that_was_never_filled_in(alone: None, size: int) -> None:
    data = riff(form(1, 1, 16_000, 16), b"data\0\0\0\0" + BYTES, size=size)
    np.testing.assert_array_equal(quietly(data), EXACT)


@pytest.mark.parametrize("there", [20_000, 20_001, 30_000])
def test_a_file_that_is_cut_off(alone: None, there: int) -> None:
    said = r"the sound's bytes: the file is cut off: 0\.\d s are there and used, its header says 1\.2 s"
    with pytest.warns(UserWarning, match=said) as caught:
        heard = load_audio(wav(CLIP)[: 44 + there])
    np.testing.assert_array_equal(heard, EXACT[: there // 2])
    assert len(caught) == 1 and caught[0].filename == __file__


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "the sound's bytes: there are no bytes in it"),
        (riff(), "it ends before its samples begin"),
        (wav(CLIP)[:43], "it ends before its samples begin"),
        (wav(CLIP)[:20], "the WAV file is damaged or cut off"),
        (wav(CLIP)[:44], "there is no sound in it (0 samples)"),
        (wav(CLIP)[:45], "there is no sound in it (0 samples)"),
        (wav(CLIP[:0]), "there is no sound in it (0 samples)"),
        (riff(form(1, 1, 16_000, 16), chunk(b"data", b""), chunk(b"LIST", b"INFO")), "there is no sound in it"),
        (riff(chunk(b"data", BYTES)), "its samples begin before it says what they are"),
        (riff(chunk(b"fmt ", b"\1\0\1\0"), chunk(b"data", BYTES)), "the part that says what its samples are is too"),
        (riff(*[chunk(b"JUNK", b"")] * 2_000), "1,000 parts come before its samples"),
        (riff(form(1, 0, 16_000, 16), chunk(b"data", BYTES)), "it has 0 channels; from 1 to 64 can be read"),
        (riff(form(1, 999, 16_000, 16), chunk(b"data", BYTES)), "it has 999 channels"),
        (wav(CLIP, 0), "its rate is 0 samples a second; from 1,000 to 768,000 can be read"),
        (wav(CLIP, 10**9), "its rate is 1,000,000,000 samples a second"),
        (wav(np.array([0, np.nan, 1]), bits=32, floats=True), "the sample at 0.000 s is nan"),
        (wav(np.array([0, -np.inf]), bits=64, floats=True), "the sample at 0.000 s is -inf"),
        (riff(form(6, 1, 8_000, 8), chunk(b"data", BYTES)), "WAV that is not plain PCM, which takes the"),
        (riff(form(1, 1, 8_000, 64), chunk(b"data", BYTES)), "WAV that is not plain PCM"),
        (b"RF64" + wav(CLIP)[4:], "this is WAV of 64 bits, which takes the package soundfile (pip install"),
        (b"fLaC" + BYTES, 'this is FLAC, which takes the package soundfile (pip install "fuseline[audio]") or'),
        (b"ID3\3" + BYTES, "this is MP3, which takes"),
        (b"\xff\xfb\x90\x00" + BYTES, "this is MP3, which takes"),
        (b"OggS" + BYTES, "this is OGG"),
        (b"FORM0000AIFF" + BYTES, "this is AIFF"),
        (b"\0\0\0\x20ftypisom" + BYTES, "this is MP4, which takes the program ffmpeg; install it"),
        (b"RIFF0000AVI " + BYTES, "this is AVI, which takes the program ffmpeg"),
        (b"\x1aE\xdf\xa3" + BYTES, "this is Matroska or WebM, which takes the program ffmpeg"),
        (b"Dear diary,\n", "this is no sound file that is known; give WAV, or install the package soundfile (pip"),
    ],
)
def test_what_is_refused_without_any_package(alone: None, data: bytes, said: str) -> None:
    assert said in refusal(data)


def test_paths_that_are_no_sound_files(alone: None, tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("This is not a sound.\n" * 100)
    os.mkfifo(tmp_path / "pipe")
    for name, said in (
        ("", ": this is a folder; give the path of a sound file"),
        ("none.wav", "/none.wav: there is no such file; give the path of a sound file"),
        ("empty.wav", "/empty.wav: there are no bytes in it; give a file that holds a sound"),
    ):
        assert refusal(tmp_path / name) == f"{tmp_path}{said}"
    assert "text.wav: this is no sound file" in refusal(tmp_path / "text.wav")
    assert "this is a pipe, not a file" in refusal(tmp_path / "pipe")
    assert "this is a device, not a file" in refusal("/dev/zero")
    assert "its name cannot be that of a file" in refusal("a\0b")
    assert "the file object: its read() gave list" in refusal(type("File", (), {"read": lambda self, count: [1]})())
    assert "open as text" in refusal(open(tmp_path / "text.wav"))  # noqa: SIM115
    closed = io.BytesIO(wav(CLIP))
    closed.close()
    assert "the file cannot be read (it is closed)" in refusal(closed)


@pytest.mark.parametrize(
    "url", ["https://me:secret@example.org/a.mp3?key=1", "http://example.org/a.wav", "file:///etc/a.wav"]
)
def test_urls_are_not_fetched(url: str) -> None:
    message = refusal(url)
    assert "a URL is not fetched; download the sound and give the path of the file" in message
    assert "secret" not in message and "key" not in message


def test_a_file_that_goes_away(alone: None, tmp_path: Path) -> None:
    path = tmp_path / "talk.wav"
    path.write_bytes(wav(CLIP))
    sound = open_sound(path)
    path.unlink()
    with pytest.raises(InputError, match="there is no such file"):
        list(sound.blocks())


def test_damaged_headers_are_refused_or_read(alone: None) -> None:
    """Thousands of them: a sound or a sentence, and soon."""
    generator = random.Random(0)
    seeds = [wav(CLIP[:500]), wav(CLIP[:500], bits=24), wav(CLIP[:500], bits=32, floats=True)]
    seeds += [riff(chunk(b"LIST", b"abc"), extensible(1, 2, 44_100, 16), chunk(b"data", BYTES[:2_000]))]
    read, started = 0, time.monotonic()
    for _ in range(3_000):
        data = bytearray(generator.choice(seeds))
        for _ in range(generator.randint(1, 4)):
            data[generator.randrange(min(len(data), 90))] = generator.choice([0, 1, 2, 3, 127, 128, 254, 255])
        data = data[: generator.choice([len(data), generator.randrange(len(data))])]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                heard = load_audio(bytes(data))
            except InputError as error:
                assert len(str(error)) < 300
            else:
                assert heard.ndim == 1 and len(heard) and np.isfinite(heard).all()
                read += 1
    assert read > 300
    assert time.monotonic() - started < 60


# soundfile.


def encoded(file_format: str, subtype: str | None = None, samples: Float32 = EXACT, rate: int = 16_000) -> bytes:
    library = by_soundfile.library()
    assert library is not None
    data = io.BytesIO()
    library.write(data, samples, rate, subtype, format=file_format)
    return data.getvalue()


@needs_soundfile
@pytest.mark.parametrize("file_format", ["FLAC", "AIFF", "RF64", "W64", "CAF", "AU"])
def test_lossless_files_by_soundfile(without_ffmpeg: None, file_format: str, tmp_path: Path) -> None:
    data = encoded(file_format, "PCM_16")
    (tmp_path / "talk.raw").write_bytes(data)  # a name that decides nothing
    for given in (data, tmp_path / "talk.raw"):
        sound = open_sound(given)
        assert sound.duration == 1.25
        np.testing.assert_array_equal(quietly(sound), EXACT)
        for start in (1, 10_000, 19_999, 20_000, 30_000):
            np.testing.assert_array_equal(np.concatenate([EXACT[:0], *sound.blocks(start)]), EXACT[start:])


def likeness(heard: Float32, wanted: Float32) -> float:
    """The correlation at the best shift of up to 3,000 samples."""
    size = 2 ** (len(heard) + len(wanted)).bit_length()
    product = np.fft.irfft(np.fft.rfft(heard, size) * np.conj(np.fft.rfft(wanted, size)))
    best = np.abs(np.concatenate([product[:3_000], product[-3_000:]])).max()
    return float(best / np.linalg.norm(heard) / np.linalg.norm(wanted))


@needs_soundfile
@pytest.mark.parametrize("kind", ["OGG/VORBIS", "OGG/OPUS", "MP3/MPEG_LAYER_III", "WAV/ULAW"])
def test_lossy_files_by_soundfile(without_ffmpeg: None, kind: str, tmp_path: Path) -> None:
    (tmp_path / "talk").write_bytes(encoded(*kind.split("/")))
    sound = open_sound(tmp_path / "talk")
    heard = quietly(sound)
    assert sound.duration == pytest.approx(1.25, abs=0.2)
    assert len(heard) == pytest.approx(20_000, abs=3_000)
    assert likeness(heard, EXACT) > 0.98
    np.testing.assert_array_equal(np.concatenate(list(sound.blocks(5_001))), heard[5_001:])


@needs_soundfile
@pytest.mark.parametrize("file_format", ["FLAC", "MP3", "OGG"])
@pytest.mark.usefixtures("without_ffmpeg")
def test_truncated_files_by_soundfile(file_format: str, capfd: pytest.CaptureFixture[str]) -> None:
    long = np.tile(EXACT, 10)
    data = encoded(file_format, samples=long)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        heard = load_audio(data[: len(data) // 2])
    assert 0.2 * len(long) < len(heard) < 0.8 * len(long)
    assert likeness(heard, long[: len(heard)]) > 0.95
    if caught:
        assert "the sound's bytes: the file is " in str(caught[0].message)
    said = "".join(capfd.readouterr())  # libmpg123 writes a warning of its own there
    assert said == "" or file_format == "MP3"


@needs_soundfile
def test_what_soundfile_does_not_read(without_ffmpeg: None) -> None:
    assert "this is FLAC that cannot be read (soundfile: " in refusal(b"fLaC" + BYTES)
    assert "this is MP4, which takes the program ffmpeg" in refusal(b"\0\0\0\x20ftypisom" + BYTES)
    assert "this is no sound file (soundfile: " in refusal(b"Dear diary,\n" * 99)
    assert "there is no sound in it" in refusal(encoded("AU", samples=EXACT[:0]))


# ffmpeg.


@needs_soundfile
@pytest.mark.parametrize("percent", [30, 60, 95])
def test_short_files_that_are_cut_off_give_what_is_before(without_ffmpeg: None, percent: int) -> None:
    data = encoded("FLAC", "PCM_16")
    with pytest.warns(UserWarning, match="what comes before that place is used") as caught:
        heard = load_audio(data[: len(data) * percent // 100])
    assert len(caught) == 1
    assert len(heard) > percent / 100 * 20_000 - 6_000
    np.testing.assert_array_equal(heard, EXACT[: len(heard)])


@needs_soundfile
def test_a_file_that_is_damaged_from_its_first_sample_on_is_refused_in_one_sentence() -> None:
    data = encoded("FLAC", "PCM_16")
    begins = data.index(b"\xff\xf8")  # the first frame
    assert "and nothing of it can be read; give one that is whole" in refusal(data[: begins + 200])


@needs_soundfile
@needs_ffmpeg
def test_what_comes_after_a_damaged_place_is_read_where_there_is_ffmpeg() -> None:
    data = bytearray(encoded("FLAC", "PCM_16", np.tile(EXACT, 10)))
    middle = len(data) // 2
    data[middle : middle + 300] = bytes(300)
    with pytest.warns(UserWarning, match="the file is damaged .*; what ffmpeg reads of it is used") as caught:
        sound = open_sound(bytes(data))
        heard = load_audio(sound)
        again = np.concatenate(list(sound.blocks(150_000)))
    assert len(caught) == 1
    assert len(heard) > 180_000
    np.testing.assert_array_equal(heard[:80_000], np.tile(EXACT, 4))
    np.testing.assert_array_equal(heard[-40_000:], np.tile(EXACT, 2))
    np.testing.assert_array_equal(again, heard[150_000:])


@needs_ffmpeg
@pytest.mark.parametrize("ending", ["flac", "mp3", "m4a", "ogg", "opus", "webm", "aiff", "mka", "wma", "mp4"])
def test_files_by_ffmpeg(without_soundfile: None, ending: str, tmp_path: Path) -> None:
    """mp4 has its index at the end, so that it must be read by jumps, out of memory too."""
    path = sounds.by_ffmpeg(wav(CLIP), tmp_path / f"talk.{ending}")
    for given in (path, path.read_bytes()):
        sound = open_sound(given)
        assert sound.duration == pytest.approx(1.25, abs=0.2)
        heard = quietly(sound)
        assert len(heard) == pytest.approx(20_000, abs=3_000)
        assert likeness(heard, EXACT) > 0.95
        if ending in ("flac", "aiff"):
            np.testing.assert_array_equal(heard, EXACT)
        np.testing.assert_array_equal(np.concatenate(list(sound.blocks(5_001))), heard[5_001:])


@needs_ffmpeg
def test_channels_and_rates_by_ffmpeg(without_soundfile: None, tmp_path: Path) -> None:
    frames = np.stack([CLIP, 0 * CLIP, 0 * CLIP, CLIP, 0 * CLIP, 0 * CLIP], axis=1)
    path = sounds.by_ffmpeg(wav(frames, 44_100), tmp_path / "talk.flac")
    six = np.frombuffer(BYTES, "<i2").astype(np.float32) / 32768 / 3
    np.testing.assert_allclose(quietly(path), load_audio(six, 44_100), atol=1e-6)


@needs_ffmpeg
def test_videos(without_soundfile: None, tmp_path: Path) -> None:
    picture = ["-f", "lavfi", "-i", "color=c=red:s=64x48:r=5:d=1.2"]
    video = sounds.by_ffmpeg(wav(CLIP), tmp_path / "talk.mp4", *picture, "-map", "0:a", "-map", "1:v")
    assert likeness(quietly(video), EXACT) > 0.95
    silent = sounds.by_ffmpeg(wav(CLIP), tmp_path / "mute.mp4", *picture, "-map", "1:v")
    right = "give a file that is whole and holds a sound"
    assert refusal(silent) == f"{silent}: this is MP4 that cannot be read (ffmpeg: it has no sound track); {right}"


@needs_ffmpeg
@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi"])
def test_a_picture_that_is_longer_than_the_sound(without_soundfile: None, ending: str, tmp_path: Path) -> None:
    picture = ["-f", "lavfi", "-i", "testsrc=s=160x120:r=5:d=6", "-map", "0:a", "-map", "1:v"]
    index = ["-movflags", "faststart"] if ending == "mp4" else []
    path = sounds.by_ffmpeg(wav(CLIP), tmp_path / f"talk.{ending}", *picture, *index)
    for given in (path, path.read_bytes()):
        assert len(quietly(given)) == pytest.approx(20_000, abs=3_000)


@needs_ffmpeg
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_a_video_that_is_cut_off(without_soundfile: None, ending: str, tmp_path: Path) -> None:
    picture = ["-f", "lavfi", "-i", "testsrc=s=160x120:r=5:d=12", "-map", "0:a", "-map", "1:v"]
    index = ["-movflags", "faststart"] if ending == "mp4" else []
    path = sounds.by_ffmpeg(wav(np.tile(CLIP, 10)), tmp_path / f"talk.{ending}", *picture, *index)
    data = path.read_bytes()
    with pytest.warns(
        UserWarning, match=r"the file is damaged or cut off \(.*(prematurely|partial).*\); \d+\.\d s are"
    ):
        load_audio(data[: len(data) * 6 // 10])


@needs_ffmpeg
def test_truncated_files_by_ffmpeg(without_soundfile: None, tmp_path: Path) -> None:
    path = sounds.by_ffmpeg(wav(np.tile(CLIP, 10)), tmp_path / "talk.mp3")
    path.write_bytes(path.read_bytes()[:-20_000])
    said = r"talk\.mp3: the file is damaged or cut off \(.*\); \d+\.\d s are there and used"
    with pytest.warns(UserWarning, match=said):
        heard = load_audio(path)
    assert 20_000 < len(heard) < 180_000
    whole = sounds.by_ffmpeg(wav(CLIP), tmp_path / "talk.m4a").read_bytes()
    assert "this is MP4 that cannot be read (ffmpeg: " in refusal(whole[: len(whole) // 2])


@needs_ffmpeg
def test_what_ffmpeg_does_not_read(without_soundfile: None, tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("Dear diary,\n" * 99)
    message = refusal(tmp_path / "notes.wav")
    assert "notes.wav: this is no sound file (ffmpeg: " in message and "/dev/fd" not in message
    assert message.endswith("give WAV, FLAC, OGG, Opus, MP3, m4a or a video")


@needs_ffmpeg
def test_lists_of_other_files_are_not_followed(without_soundfile: None, tmp_path: Path) -> None:
    """Neither files beside them nor the network."""
    secret = tmp_path / "secret.ts"
    sounds.by_ffmpeg(wav(CLIP), secret)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.3)
        there = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts"
        for place in (str(secret), f"file:{secret}", there):
            for name, text in (
                ("a.m3u8", f"#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10.0,\n{place}\n#EXT-X-ENDLIST\n"),
                ("a.ffconcat", f"ffconcat version 1.0\nfile '{place}'\n"),
                ("a.sdp", f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nt=0 0\nm=audio 5004 RTP/AVP 0\na={place}\n"),
            ):
                (tmp_path / name).write_text(text)
                assert "this is no sound file" in refusal(tmp_path / name)
                assert "this is no sound file" in refusal(text.encode())
        with pytest.raises(TimeoutError):
            server.accept()


@needs_ffmpeg
def test_ffmpeg_ends_when_nobody_reads_on(without_soundfile: None, tmp_path: Path) -> None:
    path = sounds.by_ffmpeg(wav(np.tile(CLIP, 100)), tmp_path / "talk.flac")
    before = threading.active_count()
    for _ in range(5):
        blocks = open_sound(path).blocks()
        next(blocks)
        blocks.close()  # type: ignore[attr-defined]  # it is a generator
    assert threading.active_count() == before
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert not [each for each in children if "ffmpeg" in Path(f"/proc/{each}/cmdline").read_text()]


@needs_ffmpeg
def test_a_program_that_is_no_ffmpeg(without_soundfile: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "ffmpeg"
    other.write_text("#!/bin/sh\necho nonsense\n")
    other.chmod(0o755)
    for name in (other, tmp_path / "missing"):
        monkeypatch.setattr(by_ffmpeg, "program", lambda name=name: str(name))
        assert "this is FLAC" in refusal(b"fLaC" + BYTES)
