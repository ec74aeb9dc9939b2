"""From a catalogue's entry to a provider as data: rules about knobs, and not one provider's name."""

from __future__ import annotations

from typing import Any

from models.providers import Provider
from tests.contract.coverage_catalogue.entry import Entry, translated

_AUTH = {
    "post": "body",
    "basic": "basic",
    "none": "none",
    "mtls": "mtls",
    "private_key_jwt": "private_key_jwt",
    "client_secret_jwt": "client_secret_jwt",
    "header_template": "header",
    "basic_custom": "header",
    "post_renamed_params": "none",
    "n/a": "none",
}
#: The secret as the user of HTTP Basic, and no password.
_SECRET_AS_USER = "Basic ${base64(${account.client_secret}:)}"


def provider_of(entry: Entry) -> Provider:
    knobs: dict[str, Any] = {"name": entry.name.lower(), "title": entry.data["name"]}
    if entry.url is not None:
        knobs["token_url"] = translated(entry.url)
    knobs |= _request(entry) | _authentication(entry) | _answer(entry)
    if _names_its_own_client(entry):
        knobs["params"].setdefault("client_id", None)
    return Provider.model_validate(knobs).overridden(entry.facts.get("knobs", {}))


def _request(entry: Entry) -> dict[str, Any]:
    data = entry.data
    params = {name: _template(value) for name, value in entry.params.items() if value != "${token}"}
    knobs: dict[str, Any] = {
        "method": data.get("method", "POST"),
        "params_in": data.get("body_format", "form"),
        "headers": {
            name: translated(value) for name, value in data.get("token_headers", {}).items() if name.lower() != "authorization"
        },
    }  # fmt: skip
    if entry.refreshes:
        knobs["grant"] = "refresh_token"
        if "grant_type" not in params:
            params["grant_type"] = None
    elif entry.knobs & {"grant_jwt_bearer"}:
        knobs["grant"] = "jwt_bearer"
    elif entry.knobs & {"local_jwt"}:
        knobs["grant"] = "self_signed"
    elif entry.knobs & {"token_source_access"}:
        knobs["grant"] = "access_token"
    elif entry.mode == "OAUTH2_CC" or entry.is_oauth2:
        knobs["grant"] = "client_credentials"
    else:
        knobs["grant"] = "login"
    if "resource_indicator" in entry.knobs:
        params["resource"] = "${account.server_url}"
    knobs["params"] = {
        name: value for name, value in params.items() if not name.startswith("client_assertion")
    }
    return knobs


def _authentication(entry: Entry) -> dict[str, Any]:
    header = entry.data.get("token_headers", {}).get("authorization")
    auth = "header" if header else _AUTH[entry.data["client_auth"]]
    knobs: dict[str, Any] = {"client_auth": auth}
    if auth == "header":
        knobs["authorization"] = translated(header) if header else _SECRET_AS_USER
    if auth == "private_key_jwt":
        assertion = entry.data.get("assertion", {})
        knobs["client_assertion"] = {
            "algorithm": assertion.get("alg", "RS256"),
            "lifetime_s": assertion.get("lifetime_s", 300),
        }
    if "jwt" in entry.data:
        jwt = entry.data["jwt"]
        symmetric = jwt["protocol"] == "HMAC"
        knobs["grant_assertion"] = {
            "algorithm": jwt["alg"],
            "lifetime_s": jwt["ttl_ms"] / 1000,
            "key": "${account.client_secret}" if symmetric else "${custom.private_key}",
        }
    if auth == "body" and _names_its_own_client(entry):
        knobs["client_auth"] = "none"
    return knobs


def _names_its_own_client(entry: Entry) -> bool:
    """A login names all of its parameters itself, the client's credentials among them."""
    return entry.mode not in {"OAUTH2", "OAUTH2_CC", "MCP_OAUTH2", "MCP_OAUTH2_GENERIC"}


def _answer(entry: Entry) -> dict[str, Any]:
    shape: dict[str, Any] = {}
    for ours, theirs in (("access_token", "token"), ("refresh_token", "refresh_token")):
        if theirs in entry.response:
            shape[ours] = entry.response[theirs]
    if "token_expiration" in entry.response:
        point = entry.response.get("token_expiration_strategy") == "expireAt"
        shape["expires_at" if point else "expires_in"] = entry.response["token_expiration"]
    knobs: dict[str, Any] = {"response": shape, "publish_fields": entry.data.get("response_metadata", [])}
    if entry.data.get("fixed_ttl_ms"):
        knobs["default_lifetime_s"] = entry.data["fixed_ttl_ms"] / 1000
    if "never_expires" in entry.knobs:
        knobs["never_expires"] = True
    if "refresh_buffer_s" in entry.data:
        knobs["margin_s"] = entry.data["refresh_buffer_s"]
    return knobs


def _template(value: object) -> object:
    if isinstance(value, str):
        return translated(value)
    if isinstance(value, dict):
        return {name: _template(inner) for name, inner in value.items()}
    return value
