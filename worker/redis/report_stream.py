"""The stream of reports, kept in order against its writers: a right to XADD includes the choice of an id, and trimming.

An entry with the highest id of all ends reports for every connector, and one with MAXLEN or MINID removes what no worker has
read. No ACL tells these apart from a plain report, so workers look, and make the stream anew with the entries that are not done.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from time import monotonic
from typing import Any, Final

from msgspec import Struct
from redis import Redis

from refreshd_reader.contract import REJECTED_MAXLEN, Keys

#: Ids that follow Redis' clock are not ahead of it; the clock of a promoted replica may be behind the old primary's.
IDS_AHEAD_MAX_MS: Final = 3_600_000
#: The script keeps so many entries at most: it blocks Redis for about 20 ms then.
KEPT_MAX: Final = 10_000
#: Ids are looked at this often: a connector whose reports are refused sends the next one when its API answers 401 again.
LOOK_EVERY_S: Final = 1.0
#: ... and the length this often. A connector that trims with each report would have the stream made anew each time.
TRIM_EVERY_S: Final = 15.0

IDS_AHEAD: Final = "ids_ahead"
TRIMMED: Final = "trimmed"


class Mended(Struct, frozen=True):
    """The stream was made anew: why, and with how many entries that wait for a worker."""

    why: str
    kept: int


class ReportStream:
    """Looks after `refreshd:rejected`. One instance a thread."""

    def __init__(self, redis: Redis, keys: Keys, group: str) -> None:
        self._redis: Any = redis
        self._keys = keys
        self._group = group
        source = files("worker.redis").joinpath("report_stream.lua").read_text(encoding="utf-8")
        self._script = redis.register_script(source)
        self._look_at = self._trim_at = 0.0

    def look(self) -> Mended | None:
        """Look whether the stream takes reports and has kept them, and make it anew otherwise; seldom does more than compare times.

        Raises:
            RedisError: Redis is away, or refuses.
        """
        now = monotonic()
        if now < self._look_at:
            return None
        self._look_at = now + LOOK_EVERY_S
        trim = now >= self._trim_at
        if trim:
            self._trim_at = now + TRIM_EVERY_S
        found: Any = self._script(
            keys=[self._keys.rejected],
            args=[self._group, IDS_AHEAD_MAX_MS, REJECTED_MAXLEN, KEPT_MAX, int(trim)],
        )
        if not found:
            return None
        mended = Mended(str(found[0]), int(found[1]))
        seconds, _ = self._redis.time()
        self._redis.hset(self._notes, mended.why, json.dumps({"at": int(seconds), "kept": mended.kept}))
        return mended

    def notes(self) -> Mapping[str, float]:
        """Return when the stream was made anew last, by reason; epoch seconds of Redis' clock.

        Raises:
            RedisError: Redis is away, or refuses.
        """
        return {why: float(json.loads(text)["at"]) for why, text in self._redis.hgetall(self._notes).items()}

    @property
    def _notes(self) -> str:
        return f"{self._keys.prefix}reports"
