"""Who types a command: the person behind `sudo`, the user of the operating system, or whom an automation names."""

from __future__ import annotations

import getpass
import os
import socket

from models.audit import Actor


def current_actor(named: str | None = None) -> Actor:
    """Give who does what this process does.

    Args:
        named: who it is by the settings (REFRESHD_ACTOR), for automations whose user tells nothing.
    """
    host = socket.gethostname()
    if named:
        return Actor(named, host)
    user, behind = _user(), os.environ.get("SUDO_USER")
    return Actor(f"{behind} (sudo, {user})" if behind and behind != user else user, host)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user has a number and no name
        return f"uid {os.getuid()}"
