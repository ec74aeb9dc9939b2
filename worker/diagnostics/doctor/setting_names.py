"""Names in the environment and `.env` that no setting has: a mistyped one is passed over without a word."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from dotenv import dotenv_values

from worker.diagnostics.doctor.result import CheckResult, warning
from worker.settings import Settings
from worker.settings.api import ApiSettings
from worker.settings.connect import ConnectSettings

_PREFIX: Final = "REFRESHD_"
#: Read by compose.yaml, by the log alone, and by connectors.
_OTHERS: Final = frozenset(
    f"{_PREFIX}{name}"
    for name in (
        "API_KEY",
        "API_LISTEN",
        "FLOWER_LISTEN",
        "GRAFANA_LISTEN",
        "LOG",
        "PROMETHEUS_LISTEN",
        "REDIS_LISTEN",
        "STOP_GRACE",
        "VERSION",
        "WORKERS",
    )
)
#: Secrets of an account for one command, and what this project's own tests go by.
_OPEN: Final = (f"{_PREFIX}ACCOUNT_", f"{_PREFIX}TEST_")
#: What Kubernetes tells each pod of a service that is called `refreshd-...`.
_OF_KUBERNETES: Final = re.compile(r"_SERVICE_(HOST|PORT)|_PORT_\d+_(TCP|UDP)")
_ADDRESS_OF_KUBERNETES: Final = ("tcp://", "udp://")


def known_names() -> frozenset[str]:
    """Return the names of all settings."""
    settings = {
        f"{model.model_config.get('env_prefix', '')}{field}".upper()
        for model in (Settings, ApiSettings, ConnectSettings)
        for field in model.model_fields
    }
    return frozenset(settings) | _OTHERS


def check_setting_names(
    environment: Mapping[str, str] = os.environ, file: Path = Path(".env")
) -> Iterator[CheckResult]:
    """Name what begins as a setting does and is none, with the setting that is spelled nearly so. Values are not shown."""
    known = known_names()
    places = (("the environment", environment), (str(file), dotenv_values(file, interpolate=False)))
    for place, values in places:
        for name in sorted(values):
            upper = name.upper()
            if not upper.startswith(_PREFIX) or upper in known or _is_of_others(upper, values[name] or ""):
                continue
            near = difflib.get_close_matches(upper, known, n=1, cutoff=0.8)
            yield warning(
                "settings",
                f"{name} in {place} is no setting: it has no effect"
                + (f"; is {near[0]} meant?" if near else ""),
                f"call it {near[0]}, or take it out"
                if near
                else "take it out; docs/deployment.md lists all settings",
            )


def _is_of_others(name: str, value: str) -> bool:
    return (
        name.startswith(_OPEN)
        or _OF_KUBERNETES.search(name) is not None
        or value.startswith(_ADDRESS_OF_KUBERNETES)
    )
