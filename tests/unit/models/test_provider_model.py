"""A provider is data: what it may say, what it may not, and how an account changes it."""

from __future__ import annotations

import json

import jsonschema
import pytest
from pydantic import ValidationError

from models.providers import ClientAuth, Provider
from models.providers.schema import providers_schema


def provider(**knobs: object) -> Provider:
    return Provider.model_validate({"name": "p", "token_url": "https://a.example.com/t", **knobs})


@pytest.mark.parametrize(
    ("knobs", "field"),
    [
        ({"nonsense": 1}, "nonsense"),
        ({"name": "Has Spaces"}, "name"),
        ({"client_auth": "magic"}, "client_auth"),
        ({"client_auth": "header"}, "authorization"),
        ({"token_url": "https://${nope}/t"}, "token_url"),
        ({"refresh_url": "https://${nope}/t"}, "refresh_url"),
        ({"authorize_url": "https://${nope}/t"}, "authorize_url"),
        ({"device_url": "https://${nope}/t"}, "device_url"),
        ({"revocation_url": "https://${nope}/t"}, "revocation_url"),
        ({"authorize_params": {"x": "${"}}, "authorize_params.x"),
        ({"query": {"x": "${"}}, "query.x"),
        ({"headers": {"x": "${"}}, "headers.x"),
        ({"params": {"a": {"b": 1}}}, "params"),
        ({"params_in": "json", "params": {"a": {"b": ["${x}"]}}}, "params.a.b.0"),
        ({"margin_s": -1}, "margin_s"),
        ({"margin_s": float("inf")}, "margin_s"),
        ({"requests_per_s": 0}, "requests_per_s"),
        ({"response": {"acces_token": "x"}}, "acces_token"),
        ({"error_rules": [{"verdict": "retry", "reason": "x"}]}, "error_rules"),
        ({"error_rules": [{"verdict": "refreshed", "reason": "x", "status": 200}]}, "error_rules"),
        ({"client_assertion": {"key": "${x}"}}, "client_assertion"),
        ({"client_assertion": {"algorithm": "none"}}, "algorithm"),
        ({"device_url": [["https://a.example"]]}, "device_url"),
        ({"publish_fields": [["a"]]}, "publish_fields"),
    ],
)
def test_a_knob_that_can_not_be_is_named(knobs: dict[str, object], field: str) -> None:
    with pytest.raises(ValidationError) as raised:
        provider(**knobs)
    assert field in str(raised.value)


def test_short_forms_are_understood() -> None:
    """One for several, a list of alternatives, a list of names."""
    of = provider(
        token_url=["https://${account.a}/t", "https://b.example.com/t"],
        publish_fields=["instance_url", "a.b"],
        response={"access_token": "data.token"},
        error_rules=[{"status": 418, "verdict": "retry", "reason": "teapot"}],
    )
    assert of.token_url == "https://${account.a}/t || https://b.example.com/t"
    assert provider(token_url=of.token_url).endpoint == of.endpoint
    assert of.publish_fields == {"instance_url": "instance_url", "a.b": "a.b"}
    assert of.response.access_token == ("data.token",)
    assert of.error_rules[0].status == (418,)


def test_a_refresh_goes_to_refresh_url_where_there_is_one() -> None:
    other = provider(refresh_url="https://a.example.com/refresh").endpoint
    assert other is not None
    assert other.source == "https://a.example.com/refresh"
    assert provider(token_url=None).endpoint is None


def test_no_override_is_no_work() -> None:
    of = provider()
    assert of.overridden({}) is of


def test_an_override_replaces_a_knob_and_is_remembered() -> None:
    of = provider(client_auth="basic", rotates=True)
    changed = of.overridden({"client_auth": "body", "margin_s": "30"})
    assert (changed.client_auth, changed.margin_s, changed.rotates) == (ClientAuth.BODY, 30.0, True)
    assert of.client_auth is ClientAuth.BASIC
    assert of.overridden({"margin_s": "30", "client_auth": "body"}) is changed


def test_an_override_adds_to_knobs_that_hold_names() -> None:
    of = provider(params={"a": "1", "b": "2"}, response={"access_token": "t"})
    changed = of.overridden(
        {"params": {"b": None, "c": "3"}, "response": {"scope": "s"}, "headers": {"x": "1"}}
    )
    assert changed.params == {"a": "1", "b": None, "c": "3"}
    assert (changed.response.access_token, changed.response.scope) == (("t",), ("s",))
    assert changed.headers == {"x": "1"}


@pytest.mark.parametrize("knobs", [{"nonsense": 1}, {"margin_s": "soon"}, {"params": {"x": "${"}}])
def test_an_override_is_checked_like_the_provider_itself(knobs: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        provider().overridden(knobs)


def test_overrides_without_end_do_not_fill_the_memory() -> None:
    of = provider()
    for number in range(3000):
        of.overridden({"margin_s": number})
    assert len(of._overrides) <= 2048


def test_a_provider_does_not_change() -> None:
    with pytest.raises(ValidationError):
        provider().name = "other"  # type: ignore[misc]


def test_there_is_a_schema_for_editors_and_it_explains() -> None:
    schema = providers_schema()
    options = schema["$defs"]["Provider"]["properties"]
    assert [name for name, option in options.items() if not option.get("description")] == []
    assert options["margin_s"]["description"] == "How long before its end a token is refreshed."
    assert json.loads(json.dumps(schema)) == schema


def test_what_the_schema_takes_the_model_takes() -> None:
    """The short forms too, so that an editor does not underline what is right."""
    knobs = {
        "name": "p",
        "token_url": ["https://${account.a}/t", "https://b.example.com/t"],
        "publish_fields": ["instance_url"],
        "response": {"access_token": "data.token", "scope": ["a", "b"]},
        "error_rules": [{"status": 418, "verdict": "retry", "reason": "teapot"}],
    }
    jsonschema.validate(knobs, Provider.model_json_schema())
    Provider.model_validate(knobs)


def test_a_provider_survives_json() -> None:
    of = provider(
        error_rules=[{"match": {"a": {"contains": "xyz"}, "b": [1, "2"]}, "verdict": "retry", "reason": "r"}]
    )
    assert Provider.model_validate_json(of.model_dump_json()) == of
