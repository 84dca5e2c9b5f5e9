"""A photo from the web, where the caller allows it: bounded in bytes and in time, by http and https alone."""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import suppress
from functools import partial
from typing import Any

from fuseline.errors import InputError, shown

from .source import MAX_BYTES, public

SECONDS = 60.0  # where the caller names no time
_PIECE = 2**16
_RIGHT = "download the photo and give the path of the file"
_WEB = ("http", "https")


def download(url: str, timeout: float | None = None) -> tuple[bytes, str]:
    """The bytes behind a URL, and its name for messages, which is without what may be a password or a key.

    timeout: seconds for all of it, redirects included (None: SECONDS). Raises InputError.
    """
    name = shown(public(url))
    limit = _Limit(SECONDS if timeout is None else timeout)
    try:
        with limit, _opener(limit).open(_request(url), timeout=limit.left()) as answer:
            return _body(answer, limit, name), name
    except InputError:
        raise
    except Exception as error:  # urllib, http.client, ssl, socket and the codecs of names have no common base
        reason = f"no whole answer came within {limit.seconds:g} s" if limit.over() else _reason(error)
        raise InputError(f"{name}: the photo cannot be downloaded: {reason}; {_RIGHT}") from None


class _Limit:
    """The time that a download may take. Servers that say a byte now and then are hung up on when it is over."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds
        self._connections: list[http.client.HTTPConnection] = []
        self._timer = threading.Timer(seconds, self._hang_up)
        self._timer.daemon = True

    def __enter__(self) -> _Limit:
        self._timer.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._timer.cancel()

    def left(self) -> float:
        """Seconds, above 0."""
        return max(0.001, self._end - time.monotonic())

    def over(self) -> bool:
        return time.monotonic() >= self._end - 0.01  # a socket's own timeout may come a little early

    def connection(self, kind: Any, host: str, **options: Any) -> http.client.HTTPConnection:
        """A connection that is hung up on when the time is over."""
        connection: http.client.HTTPConnection = kind(host, **options)
        connection.timeout = self.left()
        self._connections.append(connection)
        return connection

    def _hang_up(self) -> None:
        for connection in self._connections:
            with suppress(OSError, AttributeError):
                connection.sock.shutdown(socket.SHUT_RDWR)


class _Http(urllib.request.HTTPHandler):
    limit: _Limit

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(self.limit.connection, http.client.HTTPConnection), req)


class _Https(urllib.request.HTTPSHandler):
    limit: _Limit

    def https_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        secure = partial(http.client.HTTPSConnection, context=ssl.create_default_context())
        return self.do_open(partial(self.limit.connection, secure), req)


class _Redirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urllib.parse.urlsplit(newurl).scheme.lower() not in _WEB:
            where = shown(public(newurl))
            raise InputError(f"{shown(public(req.full_url))}: it leads on to {where}, which is not fetched; {_RIGHT}")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _opener(limit: _Limit) -> urllib.request.OpenerDirector:
    """Without urllib's handlers of files, ftp and data."""
    opener = urllib.request.OpenerDirector()
    http_handler, https_handler = _Http(), _Https()
    http_handler.limit = https_handler.limit = limit
    errors = (urllib.request.HTTPDefaultErrorHandler(), urllib.request.HTTPErrorProcessor())
    for handler in (urllib.request.ProxyHandler(), http_handler, https_handler, _Redirects(), *errors):
        opener.add_handler(handler)
    opener.addheaders = [("User-Agent", "fuseline"), ("Accept", "image/*,*/*;q=0.5")]
    return opener


def _request(url: str) -> urllib.request.Request:
    """With what is not ASCII written as URLs have it: names of hosts in IDNA, the rest in percents."""
    parts = urllib.parse.urlsplit(url)
    host = parts.netloc if parts.netloc.isascii() else parts.netloc.encode("idna").decode()
    path, query = (urllib.parse.quote(part, safe="%/:=&?~+!$,;'@()*[]") for part in (parts.path, parts.query))
    return urllib.request.Request(urllib.parse.urlunsplit((parts.scheme, host, path, query, "")))


def _body(answer: http.client.HTTPResponse, limit: _Limit, name: str) -> bytes:
    pieces, total = [], 0
    while piece := answer.read1(_PIECE):  # what is there, so that the time is looked at between
        pieces.append(piece)
        total += len(piece)
        if total > MAX_BYTES:
            raise InputError(f"{name}: more than {MAX_BYTES:,} bytes are no photo; give a smaller one")
        if limit.over():
            break
    if limit.over():  # what was hung up on looks as if it had ended
        raise TimeoutError
    if answer.length:  # read1 says nothing of what is missing
        raise http.client.IncompleteRead(b"", answer.length)
    return b"".join(pieces)


def _reason(error: Exception) -> str:
    """Why, in plain words."""
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(error, urllib.error.HTTPError):
        return f"the server answers {error.code} ({shown(error.reason)})"
    if isinstance(cause, socket.gaierror):
        return "its host is not found"
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({shown(cause.verify_message)})"
    if isinstance(cause, (http.client.IncompleteRead, http.client.RemoteDisconnected, ConnectionResetError)):
        return "the server hung up before its end"
    if isinstance(cause, (http.client.InvalidURL, UnicodeError, ValueError)):
        return "this is no URL that can be asked for"
    if isinstance(cause, OSError) and cause.strerror:
        return shown(cause.strerror)
    return shown(cause if isinstance(cause, str) else type(cause).__name__)
