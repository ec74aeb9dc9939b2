"""A command of the operator's that prints a secret: run without a shell, its output shown nowhere."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path
from typing import Final

from worker.errors import SettingsError

#: A key service that takes longer is down.
COMMAND_TIMEOUT_S: Final = 30
_COMPLAINT_MAX: Final = 300
#: A run that long without a space or a path's dots may be a key or a token.
_MAY_BE_SECRET: Final = re.compile(r"[A-Za-z0-9+/=_-]{20,}")


def output_of(command: str, where: str) -> tuple[bytes, str]:
    """Run a command; return what it prints, and the command's name.

    Args:
        command: as it would be typed, without a shell's syntax.
        where: the setting that names it, for errors.

    Raises:
        SettingsError: it can't be run, fails, or takes too long.
    """
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise SettingsError(f"{where} can't be split into words: {str(error).lower()}") from None
    if not words:
        raise SettingsError(f"{where} names no command")
    name = Path(words[0]).name
    try:
        ran = subprocess.run(  # noqa: S603  (the operator's own command, by the operator's own setting)
            words, stdin=subprocess.DEVNULL, capture_output=True, timeout=COMMAND_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise SettingsError(f"{where}: {name} did not end within {COMMAND_TIMEOUT_S} s") from None
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"{where}: {name} can't be run: {getattr(error, 'strerror', None) or 'not a command'}"
        ) from None
    if ran.returncode:
        complaint = _without_secrets(ran.stderr.decode(errors="replace"), ran.stdout.decode(errors="replace"))
        raise SettingsError(f"{where}: {name} ended with exit code {ran.returncode}{complaint}")
    return ran.stdout, name


def _without_secrets(complaint: str, printed: str) -> str:
    """Return the end of what a failed command said, without what may be a secret."""
    for secret in sorted(printed.split(), key=len, reverse=True):
        complaint = complaint.replace(secret, "[redacted]")
    shown = _MAY_BE_SECRET.sub("[redacted]", " ".join(complaint.split()))
    shown = "".join(char if char.isprintable() else "\ufffd" for char in shown)
    return f": {shown[-_COMPLAINT_MAX:]}" if shown else ""
