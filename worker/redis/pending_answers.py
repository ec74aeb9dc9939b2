"""Answers, sealed, in Redis: those that wait for the database, and for some minutes those that it has taken.

Whoever loads the account adopts a stash before anything else; one that can't be read means no call, for the
refresh token in the database may be spent. An answer that was committed stays for `KEPT_S`: a database that lost the
commit (a promoted replica that lagged, a backup) gets it back (docs/decisions/0032).
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import redis
from msgspec import Struct
from msgspec.structs import asdict
from redis.asyncio import Redis

from models.account_state import fingerprint
from models.token import Secret, TokenSet
from refreshd_reader.contract import Keys
from worker.crypto.cipher import Cipher, key_of
from worker.errors import CipherError, SealBroken
from worker.json_text import text_of
from worker.log import log
from worker.redis.client import queue, run

if TYPE_CHECKING:  # tables bring the ORM, which reading an account has no use for
    from models.tables.account import Account

_FIELD: Final = "stash"
#: An answer stays so long after its commit, seconds: longer than replicas lag, and than a failover takes to be noticed.
KEPT_S: Final = 600
#: KEYS: stash. ARGV: the answer, and what may be replaced by it. Gives what is there instead, where that is something else.
_PARK: Final = """
local there = redis.call('GET', KEYS[1])
if there and there ~= ARGV[1] and there ~= ARGV[2] then return there end
redis.call('SET', KEYS[1], ARGV[1])
return false
"""
_FORGET: Final = (
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
)


class GrantSeen(Struct, frozen=True):
    """The grant that an answer was asked for with, by what its account's row had when it was loaded."""

    #: When the attempt was opened, epoch seconds.
    at: float
    #: Fingerprint of the refresh token that was sent.
    refresh_fp: str | None
    #: Fingerprint of the token that a person or a file gave last.
    source_fp: str | None


class PendingAnswer(Struct, frozen=True):
    """A token set, and the generation that it follows."""

    generation: int
    tokens: TokenSet
    #: The generation that Redis has seen of the account, where that is above the row's: the database lost commits.
    seen: int | None = None
    #: It brought a refresh token alone: its access token is the one that the account had.
    alone: bool = False
    #: When its request was sent, epoch seconds, where its tokens do not have it: those beside a refresh token alone are older.
    sent_at: float | None = None
    #: None: it is unknown.
    grant: GrantSeen | None = None
    #: It is a grant that was given, and not the answer to a refresh of the row's: no such answer takes its place.
    given: bool = False
    #: The text that it was opened from; None: it is new.
    sealed: str | None = None

    @property
    def asked_at(self) -> float | None:
        """Return when its request was sent; None where that is unknown."""
        return self.tokens.issued_at if self.sent_at is None else self.sent_at


