"""The page `docs/providers.md`, generated from the presets: `python -m docs.generate.providers > docs/providers.md`."""

from __future__ import annotations

import ast
import inspect
import sys
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Final
from urllib.parse import urlsplit

from models.answer import BodyKind
from models.provider_requirements import needed
from models.providers import WITH_CONSENT, ClientAuth, GrantType, OldAccessToken, ParamsIn, Provider
from models.providers.error_rule import Contains, ErrorRule, Scalar
from models.providers.presets import load_presets
from models.providers.response_shape import ResponseShape

_HEAD: Final = """\
# Providers

How {count} providers want a token to be refreshed: token URL, client authentication, body format, how long access and
refresh tokens live, whether refresh tokens rotate, and what their error answers mean. This page is generated from
`models/providers/presets.yaml`; each line names its sources and how well its facts are known.

`refreshd providers list` and `refreshd providers show NAME` show the same on the command line.

## A provider of your own

Any OAuth 2.0 provider works without an entry here: `provider: generic` and the account's own `token_url`. To describe
one once and for all, or to change what is known of one, write a file and name it in `REFRESHD_PROVIDERS_FILE`:

```yaml
acme:
  token_url: https://${{account.subdomain}}.acme.example.com/oauth/token
  client_auth: basic
  default_lifetime_s: 3600
  error_rules:
    - match: {{error: token_was_revoked}}
      verdict: reauthorize
      reason: refresh_token_invalid

google:            # starts from the built-in entry of this name
  margin_s: 300

acme-eu:
  extends: acme
  token_url: https://${{account.subdomain}}.acme.example.eu/oauth/token
```

What several entries share may stand once, under a key that begins with a dot: `.eu: &eu {{rotates: true}}`, and `<<: *eu` in each.

`refreshd providers discover URL` prints such an entry for a server that publishes metadata: URL is an issuer (RFC 8414, OpenID
Connect), or a resource that names its authorization server (RFC 9728), such as an MCP server. It asks and stores nothing; the document's
issuer has to be the one asked for, and what it names obeys the rules of token URLs.

`refreshd providers check FILE` names every mistake in it. `refreshd providers schema > providers.schema.json` is for
editors: with `# yaml-language-server: $schema=providers.schema.json` on top they complete and check the file as you type.

`${{account.NAME}}` is a field of the account, or else one of its custom fields. Such templates are looked up, never
evaluated; a variable without a value is an error at import. Of a list of URLs the first counts whose variables all have
a value. An account may override any option for itself.

## Proof of possession (DPoP)

Some providers bind tokens to a key pair: each request has to prove that its sender holds the key (RFC 9449). `dpop: true`, at the provider or at one account, has refreshd prove it at the token endpoint (ES256; or `dpop:
Ed25519`, `PS256` ... as the provider takes them). The private key is the account's custom field `dpop_key`, PEM or JWK,
sealed like every secret:

```sh
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out acme-1.pem
refreshd accounts authorize acme-1 provider=acme client_id=ID client_auth=none dpop=true custom_fields.dpop_key=@acme-1.pem
```

**The key is yours**: refreshd neither makes nor publishes one, because the connector needs it as well. An access token of
`token_type` `DPoP` is worth nothing to who can't prove the key ([redis.md](redis.md)). An import brings the key that the
grant was made with: the refresh token of a client without a secret works with that key alone, and the provider says
`invalid_grant` to any other; some end the grant. So where the access token is a JWT that names its key (`cnf.jkt`, section 6),
another `dpop_key` is refused at import and `edit`, and no worker sends anything (`dpop_key_mismatch`). A client with a secret may
change its key, with `dpop_key_may_change: true` at the account or provider; the next refresh binds the next token to it.

- A provider that wants its own nonce in the proof (section 8) says so before it looks at the grant. This one request is
  then sent once more, with the nonce, in the same attempt and before the same deadline. The nonce is kept for that server.
- An answer with another `token_type` is stored and published as it is: such a token works without the key.
  The log says `dpop_not_bound`, and so do `refreshd history` and `refreshd explain`.
- `refreshd history ACCOUNT --full` names the key that signed each request by its thumbprint (RFC 7638), to compare.
- `accounts authorize` binds the code to the key, too (`dpop_jkt`). Callbacks sign for themselves: `dpop_key` is among
  their custom fields.

## All providers

A standard request is a form by POST with `client_id` and `client_secret` in it (RFC 6749 section 6); what differs is
named by its option. Where the response names a lifetime, that counts, and the one here stands in for it otherwise. A
refresh token that `rotates` is replaced by each refresh; "unused" is how long it lives without use, "at most" how
long after the consent, used or not. Where `accounts authorize` is named, it obtains the first grant by itself
(`refreshd accounts authorize --help`); elsewhere it does so once the account is given an `authorize_url` or a
`device_url`. What an account needs is given beside its `client_id`, `client_secret` and
`refresh_token`.

"""

