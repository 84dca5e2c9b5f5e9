"""CTranslate2, by its own converter: which of the models it takes is for the converter to say."""

from __future__ import annotations

from . import CHECKPOINT, Export, Spec

REQUIREMENTS = "ctranslate2"
EXPORTS = {"ctranslate2-int8": Export(CHECKPOINT, "export")}
SPECS = [Spec("ctranslate2-int8", "int8", "ctranslate2-int8")]


def export(checkpoint, out):
    from ctranslate2.converters import TransformersConverter

    TransformersConverter(str(checkpoint)).convert(str(out), quantization="int8")


def imports():
    import ctranslate2

    return ctranslate2


class System:
    def __init__(self, folder, threads):
        from . import Refused

        raise Refused("CTranslate2 converted the model, but offers no Python class that takes photos")
