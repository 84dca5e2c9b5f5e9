"""Tokenizers files: read, completed by what other files of a folder say, and used."""
