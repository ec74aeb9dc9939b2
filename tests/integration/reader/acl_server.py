"""A Redis with the users of deploy/redis/users.acl, as shipped, and an administrator beside them."""

from __future__ import annotations

import secrets
from pathlib import Path
from string import Template
from typing import Any, Final

import redis

from tests.support.services import RedisServer

USERS: Final = Path(__file__).parents[3] / "deploy/redis/users.acl"


class AclRedisServer(RedisServer):
    """Its own URL is the administrator's."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        users = ("worker", "watcher", "connector", "api", "events")
        self.passwords = {user: secrets.token_hex(12) for user in users}

    def url_of(self, database: int) -> str:
        return f"redis://administrator:{self.password}@127.0.0.1:{self.port}/{database}"

    def url_as(self, user: str) -> str:
        """Return the URL for `worker`, `watcher`, `connector`, `api` or `events`."""
        return f"redis://refreshd-{user}:{self.passwords[user]}@127.0.0.1:{self.port}/0"

    def _command(self) -> list[str]:
        command = super()._command()
        values = {f"{user.upper()}_PASSWORD": password for user, password in self.passwords.items()}
        users = Template(USERS.read_text()).substitute(values)
        acl = self.folder / "users.acl"
        acl.write_text(f"{users}user administrator reset on >{self.password} ~* &* +@all\n")
        config = Path(command[-1])
        config.write_text(config.read_text().replace(f"requirepass {self.password}\n", f"aclfile {acl}\n"))
        return command


def refusals(administrator: redis.Redis) -> list[tuple[str, str, str]]:
    """Return what Redis refused since the test began: user, kind, and command, key or channel."""
    entries: Any = administrator.acl_log()
    return [(entry["username"], entry["reason"], entry["object"]) for entry in entries]
