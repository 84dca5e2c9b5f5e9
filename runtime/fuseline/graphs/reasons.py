"""What onnxruntime says when something fails, in a phrase."""

from __future__ import annotations

import re

from ..errors import shown

SILENT = 4  # onnxruntime's severity "fatal": what fails is said in an exception, and not on standard error before it
_COLOUR = re.compile(r"\x1b?\[[0-9;]*m")
_CODE = re.compile(r"^.*?\[ONNXRuntimeError\] : \d+ : \w+ : ", re.DOTALL)
_LOAD = re.compile(r"^(?:Load model (?:from )?.*? failed[:.] ?)+", re.DOTALL)
_NODE = re.compile(r"Non-zero status code returned while running (\S+) node\. Name:'(.*?)' Status Message: ", re.DOTALL)
_SOURCE = re.compile(r"(?:\S*[/\\])?\w+\.(?:cc|cpp|cxx|h|hpp|cu|cuh):\d+ ")
_INSIDE = re.compile(r"[.:;]? ?\b\w+\.(?:cc|cpp|cxx|h|hpp|cu|cuh):\d+ (?:\w+(?:<[^>]*>)? )?")
_NAME = re.compile(r"^[A-Za-z_]\w*(?:::~?\w+)* (?=\S)")
_AFTER_SIGNATURE = re.compile(r"(?: const| noexcept| \[with [^\]]*\]|::<lambda\([^)]*\)>|::operator\(\))+")
_INVALID = re.compile(r"^This is an invalid model\b.*?\bError:? (.+)", re.DOTALL)
_CUDA = re.compile(r" ?; GPU=-?\d+ ; hostname=.*", re.DOTALL)  # and file, line and expression
_NO_NUMBER = ("stoi", "stol", "stoul", "stoll", "stoull", "stof", "stod")  # all that C++ says of a text that is none
_CONDITION = re.compile(r"^.{0,300}? was false\. (?=\S)", re.DOTALL)


def reason(error: BaseException | str) -> str:
    """What onnxruntime says, in a phrase: without its code, the places in its sources and what it prints of nodes."""
    if isinstance(error, MemoryError) or "bad_alloc" in str(error) or "bad allocation" in str(error):
        return "there is not enough memory for it"
    text = _COLOUR.sub("", str(error)).strip()
    if text in _NO_NUMBER:
        return f"an option is no number ({text})"
    text = _LOAD.sub("", _CODE.sub("", text)).strip()
    node = _NODE.search(text)
    where = ""
    if node is not None:
        named = f" '{shown(node[2], 80)}'" if node[2] else ""
        where, text = f"{shown(node[1], 40)} node{named}: ", text[node.end() :]
    while (shorter := _CODE.sub("", _without_source(text)).strip()) != text:  # one error may hand on another
        text = shorter
    text = _CUDA.sub("", _CONDITION.sub("", text))
    unknown = _INVALID.search(text)
    text = _INSIDE.sub("; ", unknown[1] if unknown is not None else text)
    first = re.split(r"(?<=[^.\s])\.\s+(?=[A-Z/])|\n", text, maxsplit=1)[0].strip().rstrip(".:; ")
    return where + (first[:300].rstrip() or type(error).__name__)


def _without_source(text: str) -> str:
    """Without the place in onnxruntime's sources and the function's signature, with which some messages begin."""
    source = _SOURCE.match(text)
    if source is None:
        return text
    rest = text[source.end() :]
    if "/" not in source[0] and "\\" not in source[0]:  # with the file's name alone comes the function's alone
        return _NAME.sub("", rest)
    opening, depth = rest.find("("), 0
    for at in range(max(opening, 0), len(rest) if opening >= 0 else 0):
        depth += (rest[at] == "(") - (rest[at] == ")")
        if depth == 0:
            after = _AFTER_SIGNATURE.match(rest, at + 1)
            return rest[after.end() if after else at + 1 :].strip()
    return rest
