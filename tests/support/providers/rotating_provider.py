"""A provider that rotates refresh tokens, for tests in which one must not be sent twice."""

from __future__ import annotations

from urllib.parse import parse_qs

import httpx


class RotatingProvider:
    """Replaces a refresh token at each use, and ends the grant when a spent one comes back."""

    def __init__(self, first: str) -> None:
        #: The refresh token that it takes; None: the grant has ended.
        self.alive: str | None = first
        #: Refresh tokens that were sent.
        self.sent: list[str] = []
        self._number = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        (token,) = parse_qs(request.content.decode())["refresh_token"]
        self.sent.append(token)
        if token != self.alive:
            self.alive = None
            return httpx.Response(400, json={"error": "invalid_grant"})
        self._number += 1
        self.alive = f"rotated-{self._number}"
        body = {"access_token": f"access-{self._number}", "refresh_token": self.alive, "expires_in": 3600}
        return httpx.Response(200, json=body)
