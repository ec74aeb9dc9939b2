"""`refreshd providers`: what is known of each provider, and whether a file of your own can be used."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer
import yaml
from pydantic import ValidationError

from models.provider_requirements import needed
from models.providers import ClientAuth, GrantType, Provider
from models.providers.presets import PresetError, load_presets, load_providers
from models.providers.schema import providers_schema
from worker.accounts.provider_names import names_meant, vendors_own
from worker.cli.terminal.console import err, out, print_json
from worker.cli.terminal.context import open_stores
from worker.errors import UsageError

if TYPE_CHECKING:  # the other commands ask no server
    from worker.providers.discovery.discover import Discovered

providers_app = typer.Typer(no_args_is_help=True)

#: So many names are offered for one that does not exist.
_OFFERED: Final = 5
#: Longer names stand out of their column.
_NAME_WIDTH: Final = 32
#: What nearly every account has; the rest is worth telling.
_USUAL: Final = frozenset({"client_id", "client_secret", "refresh_token"})

_SCOPE_SENT: Final = (
    "send_scope: a refresh that names less than was granted narrows the grant for good at many servers (docs/servers.md); leave "
    "it out unless the provider asks for it"
)

_AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class UnknownProvider(UsageError):
    """No provider has this name."""

    def __init__(self, name: str, known: Mapping[str, Provider]) -> None:
        offered = ", ".join(named_like(name, known)[:_OFFERED])
        meant = f"did you mean {offered}? " if offered else ""
        super().__init__(
            f"unknown provider {name!r}: {meant}`refreshd providers list` has all. Any other is `generic`, with a token_url"
        )


def named_like(text: str, known: Mapping[str, Provider]) -> list[str]:
    """Return the name in small letters, a vendor's own providers, others whose name or title holds a text, then those whose name is spelled nearly so."""
    exact = [text.casefold()] if text.casefold() in known else []
    near = [name for name, provider in known.items() if _holds(provider, text)]
    return list(dict.fromkeys([*exact, *vendors_own(text, known), *near, *names_meant(text, known)]))


def _holds(provider: Provider, text: str) -> bool:
    wanted = text.casefold()
    return wanted in provider.name or wanted in (provider.title or "").casefold()


class UnusableProviders(UsageError):
    """A file of providers, or entries of it, can't be used."""


@providers_app.command("list")
def list_command(
    search: Annotated[
        str, typer.Argument(help="Only names and titles that hold this.", metavar="[TEXT]")
    ] = "",
    as_json: _AsJson = False,
) -> None:
    """List the providers: the built-in presets, and those of REFRESHD_PROVIDERS_FILE."""
    with open_stores() as here:
        known = sorted(here.providers.known.items())
    found = [provider for _, provider in known if _holds(provider, search)]
    if not found:
        err.plain(
            f"No provider's name or title holds {search!r}: `refreshd providers list` shows all {len(known)}."
        )
    if as_json:
        for provider in found:
            print_json(_line(provider))
        return
    width = max((len(provider.name) for provider in found if len(provider.name) <= _NAME_WIDTH), default=0)
    for provider in found:
        out.plain(f"{provider.name:<{width}}  {_in_words(provider)}")


@providers_app.command("show")
def show_command(
    name: Annotated[str, typer.Argument(help="The provider's name.", metavar="NAME")],
    as_json: _AsJson = False,
) -> None:
    """Show one provider: each knob that it sets, as a providers file would, and what its accounts need."""
    with open_stores() as here:
        known = here.providers.known
    provider = known.get(name)
    if provider is None:
        raise UnknownProvider(name, known)
    if as_json:
        print_json({**_knobs(provider), "needs": list(needed(provider))})
        return
    knobs = _knobs(provider)
    del knobs["name"]
    text = yaml.safe_dump({name: knobs}, sort_keys=False, allow_unicode=True, width=110)
    out.plain(text + f"\nAn account needs: {', '.join(needed(provider)) or 'nothing'}")


