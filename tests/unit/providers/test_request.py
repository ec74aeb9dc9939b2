"""What is sent: the standard refresh, and each knob that changes it."""

from __future__ import annotations

import base64

import pytest

from models.answer import Fault
from tests.support.providers.provider_double import NOW, Wire, account, form, json_body, provider, query
from worker.providers.request.builder import RequestBuilder
from worker.providers.request.draft import HostNotAllowed, InvalidRequest

STANDARD = {
    "grant_type": "refresh_token",
    "refresh_token": "RT-1",
    "client_id": "client-1",
    "client_secret": "s3cret-1",
}


def basic(request_headers: object) -> str:
    scheme, _, pair = str(request_headers).partition(" ")
    assert scheme == "Basic"
    return base64.b64decode(pair).decode()


async def test_the_standard_refresh_is_a_form_in_the_body() -> None:
    """RFC 6749 section 6, and its scope is left out so that it stays what it was."""
    wire = Wire()
    answer = await wire.call(account(scope="a b"))

    request = wire.request
    assert (request.method, str(request.url)) == ("POST", "https://auth.example.com/token")
    assert form(request) == STANDARD
    assert request.headers["content-type"] == "application/x-www-form-urlencoded"
    assert request.headers["accept"] == "application/json"
    assert "authorization" not in request.headers
    assert answer.token is not None
    assert answer.token.access_token.reveal() == "AT-2"


async def test_url_query_sends_every_parameter_in_the_query_and_nothing_in_the_body() -> None:
    wire = Wire()
    await wire.call(account(refresh_method="url_query"))

    assert wire.request.method == "POST"
    assert query(wire.request) == STANDARD
    assert wire.request.content == b""


async def test_url_query_keeps_a_query_that_the_url_has_and_repeats_nothing() -> None:
    """RFC 6749 section 3.2: a parameter is not sent twice; a name without a value stays as it is."""
    wire = Wire()
    url = "https://auth.example.com/token?tenant=a%26b&refresh&grant_type=other#part"
    await wire.call(account(refresh_method="url_query", token_url=url))

    assert query(wire.request) == {"tenant": "a&b", "refresh": "", **STANDARD}
    assert wire.request.url.fragment == ""


async def test_awkward_letters_arrive_as_they_were() -> None:
    awkward = "a+b/c=d&e f%20?#ü"
    for method, read in (("body", form), ("url_query", query)):
        wire = Wire()
        await wire.call(account(refresh_method=method, refresh_token=awkward, client_secret=awkward))
        sent = read(wire.request)
        assert sent["refresh_token"] == awkward
        assert sent["client_secret"] == awkward


async def test_the_accounts_token_url_comes_before_the_providers() -> None:
    wire = Wire()
    await wire.call(account(token_url="https://other.example.com/t?x=1"))
    assert str(wire.request.url) == "https://other.example.com/t?x=1"


async def test_basic_form_encodes_both_halves_first() -> None:
    """RFC 6749 section 2.3.1; the parameters then hold neither."""
    wire = Wire()
    await wire.call(account(provider(client_auth="basic"), client_id="a:b c", client_secret="p+q/r"))

    assert basic(wire.request.headers["authorization"]) == "a%3Ab+c:p%2Bq%2Fr"
    assert form(wire.request) == {"grant_type": "refresh_token", "refresh_token": "RT-1"}


async def test_basic_raw_takes_the_halves_as_they_are() -> None:
    wire = Wire()
    await wire.call(account(provider(client_auth="basic_raw"), client_id="a b", client_secret="p+q/r:s"))
    assert basic(wire.request.headers["authorization"]) == "a b:p+q/r:s"


async def test_a_public_client_sends_its_id_alone() -> None:
    wire = Wire()
    await wire.call(account(provider(client_auth="none")))
    assert form(wire.request) == {key: STANDARD[key] for key in ("grant_type", "refresh_token", "client_id")}


async def test_the_accounts_client_auth_comes_before_the_providers() -> None:
    wire = Wire()
    await wire.call(account(provider(client_auth="basic"), client_auth="body"))
    assert form(wire.request) == STANDARD
    assert "authorization" not in wire.request.headers


async def test_the_authorization_header_can_be_a_template() -> None:
    """Stripe wants the secret key as the user of HTTP Basic, and no password."""
    wire = Wire()
    stripe = provider(client_auth="header", authorization="Basic ${base64(${account.client_secret}:)}")
    await wire.call(account(stripe))
    assert basic(wire.request.headers["authorization"]) == "s3cret-1:"
    assert "client_id" not in form(wire.request)


