"""`refreshd api`: the run-time API, in a process that has no key which opens anything."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Annotated, Final

import typer

from worker.cli.terminal.console import err
from worker.crypto.keyring import load_cipher, source_of
from worker.errors import RefreshdError
from worker.settings import Settings, load_settings
from worker.settings.api import ApiSettings, load_api_settings

#: What this process must not have: each opens something, or is a secret that it has no use for. Empty is unset.
WITHHELD: Final = (
    "REFRESHD_KEYS",
    "REFRESHD_KEYS_FILE",
    "REFRESHD_KEYS_COMMAND",
    "REFRESHD_WEBHOOK_URL",
    "REFRESHD_WEBHOOK_SECRET",
    "REFRESHD_FLOWER_BASIC_AUTH",
)


def api(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on; default: REFRESHD_API_HOST.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="TCP port; default: REFRESHD_API_PORT.", min=1, max=65535)
    ] = None,
) -> None:
    """Serves grants at run time (docs/api.md), at REFRESHD_API_HOST and REFRESHD_API_PORT, until Ctrl-C.

    It needs REFRESHD_INTAKE_KEY (`refreshd keys intake`), and begins anew without REFRESHD_KEYS where that is set.
    """
    given = {name: value for name, value in {"host": host, "port": port}.items() if value is not None}
    settings, api_settings = load_settings(), load_api_settings(**given)
    withheld = withheld_environment(settings, api_settings, os.environ)
    if withheld is not None:
        err.print("Starting without what opens grants: only REFRESHD_INTAKE_KEY stays.", style="dim")
        sys.stderr.flush()
        os.execve(sys.executable, [sys.executable, "-m", "worker.cli", *sys.argv[1:]], withheld)  # noqa: S606
    if settings.intake_key is None:
        raise RefreshdError(
            "REFRESHD_INTAKE_KEY is not set: `refreshd keys intake` prints it where REFRESHD_KEYS is set"
        )
    settings.redis  # noqa: B018  (where there is none, it is said before anything begins)
    _serve(settings, api_settings)


def withheld_environment(
    settings: Settings, api: ApiSettings, environment: Mapping[str, str]
) -> dict[str, str] | None:
    """Return the environment without what opens grants, None where nothing of it is set.

    What follows from it is set in its place: the public intake key, that published tokens are sealed, and that webhooks are
    sent.
    """
    publish_keys_unused = settings.publish_keys is not None and not api.tokens
    made_here = settings.intake_key is None and settings.made_keys_file.exists()
    opens = source_of(settings) is not None or made_here
    if not (opens or publish_keys_unused or settings.webhook_url is not None):
        return None
    kept = {name: value for name, value in environment.items() if name not in WITHHELD}
    # Empty, not absent: `.env` may have them too.
    kept |= dict.fromkeys(WITHHELD, "")
    if settings.intake_key is None and opens:
        kept["REFRESHD_INTAKE_KEY"] = load_cipher(settings).intake_key
    if publish_keys_unused:
        kept["REFRESHD_PUBLISH_KEYS"] = ""
    if settings.publish_keys is not None:
        kept["REFRESHD_API_SEALED_TOKENS"] = "true"
    if settings.webhook_url is not None:
        kept["REFRESHD_API_WEBHOOKS"] = "true"
    return kept


def _serve(settings: Settings, api_settings: ApiSettings) -> None:
    from worker.api.application import make_app
    from worker.api.context import ApiContext
    from worker.api.server import listening, serve
    from worker.log import configure_logging

    configure_logging("INFO")
    try:
        listener = listening(api_settings.host, api_settings.port)
    except OSError as error:
        raise RefreshdError(
            f"can't serve at {api_settings.host}:{api_settings.port}: {error.strerror or error}. Another REFRESHD_API_PORT or "
            "REFRESHD_API_HOST helps"
        ) from None
    err.print(f"The API is at {api_settings.base_url} (documentation at /docs), until Ctrl-C", soft_wrap=True)
    serve(make_app(ApiContext(settings, api_settings)), api_settings, listener)
