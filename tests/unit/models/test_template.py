"""Templates are looked up, never evaluated, and say what is missing."""

from __future__ import annotations

import pytest

from models.providers.template import TemplateError, host_of, parse

VALUES = {
    "account.client_id": "id",
    "account.client_secret": "s:/?#%",
    "account.host": "acme.example.com",
    "account.accounts-server": "https://accounts.example.eu/",
    "custom.path": "a/b ä",
    "custom.empty": "",
    "account.braces": "${account.client_id}",
    "random": "r",
    "now": "1",
    "now:ms": "1000",
    "now:iso": "1970",
}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("", ""),
        ("plain", "plain"),
        ("$ {x} $1 }", "$ {x} $1 }"),
        ("${account.client_id}", "id"),
        ("a${account.client_id}b${now}c", "aidb1c"),
        ("${random} ${now:ms} ${now:iso}", "r 1000 1970"),
        ("${account.client_secret}", "s:/?#%"),
        ("Basic ${base64(${account.client_id}:${account.client_secret})}", "Basic aWQ6czovPyMl"),
        ("${base64(:)}", "Og=="),
        ("${account.none} || ${account.client_id}", "id"),
        ("${custom.empty} || fallback", "fallback"),
        ("${account.client_id} || ${account.none}", "id"),
        ("${account.braces}", "${account.client_id}"),
    ],
)
def test_variables_are_filled_in(source: str, text: str) -> None:
    assert parse(source).text(VALUES.get) == text


@pytest.mark.parametrize(
    ("source", "url"),
    [
        ("https://x.example.com/t", "https://x.example.com/t"),
        ("https://${account.host}/t", "https://acme.example.com/t"),
        ("https://${account.client_id}.example.com:8443/t", "https://id.example.com:8443/t"),
        ("https://x.example.com/${custom.path}/t", "https://x.example.com/a%2Fb%20%C3%A4/t"),
        ("https://x.example.com/t?k=${account.client_secret}", "https://x.example.com/t?k=s%3A%2F%3F%23%25"),
        ("https://x.example.com?k=${account.host}", "https://x.example.com?k=acme.example.com"),
        ("${account.accounts-server}/oauth/v2/token", "https://accounts.example.eu/oauth/v2/token"),
        ("https://x.example.com/${base64(${account.client_secret})}", "https://x.example.com/czovPyMl"),
        ("https://${account.none}.x.com/t || https://${account.host}/t", "https://acme.example.com/t"),
        ("x${custom.path}", "xa%2Fb%20%C3%A4"),
        ("/t?next=https://${custom.path}", "/t?next=https://a%2Fb%20%C3%A4"),
    ],
)
def test_values_are_encoded_in_a_url(source: str, url: str) -> None:
    assert parse(source).url(VALUES.get) == url


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("https://${account.h}/t", "evil.example.com/x"),
        ("https://${account.h}/t", "evil.example.com#"),
        ("https://${account.h}/t", "user@evil.example.com"),
        ("https://${account.h}.example.com/t", "evil.com?"),
        ("https://${account.h}.example.com/t", "a b"),
        ("https://x.${account.h}/t", "com\\@evil"),
        ("https://${account.h}:80/t", "[::1]"),
        ("${account.h}/t", "evil.example.com"),
        ("${account.h}/t", "file:///etc"),
        ("${account.h}/t", "https://a@evil.example.com"),
        ("${account.h}/t", "https://evil.example.com/?x="),
    ],
)
def test_a_value_can_not_change_where_a_url_points(source: str, value: str) -> None:
    with pytest.raises(TemplateError) as raised:
        parse(source).url(lambda _: value)
    assert value not in str(raised.value)


@pytest.mark.parametrize(
    "source",
    [
        "${", "${account.x", "a ${ b", "${}", "${x}", "${account}", "${account.}", "${account.a b}", "${account.x!r}", "${os.environ}",
        "${account.__class__()}", "${now:YYYY}", "${base64()", "${sha256(${account.x})}", "${base64(${base64(${account.x})})}",
        "${connectionConfig.x}",
    ],
)  # fmt: skip
def test_what_is_no_template_is_refused(source: str) -> None:
    with pytest.raises(TemplateError):
        parse(source)


def test_missing_variables_are_named() -> None:
    template = parse("https://${account.a}/${custom.empty}/${account.client_id}")
    assert template.unresolved(VALUES.get) == ["account.a", "custom.empty"]
    with pytest.raises(TemplateError, match=r"no value for account\.a, custom\.empty"):
        template.text(VALUES.get)


def test_an_alternative_that_can_be_filled_in_is_enough() -> None:
    assert parse("${account.a} || ${account.host}").unresolved(VALUES.get) == []
    assert parse("${account.a} || ${account.b}").unresolved(VALUES.get) == ["account.b"]


def test_a_text_without_variables_is_known_as_such() -> None:
    assert parse("https://x.example.com/t").constant == "https://x.example.com/t"
    assert parse("").constant == ""
    assert parse("a${now}").constant is None


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://Login.Example.com:8443/t", "login.example.com"),
        ("https://[::1]/t", "::1"),
        ("https://[::1/t", None),
        ("https:///t", None),
        ("no url", None),
        (f"https://{'a' * 253}/t", "a" * 253),
        (f"https://{'a' * 254}/t", None),
    ],
)
def test_a_url_has_a_host_or_none_to_speak_of(url: str, host: str | None) -> None:
    assert host_of(url) == host
