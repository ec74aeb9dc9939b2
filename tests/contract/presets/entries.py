"""What each entry of the file of presets says about itself, and what it asks of an account."""

from __future__ import annotations

from typing import Any

import yaml

from models.provider_requirements import needed
from models.providers import Provider
from models.providers.presets import BUILT_IN
from tests.contract.presets.facts import Facts
from tests.contract.presets.mismatches import Mismatches

TEXT = BUILT_IN.read_text(encoding="utf-8")
RAW: dict[str, dict[str, Any]] = yaml.load(TEXT, yaml.CSafeLoader)
GENERIC = ["generic", "generic-client-credentials", "issuer"]
#: How facts can be known; explained on top of the file.
KNOWN_BY = {"standard", "vendor-doc", "code", "issue", "secondary", "experiment", "memory"}


def check_entry(preset: Provider, mismatches: Mismatches) -> None:
    """A title, sources, how well it is known; what is said from memory is said to be."""
    known_by = set((preset.verified or "").split("+"))
    mismatches.require("the entry has no title", "title" in RAW[preset.name])
    mismatches.require("the entry names no source", preset.sources)
    mismatches.expect("verified, beyond what the file explains", known_by - KNOWN_BY, set())
    mismatches.require("an error rule names no source", all(rule.source for rule in preset.error_rules))
    if preset.name not in GENERIC and "memory" in (preset.verified or "") and preset.verified != "memory":
        mismatches.require("the notes do not say what is known from memory", "memory" in (preset.notes or ""))


def check_needs(preset: Provider, facts: Facts, mismatches: Mismatches) -> None:
    """What `accounts add` asks for is what a request can be made of."""
    asked = {field.removeprefix("custom_fields.") for field in needed(preset)}
    fields = min([facts.fields, *(other.fields for other in facts.elsewhere)], key=len)
    own = {"client_id", "client_secret", "refresh_token", "access_token", "scope", "private_key"}
    if preset.endpoint is None:
        own |= {"token_url"}  # a server that each operator has at an address of their own
    if preset.dpop is not None:
        own |= {"dpop_key"}
    unused = asked - own - {"client_certificate", "client_key"} - set(fields)
    mismatches.expect("asked of an account, and not used by the provider", unused, set())
