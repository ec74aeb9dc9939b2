"""The demo's files: the accounts, the provider's grants, and the lines by which a shell finds them."""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from msgspec import Struct

from worker.clock import wall_clock
from worker.context import UP_LOCK
from worker.crypto.private_file import write_private
from worker.errors import RefreshdError
from worker.local.api import KEY_FILE
from worker.local.demo.accounts import FIRST, DemoAccount, accounts_file
from worker.local.demo.provider.grants import Grants
from worker.local.ports import LOOPBACK, free_port, is_free_port
from worker.local.redis_server import EmbeddedServer

#: Holds the address of the demo's own Redis in a shell that has read the demo's file.
REDIS_ADDRESS: Final = "DEMO_REDIS"
#: Holds the header with the demo's key of the API there.
API_KEY: Final = "DEMO_KEY"
#: Hold the addresses of the provider and of the API there.
PROVIDER: Final = "DEMO_PROVIDER"
API: Final = "DEMO_API"
#: Stands in every folder that a demo made, so that no other is ever emptied.
_MARK: Final = "demo.json"
_LOGS: Final = "logs"


class FolderForeign(RefreshdError):
    """A data folder is not for this: a demo made it, or it holds something that no demo made."""


class Workspace(Struct, frozen=True):
    """Where a demo plays."""

    folder: Path

    @property
    def accounts(self) -> Path:
        """The accounts file, for reading."""
        return self.folder / "accounts.jsonl"

    @property
    def grants(self) -> Path:
        """The file that the provider reads at its start."""
        return self.folder / "provider.json"

    @property
    def signing_key(self) -> Path:
        return self.folder / "provider.key"

    @property
    def first_token(self) -> Path:
        """The refresh token of the grant that waits for the reader's own first account."""
        return self.folder / f"{FIRST.id}.token"

    @property
    def shell(self) -> Path:
        """What a shell reads to find the demo."""
        return self.folder / "env"

    @property
    def used(self) -> bool:
        """Return whether a demo was here before."""
        return (self.folder / _MARK).exists()

    def refuse_own_accounts(self) -> None:
        """Keep accounts of one's own out of a folder that the next demo empties.

        Raises:
            FolderForeign: a demo made this folder.
        """
        if self.used:
            where = (
                "this shell's REFRESHD_DATA_DIR names it, as its `env` does: open a new terminal, or "
                "`unset REFRESHD_DATA_DIR`"
                if "REFRESHD_DATA_DIR" in os.environ
                else "name another folder with REFRESHD_DATA_DIR"
            )
            raise FolderForeign(
                f"{self.folder} is the folder of `refreshd demo`, which the next one empties; {where}. "
                "`refreshd demo --keep` goes on with the demo"
            )

    def clear(self) -> None:
        """Remove what a former demo left, its Redis included.

        Raises:
            FolderForeign: something is there that no demo made.
        """
        if not self.used:
            if {path.name for path in self.folder.iterdir()} <= {UP_LOCK, _LOGS}:
                return
            raise FolderForeign(
                f"{self.folder} holds something that no demo made, and the demo begins with an empty folder: "
                "move it away, or name another data folder with REFRESHD_DATA_DIR"
            )
        EmbeddedServer(self.folder).stop_left_behind()
        found = [path for path in self.folder.iterdir() if path.name != UP_LOCK]
        # The mark goes last: a clearing that is cut short can go on.
        for path in sorted(found, key=lambda path: path.name == _MARK):
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def prepare(self, accounts: Sequence[DemoAccount]) -> int:
        """Write the files, or keep those of a former demo; returns the port for the provider."""
        self.shell.unlink(missing_ok=True)  # of a former demo: its addresses may be others
        if not self.used:
            write_private(self.folder / _MARK, json.dumps({"made_by": "refreshd demo"}) + "\n")
        if not self.signing_key.exists():
            write_private(self.signing_key, secrets.token_urlsafe(32))
        write_private(
            self.grants,
            json.dumps({"grants": [one.model_dump() for one in (*(of.grant for of in accounts), FIRST)]})
            + "\n",
        )
        if self.accounts.exists():
            return self._moved_to_a_free_port()
        port = free_port()
        grants = Grants(self.signing_key.read_bytes())
        text = accounts_file(accounts, grants, token_url=_token_url(port), now=wall_clock())
        write_private(self.accounts, text)
        write_private(self.first_token, grants.tokens(grants.put(FIRST, now=wall_clock())).refresh_token)
        return port

    def kept_number(self) -> int | None:
        """Return the number of accounts of a former demo that is still here, None where there is none."""
        return len(self._rows()) if self.accounts.exists() else None

    def write_shell(self, *, embedded_redis: bool, provider_url: str, api_url: str = "") -> None:
        """Write what a shell must read so that commands find the demo, whatever else is set there."""
        values = {
            "REFRESHD_DATA_DIR": shlex.quote(str(self.folder)),
            "REFRESHD_DATABASE_URL": "",
            "REFRESHD_ALLOW_HTTP_HOSTS": LOOPBACK,
            PROVIDER: provider_url,
            API: api_url,
            # A header for curl, so that the hint on the screen fits its line.
            API_KEY: f'"Authorization: Bearer $(cat {shlex.quote(str(self.folder / KEY_FILE))} 2>/dev/null)"',
            "PATH": f'{shlex.quote(str(Path(sys.executable).parent))}:"$PATH"',
        }
        if embedded_redis:
            values["REFRESHD_REDIS_URL"] = ""  # it is in redis.url
            # For other programs; the address stays the same as long as the folder.
            values[REDIS_ADDRESS] = f"$(cat {shlex.quote(str(self.folder / 'redis.url'))} 2>/dev/null)"
        text = "".join(f"export {name}={value}\n" for name, value in values.items())
        write_private(self.shell, f"# `. {self.shell}`: commands of this shell then find the demo.\n{text}")

    def _moved_to_a_free_port(self) -> int:
        """Keep the provider's port; where another process has it now, the accounts move to another port."""
        rows = self._rows()
        port = urlsplit(rows[0]["token_url"]).port if rows else None
        if port is not None and is_free_port(port):
            return port
        port = free_port()
        moved = [json.dumps({**row, "token_url": _token_url(port)}) for row in rows]
        write_private(self.accounts, "".join(line + "\n" for line in moved))
        return port

    def _rows(self) -> list[dict[str, str]]:
        return [json.loads(line) for line in self.accounts.read_text(encoding="utf-8").splitlines()]


def _token_url(port: int) -> str:
    return f"http://{LOOPBACK}:{port}/token"
