"""Options of TLS in a URL that redis-py does not read itself (`sentinels://`, `clusters://`)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

#: What redis-py takes for false in a URL.
_FALSE: Final = frozenset({"", "0", "f", "false", "n", "no"})


def tls_options(options: Mapping[str, str]) -> dict[str, Any]:
    """Return the options that begin with `ssl_`, as redis-py's connections take them."""
    found: dict[str, Any] = {name: value for name, value in options.items() if name.startswith("ssl_")}
    if (checks := options.get("ssl_check_hostname")) is not None:
        found["ssl_check_hostname"] = checks.lower() not in _FALSE
    return found
