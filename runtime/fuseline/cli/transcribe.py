"""The command `fuseline transcribe`: what is said in sounds, as text, subtitles or objects."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import InputError, counted, shown
from .generating import add_running_options, opened_model
from .interrupts import check as check_interrupts
from .sounds import check_microphone, check_names, opened
from .streams import Unwritable
from .terminal import FAILED, Terminal

if TYPE_CHECKING:
    from ..inputs.audio import Sound
    from ..model import Model
    from ..speech.options import SpeechOptions
    from ..speech.segments import Transcription
    from ..speech.transcriber import Transcriber
    from .transcripts import Output, Running

_HELP = """\
Print what is said in sounds: WAV files, and with soundfile (pip install "fuseline[audio]") or ffmpeg all usual kinds of
sound and video; - reads one from standard input. A line a segment; with several files "path: " goes before each.
What cannot be transcribed is said on standard error, and the rest goes on; the exit status is 2 then. Ctrl-C ends it
with what there is so far."""
_EPILOG = """\
Only where somebody speaks the model is asked (--vad off: everywhere). What is left out of the text, since nobody speaks
there or the model repeats itself, is counted on standard error, and listed with -v and in JSON ("dropped").
Without --model the one is used that `fuseline get` has fetched; of several whisper-base, else whisper-tiny.en, else
moonshine-tiny.

--json prints an object a line: {"file": ..., "text": ..., "language": ..., "duration": ..., "segments": [{"start": ...,
"end": ..., "text": ..., "avg_logprob": ..., "no_speech_prob": ..., "compression_ratio": ..., "temperature": ...,
"dropped": ..., "words": ...}], "milliseconds": ..., "model": ..., "variant": ...}, for a sound that failed
{"file": ..., "error": ...}, and {"error": ...} if the command can do nothing at all.

