"""A wheel without pip: by the index's page of the project, as PEP 503 and PEP 691 have it."""

from __future__ import annotations

import http.client
import json
import os
import re
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from ..errors import InputError, shown
from .offers import Wheel, by_hand

INDEX = "https://pypi.org/simple"
# What names another index in environments without pip, which mostly are uv's; the first that is set counts.
_INDICES = ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL")
_ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.5, text/html;q=0.1"
_LARGEST_PAGE = 16 << 20
_TIMEOUT = 30.0  # seconds without an answer
_PIECE = 1 << 18
_HERE = ("localhost", "127.0.0.1", "::1")


def by_web(wheel: Wheel, folder: Path) -> Iterator[int]:
    """Bring the wheel into the folder, and tell the bytes so far. Raises InputError."""
    index = next((os.environ[name] for name in _INDICES if os.environ.get(name)), INDEX)
    with _in_a_sentence(wheel, index):
        web = _Web(index)
        url, come = _find(web, wheel, f"{index.rstrip('/')}/{wheel.project}/"), 0
        with web.open(url) as answer, (folder / wheel.name).open("wb") as file:
            while piece := answer.read(_PIECE):
                come += len(piece)
                if come > wheel.bytes:
                    raise InputError(f"{_plain(url)} has more than the {wheel.bytes:,} bytes of {wheel.name}")
                file.write(piece)
                yield come
        if come < wheel.bytes:
            raise InputError(f"{_plain(url)} ended after {come:,} of {wheel.bytes:,} bytes; try again")


class _Web:
    """What is asked for by https alone, redirects included; of an index on this machine also as the index is."""

    def __init__(self, index: str) -> None:
        self._scheme = urllib.parse.urlsplit(index).scheme
        secure = ssl.create_default_context(cafile=os.environ.get("PIP_CERT") or None)
        self._opener = urllib.request.OpenerDirector()
        redirects = _Redirects()
        redirects.check = self._check
        for handler in (
            urllib.request.ProxyHandler(),
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(context=secure),
            urllib.request.FileHandler(),
            redirects,
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
        ):
            self._opener.add_handler(handler)
        self._opener.addheaders = [("User-Agent", "fuseline"), ("Accept", _ACCEPT)]

    def open(self, url: str) -> Any:
        """The answer, to be read in a `with` block."""
        self._check(url)
        return self._opener.open(url, timeout=_TIMEOUT)

    def _check(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        here = parts.scheme == "file" or (parts.scheme == "http" and parts.hostname in _HERE)
        if not (parts.scheme == "https" or (here and parts.scheme == self._scheme)):
            raise InputError(f"{_plain(url)} is not fetched; a package index is reached by https")


class _Redirects(urllib.request.HTTPRedirectHandler):
    check: Any

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        self.check(newurl)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _find(web: _Web, wheel: Wheel, page: str) -> str:
    """Where the index says that the wheel lies."""
    if page.startswith("file:"):
        page += "index.html"
    with web.open(page) as answer:
        content = answer.read(_LARGEST_PAGE + 1)
        kind, base = answer.headers.get_content_type(), answer.geturl()
    if len(content) > _LARGEST_PAGE:
        raise InputError(f"{_plain(page)} has more than {_LARGEST_PAGE:,} bytes, so it is no page of an index")
    for name, target in _of_json(content) if kind.endswith("json") else _of_html(content):
        if name == wheel.name:
            return str(urllib.parse.urljoin(base, target))
    raise InputError(f"{_plain(page)} has no {wheel.name}; {by_hand(wheel)}")


def _of_json(content: bytes) -> Iterator[tuple[str, str]]:
    for entry in json.loads(content)["files"]:
        yield str(entry["filename"]), str(entry["url"])


def _of_html(content: bytes) -> Iterator[tuple[str, str]]:
    links = _Links()
    links.feed(content.decode("utf-8", "replace"))
    for target in links.targets:
        yield urllib.parse.unquote(urllib.parse.urlsplit(target).path.rpartition("/")[2]), target


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.targets += [value for name, value in attrs if tag == "a" and name == "href" and value]


def _plain(url: str) -> str:
    """Without what may be a password."""
    return shown(re.sub(r"//[^/@]*@", "//", url))


@contextmanager
def _in_a_sentence(wheel: Wheel, index: str) -> Iterator[None]:
    try:
        yield
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error
        reason = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
        raise InputError(
            f"{wheel.requirement} cannot be downloaded from {_plain(index)}: {shown(reason)}; see that it can be "
            f"reached, or {by_hand(wheel)}"
        ) from error
