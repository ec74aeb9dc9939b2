"""Where a browser may be sent back to."""

from __future__ import annotations

import pytest

from worker.accounts.clients.entry import read_client
from worker.accounts.entry import RowRefused
from worker.accounts.return_urls import admits, problem_of, problem_of_entry, with_outcome

EXACT = "https://app.example/connected"
BELOW = "https://app.example/tenants/*"


@pytest.mark.parametrize(
    "url",
    [
        EXACT,
        "https://app.example/tenants/acme",
        "https://app.example/tenants/acme/done?from=list&x=%2e%2e",
        "https://APP.example/tenants/acme",
        "https://app.example/tenants/",
    ],
)
def test_what_a_client_names_is_admitted(url: str) -> None:
    assert admits([EXACT, BELOW], url)


@pytest.mark.parametrize(
    "url",
    [
        "https://app.example/connected/",
        "https://app.example/connected?x=1",
        "https://app.example/Connected",
        "http://app.example/connected",
        "https://app.example:8443/tenants/acme",
        "https://app.example.evil.example/tenants/acme",
        "https://evil.example/tenants/acme",
        "https://app.example@evil.example/tenants/acme",
        "https://app.example/tenants",
        "https://app.example/tenants-of-others/acme",
        "https://app.example/tenants/../admin",
        "https://app.example/tenants/%2e%2E/admin",
        "https://app.example/tenants/.%2e/admin",
        "https://app.example/tenants/..%2fadmin",
        "https://app.example/tenants/..%5cadmin",
        "https://app.example\\@evil.example/tenants/acme",
        "https:app.example/tenants/acme",
        "//app.example/tenants/acme",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://app.example/tenants/acme#x",
        " https://app.example/tenants/acme",
        "https://app.example/tenants/a\ncme",
        "https://app.example/tenants/é",
        "",
    ],
)
def test_any_other_address_is_refused(url: str) -> None:
    assert not admits([EXACT, BELOW], url)


def test_a_client_without_return_urls_admits_nothing() -> None:
    assert not admits([], EXACT)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://app.example/x", "plain http"),
        ("https://user:secret@app.example/x", "user name"),
        ("https://app.example/#", "fragment"),
        ("ftp://app.example/x", "expected https"),
        ("https:///x", "expected https"),
        ("https://app.example:port/", "not a URL"),
        ("https://app.example/" + "a" * 2000, "longer"),
    ],
)
def test_what_is_wrong_with_an_address_is_named(url: str, said: str) -> None:
    assert said in (problem_of(url) or "")
    assert problem_of_entry(url)


@pytest.mark.parametrize("url", [EXACT, BELOW, "http://127.0.0.1:8000/back", "http://localhost/*"])
def test_entries_of_a_client(url: str) -> None:
    assert problem_of_entry(url) is None


def test_the_outcome_goes_into_the_query_and_replaces_what_has_its_names() -> None:
    url = with_outcome(
        "https://app.example/back?tab=crm&status=forged&empty=",
        {"session": "cs_1", "account": "a@b", "status": "failed", "reason": "refused"},
    )
    assert (
        url
        == "https://app.example/back?tab=crm&empty=&session=cs_1&account=a%40b&status=failed&reason=refused"
    )
    assert with_outcome("https://app.example", {"status": "connected", "reason": None}) == (
        "https://app.example?status=connected"
    )


def test_each_wrong_url_of_a_client_is_named_and_a_password_in_one_is_not_shown() -> None:
    urls = [
        "http://app.example/x",
        "https://app.example/*",
        "https://u:marker@app.example/",
        "https://app.example/#f",
    ]
    with pytest.raises(RowRefused) as refused:
        read_client({"name": "app", "provider": "xero", "return_urls": urls})

    assert [one.field for one in refused.value.problems] == ["return_urls"] * 3
    reasons = [one.reason for one in refused.value.problems]
    assert reasons[0].startswith("'http://app.example/x': plain http is for this machine alone")
    assert reasons[1] == "URL 3: holds a user name or password"
    assert reasons[2].startswith("'https://app.example/#f': holds a fragment")
    assert "marker" not in str(refused.value)