@pytest.mark.parametrize(
    ("knobs", "sent"),
    [
        ({"params": {"expiring": 1, "deep": True}}, {**STANDARD, "expiring": "1", "deep": "true"}),
        ({"params": {"grant_type": None, "type": "refresh"}}, {"type": "refresh"}),
        ({"params": {"resource": "https://${account.env}"}}, {**STANDARD, "resource": "https://e1"}),
        ({"param_names": {"client_id": "client_key"}}, {"client_key": "client-1"}),
        ({"params": {"audience": "${account.nope} || https://api.example.com"}}, {"audience": "https://api.example.com"}),
        ({"send_scope": True}, {**STANDARD, "scope": "a b"}),
        ({"params": {"at": "${now}", "ms": "${now:ms}"}}, {"at": "1800000000", "ms": "1800000000000"}),
    ],
)  # fmt: skip
async def test_parameters_are_added_changed_renamed_and_left_out(
    knobs: dict[str, object], sent: dict[str, str]
) -> None:
    wire = Wire()
    await wire.call(account(provider(**knobs), scope="a b", custom={"env": "e1"}))

    got = form(wire.request)
    assert sent.items() <= got.items()
    if "param_names" in knobs:
        assert "client_id" not in got
    if "type" in sent:
        assert "grant_type" not in got


async def test_a_json_body_keeps_types_and_nests() -> None:
    wire = Wire()
    await wire.call(
        account(provider(params_in="json", params={"flags": {"mfa": False, "who": ["${account.user}"]}}), custom={"user": "u"})
    )  # fmt: skip
    assert json_body(wire.request) == {**STANDARD, "flags": {"mfa": False, "who": ["u"]}}
    assert wire.request.headers["content-type"] == "application/json"


async def test_get_sends_its_parameters_in_the_query() -> None:
    wire = Wire()
    threads = provider(
        method="GET",
        grant="access_token",
        client_auth="none",
        params={"grant_type": "th_refresh_token", "client_id": None},
    )
    await wire.call(account(threads))
    assert wire.request.method == "GET"
    assert query(wire.request) == {"grant_type": "th_refresh_token", "access_token": "AT-1"}
    assert wire.request.content == b""


async def test_query_parameters_can_stand_beside_a_body() -> None:
    wire = Wire()
    await wire.call(account(provider(query={"subscription-key": "${account.key}"}), custom={"key": "k 1"}))
    assert query(wire.request) == {"subscription-key": "k 1"}
    assert form(wire.request) == STANDARD


async def test_headers_are_added_and_changed_whatever_their_case() -> None:
    wire = Wire()
    await wire.call(
        account(provider(headers={"Accept": "application/vnd.x+json", "X-Api-Key": "${custom.key}", "x-id": "${random}"}),
                custom={"key": "k1"})
    )  # fmt: skip
    headers = wire.request.headers
    assert headers.get_list("accept") == ["application/vnd.x+json"]
    assert headers["x-api-key"] == "k1"
    assert len(headers["x-id"]) == len("12345678-1234-1234-1234-123456789abc")


async def test_one_call_draws_one_random_value() -> None:
    wire = Wire()
    await wire.call(account(provider(headers={"x-a": "${random}"}, params={"b": "${random}"})))
    assert wire.request.headers["x-a"] == form(wire.request)["b"]


@pytest.mark.parametrize(
    ("knobs", "expected"),
    [
        ({"refresh_url": "https://auth.example.com/refresh"}, "https://auth.example.com/refresh"),
        ({"token_url": "https://${account.sub}.example.com/t"}, "https://acme.example.com/t"),
        ({"token_url": "https://${account.host}:8443/t"}, "https://acme.example.com:8443/t"),
        ({"token_url": "https://x.example.com/${account.realm}/t"}, "https://x.example.com/a%2Fb%20c/t"),
        ({"token_url": "${account.origin}/oauth/token"}, "https://accounts.example.eu/oauth/token"),
        ({"token_url": ["https://${account.no}/t", "https://auth.example.com/t"]}, "https://auth.example.com/t"),
        ({"token_url": ["https://${account.host}/t", "https://auth.example.com/t"]}, "https://acme.example.com/t"),
    ],
)  # fmt: skip
async def test_the_url_is_built_from_the_account(knobs: dict[str, object], expected: str) -> None:
    wire = Wire()
    custom = {
        "sub": "acme",
        "host": "acme.example.com",
        "realm": "a/b c",
        "origin": "https://accounts.example.eu",
    }
    await wire.call(account(provider(**knobs), custom=custom))
    assert str(wire.request.url) == expected


async def test_client_credentials_need_no_refresh_token() -> None:
    wire = Wire()
    await wire.call(account(provider(grant="client_credentials"), refresh_token=None, access_token=None))
    assert form(wire.request) == {
        "grant_type": "client_credentials",
        "client_id": "client-1",
        "client_secret": "s3cret-1",
    }


async def test_the_current_access_token_can_be_what_is_exchanged() -> None:
    wire = Wire()
    meta = provider(
        grant="access_token",
        params_in="query",
        params={"grant_type": "fb_exchange_token"},
        param_names={"access_token": "fb_exchange_token"},
    )
    await wire.call(account(meta))
    assert query(wire.request) == {
        "grant_type": "fb_exchange_token",
        "fb_exchange_token": "AT-1",
        "client_id": "client-1",
        "client_secret": "s3cret-1",
    }


