"""What PyInstaller cannot see by itself: names imported when they are needed, the model that ships, the library.

`fuseline.export` is left out: it needs torch, and a program that only captions does not.
"""

from PyInstaller.utils.hooks import collect_data_files, collect_dynamic_libs, collect_submodules

LEFT_OUT = "fuseline.export", "fuseline._"

hiddenimports = collect_submodules("fuseline", filter=lambda name: not name.startswith(LEFT_OUT))
datas = collect_data_files("fuseline", includes=["models/**"])
binaries = collect_dynamic_libs("fuseline")
excludedimports = ["fuseline.export"]