@providers_app.command("check")
def check_command(
    file: Annotated[Path, typer.Argument(help="A file for REFRESHD_PROVIDERS_FILE.", metavar="FILE")],
) -> None:
    """Check a file of providers: every entry, over the built-in presets. Names each field that is wrong."""
    try:
        providers = load_providers(file)
    except PresetError as error:
        raise UnusableProviders(str(error)) from None
    built_in = load_presets()
    own = [
        name
        for name, provider in providers.items()
        if name not in built_in or _knobs(provider) != _knobs(built_in[name])
    ]
    for name in own:
        what = "changes the built-in one" if name in built_in else "is new"
        out.plain(f"{name}: fine, {what}; an account needs {', '.join(needed(providers[name])) or 'nothing'}")
        if providers[name].send_scope and providers[name].grant is GrantType.REFRESH_TOKEN:
            out.plain(f"{name}: {_SCOPE_SENT}")
    out.plain(f"{file}: {len(own)} providers can be used.")


@providers_app.command("discover")
def discover_command(
    url: Annotated[
        str,
        typer.Argument(
            metavar="URL",
            help="An issuer, the address of its metadata, or a resource that names its authorization server, such as an MCP server.",
        ),
    ],
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The provider's name. Default: its host.")
    ] = None,
    keep: Annotated[
        bool,
        typer.Option(
            "--keep",
            help="Store the issuer's metadata for accounts of `provider: issuer`, and trust the hosts that they name now.",
        ),
    ] = False,
    as_json: Annotated[
        bool,
        typer.Option("--json", help="Print the entry as JSON, beside what the server said and was asked."),
    ] = False,
) -> None:
    """Ask a server for its metadata, and print a provider to keep in REFRESHD_PROVIDERS_FILE.

    Reads RFC 8414, OpenID Connect discovery, and RFC 9728 from a resource's challenge. Nothing is stored without `--keep`.

    Examples: `discover https://login.example.com`; `discover https://mcp.example.com/mcp --name acme-mcp >> providers.yaml`.
    """
    from worker.providers.discovery.entry import entry_of, name_of

    found = asyncio.run(_discovered(url))
    try:
        entry = entry_of(found)
    except ValueError as error:
        raise UnusableProviders(str(error)) from None
    if keep:
        with open_stores() as here:
            here.issuer_reader.keep(found.server)
    provider = name or name_of(found)
    try:
        Provider.model_validate({"name": provider, **entry})
    except ValidationError as error:
        words = "; ".join(one["msg"] for one in error.errors())
        raise UsageError(f"{provider}: {words}") from None
    if as_json:
        print_json({"name": provider, "entry": entry, "asked": [list(step) for step in found.trail.steps]})
        return
    for asked, words in found.trail.steps:
        err.plain(f"{asked}: {words}")
    out.plain(yaml.safe_dump({provider: entry}, sort_keys=False, allow_unicode=True, width=110).rstrip("\n"))


async def _discovered(url: str) -> Discovered:
    from worker.intake.issuer_metadata import Undiscovered
    from worker.providers.discovery.discover import discover
    from worker.providers.discovery.metadata import DiscoveryFailed

    with open_stores() as here:
        client = here.document_client()
    try:
        return await discover(client, url)
    except DiscoveryFailed as failed:
        raise Undiscovered(failed) from None
    finally:
        await client.aclose()


@providers_app.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of a providers file, for editors that complete and check YAML."""
    json.dump(providers_schema(), sys.stdout, indent=2, ensure_ascii=False)
    sys.stdout.write("\n")


def _line(provider: Provider) -> dict[str, Any]:
    return {
        "name": provider.name,
        "title": provider.title,
        "grant": provider.grant,
        "client_auth": provider.client_auth,
        "token_url": provider.refresh_url or provider.token_url,
        "needs": list(needed(provider)),
        "verified": provider.verified,
    }


def _knobs(provider: Provider) -> dict[str, Any]:
    return provider.model_dump(mode="json", exclude_defaults=True)


def _in_words(provider: Provider) -> str:
    """Return the provider's title, and what is not as in RFC 6749 section 6 with id and secret in the body."""
    grant = [] if provider.grant is GrantType.REFRESH_TOKEN else [provider.grant.value]
    auth = [] if provider.client_auth is ClientAuth.BODY else [provider.client_auth.value]
    asked = [name.removeprefix("custom_fields.") for name in needed(provider) if name not in _USUAL]
    needs = [f"needs {', '.join(asked)}"] if asked else []
    details = "; ".join([*grant, *auth, *needs])
    return f"{provider.title or provider.name}{f' ({details})' if details else ''}"
