"""`refreshd api`: the run-time API, in a process that has no key which opens anything."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from worker.cli.terminal.console import err
from worker.errors import RefreshdError
from worker.local.api import api_environment, opens_something
from worker.settings import Settings, load_settings
from worker.settings.api import ApiSettings, load_api_settings


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
    if opens_something(settings, api_settings):
        err.print(
            "Starting without what opens grants: of the keys, the public intake key stays.", style="dim"
        )
        given_now = api_environment(settings, api_settings, os.environ)
        os.execve(sys.executable, [sys.executable, "-m", "worker.cli", *sys.argv[1:]], given_now)  # noqa: S606
    if settings.intake_key is None:
        raise RefreshdError(
            "REFRESHD_INTAKE_KEY is not set: `refreshd keys intake` prints it where REFRESHD_KEYS is set"
        )
    settings.redis  # noqa: B018  (where there is none, it is said before anything begins)
    _serve(settings, api_settings)


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
