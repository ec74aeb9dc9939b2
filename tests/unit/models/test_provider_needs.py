"""What an account lacks is said when it is imported."""

from __future__ import annotations

import pytest

from models.provider_requirements import check, needed
from models.providers import ClientAuth, Provider
from models.refresh_request import RefreshRequest
from models.tables.account import RefreshMethod
from models.token import Secret


def provider(**knobs: object) -> Provider:
    return Provider.model_validate({"name": "p", "token_url": "https://a.example.com/t", **knobs})


def request(of: Provider, **fields: object) -> RefreshRequest:
    return RefreshRequest(account_id="a", provider=of, **fields)  # type: ignore[arg-type]


FULL = {
    "client_id": "id",
    "client_secret": Secret("s"),
    "refresh_token": Secret("r"),
    "access_token": Secret("a"),
}


@pytest.mark.parametrize(
    ("knobs", "fields"),
    [
        ({}, ("client_id", "client_secret", "refresh_token")),
        ({"client_auth": "none"}, ("client_id", "refresh_token")),
        ({"token_url": None}, ("refresh_token", "token_url")),
        ({"grant": "client_credentials", "client_auth": "basic"}, ("client_id", "client_secret")),
        ({"grant": "access_token", "client_auth": "none"}, ("client_id", "access_token")),
        ({"client_auth": "private_key_jwt"}, ("client_id", "refresh_token", "custom_fields.private_key")),
        ({"client_auth": "client_secret_jwt"}, ("client_id", "refresh_token", "client_secret")),
        ({"client_auth": "mtls"}, ("custom_fields.client_certificate", "custom_fields.client_key", "refresh_token")),
        ({"grant": "login", "client_auth": "none", "params": {"user": "${custom.user}", "client_id": None}}, ("custom_fields.user",)),
        ({"token_url": "https://${account.sub}.x.com/${account.client_id}"},
         ("client_id", "client_secret", "refresh_token", "custom_fields.sub")),
        ({"token_url": ["https://${account.a}.${account.b}", "https://${account.c}.x.com"]},
         ("client_id", "client_secret", "refresh_token", "custom_fields.c")),
        ({"client_auth": "header", "authorization": "Bearer ${custom.key}", "headers": {"x": "${random} ${now}"}},
         ("refresh_token", "custom_fields.key")),
    ],
)  # fmt: skip
def test_a_provider_names_the_fields_it_needs(knobs: dict[str, object], fields: tuple[str, ...]) -> None:
    assert set(needed(provider(**knobs))) == set(fields)


def test_the_accounts_own_client_auth_counts() -> None:
    assert needed(provider(), ClientAuth.NONE) == ("client_id", "refresh_token")


@pytest.mark.parametrize(
    ("knobs", "fields", "problems"),
    [
        ({}, FULL, []),
        ({}, {}, ["client_id: p needs it", "client_secret: p needs it", "refresh_token: p needs it"]),
        ({}, {**FULL, "client_auth": "magic"}, ["client_auth: expected one of body, basic"]),
        ({"token_url": None}, FULL, ["token_url: p has none of its own"]),
        ({"token_url": None}, {"refresh_token": Secret("r"), "token_url": "https://x.example.com"}, []),
        ({}, {**FULL, "token_url": "https://${x}"}, ["token_url: 'x' is no variable"]),
        ({"token_url": "https://${account.sub}.x.com"}, FULL, ["custom_fields.sub: p needs it (token_url)"]),
        ({"token_url": "https://${account.sub}.x.com"}, {**FULL, "custom_fields": {"sub": Secret("")}}, ["custom_fields.sub: p needs it"]),
        ({"token_url": "https://${account.sub}.x.com"}, {**FULL, "custom_fields": {"sub": Secret("a/b")}}, ["custom_fields.sub: stands for a host; expected letters, digits"]),
        ({"token_url": "${account.server_url}/t"}, {**FULL, "server_url": "x.com"}, ["server_url: stands for the beginning of a URL"]),
        ({"params": {"scope": "${account.scope}"}}, FULL, ["scope: p needs it (params.scope)"]),
        ({"headers": {"x": "${random}"}}, FULL, []),
        ({"grant": "jwt_bearer"}, FULL, ["custom_fields.private_key: p needs it (grant_assertion)"]),
        ({"client_auth": "mtls"}, FULL, ["custom_fields.client_certificate: p needs it", "custom_fields.client_key: p needs it"]),
        ({"grant": "self_signed", "token_url": None, "client_auth": "none"}, FULL, ["custom_fields.private_key: p needs it"]),
    ],
)  # fmt: skip
def test_what_an_account_lacks_is_named(
    knobs: dict[str, object], fields: dict[str, object], problems: list[str]
) -> None:
    found = check(provider(**knobs), request(provider(**knobs), **fields))
    assert len(found) == len(problems)
    for expected, problem in zip(problems, found, strict=True):
        assert problem.startswith(expected)


def test_no_value_is_shown() -> None:
    of = provider(token_url="https://${account.sub}.x.com", params={"x": "${custom.gone}"})
    fields = {**FULL, "custom_fields": {"sub": Secret("hunter2/hunter2")}}
    assert "hunter2" not in " ".join(check(of, request(of, **fields)))


def test_a_callback_asks_for_nothing() -> None:
    of = provider(token_url=None)
    assert check(of, request(of, refresh_method=RefreshMethod.CALLBACK)) == []
