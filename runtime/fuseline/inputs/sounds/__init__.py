"""Sounds: of files, bytes and arrays, as mono samples at one rate, read in blocks."""
