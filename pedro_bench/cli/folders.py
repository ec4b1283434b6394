"""Folders: whether results can be written, asked before a run and without creating anything."""

import os
from pathlib import Path

from pedro_bench.errors import ConfigError
from pedro_bench.protocols.settings import Settings


def check_folders(settings: Settings) -> None:
    """Require that the folders of results and working files can be written or created.

    Raises:
        ConfigError: If one cannot.
    """
    check_folder("results_dir", settings.results_dir)
    check_folder("output_dir", settings.output_dir)


def check_folder(key: str, folder: str | Path) -> None:
    """Require a folder that can be written, or created.

    Raises:
        ConfigError: If it cannot.
    """
    nearest = Path(folder).absolute()
    while not nearest.exists() and nearest != nearest.parent:
        nearest = nearest.parent
    if not nearest.is_dir():
        raise ConfigError(
            f"{key} must be a folder, got {str(folder)!r}, where {str(nearest)!r} is a file."
        )
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise ConfigError(
            f"{key} must be a folder that can be written, got {str(folder)!r}: {str(nearest)!r} is "
            "read-only for you."
        )
