"""A provider as the catalogue describes it: it takes a request that is as it wants it, and answers in its own way.

Written from the catalogue's facts alone: it shares no line with what builds the request.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, quote, unquote_plus, urlsplit

import httpx
from joserfc import jws

from tests.contract.coverage_catalogue.entry import Entry

REFRESHED_AT = "2027-01-15T09:00:00Z"
LIFETIME_S = 1234
_PLACEHOLDER = re.compile(r"\$\{(?:connectionConfig|credentials)\.([A-Za-z0-9_.-]+)\}")
_BASE64 = re.compile(r"\$\{base64\((.*)\)\}")
_CLIENT_NAMES = {"clientId": "client_id", "clientSecret": "client_secret"}


@dataclass
class ScriptedProvider:
    """Looks at one request, and notes everything about it that is not as it should be."""

    entry: Entry
    #: What the account has: credentials by their own names, custom fields by the catalogue's.
    account: dict[str, str]
    problems: list[str] = field(default_factory=list)
    asked: int = 0

    def handle(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        self._same("method", request.method, self._fact("method", self.entry.data.get("method", "POST")))
        self._look_at_url(request)
        self._look_at_params(request)
        self._look_at_headers(request)
        self._look_at_client(request)
        if self.problems:
            return httpx.Response(
                400, json={"error": "invalid_request", "error_description": str(self.problems)}
            )
        return httpx.Response(200, content=self.body(), headers={"content-type": "application/json"})

    def body(self) -> bytes:
        """The answer: tokens where this provider puts them, and fields that nobody asked for beside them."""
        names = {"access_token": "token", "refresh_token": "refresh_token"}
        at = {ours: self.entry.response.get(theirs, ours) for ours, theirs in names.items()}
        at |= self.entry.facts.get("answers", {})
        if at["access_token"] == "":
            return b"AT-new"
        body: dict[str, Any] = {"noise": [1, {"access_token": "not this one"}], "token_type": "Bearer"}
        _put(body, at["access_token"], "AT-new")
        if self.entry.refreshes:
            _put(body, at["refresh_token"], "RT-new")
        lifetime = self.lifetime()
        if lifetime is not None:
            _put(body, *lifetime)
        for name in self.entry.data.get("response_metadata", ()):
            _put(body, name, f"value of {name}")
        return json.dumps(body).encode()

    def lifetime(self) -> tuple[str, object] | None:
        """Where and how the answer says when the token ends; None where this provider does not say."""
        answers = self.entry.facts.get("answers", {})
        if "expires_at" in answers:
            return answers["expires_at"], REFRESHED_AT
        if "expires_in" in answers:
            return answers["expires_in"], LIFETIME_S
        if self.entry.knobs & {"default_ttl", "never_expires"} or self.entry.data.get("fixed_ttl_ms"):
            return None
        path = self.entry.response.get("token_expiration")
        if self.entry.response.get("token_expiration_strategy") == "expireAt":
            return path or "expires_at", REFRESHED_AT
        if path is None and "expiry_absolute" in self.entry.knobs:
            return "expires_at", REFRESHED_AT
        if path is None and self.entry.response:
            return None
        return path or "expires_in", LIFETIME_S

    # --- what it looks at ----------------------------------------------------------------------------

    def _look_at_url(self, request: httpx.Request) -> None:
        wanted = urlsplit(self._url())
        got = urlsplit(str(request.url))
        self._same("host", got.netloc, wanted.netloc)
        self._same("path", got.path, wanted.path)
        present = dict(parse_qsl(got.query, keep_blank_values=True))
        for name, value in parse_qsl(wanted.query, keep_blank_values=True):
            self._same(f"query {name}", present.get(name), value)

    def _look_at_params(self, request: httpx.Request) -> None:
        where = self._fact(
            "where", "query" if request.method == "GET" else self.entry.data.get("body_format", "form")
        )
        got = self._sent(request, where)
        wanted = self._params()
        without = self._fact("without", [])
        for name, value in wanted.items():
            if value == "*" and name in self._fact("params", {}):
                self._same(f"{name} is sent", name in got, True)
            elif name not in without:
                self._same(name, got.get(name), value if where == "json" else _as_form(value))
        for name in (
            set(got)
            - set(wanted)
            - {"client_id", "client_secret", "client_assertion", "client_assertion_type", "assertion"}
        ):
            self.problems.append(f"{name} was not asked for")
        for name in without:
            self._same(f"{name} is sent", name in got, False)
        self.got = got

    def _look_at_headers(self, request: httpx.Request) -> None:
        wanted = {**self.entry.data.get("token_headers", {}), **self._fact("headers", {})}
        for name, value in wanted.items():
            if value == "*" or "${random}" in value or "${now" in value:
                self._same(f"header {name} is sent", name in request.headers, True)
            else:
                self._same(f"header {name}", request.headers.get(name), self._filled(value))

    def _look_at_client(self, request: httpx.Request) -> None:
        auth = self._fact("auth", self.entry.data["client_auth"])
        authorization = request.headers.get("authorization", "")
        if auth == "basic":
            user, _, password = base64.b64decode(authorization.removeprefix("Basic ")).decode().partition(":")
            if "authorization" in self.entry.data.get("token_headers", {}):
                return  # written out as a header, and looked at there
            self._same("basic user", unquote_plus(user), self.account["client_id"])
            self._same("basic password", unquote_plus(password), self.account["client_secret"])
        elif auth == "basic_custom":
            self._same(
                "basic",
                base64.b64decode(authorization.removeprefix("Basic ")).decode(),
                self.account["client_secret"] + ":",
            )
        elif auth == "private_key_jwt":
            self._look_at_assertion(self.got.get("client_assertion", ""))
        elif auth == "post" and self.entry.mode in {"OAUTH2", "OAUTH2_CC", "MCP_OAUTH2"}:
            self._same("client_id", self.got.get("client_id"), self.account["client_id"])
            self._same("client_secret", self.got.get("client_secret"), self.account["client_secret"])
        elif auth == "none":
            self._same("client_secret is sent", "client_secret" in self.got, False)

    def _look_at_assertion(self, assertion: str) -> None:
        signed = jws.extract_compact(assertion.encode())
        claims = json.loads(signed.payload)
        self._same("alg", signed.headers()["alg"], self.entry.data.get("assertion", {}).get("alg", "RS256"))
        wanted = {
            "iss": self.account["client_id"],
            "sub": self.account["client_id"],
            **self._fact("claims", {}),
        }
        self._same("claims", {name: claims.get(name) for name in wanted}, wanted)

    # --- what it wants -------------------------------------------------------------------------------

    def _url(self) -> str:
        if self.entry.url is None:
            return self.account["token_url"]
        for alternative in self.entry.url.split(" || "):
            if all(name in self.account for name in _names(alternative)):
                return _PLACEHOLDER.sub(self._in_url, alternative)
        raise AssertionError("the account has nothing for any of the URLs")

    def _in_url(self, match: re.Match[str]) -> str:
        value = self.account[_CLIENT_NAMES.get(match[1], match[1])]
        return value if match.start() == 0 else quote(value, safe="")

    def _params(self) -> dict[str, Any]:
        wanted = {
            name: self._filled(value) for name, value in self.entry.params.items() if value != "${token}"
        }
        wanted = {name: value for name, value in wanted.items() if name != "client_assertion"}
        if self.entry.refreshes:
            wanted.setdefault("refresh_token", self.account["refresh_token"])
            if "RefreshToken" in wanted:
                del wanted["refresh_token"]
        if self.entry.mode == "OAUTH2_CC" or (
            self.entry.is_oauth2 and "grant_client_credentials" in self.entry.knobs
        ):
            wanted.setdefault("grant_type", "client_credentials")
            if self.entry.is_oauth2:
                wanted["grant_type"] = "client_credentials"
        if "resource_indicator" in self.entry.knobs:
            wanted["resource"] = self.account["server_url"]
        for name, value in self._fact("params", {}).items():
            wanted[name] = self.account[value[1:]] if value.startswith("$") else value
        return {name: value for name, value in wanted.items() if name not in self._fact("without", [])}

    def _sent(self, request: httpx.Request, where: str) -> dict[str, Any]:
        if where == "json":
            if request.method == "GET" or not request.content:
                return {}
            return dict(json.loads(request.content))
        if where == "query":
            fixed = {name for name, _ in parse_qsl(urlsplit(self._url()).query, keep_blank_values=True)}
            sent = parse_qsl(request.url.query.decode(), keep_blank_values=True)
            return {name: value for name, value in sent if name not in fixed}
        return dict(parse_qsl(request.content.decode(), keep_blank_values=True))

    def _filled(self, value: object) -> Any:
        if isinstance(value, dict):
            return {name: self._filled(inner) for name, inner in value.items()}
        if not isinstance(value, str):
            return value
        if " || " in value:
            first, _, rest = value.partition(" || ")
            return self._filled(first if all(name in self.account for name in _names(first)) else rest)
        coded = _BASE64.search(value)
        if coded:
            text = base64.b64encode(str(self._filled(coded[1])).encode()).decode()
            return value[: coded.start()] + text + value[coded.end() :]
        filled = _PLACEHOLDER.sub(lambda m: self.account[_CLIENT_NAMES.get(m[1], m[1])], value)
        return filled.replace("${refresh_token}", self.account["refresh_token"])

    def _fact(self, name: str, otherwise: Any) -> Any:
        return self.entry.facts.get("wants", {}).get(name, otherwise)

    def _same(self, what: str, got: object, wanted: object) -> None:
        if got != wanted:
            self.problems.append(f"{what}: {wanted!r} is wanted, {got!r} came")


def _names(text: str) -> list[str]:
    return [_CLIENT_NAMES.get(name, name) for name in _PLACEHOLDER.findall(text)]


def _as_form(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _put(body: dict[str, Any], path: str, value: object) -> None:
    *steps, last = path.split(".")
    for step in steps:
        body = body.setdefault(step, {})
    body[last] = value
