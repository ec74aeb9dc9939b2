"""A provider's own words for what went wrong: rules that come before the general verdict table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from models.answer import Answer, BodyKind, Verdict
from models.providers.json_path import lookup_path

Scalar = bool | int | float | str


def _several(value: object) -> object:
    return (value,) if isinstance(value, int | str) else value


class Contains(BaseModel):
    """A piece of text, for providers that tell two things apart by nothing else. Case does not matter."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    contains: str = Field(min_length=3)


class ErrorRule(BaseModel):
    """If the body has these values at these paths, and the status is one of these, then this verdict.

    Every condition must hold. Values are compared as text, so that `190` and `"190"` are the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    verdict: Verdict
    #: A word for the log, the row and the event; shared by every rule that means the same.
    reason: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    #: Path in the body -> the value, several values, or a piece of text.
    match: Mapping[str, Scalar | Contains | tuple[Scalar, ...]] = Field(default_factory=dict)
    #: HTTP statuses; empty: any.
    status: Annotated[tuple[int, ...], BeforeValidator(_several, json_schema_input_type=int | list[int])] = ()
    #: How the body could be read; `none`: it is empty.
    body: BodyKind | None = None
    source: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> ErrorRule:
        if not self.match and not self.status:
            raise ValueError(
                "a rule needs `match`, `status` or both: this one would match far too many answers"
            )
        if self.verdict is Verdict.REFRESHED:
            raise ValueError("not a verdict of a rule: `refreshed`; only a token in the body is one")
        return self

    def applies(self, answer: Answer) -> bool:
        """Return whether every condition holds."""
        if self.status and answer.status not in self.status:
            return False
        if self.body is not None and answer.body_kind is not self.body:
            return False
        return all(_holds(wanted, lookup_path(answer.fields, path)) for path, wanted in self.match.items())


def _holds(wanted: Scalar | Contains | tuple[Scalar, ...], found: object) -> bool:
    if found is None or isinstance(found, Mapping | list):
        return False
    if isinstance(wanted, Contains):
        return wanted.contains.casefold() in _text(found).casefold()
    options = wanted if isinstance(wanted, tuple) else (wanted,)
    return _text(found) in {_text(option) for option in options}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
