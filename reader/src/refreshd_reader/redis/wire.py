"""The commands that both readers send, and how answers and redis-py's errors are read."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

import redis
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    NoPermissionError,
    RedisClusterException,
    ResponseError,
)

from refreshd_reader.contract import Keys, Token
from refreshd_reader.errors import (
    NoUsableToken,
    PayloadUnreadable,
    RedisRefused,
    RedisUnreachable,
    WaitTimedOut,
)
from refreshd_reader.state import Look, RawHash, look, state_of, token_of

if TYPE_CHECKING:
    from refreshd_reader.sealing import TokenSeal

#: Everything that redis-py raises when Redis does not answer as it should.
WIRE_ERRORS: Final = (redis.RedisError, RedisClusterException, OSError)

NO_HASH: Final = "a key in Redis is not a hash"

#: Commands that `ask` adds to a pipeline.
ANSWERS_PER_LOOK: Final = 3

#: A wait looks again after this many seconds even if nothing was announced: the announcement may have been
#: lost with its connection.
LOOK_AGAIN_S: Final = 0.5


def ask(pipeline: Any, keys: Keys, account: str) -> None:
    """Add the commands of one look to a pipeline, each of a single key: Redis Cluster can run them."""
    token_key = keys.token(account)
    pipeline.pttl(token_key)
    pipeline.hgetall(token_key)
    pipeline.hgetall(keys.account(account))


def gather(
    accounts: list[str], answers: list[Any], seal: TokenSeal | None
) -> dict[str, Look | NoUsableToken]:
    """Read the answers of a pipeline (`raise_on_error=False`) to one `ask` for each account.

    Raises:
        redis.ResponseError: Redis refused a command.
    """
    now = wall_clock()
    shares = (answers[i : i + ANSWERS_PER_LOOK] for i in range(0, len(answers), ANSWERS_PER_LOOK))
    return {
        account: _look(account, share, seal, now) for account, share in zip(accounts, shares, strict=True)
    }


def bare_token(account: str, raw: RawHash, seal: TokenSeal | None) -> Token | None:
    """Read the answer to HGETALL alone; None if only a full look can decide.

    A token that exists is to be used: its key expires with it. By this machine's clock a token may seem ended that
    is not: the full look decides, by Redis' clock.
    """
    token = token_of(account, raw, seal)
    if token is not None and token.expires_at is not None and token.expires_at <= wall_clock():
        return None
    return token


def wall_clock() -> float:
    """Epoch seconds by this machine's clock; a hint only (see `look.look`)."""
    return time.time()  # noqa: TID251 - the reader's one place


def in_reader_terms(account: str | None, error: Exception) -> NoUsableToken | RedisUnreachable:
    """Return redis-py's error in the reader's terms. Neither holds a token: no command contains one."""
    if account is not None and _wrong_type(error):
        return PayloadUnreadable(account, NO_HASH)
    if isinstance(error, AuthenticationError | AuthorizationError | NoPermissionError):
        return RedisRefused(f"Redis refuses: {_refusal(error)}")
    return RedisUnreachable(f"Redis does not answer: {error}")


def _refusal(error: Exception) -> str:
    words = str(error)
    if isinstance(error, NoPermissionError):
        return f"{words}: does its user have that right, and is the prefix the one of the workers?"
    if words.startswith(("HELLO must be", "Authentication required")):  # to RESP3, to RESP2
        return "it requires a login; expected redis://USER:PASSWORD@HOST:PORT/0"
    return words


def waited_in_vain(account: str, newer_than: int, timeout_s: float, seen: Look | None) -> WaitTimedOut:
    """Return the error of a wait that ended without a newer token."""
    state = seen.state if seen else None
    return WaitTimedOut(account, state, f"no token newer than generation {newer_than} within {timeout_s:g} s")


def _look(account: str, answers: list[Any], seal: TokenSeal | None, now: float) -> Look | NoUsableToken:
    for answer in answers:
        if isinstance(answer, Exception):
            if _wrong_type(answer):
                return PayloadUnreadable(account, NO_HASH)
            raise answer
    pttl_ms, token, state = answers
    try:
        return look(account, token_of(account, token, seal), state_of(account, state), pttl_ms, now)
    except NoUsableToken as error:
        return error


def _wrong_type(error: Exception) -> bool:
    return isinstance(error, ResponseError) and str(error).startswith("WRONGTYPE")
