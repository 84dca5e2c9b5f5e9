"""The command `fuseline info`: what there is on this machine, and what a model holds."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import Error
from ..folders.tensors import FLAT, INPUT_IDS, TEXT
from ..version import __version__
from .terminal import FAILED, Terminal, readable

if TYPE_CHECKING:
    from ..folders.own import Folder

_LAYER = ("fuseline", "DecoderLayer")
_LANGUAGES = 12  # that are shown to people

_HELP = "Show what fuseline finds on this machine (CPU, kernel library, onnxruntime) and what a model holds."
_EPILOG = """\
--json prints one object; a model that cannot be opened is an "error" in it.

example: fuseline info --json ~/models/vit-gpt2"""


def add_to(commands: Any) -> None:
    """Make it one of the commands: what argparse's add_subparsers gave."""
    info = commands.add_parser(
        "info",
        help="show this machine and a model",
        description=_HELP,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    info.set_defaults(command=_run)
    info.add_argument("model", nargs="?", metavar="MODEL", help="a model folder (default: the captioner that ships)")
    info.add_argument("--json", action="store_true", help="print one object")


def _run(options: argparse.Namespace, terminal: Terminal) -> int:
    """Show the machine, then the model; a model that cannot be opened is an error after the machine is shown."""
    from ..folders.open import open_folder

    machine = _machine()
    try:
        facts = machine | {"model": _described(open_folder(options.model))}
    except Error as error:
        if not options.json:
            terminal.lines(_rows(machine))
        terminal.fail(error, **(machine if options.json else {}))
        return FAILED
    if options.json:
        terminal.record(facts, indent=2)
    else:
        terminal.lines([*_rows(machine), *_model_rows(facts["model"])])
    return 0


def _machine() -> dict[str, Any]:
    from fuseline.kernels import library_info

    from ..graphs.cores import physical_cores
    from ..graphs.devices import devices
    from ..graphs.installed import onnxruntime, wheels
    from ..graphs.operators import CUDA, on_cuda

    info, runtime = library_info(), onnxruntime()
    own = {}
    if CUDA in devices().values():
        on_gpu = on_cuda()
        own["CUDA operators"] = {"path": str(on_gpu.path) if on_gpu.path else None, "reason": on_gpu.reason}
    return {
        "fuseline": __version__,
        "cpu": {"cores": physical_cores(), "features": list(info.features)},
        "kernel library": {"path": str(info.path) if info.path else None, "isa": info.isa, "reason": info.reason},
        "onnxruntime": {
            "version": runtime.__version__,
            "providers": list(devices().values()),
            "devices": list(devices()),
            "packages": wheels(),
        },
        **own,
    }


def _described(folder: Folder) -> dict[str, Any]:
    variants: dict[str, Any] = {}
    for name, variant in folder.variants.items():
        variants[name] = {
            "default": name == folder.default_variant,
            "bytes": sum(size for file, size in folder.sizes.items() if file.startswith(variant.graphs)),
            "quality": folder.quality.get(name, {}),
            **_layers(folder, name),
        }
    described: dict[str, Any] = {"path": str(folder.path), "made by": folder.made_by, "license": dict(folder.license)}
    reads = {
        name: {"inputs": list(source.inputs), "longest": source.longest, "absent": source.absent}
        for name, source in folder.sources.items()
    }
    about = {"task": folder.task, "sources": reads, "fusion": folder.fusion, "languages": _languages(folder)}
    described |= about
    if folder.confidence is not None:
        described["confidence"] = asdict(folder.confidence)
    return described | {"variants": variants, "files": dict(folder.sizes), "auto": _chosen(folder)}


def _languages(folder: Folder) -> list[str]:
    """Those that the model has tokens for, as a call names them."""
    if folder.reads != TEXT:
        return []
    from ..inputs.texts import SourceTokenizer
    from ..tokens.tokenizer import open_tokenizer

    file = folder.read_tokenizer()
    tokens = open_tokenizer(file, folder.source.vocab_size or folder.decoder.vocab_size)
    return sorted(SourceTokenizer(tokens, file, folder.tokenizer_config).languages)


def _layers(folder: Folder, variant: str) -> dict[str, Any]:
    """How many of a variant's decoder layers run as one node each, and why others do not, as far as that is known."""
    if folder.foreign or not folder.has(variant) or folder.fusion not in (None, FLAT):
        return {}  # layers of other modes of fusion cannot be one node
    try:
        used = folder.using(variant)
    except Error as error:
        return {"problem": str(error)}
    joined = used.facts_of(used.decoder_path).operators.get(_LAYER, 0)
    apart = _apart(used.decoder_path) if joined < folder.decoder.layers else []
    return {"layers": {"joined": joined, "of": folder.decoder.layers, "not joined": apart}}


def _apart(decoder: Path) -> list[str]:
    """The layers whose operators are nodes of their own, each with its reason; needs onnx."""
    try:
        import onnx

        from fuseline.kernels.layers import join_layers, split_layers
    except ImportError:
        return ["why is told where onnx is installed"]
    found = [str(each) for each in join_layers(split_layers(onnx.load(decoder, load_external_data=False)))]
    return found or ["this version of fuseline could join them; export the model again"]


def _chosen(folder: Folder) -> dict[str, Any]:
    """What variant="auto" uses here, and why."""
    from ..trials.auto import choose

    if folder.foreign:
        return {
            "variant": folder.variant,
            "why": "the default, since the folder does not tell how good its variants are",
        }
    choice = choose(folder)
    return {**vars(choice), "why": choice.sentence(folder)}


def _rows(machine: dict[str, Any]) -> Iterator[str]:
    library, runtime = machine["kernel library"], machine["onnxruntime"]
    version = runtime["version"]
    # The usual package, of the version that stands there already, would say nothing.
    others = [name for name in runtime["packages"] if name != f"onnxruntime {version}"]
    packages = f"; of {', '.join(runtime['packages'])}" if others else ""
    tried = "; fuseline devices tries them" if len(runtime["devices"]) > 1 else ""
    rows = {
        "fuseline": machine["fuseline"],
        "CPU": f"{machine['cpu']['cores']} cores; in use: {', '.join(machine['cpu']['features']) or 'nothing special'}",
        "kernel library": f"{library['path']} ({library['isa']})" if library["path"] else f"none: {library['reason']}",
        "onnxruntime": f"{version}; devices: {', '.join(runtime['devices'])}{packages}{tried}",
    }
    if (own := machine.get("CUDA operators")) is not None:
        rows["CUDA operators"] = own["path"] or f"none, bodies run: {own['reason']}"
    for name, text in rows.items():
        yield f"{name:<16}{text}"


def _model_rows(model: dict[str, Any]) -> Iterator[str]:
    made_by = ", ".join(f"{name} {version}" for name, version in model["made by"].items())
    yield f"{'model':<16}{model['path']}" + (f" (made by {made_by})" if made_by else "")
    if not model["sources"]:
        yield f"  {model['task']}: reads nothing beside what is said so far"
    for name, source in model["sources"].items():
        unit = "tokens" if INPUT_IDS in source["inputs"] else "positions"
        longest = "" if source["longest"] is None else f", at most {source['longest']} {unit}"
        without = "" if model["fusion"] is None else f"; without it: {source['absent']}"
        yield f"  {model['task']}: the {name} reads {' and '.join(source['inputs'])}{longest}{without}"
    if model["fusion"] is not None:
        yield f"  sources are fused by {model['fusion']}, see docs/fusion.md"
    if model["languages"]:
        shown = model["languages"][:_LANGUAGES]
        more = f", ... ({len(model['languages'])} in all, see --json)" if len(model["languages"]) > len(shown) else ""
        yield f"  languages: {', '.join(shown)}{more}"
    if "confidence" in model:
        yield f"  says how sure it is: unsure where confidence is below {model['confidence']['unsure_below']:g}"
    if model["license"]:
        yield f"  license: {': '.join(model['license'].values())}"
    for name, variant in model["variants"].items():
        quality = ", ".join(f"{key} {value}" for key, value in variant["quality"].items() if _for_people(key, value))
        default = ", the default" if variant["default"] else ""
        yield f"  variant {name}{default}: {readable(variant['bytes'])}; {quality or 'quality not measured'}"
        if "problem" in variant:
            yield f"    cannot be used: {variant['problem']}"
        layers = variant.get("layers", {"not joined": []})
        if layers["not joined"]:
            yield f"    {layers['joined']} of {layers['of']} decoder layers run as one node each, which is faster:"
            yield from (f"      {reason}" for reason in layers["not joined"])
    yield f"  auto uses {model['auto']['variant']}: {model['auto']['why']}"
    for name, size in model["files"].items():
        yield f"  {readable(size):>10}  {name}"


def _for_people(key: str, value: object) -> bool:
    """Whether a fact of a variant's quality fits into a line: no hash or signature, and nothing within something."""
    return not key.endswith(("sha256", "signature")) and not isinstance(value, dict)
