"""Reading a model of settings: each error names the variable and what would be right, and shows no value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic_settings import BaseSettings

from worker.errors import SettingsError

T = TypeVar("T", bound=BaseSettings)


def load(model: type[T], examples: Mapping[str, str] | None = None, **overrides: Any) -> T:
    """Read settings from the environment and `.env`.

    Args:
        model: the settings; a field's description is what its value should be.
        examples: name -> what to show in place of the description.
        overrides: values that come before the environment's.

    Raises:
        SettingsError: names each wrong variable and what would be right. It never shows the value of one
            that could be secret.
    """
    try:
        return model(**overrides)
    except ValidationError as error:
        found = error.errors(include_input=False)
        raise SettingsError("\n".join(_in_words(item, model, examples or {}) for item in found)) from None
    except UnicodeDecodeError:
        raise SettingsError(".env is not UTF-8 text: save it as UTF-8") from None
    except OSError as error:
        raise SettingsError(f".env can't be read: {error.strerror}") from None


def _in_words(item: Any, model: type[BaseSettings], examples: Mapping[str, str]) -> str:
    message = str(item["msg"]).removeprefix("Value error, ")
    if not item["loc"]:
        return message
    name = str(item["loc"][0])
    right = examples.get(name) or model.model_fields[name].description
    variable = f"{model.model_config.get('env_prefix', '')}{name.upper()}"
    return f"{variable}: {message[0].lower()}{message[1:]}; expected {right}"
