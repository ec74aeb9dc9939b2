"""Flower as refreshd's monitor: always behind a login, on loopback, for reading.

`celery -A worker.app flower` reads its options from FLOWER_* and from its command line. What is set here are
defaults; docs/monitoring.md has how to choose otherwise. Flower never runs without a login.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
from pathlib import Path
from typing import Any, Final

from celery.signals import import_modules

from worker.broker.program import program
from worker.crypto.private_file import read_or_make
from worker.monitoring.flower_format import in_words
from worker.settings import Settings

#: In the data folder: the login that is made if none is set.
LOGIN_FILE: Final = "flower.login"
#: 20 characters: address, user and password fit a line of 80 columns, where a person copies them from.
_PASSWORD_BYTES: Final = 15
#: The list shows accounts, outcomes and reasons, without opening every task, in 1,280 pixels; the worker is on each page.
COLUMNS: Final = "name,state,kwargs,result,runtime,received"


def made_login(data_dir: Path) -> str:
    """Return the login of a data folder, `user:password`, and make it the first time.

    Raises:
        OSError: the folder can't be written to.
    """
    return read_or_make(data_dir / LOGIN_FILE, lambda: f"refreshd:{secrets.token_urlsafe(_PASSWORD_BYTES)}")


def watch_safely(settings: Settings) -> None:
    """Set the options that Flower starts with; do nothing in other programs."""
    if program() != "flower":
        return
    defaults = {
        "FLOWER_PORT": str(settings.flower_port),
        "FLOWER_ADDRESS": settings.flower_address,
        "FLOWER_TASKS_COLUMNS": COLUMNS,
        # The pages are for reading: they send no tasks and stop no workers.
        "FLOWER_READ_ONLY": "true",
        # Kept only on request (FLOWER_PERSISTENT), and a pickle: who can write to it can run code here.
        "FLOWER_DB": str(settings.data_dir.absolute() / "flower"),
    }
    if settings.flower_basic_auth is not None:
        # In the environment, because everybody on the machine can read a command line.
        defaults["FLOWER_BASIC_AUTH"] = settings.flower_basic_auth.get_secret_value()
    for name, value in defaults.items():
        os.environ.setdefault(name, value)

    from tornado.options import options  # Flower's; elsewhere it would cost every process a web server

    # Flower sends this signal when its options are read and before it listens.
    def before_it_listens(**_: Any) -> None:
        require_login(settings.data_dir)
        if options.format_task is None:
            options.format_task = in_words

    import_modules.connect(before_it_listens, weak=False)


def require_login(data_dir: Path) -> None:
    """Make a login if neither a password nor OAuth is configured."""
    from tornado.options import options

    if options.auth or any(options.basic_auth or ()):
        return
    try:
        login = made_login(data_dir)
    except OSError as error:
        sys.exit(
            f"refreshd: Flower needs a login, and none can be made in {data_dir.absolute()} ({error.strerror}): "
            "set REFRESHD_FLOWER_BASIC_AUTH to user:password"
        )
    options.basic_auth = [login]
    logging.getLogger("refreshd").info(
        "REFRESHD_FLOWER_BASIC_AUTH is not set: user %s, password in %s",
        login.partition(":")[0],
        data_dir.absolute() / LOGIN_FILE,
    )