async def test_a_login_sends_what_its_parameters_say_and_nothing_else() -> None:
    wire = Wire()
    login = provider(
        grant="login",
        client_auth="none",
        params_in="json",
        params={"client_id": None, "user": "${custom.user}", "password": "${custom.password}"},
    )
    await wire.call(account(login, refresh_token=None, custom={"user": "u", "password": "p"}))
    assert json_body(wire.request) == {"user": "u", "password": "p"}


@pytest.mark.parametrize(
    ("knobs", "fields", "reason"),
    [
        ({}, {"token_url": "http://auth.example.com/token"}, "plain http to auth.example.com is refused"),
        ({}, {"token_url": "ftp://auth.example.com/token"}, "https:// is expected"),
        ({}, {"token_url": "/token"}, "names no host"),
        ({}, {"token_url": "https://"}, "names no host"),
        ({}, {"token_url": "https://a b.example.com"}, "can't be read as a URL"),
        ({}, {"token_url": "https://u:p@auth.example.com/t"}, "user name or password"),
        ({}, {"token_url": "https://auth.example.com/${"}, "not closed"),
        ({}, {"refresh_token": None}, "refresh_token: the account has none"),
        ({}, {"client_auth": "magic"}, "client_auth: expected one of body, basic"),
        ({"client_auth": "basic"}, {"client_id": None}, "client_id: the account has none"),
        ({"grant": "access_token"}, {"access_token": None}, "access_token: the account has none"),
        ({"token_url": "https://${account.sub}.x.com/t"}, {}, "no value for account.sub"),
        ({"token_url": "https://${account.sub}.x.com/t"}, {"custom": {"sub": ""}}, "no value for account.sub"),
        ({"token_url": "https://${account.sub}.x.com/t"}, {"custom": {"sub": "evil.com/"}}, "stands for a host"),
        ({"token_url": "https://x.${account.tld}/t"}, {"custom": {"tld": "com@evil"}}, "stands for a host"),
        ({"token_url": "${account.o}/t"}, {"custom": {"o": "javascript:x"}}, "the beginning of a URL"),
        ({"headers": {"x-key": "${custom.key}"}}, {"custom": {"key": "a\r\nb: c"}}, "headers.x-key: a header holds"),
        ({"token_url": None}, {}, "the provider has none"),
        ({}, {"client_auth": "header"}, "needs the provider's `authorization`"),
        ({"client_auth": "mtls"}, {}, "client_certificate: the account has none"),
    ],
)  # fmt: skip
async def test_what_can_not_be_built_is_not_sent_and_says_why(
    knobs: dict[str, object], fields: dict[str, object], reason: str
) -> None:
    wire = Wire()
    answer = await wire.call(account(provider(**knobs), **fields))

    assert answer.fault is Fault.UNBUILDABLE
    assert reason in (answer.fault_detail or "")
    assert wire.asked == []
    assert not answer.spent


async def test_plain_http_is_allowed_for_the_hosts_that_are_named() -> None:
    wire = Wire()
    answer = await wire.call(account(token_url="http://LOCALHOST:8080/token"))
    assert answer.token is not None


async def test_the_request_is_described_without_any_of_its_values() -> None:
    wire = Wire()
    url = "https://auth.example.com/${account.tenant}/token?code=${custom.key}"
    answer = await wire.call(
        account(provider(token_url=url, params_in="query"), custom={"tenant": "t-secret", "key": "k-secret"})
    )
    assert answer.request == (
        "POST https://auth.example.com/${account.tenant}/token "
        "query(grant_type, refresh_token, client_id, client_secret)"
    )


async def test_now_in_words() -> None:
    wire = Wire()
    await wire.call(account(provider(headers={"x-date": "${now:iso}"})))
    assert NOW == 1_800_000_000
    assert wire.request.headers["x-date"] == "2027-01-15T08:00:00Z"


@pytest.mark.parametrize(
    "token_url",
    [
        "https://evil.example/token",
        "https://login.example.com.evil.example/t",
        "https://xlogin.example.com/t",
    ],
)
def test_an_account_s_own_url_leads_to_its_provider_s_hosts_or_nowhere(token_url: str) -> None:
    of = provider(token_url="https://login.example.com/token", hosts=None)
    with pytest.raises(HostNotAllowed, match="REFRESHD_PROVIDERS_FILE"):
        RequestBuilder(()).build(account(of, token_url=token_url), now=0)
    for good in ("https://LOGIN.example.com/other", "https://login.example.com:8443/token"):
        RequestBuilder(()).build(account(of, token_url=good), now=0)
    RequestBuilder(()).build(account(provider(hosts=["*"]), token_url=token_url), now=0)


@pytest.mark.parametrize(
    "value",
    ["evil.example/", "evil.example#", "evil.example?", "user@evil.example", "evil.example\\", "a b", "%2f"],
)
def test_a_value_can_not_break_out_of_the_host(value: str) -> None:
    of = provider(token_url="https://${account.subdomain}.example.com/token")
    with pytest.raises(InvalidRequest, match="stands for a host"):
        RequestBuilder(()).build(account(of, custom={"subdomain": value}), now=0)
