"""What PyInstaller asks a package for: the folder of its hook (entry point `pyinstaller40` in pyproject.toml)."""

from pathlib import Path


def hook_dirs() -> list[str]:
    """The folders that hold hook-fuseline.py."""
    return [str(Path(__file__).parent)]
