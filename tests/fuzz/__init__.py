"""Fuzzing what comes in: photos, folders, graphs, tokenizers, options, operators. `python -m tests.fuzz` runs it.

A kind (photos.py, folders.py, ...) makes a case from random numbers and says what to call; worker.py calls it in a
process of its own and watches from inside (watch.py), pool.py watches that process from outside, report.py says what
was found. A case is its seed, its kind and its number, so each is repeated by one command.

Another damage is one more function in the tuple DAMAGES or GENERATORS of its kind.
"""
