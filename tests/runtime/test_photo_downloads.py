"""Photos behind URLs: fetched only where that is allowed, within a time and a size, each failure one sentence."""

from __future__ import annotations

import http.server
import pathlib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image
from transformers.image_utils import load_image as reference_load_image

from fuseline.errors import InputError
from fuseline.inputs.images import load_image
from fuseline.inputs.photos import download
from tests.runtime.test_images_bad import encoded, refusal

PNG = encoded("PNG")


class Answers(http.server.BaseHTTPRequestHandler):
    """One answer a path."""

    asked: ClassVar[list[str]] = []  # the lines of the requests, with who asked

    def do_GET(self) -> None:
        self.asked.append(f"{self.path} {self.headers['User-Agent']}")
        path = self.path.partition("?")[0]
        if path.startswith("/to/"):
            self._lead(path.removeprefix("/to/"))
        elif path == "/around":
            self._lead("/around")
        elif path == "/gone":
            self.send_error(404)
        elif path == "/page":
            self._body(b"<!DOCTYPE html><html><title>sign in</title></html>")
        elif path == "/cut":
            self._body(PNG[:99], len(PNG))
        elif path == "/unended":
            self._body(PNG, None)
        elif path == "/silent":
            self.server.over.wait(20)  # type: ignore[attr-defined]
        elif path in ("/drops", "/dropping-headers"):
            self._drops(path)
        else:
            self._body(PNG)

    def _lead(self, where: str) -> None:
        self.send_response(302)
        self.send_header("Location", where)
        self.end_headers()

    def _body(self, body: bytes, length: int | None = -1) -> None:
        self.send_response(200)
        if length is not None:
            self.send_header("Content-Length", str(len(body) if length == -1 else length))
        self.end_headers()
        self.wfile.write(body)

    def _drops(self, path: str) -> None:
        """A byte now and then, for ever."""
        if path == "/drops":
            self._body(b"", 10**6)
        else:
            self.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
        while not self.server.over.wait(0.05):  # type: ignore[attr-defined]
            try:
                self.wfile.write(b"x")
            except OSError:
                return

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "*")
    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    found.over = threading.Event()  # type: ignore[attr-defined]
    threading.Thread(target=found.serve_forever, args=(0.01,), daemon=True).start()
    Answers.asked.clear()
    yield f"http://127.0.0.1:{found.server_address[1]}"
    found.over.set()  # type: ignore[attr-defined]
    found.shutdown()
    found.server_close()


def failure(url: str, timeout: float | None = None) -> str:
    with pytest.raises(InputError) as caught:
        load_image(url, allow_downloads=True, timeout=timeout)
    message = str(caught.value)
    assert message.isprintable()
    return message


@pytest.mark.parametrize("path", ["/cat.png", "/to//cat.png", "/cat%20s.png?size=8", "/kätzchen bild.png", "/unended"])
def test_a_photo_from_the_web_is_that_of_transformers(server: str, path: str) -> None:
    expected = reference_load_image(server + path)
    theirs = [line.split()[0] for line in Answers.asked]
    Answers.asked.clear()
    np.testing.assert_array_equal(np.asarray(load_image(server + path, allow_downloads=True)), np.asarray(expected))
    assert Answers.asked == [f"{each} fuseline" for each in theirs]


def test_nothing_is_asked_for_where_it_is_not_allowed(server: str) -> None:
    sentence = "a URL is not fetched; give one of http or https as a text with allow_downloads=True, or download"
    assert refusal(f"{server}/cat.png?key=secret").startswith(f"{server}/cat.png: {sentence}")
    assert "is not fetched" in refusal(pathlib.Path(f"{server}/cat.png"))
    with pytest.raises(InputError, match="is not fetched"):
        load_image(pathlib.Path(f"{server}/cat.png"), allow_downloads=True)
    assert Answers.asked == []


CANNOT = "the photo cannot be downloaded: "
FAILURES = {
    "/gone": CANNOT + "the server answers 404 (Not Found); download the photo and give the path of the file",
    "/cut": CANNOT + "the server hung up before its end",
    "/around": CANNOT + "the server answers 302",
    "/to/file:///etc/hostname": CANNOT + "the server answers 302",
    "/to/ftp://127.0.0.1/cat.png": "it leads on to ftp://127.0.0.1/cat.png, which is not fetched",
    "/page": "this is a web page, not a photo that can be read",
}


@pytest.mark.parametrize("path", FAILURES)
def test_what_is_no_photo(server: str, path: str) -> None:
    message = failure(f"{server}{path}?key=secret")
    assert message.startswith(f"{server}{path}: {FAILURES[path]}")
    assert "secret" not in message


@pytest.mark.parametrize("path", ["/silent", "/drops", "/dropping-headers"])
def test_a_server_that_takes_too_long(server: str, path: str) -> None:
    start = time.monotonic()
    assert "no whole answer came within 0.5 s" in failure(server + path, timeout=0.5)
    assert time.monotonic() - start < 10


def test_more_bytes_than_any_photo(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "MAX_BYTES", 1000)
    assert "more than 1,000 bytes are no photo; give a smaller one" in failure(f"{server}/cat.png")


def test_nobody_is_there() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/cat.png"
        right = "download the photo and give the path of the file"
        assert failure(url) == f"{url}: {CANNOT}Connection refused; {right}"
    assert "its host is not found" in failure("http://no-such-host.invalid/cat.png")


NO_URLS = ["http://", "http:///cat.png", "http://127.0.0.1:port/", "http://127.0.0.1:99999/", "http://[::1/a"]


@pytest.mark.parametrize("url", [*NO_URLS, "http://\0/", "http://a..b/", "http://\ud800/"])
def test_no_url(url: str) -> None:
    assert CANNOT in failure(url)


def test_users_and_passwords_are_not_shown() -> None:
    url = "http://somebody:secret@127.0.0.1:1/cat.png?key=secret#secret"
    for refused in (refusal(url), refusal(url.replace("http", "s3", 1))):
        assert "//127.0.0.1:1/cat.png: a URL is not fetched" in refused
        assert "secret" not in refused
    message = failure(url)
    assert message.startswith(f"http://127.0.0.1:1/cat.png: {CANNOT}")
    assert "secret" not in message


def test_a_certificate_that_nobody_vouches_for(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "certificate.pem")
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    try:
        subprocess.run([*command, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not installed")
    server = http.server.HTTPServer(("127.0.0.1", 0), Answers)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        assert "its certificate is not trusted (" in failure(f"https://127.0.0.1:{server.server_address[1]}/cat.png")
    finally:
        server.shutdown()
        server.server_close()


def test_an_image_of_pil_needs_no_permission() -> None:
    assert load_image(Image.new("RGB", (3, 2)), allow_downloads=True, timeout=1).size == (3, 2)