class PendingAnswers:
    """Puts answers aside and finds them again."""

    def __init__(self, redis: Redis, keys: Keys, cipher: Cipher) -> None:
        self._redis = redis
        self._keys = keys
        self._cipher = cipher
        self._park = redis.register_script(_PARK)
        self._forget = redis.register_script(_FORGET)

    def seal(self, account: str, answer: PendingAnswer) -> str:
        """Return an answer as one sealed text, bound to the account."""
        return self.seal_with(self._cipher, account, answer)

    @staticmethod
    def seal_with(cipher: Cipher, account: str, answer: PendingAnswer) -> str:
        """Return an answer as one sealed text, without a connection to Redis."""
        plain = text_of(
            {
                "generation": answer.generation,
                "alone": answer.alone,
                "sent_at": answer.sent_at,
                "given": answer.given,
                "grant": None if answer.grant is None else asdict(answer.grant),
                **_to_json(answer.tokens),
            }
        )
        return cipher.seal(Secret(plain), account=account, field=_FIELD)

    def open(self, account: str, sealed: str) -> PendingAnswer:
        """Open a sealed answer.

        Raises:
            CipherError: its key is missing, or it was changed.
        """
        return self.read(self._cipher, account, sealed)

    @staticmethod
    def read(cipher: Cipher, account: str, sealed: str) -> PendingAnswer:
        """Open a sealed answer without a connection to Redis.

        Raises:
            CipherError: its key is missing, or it was changed.
        """
        plain = cipher.open(sealed, account=account, field=_FIELD).reveal()
        try:
            payload = json.loads(plain)
            return PendingAnswer(
                int(payload["generation"]),
                _from_json(payload),
                # Older answers have none of these.
                alone=bool(payload.get("alone")),
                sent_at=payload.get("sent_at"),
                grant=_grant_seen(payload.get("grant")),
                given=bool(payload.get("given")),
                sealed=sealed,
            )
        except (ValueError, KeyError, TypeError):
            raise SealBroken(f"the stashed answer of account {account} is of an unknown form") from None

    def kept(self, account: Account) -> PendingAnswer | None:
        """Open the success that is kept beside a row; None where it does not open, or the row has its refresh token."""
        if account.kept_sealed is None:
            return None
        try:
            kept = self.open(account.id, account.kept_sealed)
        except CipherError as error:
            log.error("kept_answer_unreadable", account=account.id, error=str(error))
            return None
        return kept if fingerprint(kept.tokens.refresh_token) != account.refresh_fp else None

    async def put(self, sealed: Mapping[str, str]) -> None:
        """Put sealed answers of refreshes aside, account -> text. No expiry.

        One replaces what waits of its account, but for a grant that was given: that will end the row's, whatever a refresh
        of it brought.

        Raises:
            RedisError: Redis is away.
        """
        left, there = dict(sealed), dict[str, str]()
        while left:
            pipeline = self._redis.pipeline(transaction=False)
            for account, text in left.items():
                queue(pipeline, self._park, [self._keys.stash(account)], [text, there.get(account, "")])
            replies = zip(left, await run(pipeline), strict=True)
            there = {account: waits for account, waits in replies if waits is not None}
            left = {
                account: left[account] for account, waits in there.items() if not self._stays(account, waits)
            }

    def _stays(self, account: str, waits: str) -> bool:
        """Return whether what waits is no answer of a refresh; what does not open here may be none."""
        try:
            stays = self.open(account, waits).given
        except CipherError:
            stays = True
        if stays:
            log.warning("answer_not_parked_over_a_given_grant", account=account)
        return stays

    async def forget(self, parked: Mapping[str, str]) -> None:
        """Delete parked answers that the database has taken, account -> text; another that waits meanwhile stays.

        Raises:
            RedisError: Redis is away.
        """
        pipeline = self._redis.pipeline(transaction=False)
        for account, text in parked.items():
            queue(pipeline, self._forget, [self._keys.stash(account)], [text])
        await run(pipeline)


def waiting_by_key(redis: redis.Redis, keys: Keys) -> dict[str, int]:
    """Count the answers that wait, by the id of the key that sealed each: a pass over every name in Redis.

    Raises:
        RedisError: Redis is away.
    """
    pattern = re.sub(r"([*?\[\]\\])", r"\\\1", keys.prefix) + "stash:*"
    counts: Counter[str] = Counter()
    for name in redis.scan_iter(match=pattern, count=1000):
        sealed: Any = redis.get(name)
        if sealed is not None:
            counts[key_of(sealed) or "?"] += 1
    return dict(sorted(counts.items()))


def _grant_seen(payload: Mapping[str, Any] | None) -> GrantSeen | None:
    if payload is None:
        return None
    return GrantSeen(at=payload["at"], refresh_fp=payload["refresh_fp"], source_fp=payload["source_fp"])


def _to_json(tokens: TokenSet) -> dict[str, Any]:
    return {
        "access_token": tokens.access_token.reveal(),
        "refresh_token": tokens.refresh_token.reveal() if tokens.refresh_token else None,
        "token_type": tokens.token_type,
        "scope": tokens.scope,
        "issued_at": tokens.issued_at,
        "expires_at": tokens.expires_at,
        "refresh_token_expires_at": tokens.refresh_token_expires_at,
        "extra": dict(tokens.extra),
    }


def _from_json(payload: Mapping[str, Any]) -> TokenSet:
    return TokenSet(
        access_token=Secret(payload["access_token"]),
        refresh_token=Secret(payload["refresh_token"]) if payload["refresh_token"] else None,
        token_type=payload["token_type"],
        scope=payload["scope"],
        issued_at=payload["issued_at"],
        expires_at=payload["expires_at"],
        refresh_token_expires_at=payload["refresh_token_expires_at"],
        extra=payload["extra"],
    )
