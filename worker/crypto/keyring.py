"""Where the keys come from: a variable, a file, or what a command prints. One of the three."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

from worker.crypto.cipher import Cipher, generate_key, parse_keys
from worker.crypto.command import output_of
from worker.crypto.private_file import data_folder, write_private
from worker.errors import SettingsError
from worker.log import log
from worker.settings import Settings

#: No list of keys is longer, bytes.
KEYS_MAX_BYTES: Final = 64 * 1024
#: Nobody but its owner may change the file, and others may not read it; a group may, as `root:refreshd 0640` has it.
_TOO_OPEN: Final = stat.S_IWGRP | stat.S_IWOTH | stat.S_IROTH


def keys_text(settings: Settings) -> str | None:
    """Return the keys as they are written, from the one source that is set; None where none is.

    Raises:
        SettingsError: the source gives none.
    """
    if settings.keys is not None:
        return settings.keys.get_secret_value()
    if settings.keys_file is not None:
        return keys_of_file(settings.keys_file)
    if settings.keys_command is not None:
        return keys_of_command(settings.keys_command.get_secret_value())
    return None


def source_of(settings: Settings) -> str | None:
    """Name the setting that the keys come from, None where they are the data folder's."""
    for name in ("keys", "keys_file", "keys_command"):
        if getattr(settings, name) is not None:
            return f"REFRESHD_{name.upper()}"
    return None


def keys_of_file(path: Path) -> str:
    """Read a file of keys.

    On a file system that is mounted read-only the mode is not looked at: Docker's and Kubernetes' secrets are 0444
    there, and who else can see them is decided by who is in the container.

    Raises:
        SettingsError: it can't be read, or others could read or change it.
    """
    where = f"REFRESHD_KEYS_FILE: {path}"
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(KEYS_MAX_BYTES + 1)
        read_only = bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError as error:
        raise SettingsError(f"{where} can't be read: {error.strerror}") from None
    if mode & _TOO_OPEN and not read_only:
        raise SettingsError(
            f"{where} has mode {stat.S_IMODE(mode):04o}: others could read or change it; `chmod 600 {path}`, or 640 with "
            "the service's own group"
        )
    return _decoded(content, where)


def keys_of_command(command: str) -> str:
    """Run a command and take what it prints. No shell reads it; what it prints is shown to nobody.

    Raises:
        SettingsError: it can't be run, fails, takes too long, or prints no text.
    """
    where = "REFRESHD_KEYS_COMMAND"
    printed, name = output_of(command, where)
    return _decoded(printed, f"{where}: what {name} printed")


def _decoded(content: bytes, where: str) -> str:
    if len(content) > KEYS_MAX_BYTES:
        raise SettingsError(f"{where} is longer than {KEYS_MAX_BYTES:,} bytes, more than any list of keys")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise SettingsError(
            f"{where} not text; expected ID:BASE64, several with commas or line breaks"
        ) from None


def load_cipher(settings: Settings) -> Cipher:
    """Return the keys: those of the settings, and behind them the data folder's; made there for a SQLite that has none.

    Raises:
        SettingsError: there is no key, or one that can't be read.
    """
    text = keys_text(settings)
    source = _origin(settings)
    if text is not None:
        keys = parse_keys(text, source)
        older = folder_keys(settings)
        added = {key_id: key for key_id, key in older.items() if key_id not in keys}
        return Cipher(keys | added, f"{source} or {settings.made_keys_file}" if added else source)
    with suppress(FileNotFoundError):
        return Cipher(parse_keys(settings.made_keys_file.read_text(encoding="utf-8"), source), source)
    if not settings.database.startswith("sqlite"):
        raise SettingsError(
            "REFRESHD_KEYS is not set: secrets are not stored unsealed. Make a key with `refreshd keys generate`, "
            "set it for every worker and command (or REFRESHD_KEYS_FILE, REFRESHD_KEYS_COMMAND), and keep a copy: "
            "without it every grant is lost"
        )
    log.warning(
        "key_made", file=str(make_key(settings)), remedy="keep a copy: without it every grant is lost"
    )
    return load_cipher(settings)


def _origin(settings: Settings) -> str:
    """Name where the keys were read: an error about one leads to the place where it is corrected."""
    name = source_of(settings)
    match name:
        case None:
            return str(settings.made_keys_file)
        case "REFRESHD_KEYS" if name not in os.environ:
            return f"{name} in .env"
        case "REFRESHD_KEYS_FILE":
            return f"{name} ({settings.keys_file})"
        case _:
            return name


def folder_keys(settings: Settings) -> dict[str, bytes]:
    """Return the data folder's own keys, which open what `up` sealed before others were set; none where there is no such file.

    Raises:
        SettingsError: the file holds something else.
    """
    file = settings.made_keys_file
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError, PermissionError):  # another user's, as in a container
        return {}
    return parse_keys(text, str(file))


def make_key(settings: Settings) -> Path:
    """Make a key in the data folder, readable by its owner alone. One that is there stays."""
    data_folder(settings)
    if not settings.made_keys_file.exists():
        draft = settings.made_keys_file.with_suffix(f".{os.getpid()}")
        write_private(draft, generate_key() + "\n")
        # Whole or not there, and the first one wins: two processes that start together use the same key.
        with suppress(FileExistsError):
            os.link(draft, settings.made_keys_file)
        draft.unlink()
    return settings.made_keys_file