example: fuseline get whisper-tiny.en && fuseline transcribe talk.mp3
         fuseline transcribe --format srt talk.mp4 > talk.srt
         fuseline transcribe --format all --output-dir texts --words *.flac
         arecord -t raw -f S16_LE -r 16000 | fuseline transcribe --stream --raw 16000 -"""

_HEARD = "auto"  # in the place of a language

# As the reference command of Whisper decodes, with what transformers calls the threshold of repetition.
_CAREFULLY: dict[str, Any] = {
    "temperature": (0.0, 0.2, 0.4, 0.6, 0.8, 1.0),
    "compression_ratio_threshold": 1.35,
    "logprob_threshold": -1.0,
    "no_speech_threshold": 0.6,
    "drop_silence": True,
    "drop_loops": True,
    "seed": 0,
}


def add_to(commands: Any) -> None:
    """Make it one of the commands: what argparse's add_subparsers gave."""
    transcribe = commands.add_parser(
        "transcribe",
        help="print what is said in sounds",
        description=_HELP,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    transcribe.set_defaults(command=_run)
    add = transcribe.add_argument
    add("files", nargs="*", metavar="FILE", help="a sound or a video, or - for standard input")
    add("--model", metavar="MODEL", help="a model's name or folder (default: the one that `fuseline get` has fetched)")
    add("--language", default=_HEARD, metavar="LANG", help="a code or a name; auto: the one that is heard (default)")
    add("--task", choices=("transcribe", "translate"), help="translate: into English, of models that can")
    add("--words", action="store_true", help="times of words too, for JSON, srt and vtt")
    add("--format", default="txt", metavar="F", help="txt, srt, vtt, tsv, json, or all of them (default: txt)")
    add("--output-dir", metavar="D", help="write files in there, called as the sounds are (default: print)")
    add("--vad", choices=("auto", "off"), default="auto", help="auto: pauses do not reach the model (default)")
    add("--num-beams", type=int, metavar="N", help="texts that are followed at once (default: the model's own number)")
    add("--prompt", metavar="T", help="a text that the sound goes on from, for its style and its names")
    add("--hotwords", metavar="W", help="words that may be said")
    add("--raw", type=int, metavar="RATE", help="the sounds are int16 samples of one channel, so many a second")
    add("--microphone", action="store_true", help="listen to the microphone; Ctrl-C ends it (needs sounddevice)")
    add("-v", "--verbose", action="store_true", help="say what is left out, and why")
    add_running_options(add)
    how = transcribe.add_mutually_exclusive_group()
    how.add_argument("--json", action="store_true", help="print an object a sound, as below")
    how.add_argument("--stream", action="store_true", help="print words as they become certain, some 2 s behind")


def _run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Transcribe every sound that can be; 2 if one could not."""
    from .transcripts import check_output

    _check(options)
    live = options.stream or options.microphone
    formats = check_output(options.format, options.files, options.output_dir, alone=live, as_json=options.json)
    _check_words(options, formats)
    model = _model(options, terminal)
    asked = _asked(options, model)
    if live:
        from .listening import listen

        return listen(options, model, asked, terminal)
    from ..speech.transcriber import Transcriber

    job = _Job(Transcriber(model), asked, options, terminal)
    job.check()
    output = _output(options, formats, model, terminal)
    several = len(options.files) > 1
    failed = False
    for number, name in enumerate(options.files, 1):
        try:
            job.transcribe(name, output, f"transcribing {number}/{len(options.files)}" if several else "transcribing")
        except Unwritable:
            raise
        except Exception as error:  # whatever it is, it is this sound's and must not cost the others
            check_interrupts()
            terminal.fail(error, name)
            failed = True
        check_interrupts()
    return FAILED if failed else 0


def _output(options: argparse.Namespace, formats: Sequence[str], model: Model, terminal: Terminal) -> Output:
    from .transcripts import Files, Lines, Objects

    if options.json:
        return Objects(terminal, _name(options, model), model.folder.variant)
    if options.output_dir is not None:
        return Files(terminal, formats, options.output_dir)
    return Lines(terminal, formats[0], several=len(options.files) > 1)


def _check(options: argparse.Namespace) -> None:
    """Raise InputError for options that do not go together."""
    check_names(options.files, options.raw)
    if options.microphone and (options.files or options.raw is not None or options.json):
        raise InputError("--microphone listens to the microphone alone; leave out the files, --raw and --json")
    if not options.microphone and not options.files:
        raise InputError(
            "there is no sound to transcribe; give the path of a file, - for standard input, or --microphone"
        )
    if (options.stream or options.microphone) and options.words:
        raise InputError("--words needs sounds that have ended; leave it out, or leave out --stream and --microphone")
    if options.microphone:
        check_microphone()


def _check_words(options: argparse.Namespace, formats: Sequence[str]) -> None:
    """Raise InputError where times of words would go nowhere."""
    if options.words and not options.json and not {"json", "srt", "vtt"} & {*formats}:
        right = "add --format srt, vtt or json, or --json, or leave it out"
        raise InputError(f"--words changes nothing of {formats[0]}, which has no times of words; {right}")


def _asked(options: argparse.Namespace, model: Model) -> SpeechOptions:
    """What is asked of every sound. Raises InputError."""
    from ..folders.tensors import INPUT_FEATURES
    from ..speech.options import SpeechOptions

    given = {"task": options.task, "prompt": options.prompt, "hotwords": options.hotwords}
    asked: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    if options.num_beams is not None:
        asked["num_beams"] = options.num_beams
    in_windows = INPUT_FEATURES in model.folder.source.inputs  # others have no times
    timestamps = "word" if options.words else in_windows
    return SpeechOptions(language=options.language, return_timestamps=timestamps, **_CAREFULLY, **asked)


def _model(options: argparse.Namespace, terminal: Terminal) -> Model:

    folder = options.model
    if folder is None:
        from ..getting.places import fetched_for_speech, installed

        folder = fetched_for_speech("--model")
        others = [name for name in installed() if name != folder.name]
        if others:
            tell = terminal.note if options.verbose else terminal.remark
            tell(f"the model is {folder.name}; --model takes another, such as {others[0]}")
    return opened_model(folder, options)


def _name(options: argparse.Namespace, model: Model) -> str:
    """What the model is called: by a name on the hub, or else as its folder."""
    from ..folders.hub import is_hub_id

    given = options.model
    return given if given is not None and is_hub_id(given) else model.folder.path.name


class _Job(NamedTuple):
    """What one run of the command does with each sound."""

    transcriber: Transcriber
    asked: SpeechOptions
    options: argparse.Namespace
    terminal: Terminal

    def check(self) -> None:
        """Raise InputError for an option that this model cannot follow: it is said once, and not for every sound."""
        self.transcriber.transcribe({"array": [0.0] * 1600, "sampling_rate": 16_000}, self.asked)

    def transcribe(self, name: str, output: Output, doing: str) -> None:
        """Raises InputError and others for a sound that cannot be; KeyboardInterrupt once what there is is written."""
        from .transcripts import Coming

        with opened(name, self.options.raw) as sound, self.terminal.seconds(doing, sound.duration) as tell:
            coming = Coming(name, self._running(sound, tell), sound.duration)
            output.take(coming)
        said = coming.transcription
        self._note(name, said)
        if coming.interrupted:
            raise KeyboardInterrupt

    def _running(self, sound: Sound, tell: Callable[[float], None]) -> Running:
        if self.options.vad == "off":
            return self.transcriber.transcribe(sound, self.asked, progress=tell)
        from ..speech.pauses import OfVoices

        return OfVoices(self.transcriber, sound, self.asked, progress=tell)

    def _note(self, name: str, said: Transcription) -> None:
        """Say which language was heard where nobody gave it, and what was left out of the text, with -v in detail."""
        if said.language is not None and self.options.language == _HEARD and not self.options.verbose:
            self.terminal.remark(f"the language that is heard is {said.language}; --language gives another")
        dropped = [segment for segment in said.segments if segment.dropped is not None]
        if self.options.verbose:
            if said.language is not None:
                self.terminal.note(f"{shown(name)}: the language is {said.language}")
            for each in dropped:
                text = f": {each.text.strip()}" if each.text.strip() else ""
                self.terminal.note(
                    f"{shown(name)}: {each.start:.1f} to {each.end:.1f} s left out, {each.dropped}{text}"
                )
        elif dropped:
            seconds = sum(each.end - each.start for each in dropped)
            reasons = ", ".join(dict.fromkeys(str(each.dropped) for each in dropped))
            parts = f"{counted(len(dropped), 'part')}, {seconds:.0f} s,"
            self.terminal.note(f"{shown(name)}: {parts} left out of the text ({reasons}); -v lists them")