_LEFT_OUT: Final = """
## Left out

| why | providers |
|---|---|
| Access tokens do not end, so there is nothing to refresh. | Acuity Scheduling, Aircall, BigCommerce, Checkr, ClickUp, \
Eventbrite, Intercom, SurveyMonkey, Teamwork, TikTok Ads, Webflow, WordPress.com |
| More than data: a signature over the request, cookies, an SDK, several steps. Write a \
callback. | Avanan, AWS STS, Braintree, COROS, Sage Intacct (XML), SAP Business One, Sellercloud, \
SHOPLINE |
"""

_OPTIONS: Final = """
## Options

| option | default | meaning |
|---|---|---|
"""

_RESPONSE: Final = """
The paths of `response`, one or several; the first that holds something counts:

| part of the response | where it is looked for |
|---|---|
"""

_DAY: Final = 86400
_UNITS: Final = ((365 * _DAY, "year"), (_DAY, "day"), (3600, "hour"), (60, "minute"), (1, "second"))
_KNOWN_FROM: Final = {
    "standard": "the standard",
    "vendor-doc": "the vendor",
    "code": "code",
    "issue": "an issue",
    "secondary": "other people's pages",
    "experiment": "a trial",
    "memory": "memory",
}
_USUAL: Final = frozenset({"client_id", "client_secret", "refresh_token"})


def page() -> str:
    """Return the page as Markdown."""
    presets = load_presets()
    return (
        _HEAD.format(count=len(presets))
        + "| provider | token URL | request | access token | refresh token | account | good to know |\n"
        + "|---|---|---|---|---|---|---|\n"
        + "".join(f"| {' | '.join(_cells(alike))} |\n" for alike in _groups(presets.values()))
        + _LEFT_OUT
        + _OPTIONS
        + "".join(_option_lines())
        + _RESPONSE
        + "".join(_path_lines())
    )


def _groups(presets: Iterable[Provider]) -> list[list[Provider]]:
    """Return presets grouped by what they hold beside their names, those for any provider first."""
    alike: dict[str, list[Provider]] = {}
    for preset in presets:
        alike.setdefault(preset.model_dump_json(exclude={"name", "title"}), []).append(preset)
    return sorted(alike.values(), key=lambda group: (group[0].endpoint is not None, group[0].name))


def _cells(alike: list[Provider]) -> Iterator[str]:
    preset = alike[0]
    yield "<br>".join(f"{_text(one.title or one.name)} `{one.name}`" for one in alike)
    yield _urls(preset.refresh_url or preset.token_url)
    yield ", ".join(_request(preset)) or "standard"
    yield ", ".join(_access_token(preset))
    yield ", ".join(_refresh_token(preset))
    yield ", ".join(_code(name) for name in needed(preset) if name not in _USUAL)
    yield "<br>".join(_good_to_know(preset))


def _urls(template: str | None) -> str:
    return "the account's own" if template is None else "<br>".join(map(_code, template.split(" || ")))


def _request(preset: Provider) -> Iterator[str]:
    if preset.grant is not GrantType.REFRESH_TOKEN:
        yield _code(preset.grant)
    if preset.client_auth is not ClientAuth.BODY:
        yield _code(preset.client_auth)
    if preset.method == "GET":
        yield "GET"
    elif preset.params_in is not ParamsIn.FORM:
        yield "JSON" if preset.params_in is ParamsIn.JSON else "parameters in the query"
    for theirs, ours in {name: ours for ours, name in preset.param_names.items()}.items():
        yield f"{_code(theirs)} for {_code(ours)}"
    left_out = [_code(name) for name, value in preset.params.items() if value is None]
    if left_out:
        yield f"no {', no '.join(left_out)}"
    yield from (_code(f"{name}={value}") for name, value in preset.params.items() if value is not None)
    yield from (f"header {_code(name)}" for name in preset.headers)
    yield from (f"query {_code(name)}" for name in preset.query)


