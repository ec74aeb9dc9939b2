"""The JSON Schema of a providers file, for editors that complete and check YAML."""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise
from typing import Any, Final

from models.providers import Provider

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"  # what pydantic writes


def providers_schema() -> dict[str, Any]:
    """Return the schema of a file that `models/providers/presets.py` reads: names to options, and `extends` among the options.

    What depends on another entry (a name that `extends` gives) or on a template's grammar is left to
    `refreshd providers check`.
    """
    entry = Provider.model_json_schema(mode="validation")
    definitions = entry.pop("$defs")
    name = entry["properties"].pop("name")
    explained = _docstrings_of_fields()
    for knob, schema in entry["properties"].items():
        schema["description"] = explained[knob]
    entry["required"] = [knob for knob in entry["required"] if knob != "name"]
    entry["title"] = "A provider"
    entry["properties"]["extends"] = {
        "type": "string",
        "description": "Start from this entry, and change what stands beside it.",
    }
    return {
        "$schema": _DIALECT,
        "title": "Providers of refreshd",
        "type": "object",
        "propertyNames": {"pattern": rf"{name['pattern']}|^\."},
        "patternProperties": {r"^\.": {"description": "What several entries share, by an anchor."}},
        "additionalProperties": {"$ref": "#/$defs/Provider"},
        "$defs": {**definitions, "Provider": entry},
    }


def _docstrings_of_fields() -> dict[str, str]:
    """Return the string below each field of `Provider`, by name.

    pydantic's `use_attribute_docstrings` reads them, too, but whenever the model is imported.
    """
    model: Any = ast.parse(inspect.getsource(Provider)).body[0]
    found = {}
    for field, below in pairwise(model.body):
        match field, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = inspect.cleandoc(text)
    return found
