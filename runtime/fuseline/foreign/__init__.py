"""Folders that other tools made, opened as they are: those of optimum and of transformers.js.

layout.py knows them by their files' names, folder.py checks the files, graphs.py the tensors of the graphs, and
decoder.py fulfils the step contract over them. They differ from fuseline's own folders in every respect but the
contract, so they have a room of their own.
"""

from .folder import ForeignFolder, open_folder
from .graphs import open_foreign

__all__ = ["ForeignFolder", "open_folder", "open_foreign"]
