"""Everything of refreshd on one machine, step by step: what `up` and `demo` have in common.

Each step does one thing and gives a sentence about it. Entering takes the data folder, leaving stops whatever
was started, in order.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from msgspec import Struct
from pydantic import SecretStr
from sqlalchemy import make_url

from worker.context import LOOPBACK_HOSTS, UP_LOCK, AppContext
from worker.crypto.cipher import parse_keys
from worker.crypto.keyring import folder_keys, load_cipher, make_key, source_of
from worker.crypto.private_file import data_folder, private_folder, write_private
from worker.db.engine import address_of, database_now, reading
from worker.db.fleet.counts import Fleet, look
from worker.db.fleet.sealed import refuse_new_key
from worker.db.intake.api_keys import ApiKeys
from worker.db.migrate import upgrade
from worker.db.postgresql.password import password_of
from worker.errors import RefreshdError
from worker.local.api import first_key
from worker.local.file_lock import FolderLock
from worker.local.leftovers import end_leftovers
from worker.local.ports import LOOPBACK, is_free_port
from worker.local.processes import LOCKS, REDIS, Services, worker_grace_s
from worker.local.redis_server import STOP_DEADLINE_S, EmbeddedServer
from worker.local.supervisor import Killed, Service, Supervisor
from worker.monitoring.flower import LOGIN_FILE, made_login
from worker.redis.client import connect, in_words
from worker.settings import Settings
from worker.settings.api import ApiSettings, load_api_settings
from worker.settings.redis_url import address_of as redis_address_of

#: Flower and the API take the first free port of so many, beginning with the one that is set.
PORTS_TRIED: Final = 50
#: Holds the API's address on this machine while it is served, in the data folder.
API_URL_FILE: Final = "api.url"
_EVERY_ADDRESS: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104  (what an operator may set)


class FolderTaken(RefreshdError):
    """Another `up` or `demo` runs in this data folder."""


class Step(Struct, frozen=True):
    """Something that is ready, in words. A note is for what a person should do about it."""

    name: str
    detail: str
    note: str = ""


class Stack:
    """Redis, keys, database, workers, beat and Flower of one data folder.

    Raises:
        FolderTaken: on entering, where another `up` or `demo` has the folder.
        StillRunning: on entering, where a process of an earlier run can't be ended.
    """

    def __init__(self, settings: Settings, *, log_level: str = "INFO") -> None:
        self.settings = settings.model_copy(
            update={
                "data_dir": settings.data_dir.absolute(),
                "allow_http_hosts": tuple(dict.fromkeys((*settings.allow_http_hosts, *LOOPBACK_HOSTS))),
            }
        )
        self.data_dir = self.settings.data_dir
        self.logs = self.data_dir / "logs"
        self.supervisor = Supervisor()
        self.embedded: EmbeddedServer | None = None
        self.flower_port: int | None = None
        #: The API's settings, once it was started, and where its first key is.
        self.api: ApiSettings | None = None
        self.api_key_file: Path | None = None
        self._api_overrides: dict[str, object] = {}
        self._log_level = log_level
        self._lock = FolderLock(self.data_dir / UP_LOCK)
        self._workers_since = 0.0
        self._login_made = False
        #: Processes of an earlier run, killed by `kill -9`, that were ended on entering.
        self.leftovers_ended = 0

    def __enter__(self) -> Self:
        data_folder(self.settings)
        if not self._lock.acquire():
            raise FolderTaken(
                f"refreshd runs already in {self.data_dir} (process {self._lock.holder()}): "
                f"stop that one, or name another folder with REFRESHD_DATA_DIR{_set_by_the_shell()}"
            )
        try:
            self.leftovers_ended = end_leftovers(self.data_dir / LOCKS, worker_grace_s(self.settings))
            private_folder(self.logs)
            self._api_url_file.unlink(missing_ok=True)  # of a run that was killed
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            for _ in self.stop():
                pass
        finally:
            if (stores := vars(self).pop("stores", None)) is not None:
                stores.close()
        self._lock.release()

    @property
    def redis_url(self) -> str:
        return self.settings.redis

    @property
    def services(self) -> Services:
        """Makes services of the settings as they are now."""
        return Services(self.settings, self._log_level)

    @cached_property
    def stores(self) -> AppContext:
        """What commands have, for this data folder."""
        return AppContext(self.settings)

    @property
    def flower_url(self) -> str | None:
        if self.flower_port is None:
            return None
        return _url_here(self.settings.flower_address, self.flower_port)

    def login(self, *, reveal: bool) -> str:
        """Return how to log in to Flower; a chosen password is never shown, a made one where it may be."""
        if not self._login_made:
            return "login as in REFRESHD_FLOWER_BASIC_AUTH"
        user, _, password = self._flower_auth().partition(":")
        return f"user {user}, password {password}" if reveal else f"login in {LOGIN_FILE}"

    # --- steps, in this order -------------------------------------------------------------------------

    def start_redis(self) -> Step:
        """Start the embedded Redis, unless one is set; then see that it answers."""
        if self.settings.redis_url is None:
            self.embedded = EmbeddedServer(self.data_dir)
            self.supervisor.add(Service("redis", self.embedded.start, REDIS, STOP_DEADLINE_S))
            self._set(redis_url=SecretStr(self.embedded.url))
        with in_words(self.redis_url):
            version = _version_of(self.redis_url)
        if self.embedded is None:
            return Step("Redis", f"{version}, {redis_address_of(self.redis_url)} (REFRESHD_REDIS_URL)")
        return Step(
            "Redis", f"{version}, embedded, {LOOPBACK}:{self.embedded.port} (URL with password in redis.url)"
        )

    def find_keys(self) -> Step:
        """Read the keys; make one where there is none."""
        source = source_of(self.settings)
        if source is not None:
            cipher = load_cipher(self.settings)
            older = [key_id for key_id in folder_keys(self.settings) if key_id in cipher.key_ids[1:]]
            file = self.settings.made_keys_file.name
            return Step("Keys", f"{source}, and behind it this folder's {file}" if older else source)
        made = not self.settings.made_keys_file.exists()
        if made and self.settings.database.startswith("sqlite"):
            refuse_new_key(self.settings)
        text = make_key(self.settings).read_text(encoding="utf-8").strip()
        parse_keys(text)
        self._set(keys=SecretStr(text))
        if not made:
            return Step("Keys", self.settings.made_keys_file.name)
        return Step(
            "Keys",
            f"{self.settings.made_keys_file.name} (made now, readable by you alone)",
            "Keep a copy of it: without it every stored grant is lost.",
        )

    def migrate(self) -> Step:
        """Bring the database to this version's schema."""
        before, after = upgrade(self.settings.database, password=password_of(self.settings))
        url = make_url(self.settings.database)
        where = (
            _short(Path(str(url.database)), self.data_dir)
            if url.get_backend_name() == "sqlite"
            else address_of(url)
        )
        return Step("Database", where if before == after else f"{where} (schema brought to {after})")

    def start_workers(self, number: int) -> Step:
        """Start the workers, the one for callbacks, and beat.

        Raises:
            SettingsError: a setting that would end every worker as soon as it starts.
        """
        self.stores.providers  # noqa: B018  (it reads the file of REFRESHD_PROVIDERS_FILE)
        with reading(self.stores.engine) as connection:
            self._workers_since = database_now(connection)
        for each in range(1, number + 1):
            self.supervisor.add(self.services.worker(each))
        self.supervisor.add(self.services.callback_worker())
        self.supervisor.add(self.services.beat())
        standard = "1 worker" if number == 1 else f"{number} workers"
        return Step("Workers", f"{standard}, 1 for callbacks, beat (logs in logs/)")

    def start_flower(self) -> Step:
        """Start Flower behind a login, on the port that is set or the next free one."""
        if self.settings.flower_basic_auth is None:
            self._login_made = True
            self._set(flower_basic_auth=SecretStr(made_login(self.data_dir)))
        wanted = self.settings.flower_port
        port = _free_port(wanted, "Flower", "REFRESHD_FLOWER_PORT", ", or say --no-flower")
        self._set(flower_port=port)
        self.flower_port = port
        self.supervisor.add(self.services.flower(port))
        return Step("Flower", f"{self.flower_url}", _taken(wanted, port))

    def start_api(self) -> Step:
        """Start the API on the port that is set or the next free one, make a first key for it, and write `api.url`.

        Raises:
            RefreshdError: no port is free.
        """
        settings = load_api_settings()
        port = _free_port(settings.port, "API", "REFRESHD_API_PORT")
        self.api = settings.model_copy(update={"port": port} | self._api_overrides)
        key_file, made = first_key(
            ApiKeys(self.stores.engine), self.stores.clock, self.data_dir, self.stores.actor
        )
        self.api_key_file = key_file
        self.supervisor.add(self.services.api(self.api))
        write_private(self._api_url_file, _url_here(self.api.host, port) + "\n")
        note = _taken(settings.port, port)
        return Step(
            "API",
            f"{self.api.base_url}   key {'made in' if made else 'in'} {key_file.name}",
            f"{note}; the address is in {API_URL_FILE}" if note else "",
        )

    def api_curl(self) -> str:
        """Return the command that tries the API; a shell puts the key in, so that no history has it."""
        if self.api is None or self.api_key_file is None:
            return ""
        key_file = shlex.quote(str(self.api_key_file))
        return f'curl -H "Authorization: Bearer $(cat {key_file})" {self.api.base_url}/v1/accounts'

    # --- afterwards -----------------------------------------------------------------------------------

    def fleet(self) -> Fleet:
        """Look at all accounts.

        Raises:
            DatabaseUnreachable: it can't be looked at.
        """
        return look(self.stores.engine)

    def works(self) -> bool:
        """Return whether beat, broker, a worker and the database work together: a plan ended since the workers began."""
        planned_at = self.fleet().planned_at
        return planned_at is not None and planned_at > self._workers_since

    def stop(self) -> Iterator[Killed]:
        """Stop what was started, in order; returns what had to be killed. May be called twice."""
        yield from self.supervisor.stop()
        self._api_url_file.unlink(missing_ok=True)
        if self.embedded is not None:
            self.embedded.forget_address()

    @property
    def _api_url_file(self) -> Path:
        return self.data_dir / API_URL_FILE

    def _flower_auth(self) -> str:
        auth = self.settings.flower_basic_auth
        return "" if auth is None else auth.get_secret_value()

    def _set(self, **resolved: object) -> None:
        self.settings = self.settings.model_copy(update=resolved)


