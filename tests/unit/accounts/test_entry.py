"""A row is read field by field: each value is understood, or named with what would be right."""

from __future__ import annotations

import pytest

from worker.accounts.entry import AccountEntry, RowRefused, read_entry


def read(**fields: object) -> AccountEntry:
    return read_entry({"id": "a", **fields})


def problems(row: dict[str, object]) -> dict[str, str]:
    with pytest.raises(RowRefused) as refused:
        read_entry(row)
    return {one.field: one.reason for one in refused.value.problems}


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("provider", " Google ", "google"),
        ("client_id", 12345, "12345"),
        ("client_auth", "BASIC_RAW", "basic_raw"),
        ("client_auth", "client_secret_post", "body"),
        ("client_auth", "client_secret_basic", "basic"),
        ("refresh_enabled", True, True),
        ("refresh_enabled", "False", False),
        ("refresh_enabled", "yes", True),
        ("refresh_enabled", 0, False),
        ("refresh_method", "url_query", "url_query"),
        ("Refresh URL Request", "URL Query String", "url_query"),
        ("Refresh URL Request", "Body  Query String", "body"),
        ("Refresh URL Request", "refresh token callback service", "callback"),
        ("Refresh URL Request", "Custom ESB Service", "callback"),
        ("session_management", "Auto", "auto"),
        ("session_timeout_s", "1200", 1200.0),
        ("session_timeout_s", 90.5, 90.5),
        ("Session Timeout", "20", 1200.0),
        ("cm.sessionExpiry", 15, 900.0),
        ("server_url", "https://api.example/v1", "https://api.example/v1"),
        ("server_url", "https://${custom.host}/v1", "https://${custom.host}/v1"),
    ],
)
def test_a_setting_is_understood(name: str, value: object, kept: object) -> None:
    (found,) = read(**{name: value}).settings.values()
    assert found == kept


@pytest.mark.parametrize(
    ("name", "value", "field", "reason"),
    [
        ("provider", "Contoso SSO", "provider", "not a provider name"),
        ("client_id", True, "client_id", "expected text, not true or false"),
        ("client_id", ["x"], "client_id", "expected text, not a list"),
        ("client_id", 1.10, "client_id", "put the number in quotes"),
        ("client_id", "a\nb", "client_id", "line break"),
        ("client_auth", "basicraw", "client_auth", "one of body, basic"),
        ("refresh_enabled", "maybe", "refresh_enabled", "expected true or false"),
        ("refresh_method", "post", "refresh_method", "expected one of url_query, body, callback"),
        ("session_management", "idle", "session_management", "expected one of none, fixed, auto"),
        ("session_timeout_s", "15 min", "session_timeout_s", "expected a number of seconds above 0"),
        ("session_timeout_s", 0, "session_timeout_s", "above 0"),
        ("session_timeout_s", -1, "session_timeout_s", "above 0"),
        ("session_timeout_s", "nan", "session_timeout_s", "a number"),
        ("Session Timeout", "15m", "session_timeout_s", "expected a number of minutes above 0"),
        ("server_url", "api.example", "server_url", "expected https://HOST..."),
        ("issued_at", "yesterday", "issued_at", "epoch seconds (1790000000) or ISO 8601"),
        ("issued_at", 0, "issued_at", "epoch seconds"),
        ("expires_in", "an hour", "expires_in", "expected a number of seconds"),
        ("custom_fields", "tenant", "custom_fields", "expected an object of names and values"),
        ("custom_fields", {"a b": "x"}, "custom_fields", "a name is 1 to 64"),
        ("custom_fields", {"a": {"b": 1}}, "custom_fields", "a: expected text, not an object"),
        ("custom_fields.a", ["x"], "custom_fields.a", "expected text, not a list"),
        ("refreshtoken", "x", "refreshtoken", "did you mean 'refresh_token'?"),
    ],
)
def test_what_is_not_understood_is_named_with_what_would_be_right(
    name: str, value: object, field: str, reason: str
) -> None:
    assert reason in problems({"id": "a", name: value})[field]


@pytest.mark.parametrize("account_id", ["", None, "a b", "a/b", "x" * 129, "ä", "a{b}"])
def test_an_id_is_of_the_characters_that_redis_keys_allow(account_id: str | None) -> None:
    assert "id" in problems({"id": account_id})


def test_an_id_may_be_a_number_in_a_file() -> None:
    assert read_entry({"id": 1001}).id == "1001"


@pytest.mark.parametrize(
    ("value", "at"),
    [
        (1790000000, 1790000000.0),
        ("1790000000.5", 1790000000.5),
        (1790000000500, 1790000000.5),
        ("2026-09-21T14:13:20Z", 1790000000.0),
        ("2026-09-21T16:13:20+02:00", 1790000000.0),
        ("2026-09-21 14:13:20", 1790000000.0),
    ],
)
def test_a_point_in_time_is_epoch_seconds_or_iso_8601(value: object, at: float) -> None:
    assert read(issued_at=value).seconds("issued_at") == at


