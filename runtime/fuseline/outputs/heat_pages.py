"""Where a model looked as one HTML page: everything is in it, and it asks for nothing from anywhere.

The page's own policy (Content-Security-Policy) forbids what is not in it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from html import escape
from io import BytesIO

import numpy as np
from PIL import Image

from ..arrays import Float32
from .heat_colours import colours, layer

_LONGEST = 1024  # pixels of the photo in a page
_LONGEST_MAP = 128  # of a map
_STYLE = """
:root { color-scheme: light dark; }
body { font: 1.1rem/1.5 system-ui, sans-serif; margin: 1.5rem auto; max-width: 64rem; padding: 0 1rem; }
p.said { font-size: 1.6rem; line-height: 1.7; margin: 0 0 1rem; }
.word { font: inherit; color: inherit; background: none; border: 0; border-bottom: 3px solid #8888; border-radius: 4px;
  padding: 0 .15em; margin: 0; cursor: pointer; }
.word.on { background: #3b528b; color: #fff; border-color: #fde725; }
.word:focus-visible { outline: 3px solid #21918c; outline-offset: 2px; }
.photo { position: relative; display: inline-block; line-height: 0; }
.photo img { max-width: 100%; max-height: 75vh; }
.photo img.map { position: absolute; inset: 0; width: 100%; height: 100%; max-height: none; visibility: hidden; }
.photo img.map.on { visibility: visible; }
.photo.lit img.plain { filter: grayscale(1); }
.source { font-size: 1.3rem; line-height: 2; }
.source span { padding: .1em .2em; border-radius: 4px; }
.legend { display: flex; gap: .6rem; align-items: center; font-size: .9rem; margin-top: .8rem; flex-wrap: wrap; }
.legend i { display: inline-block; width: 8rem; height: 1rem; background: GRADIENT; }
"""
# Pointing shows a word while it lasts, tapping, Enter and focus until another is chosen.
_SCRIPT = """
const words = [...document.querySelectorAll('.word')];
let held = -1;
function choose(at) {
  words.forEach((word, each) => {
    word.classList.toggle('on', each === at);
    word.setAttribute('aria-pressed', String(each === at));
  });
  show(at);
}
words.forEach((word, at) => {
  word.addEventListener('pointerenter', () => choose(at));
  word.addEventListener('pointerleave', () => choose(held));
  word.addEventListener('focus', () => { held = at; choose(at); });
  word.addEventListener('click', () => { held = at; choose(at); });
});
document.addEventListener('keydown', event => {
  if (event.key === 'Escape') { held = -1; choose(-1); }
});
"""
_SHOW_MAP = """
const photo = document.querySelector('.photo'), maps = [...document.querySelectorAll('.map')];
function show(at) {
  photo.classList.toggle('lit', at >= 0);
  maps.forEach((map, each) => map.classList.toggle('on', each === at));
}
"""
_SHOW_SOURCE = """
const read = [...document.querySelectorAll('.source span')], shades = SHADES;
function show(at) {
  read.forEach((word, each) => {
    const [colour, ink] = at < 0 ? ['', ''] : shades[at][each];
    word.style.background = colour;
    word.style.color = ink;
  });
}
"""
_LEGEND = '<div class="legend"><span>little</span><i></i><span>most, each word on its own scale</span></div>'
_HINT = "Point at a word, tap it, or go from word to word by Tab, to see where the model looked. Escape: none."


def photo_page(text: str, words: Sequence[str], maps: Float32, photo: Image.Image) -> str:
    """Of a caption. maps: float32[W, rows, columns]; photo: upright, RGB."""
    small = photo.copy()
    small.thumbnail((_LONGEST, _LONGEST), Image.Resampling.LANCZOS)
    plain = f'<img class="plain" src="{_data(small, "JPEG")}" alt="the photo">'
    layers = "".join(f'<img class="map" src="{_data(_small(layer(map)), "PNG")}" alt="">\n' for map in maps)
    body = f'<div class="photo">{plain}\n{layers}</div>'
    return _page(text, words, body, _SHOW_MAP)


def text_page(text: str, words: Sequence[str], source_words: Sequence[str], weights: Float32) -> str:
    """Of a text made of a text: how much each said word read each word of the source. weights: float32[W, N]."""
    most = weights.max(axis=1, keepdims=True, initial=0)
    heat = weights / np.where(most > 0, most, 1)
    shades = [[_shade(value) for value in row] for row in heat.tolist()]
    spans = " ".join(f"<span>{_escaped(word)}</span>" for word in source_words)
    body = f'<p class="source">{spans}</p>'
    return _page(text, words, body, _SHOW_SOURCE.replace("SHADES", json.dumps(shades)))


def _shade(heat: float) -> tuple[str, str]:
    """Background and ink of a word, as CSS has them; what was hardly read has none."""
    if heat < 0.05:
        return "", ""
    red, green, blue = colours(np.array(heat, np.float32)).tolist()
    return f"#{red:02x}{green:02x}{blue:02x}", "#000" if heat > 0.6 else "#fff"


def _page(text: str, words: Sequence[str], body: str, show: str) -> str:
    stops = ", ".join(f"rgb{tuple(stop)}" for stop in colours(np.linspace(0, 1, 10, dtype=np.float32)).tolist())
    style = _STYLE.replace("GRADIENT", f"linear-gradient(to right, {stops})")
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    said = " ".join(
        f'<button type="button" class="word" aria-pressed="false">{_escaped(word)}</button>' for word in words
    )
    return f"""<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_escaped(text)}</title>
<style>{style}</style>
</head>
<body>
<p class="said">{said}</p>
{body}
{_LEGEND}
<p>{_HINT}</p>
<script>{show}{_SCRIPT}</script>
</body>
</html>
"""


def _escaped(text: str) -> str:
    """As HTML has it, without characters that a page may not hold."""
    return escape("".join(each if each.isprintable() or each.isspace() else "\ufffd" for each in text))


def _small(image: Image.Image) -> Image.Image:
    """The browser makes it as large as the photo again, as smoothly."""
    image.thumbnail((_LONGEST_MAP, _LONGEST_MAP))
    return image


def _data(image: Image.Image, format: str) -> str:
    data = BytesIO()
    image.save(data, format)
    return f"data:image/{format.lower()};base64,{base64.b64encode(data.getvalue()).decode()}"