def _access_token(preset: Provider) -> Iterator[str]:
    if preset.never_expires:
        yield "never ends"
    elif preset.default_lifetime_s is not None:
        yield duration(preset.default_lifetime_s)
    if preset.refresh_window_s is not None:
        yield f"refresh only in the last {duration(preset.refresh_window_s)}"
    if preset.old_access_token is OldAccessToken.DIES:
        yield "the old one dies at a refresh"
    elif preset.old_access_token is OldAccessToken.GRACE:
        yield "the old one dies soon after a refresh"


def _refresh_token(preset: Provider) -> Iterator[str]:
    if preset.rotates is not None:
        yield "rotates" if preset.rotates else "stays"
    if preset.replay_grace_s is not None:
        yield f"may be used again for {duration(preset.replay_grace_s)}"
    if preset.replay_until_used:
        yield "may be used again until the new access token is used"
    if preset.refresh_token_idle_s is not None:
        yield f"{duration(preset.refresh_token_idle_s)} unused"
    if preset.refresh_token_lifetime_s is not None:
        yield f"at most {duration(preset.refresh_token_lifetime_s)}"


def _good_to_know(preset: Provider) -> Iterator[str]:
    if preset.notes:
        yield _text(preset.notes)
    if preset.authorize_url is not None and preset.grant in WITH_CONSENT:
        yield f"First grant: `accounts authorize`{', also `--device`' if preset.device_url else ''}."
    if preset.publish_fields:
        yield f"Publishes {', '.join(map(_code, preset.publish_fields))}."
    yield from (_rule(rule) for rule in preset.error_rules)
    known_from = ", ".join(_KNOWN_FROM[word] for word in (preset.verified or "").split("+") if word)
    yield f"Known from {known_from}: {', '.join(map(_source, preset.sources))}"


def _rule(rule: ErrorRule) -> str:
    signs = [f"{_code(path)} {_wanted(wanted)}" for path, wanted in rule.match.items()]
    if rule.status:
        signs.insert(0, f"status {' or '.join(map(str, rule.status))}")
    if rule.body is not None:
        signs.append("an empty body" if rule.body is BodyKind.NONE else f"a body of {rule.body.upper()}")
    return f"{' and '.join(signs)}: {rule.verdict}."


def _wanted(wanted: Scalar | Contains | tuple[Scalar, ...]) -> str:
    if isinstance(wanted, Contains):
        return f'with "{_text(wanted.contains)}"'
    options = wanted if isinstance(wanted, tuple) else (wanted,)
    return " or ".join(_code(str(option)) for option in options)


def _source(source: str) -> str:
    address = urlsplit(source)
    return f"[{address.netloc.removeprefix('www.')}]({source})" if address.scheme else _text(source)


def _option_lines() -> Iterator[str]:
    meanings = _meanings()
    for name, field in Provider.model_fields.items():
        default = str(field.default).lower() if isinstance(field.default, bool) else field.default
        shown = _code(default) if isinstance(default, str) else ""
        yield f"| `{name}` | {shown} | {_text(meanings[name])} |\n"


def _meanings() -> dict[str, str]:
    """Return the text below each field of `Provider`, from its source."""
    module = ast.parse(inspect.getsource(sys.modules[Provider.__module__]))
    (body,) = (one.body for one in module.body if isinstance(one, ast.ClassDef) and one.name == "Provider")
    return {
        field.target.id: inspect.cleandoc(text.value.value)
        for field, text in pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(text, ast.Expr)
        and isinstance(text.value, ast.Constant)
        and isinstance(text.value.value, str)
    }


def _path_lines() -> Iterator[str]:
    for name, default in ResponseShape().model_dump(mode="json").items():
        paths = default if isinstance(default, list) else [default]
        yield f"| `{name}` | {', '.join(map(_code, paths))} |\n"


def duration(seconds: float) -> str:
    """Return a duration in the largest unit that fits: `1 hour`, `60 days`, `18 months` as 547.5 days."""
    size, unit = next(
        ((size, unit) for size, unit in _UNITS if seconds >= size and seconds % size == 0), (1, "second")
    )
    amount = f"{seconds / size:g}"
    return f"{amount} {unit}" if amount == "1" else f"{amount} {unit}s"


def _code(text: str) -> str:
    return f"`{_text(text)}`"


def _text(text: str) -> str:
    """Return a text for a cell of a table: a bar would end it."""
    return " ".join(text.split()).replace("|", r"\|")


if __name__ == "__main__":
    sys.stdout.write(page())
