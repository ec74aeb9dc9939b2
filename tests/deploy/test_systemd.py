"""The systemd units run the commands of compose.yaml, with the same care: one is not improved without the other."""

from __future__ import annotations

from typing import Final

import pytest

from tests.deploy.compose_file import ROOT, raw, services
from tests.deploy.test_compose import REQUIRED
from worker.settings import Settings

UNITS: Final = {
    "migrate": "refreshd-migrate.service",
    "worker": "refreshd-worker@.service",
    "callback": "refreshd-callback.service",
    "beat": "refreshd-beat.service",
    "flower": "refreshd-flower.service",
    "exporter": "refreshd-exporter.service",
    "api": "refreshd-api.service",
}


def unit(service: str) -> dict[str, str]:
    """Return a unit's options; those of one that stands several times are joined by blanks."""
    options: dict[str, list[str]] = {}
    for line in (ROOT / "deploy/systemd" / UNITS[service]).read_text().splitlines():
        name, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            options.setdefault(name, []).append(value)
    return {name: " ".join(values) for name, values in options.items()}


@pytest.mark.parametrize("service", UNITS)
def test_a_unit_runs_the_command_of_compose(service: str) -> None:
    program, *words = unit(service)["ExecStart"].replace("%%h", "%h").replace("-%i@", "@").split()
    assert program.startswith("/opt/refreshd/bin/")
    assert [program.rpartition("/")[2], *words] == services(REQUIRED)[service]["command"]


@pytest.mark.parametrize("service", ["worker", "callback"])
def test_a_unit_may_end_its_calls_before_it_is_killed(service: str) -> None:
    assert float(unit(service)["TimeoutStopSec"]) > Settings.model_fields["call_timeout_s"].default + 10
    assert unit(service)["KillMode"] == "mixed"


@pytest.mark.parametrize("service", [name for name in UNITS if name != "migrate"])
def test_a_unit_comes_back_whatever_its_exit_code(service: str) -> None:
    assert unit(service)["Restart"] == "always"


@pytest.mark.parametrize("service", ["worker", "callback"])
def test_a_worker_waits_for_the_migration_and_does_not_hang_on_it(service: str) -> None:
    """With Requires=, a migration that failed would keep it from ever starting, and one that is run anew would stop it."""
    options = unit(service)
    assert UNITS["migrate"] in options["After"].split()
    assert UNITS["migrate"] in options["Wants"].split()
    assert not {"Requires", "BindsTo", "PartOf"} & set(options)


def test_a_migration_is_tried_until_the_database_is_there() -> None:
    options = unit("migrate")
    assert (options["Restart"], options["StartLimitIntervalSec"]) == ("on-failure", "0")


@pytest.mark.parametrize("service", UNITS)
def test_a_unit_gets_the_database_only_where_compose_gives_it(service: str) -> None:
    # The API and the exporter read it too, each with an environment of its own, for work.env has the keys.
    of_its_own = service in {"api", "exporter"}
    has_database = "REFRESHD_DATABASE_URL" in raw()["services"][service]["environment"] and not of_its_own
    assert ("/etc/refreshd/work.env" in unit(service)["EnvironmentFile"]) == has_database


@pytest.mark.parametrize("service", UNITS)
def test_a_unit_can_do_as_little_as_possible(service: str) -> None:
    options = unit(service)
    # The API's user can read no file of the others: theirs hold the keys.
    assert options["User"] == ("refreshd-api" if service == "api" else "refreshd")
    assert options["NoNewPrivileges"] == "yes"
    assert options["ProtectSystem"] == "strict"
    assert options["CapabilityBoundingSet"] == ""
