"""The second net of log lines, below `Secret`, which hides itself: what is named or looks like a secret is masked.

It holds for every line, whoever writes it: refreshd's own, Celery's, a library's, and the texts of exceptions. It
knows no secret by heart; it goes by names and shapes. So it may mask too much, and must never be the only net.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from models.token import Secret

MASK: Final = "**********"

_SECRET_NAMES: Final = ("token", "secret", "password", "passwd", "authorization", "cookie", "credential")
_SECRET_ENDS: Final = ("assertion", "private_key", "dpop_key", "client_key", "api_key", "apikey")
#: Named alike, and no secret.
_NOT_SECRET: Final = frozenset(
    {"token_url", "token_type", "tokens", "secret_fp", "refresh_fp", "received_fp", "token_endpoint"}
)
#: Identifiers of ours: long, and to be read. Everything else is looked into.
IDENTIFIERS: Final = frozenset(
    {
        "account",
        "attempt",
        "breaker",
        "client",
        "endpoint",
        "level",
        "plan_id",
        "task_id",
        "timestamp",
        "webhook",
        "worker",
    }
)
NUMBERS: Final = frozenset({bool, int, float})
#: A shorter text has no room for a name and a secret.
SHORTEST: Final = 12
#: Deeper nesting is shown as its type.
_DEEPEST: Final = 6

_NAME: Final = (
    r"[\w-]*(?:token|secret|password|passwd|assertion|(?:private|dpop|client)_key|api_?key|credentials?)"
)
#: What names the secret beside it: the name stays, the value goes.
_NAMED: Final = re.compile(
    "|".join(
        (
            r"(\b(?:Bearer|Basic|DPoP)\s+)(?=\S*[\d=+/_.~-])[\w.~+/-]{6,}=*(?![\w.~+/=-])",
            r"((?<![\w-])" + _NAME + r"[\"']?\s*=\s*[\"']?)(?!\*)[^\s\"'&,;(){}\[\]]+",
            r"([\"']" + _NAME + r"\\*[\"']\s*:\s*\\*[\"'])(?!\*)[^\"']+",
            r"((?<![\w-])(?:access|refresh|id)_token\s*:\s*)(?![\s*\"'\\])[^\s\"'&,;(){}\[\]]+",
            # A scheme's length is bounded: in "a.a.a.a" each letter might begin one.
            r"(\b[a-z][a-z0-9+.-]{0,20}://[^\s/:@]*:)(?!\*)[^\s/@]+(?=@)",
        )
    ),
    re.IGNORECASE,
)
#: What is a secret by its shape.
_SHAPES: Final = (
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    # JSON Web Tokens, and tokens whose makers gave them a name
    r"\beyJ[\w-]{8,}(?:\.[\w-]*){1,4}",
    r"\bwhsec_[\w+/=]{8,}",
    r"\b(?:gh[oprsu]_|github_pat_|glpat-|xox[a-z]-|xapp-|ya29\.|1//0|sk_live_|sk-|shp[a-z]{2}_)[\w.-]{10,}",
    # Long, with digits, capitals and small letters: no word, no hex, no UUID
    r"(?<![\w/.:-])(?=[\w-]*\d)(?=[\w-]*[A-Z])(?=[\w-]*[a-z])[\w-]{32,}={0,2}(?![\w/-])",
)
_SHAPED: Final = re.compile("|".join(_SHAPES), re.DOTALL)


def redacted(name: str, value: object, depth: int = 0) -> object:
    """Return a value of a log line as it may be shown."""
    if value is None or isinstance(value, bool | int | float):
        return MASK if value is not None and not isinstance(value, bool) and is_secret(name) else value
    if isinstance(value, Secret) or is_secret(name):
        return MASK
    if isinstance(value, str):
        return value if name in IDENTIFIERS else masked(value)
    if depth >= _DEEPEST:
        return f"<{type(value).__name__}>"
    if isinstance(value, Mapping):
        return {key: redacted(str(key), one, depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redacted("", one, depth + 1) for one in value]
    return masked(str(value))


def masked(text: str) -> str:
    """Mask what looks like a secret in a text."""
    if len(text) < SHORTEST:
        return text
    return _SHAPED.sub(MASK, _NAMED.sub(_mask, text))


@lru_cache(maxsize=1024)
def is_secret(name: str) -> bool:
    """Return whether a name says that its value is a secret."""
    lowered = name.lower().replace("-", "_")
    if lowered in _NOT_SECRET:
        return False
    return any(word in lowered for word in _SECRET_NAMES) or lowered.endswith(_SECRET_ENDS)


def _mask(found: re.Match[str]) -> str:
    return f"{next((part for part in found.groups() if part is not None), '')}{MASK}"
