"""One look at an account: what Redis holds of it, and the token or error that follows. Pure: no clock, no I/O."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from refreshd_reader.contract import SEALED_FIELD, AccountState, Token
from refreshd_reader.errors import (
    KeyMissing,
    NoUsableToken,
    PayloadUnreadable,
    RefreshUnderWay,
    TokenTooShort,
    in_words,
    no_token,
    settled,
)

if TYPE_CHECKING:
    from refreshd_reader.sealing import TokenSeal

#: A hash as redis-py gives it: text with `decode_responses=True`, else bytes.
RawHash = Mapping[bytes | str, bytes | str]


@dataclass(frozen=True, slots=True)
class Look:
    """The result of one round trip. `lifetime_s`: remaining lifetime of the token (infinite without a known end)."""

    account: str
    token: Token | None
    state: AccountState | None
    lifetime_s: float

    def usable(self, min_lifetime_s: float) -> Token | NoUsableToken:
        """Return the token, or the error if there is none that lasts `min_lifetime_s`."""
        token = self.token
        if token is None or self.lifetime_s <= 0:
            if token is not None and self.state is None:
                return RefreshUnderWay(self.account, None, "its token has ended, refresh under way")
            return no_token(self.account, self.state)
        if self.lifetime_s < min_lifetime_s:
            return TokenTooShort(
                self.account,
                self.state,
                f"its token lasts {self.lifetime_s:.1f} s, {min_lifetime_s:g} s were asked for "
                f"({in_words(self.state)})",
                self.lifetime_s,
            )
        return token

    def newer(self, than: int) -> Token | NoUsableToken | None:
        """Return a token newer than that generation, the error if none will come soon, or None: waiting may help."""
        if self.token is not None and self.token.generation > than and self.lifetime_s > 0:
            return self.token
        if settled(self.state) is not None:
            return no_token(self.account, self.state)
        return None


def look(account: str, token: Token | None, state: AccountState | None, pttl_ms: int, now: float) -> Look:
    """Return the look that one round trip's answers make.

    Args:
        account: the account's id.
        token: the content of its token key.
        state: the content of its account key.
        pttl_ms: the answer to PTTL of the token's key, asked before the hash itself: if a newer token is
            published in between, its lifetime is taken for shorter, never for longer, than it is. The key ends with
            the token, so this is the token's life by Redis' own clock, whatever this machine's clock says.
        now: epoch seconds by this machine's clock; only used if a token has an end and its key has no expiry.
    """
    if token is None:
        lifetime_s = 0.0
    elif pttl_ms >= 0:
        lifetime_s = pttl_ms / 1000
    else:
        lifetime_s = math.inf if token.expires_at is None else token.expires_at - now
    return Look(account, token, state, lifetime_s)


def token_of(account: str, raw: RawHash, seal: TokenSeal | None) -> Token | None:
    """Read a token's hash; None where there is none.

    Raises:
        PayloadUnreadable: the hash holds something else.
        KeyMissing: it is sealed with a key that is not among `seal`'s.
    """
    if not raw:
        return None
    try:
        fields = _as_text(raw)
        if SEALED_FIELD in fields:
            if seal is None:
                raise KeyMissing(account, fields[SEALED_FIELD].partition(":")[0])
            fields = seal.opened(account, fields)
        return Token.from_hash(fields)
    except (KeyError, ValueError) as error:
        raise _unreadable(account, "token", error) from None


def state_of(account: str, raw: RawHash) -> AccountState | None:
    """Read an account's hash; None where there is none."""
    if not raw:
        return None
    try:
        return AccountState.from_hash(_as_text(raw))
    except (KeyError, ValueError) as error:
        raise _unreadable(account, "account", error) from None


def _unreadable(account: str, hash_name: str, error: Exception) -> PayloadUnreadable:
    if isinstance(error, KeyError):
        return PayloadUnreadable(account, f"its {hash_name} hash in Redis has no field {error}")
    # The error's own text may quote the payload, and the payload holds a token.
    return PayloadUnreadable(
        account, f"its {hash_name} hash in Redis has a number that can't be read, or is not UTF-8 text"
    )


def _as_text(raw: RawHash) -> Mapping[str, str]:
    if isinstance(next(iter(raw)), str):  # a client decodes all or nothing
        return cast(Mapping[str, str], raw)
    return {name.decode(): value.decode() for name, value in cast(Mapping[bytes, bytes], raw).items()}
