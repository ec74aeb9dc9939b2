"""A provider that replaces a refresh token at each use, and ends the grant when a spent one comes back."""

from __future__ import annotations

from urllib.parse import parse_qs

import httpx


class Rotating:
    """Answers requests; `sent` are the refresh tokens that it saw, `alive` is the one that it takes next."""

    def __init__(self, first: str) -> None:
        self.alive: str | None = first
        self.number = 0
        self.sent: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        (token,) = parse_qs(request.content.decode())["refresh_token"]
        self.sent.append(token)
        if token != self.alive:
            self.alive = None
            return httpx.Response(400, json={"error": "invalid_grant"})
        self.number += 1
        self.alive = f"rotated-{self.number}"
        body = {"access_token": f"access-{self.number}", "refresh_token": self.alive, "expires_in": 3600}
        return httpx.Response(200, json=body)
