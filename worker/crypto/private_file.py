"""Files that hold a secret: readable by their owner alone, and whole or not there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from worker.errors import SettingsError
from worker.settings import Settings

_FOLDER_MODE: Final = 0o700


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner can enter. One that is there stays as it is."""
    path.mkdir(parents=True, exist_ok=True, mode=_FOLDER_MODE)
    return path


def data_folder(settings: Settings) -> Path:
    """Return the data folder, made where it is not there.

    Raises:
        SettingsError: it can't be made, or used.
    """
    folder = settings.data_dir
    try:
        private_folder(folder)
    except OSError as error:
        raise SettingsError(f"REFRESHD_DATA_DIR: {folder} can't be used: {error.strerror}") from None
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise SettingsError(f"REFRESHD_DATA_DIR: {folder} can't be used: it is another user's, or read-only")
    return folder


def write_private(path: Path, text: str) -> None:
    """Write a file of mode 0600. Whoever reads it meanwhile sees the old text or the new one."""
    descriptor, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp: mode 0600
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        Path(draft).replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            Path(draft).unlink()
        raise


def read_or_make(path: Path, make: Callable[[], str]) -> str:
    """Return what a private file holds; what `make` gives is written first where there is none."""
    with suppress(FileNotFoundError):
        if text := path.read_text(encoding="utf-8").strip():
            return text
    text = make()
    write_private(path, text + "\n")
    return text
