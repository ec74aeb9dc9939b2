"""What other people's code sees of the worker: no key, no store, and not the worker's memory."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Final

import pytest
from pydantic import SecretStr

from tests.integration.conftest import Bench
from worker.callbacks.host.environment import environment_of_callbacks, keyless
from worker.settings import Settings

#: A worker, and a process of the same user that reads its environment. Root may read everything: where we are root,
#: both become somebody else, as in containers and units.
WORKER: Final = """
import ctypes, os, pwd, sys
from tests.support.server_binaries import unprivileged_user
from worker.callbacks.sandbox.limits import hide_memory

def look():
    pid = os.fork()
    if pid == 0:
        try:
            seen = open(f"/proc/{os.getppid()}/environ").read()
        except PermissionError:
            os._exit(3)
        os._exit(0 if "the-key" in seen else 1)
    return {0: "read", 3: "refused"}.get(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), "neither")

if os.geteuid() == 0:
    os.setuid(pwd.getpwnam(unprivileged_user()).pw_uid)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as a process is that was somebody else from the start
print(look(), flush=True)
hide_memory()
print(look(), flush=True)
"""


def test_our_settings_and_whatever_holds_our_secrets_are_left_out() -> None:
    environment = {
        "PATH": "/bin",
        "HTTPS_PROXY": "http://proxy:3128",
        "ACME_REGION": "eu",
        "REFRESHD_CALLBACK_MODULES": "acme",
        "FLOWER_BASIC_AUTH": "a:b",
        "PGPASSWORD": "x",
        "DATABASE": "postgresql://u:pass%2Fword@h/db",
        "BACKUP_PASSWORD": "pass/word",
        "KEY_COPY": "the key is AAAABBBBCCCC",
    }
    left = keyless(environment, ["AAAABBBBCCCC", "postgresql://u:pass%2Fword@h/db", "redis://h:6379/0"])
    assert set(left) == {"PATH", "HTTPS_PROXY", "ACME_REGION"}


def test_no_key_and_no_address_of_a_store_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = Settings(
        database_url=SecretStr("postgresql://refreshd:database-password@db/refreshd"),
        redis_url=SecretStr("redis://worker:redis-password@redis:6379/0"),
        keys=SecretStr("new:bmV3LWtleS1uZXcta2V5, old:b2xkLWtleS1vbGQta2V5"),
    )
    for name, value in {
        "REFRESHD_KEYS": "new:bmV3LWtleS1uZXcta2V5",
        "OLD_KEY": "b2xkLWtleS1vbGQta2V5",
        "DB_PASSWORD": "database-password",
        "BROKER": "redis://worker:redis-password@redis:6379/0",
        "WEBHOOK": "whsec_c2VjcmV0",
        "MINE": "stays",
    }.items():
        monkeypatch.setenv(name, value)
    left = environment_of_callbacks(settings, ["whsec_c2VjcmV0"])
    assert left["MINE"] == "stays"
    assert not {"REFRESHD_KEYS", "OLD_KEY", "DB_PASSWORD", "BROKER", "WEBHOOK"} & left.keys()


def test_a_callback_sees_neither_keys_nor_stores(bench: Bench) -> None:
    bench.add(refresh_method="callback", callback="shows-environment")
    bench.refresh()
    opened = bench.runtime.sealer.open(bench.account(), "access_token")
    assert opened is not None
    shown = opened.reveal()
    assert "PATH=" in shown
    assert "REFRESHD_" not in shown


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux'")
def test_a_callback_can_not_read_the_environment_of_its_worker() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WORKER],
        env={"REFRESHD_KEYS": "the-key", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.splitlines() == ["read", "refused"], done.stderr
