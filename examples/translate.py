"""Translate the lines of a file: python translate.py FOLDER FROM TO FILE"""

import sys

from fuseline import pipeline

folder, source, target, path = sys.argv[1:]
with open(path, encoding="utf-8") as file:
    lines = [line.strip() for line in file if line.strip()]

with pipeline("translation", folder, src_lang=source, tgt_lang=target, batch_size=8) as translator:
    for line, translation in zip(lines, translator(lines, truncation=True), strict=True):
        print(f"{line}\n  {translation['translation_text']}")