def _free_port(first: int, name: str, variable: str, otherwise: str = "") -> int:
    ports = range(first, min(first + PORTS_TRIED, 65536))
    port = next((port for port in ports if is_free_port(port)), None)
    if port is None:
        raise RefreshdError(f"no free port for {name} from {first} on: set {variable}{otherwise}")
    return port


def _set_by_the_shell() -> str:
    return (
        " (this shell's own names it: open a new terminal, or `unset REFRESHD_DATA_DIR`)"
        if "REFRESHD_DATA_DIR" in os.environ
        else ""
    )


def _taken(wanted: int, port: int) -> str:
    """Return what to know where another port than the one that is set is used; nothing where it is that one."""
    return "" if port == wanted else f"{wanted} is taken by another process, so it is {port}"


def _url_here(address: str, port: int) -> str:
    """Return where a server that listens at an address is reached on this machine."""
    host = LOOPBACK if address in _EVERY_ADDRESS else f"[{address}]" if ":" in address else address
    return f"http://{host}:{port}"


def _version_of(url: str) -> str:
    client = connect(url)
    try:
        server = client.info("server")
    finally:
        client.close()
    # Valkey calls itself so, and keeps `redis_version` for clients that look for it.
    if "valkey_version" in server:
        return f"Valkey {server['valkey_version']}"
    return f"Redis {server['redis_version']}"


def _short(path: Path, folder: Path) -> str:
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else str(path)


#: A step in words for the screen, and the function that does it.
Task = tuple[str, Callable[[], Step]]