@pytest.mark.parametrize("value", [3600, 3600.0, "3600", " 3600 ", "3600.0"])
def test_expires_in_is_a_number_or_numeric_text(value: object) -> None:
    assert read(expires_in=value).seconds("expires_in") == 3600.0


def test_a_token_that_ends_before_it_was_issued_is_named() -> None:
    found = problems({"id": "a", "issued_at": 1790000000, "expires_at": 1790000000})
    assert found == {"expires_at": "is not after issued_at"}


@pytest.mark.parametrize("empty", [None, "", "  "])
@pytest.mark.parametrize(
    "name", ["client_secret", "scope", "session_timeout_s", "custom_fields.x", "nonsense"]
)
def test_an_empty_column_of_a_file_says_nothing(name: str, empty: str | None) -> None:
    assert read(**{name: empty}) == AccountEntry("a")


@pytest.mark.parametrize("name", ["Refresh Access Token", "oauth_v20.refreshAccessToken"])
def test_webmethods_own_default_holds_where_its_column_stands_empty(name: str) -> None:
    assert read(**{name: ""}).settings == {"refresh_enabled": False}
    assert "refresh_enabled" not in read(**{"Consumer ID": "c"}).settings


def test_two_names_of_one_field_are_named_both() -> None:
    found = problems({"id": "a", "client_id": "x", "Consumer ID": "x"})
    assert found == {"client_id": "is given twice, as 'client_id' and as 'Consumer ID'"}


def test_a_column_of_its_own_comes_before_the_object_of_custom_fields() -> None:
    entry = read(**{"custom_fields.a": "own", "custom_fields": {"a": "object", "b": 2, "c": None, "d": True}})
    texts = {name: value.reveal() for name, value in entry.custom_fields.items() if value}
    assert texts == {"a": "own", "b": "2", "d": "true"}
    assert entry.all_custom_fields


def test_a_custom_field_keeps_its_line_breaks() -> None:
    value = read(**{"custom_fields.private_key": "-----BEGIN\nabc\n"}).custom_fields["private_key"]
    assert value is not None
    assert value.reveal() == "-----BEGIN\nabc\n"


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("30", 30),
        ("true", True),
        ('{"audience": "x"}', {"audience": "x"}),
        ('["a", "b"]', ["a", "b"]),
        ('"30"', "30"),
        ("json", "json"),
        ("{not json", "{not json"),
        ('{"a": NaN}', '{"a": NaN}'),
        ("https://x.example", "https://x.example"),
    ],
)
def test_a_knob_in_a_cell_is_json_where_it_looks_like_it(cell: str, value: object) -> None:
    assert read_entry({"id": "a", "params": cell}, cells=True).knobs == {"params": value}
    assert read(params=cell).knobs == {"params": cell}


def test_everything_that_is_wrong_with_a_row_is_named_at_once() -> None:
    found = problems({"id": "?", "refresh_method": "x", "colour": "red"})
    assert set(found) == {"id", "refresh_method", "colour"}


@pytest.mark.parametrize("name", ["client_secret", "access_token", "refresh_token"])
def test_white_space_around_a_secret_came_with_copying(name: str) -> None:
    (kept,) = read(**{name: "\u00a0 s3cr3t= \r\n"}).secrets.values()
    assert kept is not None
    assert kept.reveal() == "s3cr3t="


@pytest.mark.parametrize("name", ["access_token", "refresh_token"])
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("to\nken", "holds a line break or another control character"),
        ("to\u200bken", "character 3 is U+200B, not allowed in a token"),
        ("\ufefftoken", "character 1 is U+FEFF"),
        ("\u201ctoken\u201d", "character 1 is U+201C"),
    ],
)
def test_what_no_token_holds_is_named_by_place(name: str, text: str, reason: str) -> None:
    found = problems({"id": "a", name: text})[name]
    assert reason in found
    assert "ken" not in found.replace("token", "")


@pytest.mark.parametrize("name", ["client_secret", "access_token", "refresh_token", "custom_fields.key"])
def test_a_problem_with_a_secret_does_not_show_it(name: str) -> None:
    (reason,) = problems({"id": "a", name: "hush\0hush"}).values()
    assert "hush" not in reason


def test_a_command_takes_values_back_and_a_file_does_not() -> None:
    row = {"id": "a", "scope": "", "margin_s": "", "custom_fields.x": ""}
    entry = read_entry(row, empty_takes_back=True)
    assert (entry.of_the_token, entry.knobs, entry.custom_fields) == (
        {"scope": None},
        {"margin_s": None},
        {"x": None},
    )
    with pytest.raises(RowRefused, match="a stored token is not deleted"):
        read_entry({"id": "a", "refresh_token": ""}, empty_takes_back=True)
