"""Checks of versions, and of settings that contradict each other."""

from __future__ import annotations

import ipaddress
import platform
import stat
from collections.abc import Iterator
from importlib.metadata import version
from typing import Final

from worker.broker.kombu import VISIBILITY_TIMEOUT_S
from worker.callbacks.catalog import configured_callbacks
from worker.context import AppContext
from worker.crypto.cipher import parse_keys
from worker.crypto.keyring import keys_text, source_of
from worker.db.fleet.sealed import refuse_new_key
from worker.diagnostics.doctor.result import CheckResult, failed, ok, warning
from worker.diagnostics.doctor.setting_names import check_setting_names
from worker.errors import RefreshdError
from worker.settings import Settings

#: Time that a group takes beside its calls.
TASK_BESIDE_CALLS_S: Final = 60.0


def check_versions() -> CheckResult:
    """Return the versions that a bug report needs."""
    names = ("refreshd", "celery", "kombu", "redis", "flower", "sqlalchemy", "httpx")
    return ok(
        "versions",
        f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in names),
    )


def check_settings(here: AppContext) -> Iterator[CheckResult]:
    """Check that the settings can be used, and that they fit together."""
    settings = here.settings
    try:
        here.providers  # noqa: B018
        if here.will_make_key:
            refuse_new_key(settings)
        else:
            here.cipher  # noqa: B018
        configured_callbacks(settings)
    except RefreshdError as error:
        yield failed("settings", str(error), "correct the setting that it names")
        return
    found = [*_times(settings), *_files(settings), *_exposed(settings), *check_setting_names()]
    yield from found
    if not found:
        words = f"call timeout {settings.call_timeout_s:g} s, claim {settings.claim_seconds:g} s, nothing contradicts"
        yield ok("settings", words)


def _times(settings: Settings) -> Iterator[CheckResult]:
    longest_s = settings.claim_seconds + TASK_BESIDE_CALLS_S
    if longest_s * 2 > VISIBILITY_TIMEOUT_S:
        yield warning(
            "settings",
            f"a task may take {longest_s:.0f} s, and an unacknowledged message comes again after {VISIBILITY_TIMEOUT_S} s",
            "shorten REFRESHD_CLAIM_S or REFRESHD_CALL_TIMEOUT_S: a message must not come again while its task runs",
        )
    if settings.plan_interval_s > settings.call_timeout_s:
        yield warning(
            "settings",
            f"a plan every {settings.plan_interval_s:g} s may begin refreshes of short tokens too late",
            "lower REFRESHD_PLAN_INTERVAL_S (1 is the default)",
        )


def _files(settings: Settings) -> Iterator[CheckResult]:
    if settings.ca_file is not None and not settings.ca_file.is_file():
        yield failed(
            "settings",
            f"REFRESHD_CA_FILE: there is no file {settings.ca_file}: no token URL can be reached",
            "name a PEM file with the authorities, or unset it",
        )
    file = settings.made_keys_file
    if source_of(settings) is None and file.exists():
        mode = stat.S_IMODE(file.stat().st_mode)
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            yield warning(
                "settings",
                f"{file} can be read by others than its owner (mode {mode:03o})",
                f"`chmod 600 {file}`; then `refreshd keys rotate` to a new key, if anybody may have read it",
            )


def _exposed(settings: Settings) -> Iterator[CheckResult]:
    plain = [host for host in settings.allow_http_hosts if not _is_here(host)]
    if plain:
        yield warning(
            "settings",
            f"REFRESHD_ALLOW_HTTP_HOSTS names {', '.join(plain)}: secrets go there unencrypted",
            "use https there, and take it off the list",
        )
    text = keys_text(settings)
    if text is None or settings.publish_keys is None:
        return
    stored = set(parse_keys(text).values())
    shared = [
        key_id
        for key_id, key in parse_keys(settings.publish_keys.get_secret_value()).items()
        if key in stored
    ]
    if shared:
        yield failed(
            "settings",
            f"REFRESHD_PUBLISH_KEYS: {', '.join(shared)} is a key of REFRESHD_KEYS, too: readers of tokens could open "
            "refresh tokens and client secrets",
            "make another with `refreshd keys generate`, for connectors alone",
        )


def _is_here(host: str) -> bool:
    name = host.rpartition(":")[0] or host
    try:
        return ipaddress.ip_address(name.strip("[]")).is_loopback
    except ValueError:
        return name == "localhost" or name.endswith(".localhost")
