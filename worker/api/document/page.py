"""`/docs`: the OpenAPI document as one page to read. It loads nothing, from anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final

from worker.api.problems import Kind

_STYLE: Final = """
:root{color-scheme:light dark;--line:#8884;--dim:#777}
body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:0 auto;padding:1.5rem}
code,pre{font:14px/1.45 ui-monospace,monospace}pre{overflow-x:auto;padding:.75rem;border:1px solid var(--line);border-radius:6px}
h2{margin-top:2.5rem;border-bottom:1px solid var(--line)}h3{margin:2rem 0 .25rem;overflow-wrap:anywhere}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.3rem .75rem .3rem 0;border-bottom:1px solid var(--line)}
.dim{color:var(--dim)}nav a{display:inline-block;margin-right:1rem}
"""
_HASH: Final = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
#: The page's own style, and nothing else.
STYLE_POLICY: Final = (
    f"default-src 'none'; style-src 'sha256-{_HASH}'; frame-ancestors 'none'; base-uri 'none'"
)
_METHODS: Final = ("get", "put", "post", "patch", "delete")


def page(document: Mapping[str, Any]) -> str:
    """Return the page."""
    info = document["info"]
    operations = [
        (path, method, found[method])
        for path, found in document["paths"].items()
        for method in _METHODS
        if method in found
    ]
    links = "".join(
        f'<a href="#{escape(one["operationId"])}">{escape(one["summary"])}</a>' for _, _, one in operations
    )
    parts = "".join(_operation(document, path, method, one) for path, method, one in operations)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(info['title'])} API</title><style>{_STYLE}</style></head><body>"
        f"<h1>{escape(info['title'])} API <small class=dim>{escape(info['version'])}</small></h1>"
        f"<p>{_words(info['description'])} The same for programs: <a href=openapi.json>openapi.json</a>.</p>"
        f"<nav>{links}</nav>{parts}{_problems()}{_schemas(document)}</body></html>"
    )


def _operation(document: Mapping[str, Any], path: str, method: str, one: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td><code>{escape(each['name'])}</code></td><td class=dim>{escape(each['in'])}</td>"
        f"<td>{_words(each.get('description', ''))}</td></tr>"
        for each in one.get("parameters", ())
    )
    parameters = f"<table>{rows}</table>" if rows else ""
    body = ""
    for media, content in one.get("requestBody", {}).get("content", {}).items():
        body = f"<p>Body: <code>{escape(media)}</code> {_shape(content['schema'])}</p>"
    answers = ", ".join(_answer(document, status, each) for status, each in one["responses"].items())
    return (
        f'<h3 id="{escape(one["operationId"])}"><code>{method.upper()} {escape(path)}</code></h3>'
        f"<p><strong>{escape(one['summary'])}.</strong> {_words(one.get('description', ''))}</p>"
        f"{parameters}{body}<p>Answers: {answers}.</p>"
    )


def _answer(document: Mapping[str, Any], status: str, response: Mapping[str, Any]) -> str:
    if "$ref" in response:
        name = response["$ref"].rpartition("/")[2]
        words = document["components"]["responses"][name]["description"].rstrip(".")
        return f'{status} <span class="dim">({escape(words.lower())})</span>'
    shapes = " ".join(_shape(content["schema"]) for content in response.get("content", {}).values())
    return f"{status} {shapes}"


def _shape(schema: Mapping[str, Any]) -> str:
    name = schema.get("$ref", "").rpartition("/")[2]
    return (
        f'<a href="#schema-{escape(name)}">{escape(name)}</a>'
        if name
        else escape(str(schema.get("type", "")))
    )


def _problems() -> str:
    rows = "".join(
        f'<tr id="{kind.type.partition("#")[2]}"><td><code>{escape(kind.type)}</code></td><td>{kind.status}</td>'
        f"<td>{escape(kind.title)}</td></tr>"
        for kind in Kind
    )
    return f"<h2>Problems</h2><table><tr><th>type</th><th>status</th><th>title</th></tr>{rows}</table>"


def _schemas(document: Mapping[str, Any]) -> str:
    def each() -> Iterator[str]:
        for name, schema in sorted(document["components"]["schemas"].items()):
            text = escape(json.dumps(schema, indent=1, ensure_ascii=False))
            yield f'<h3 id="schema-{escape(name)}">{escape(name)}</h3><pre>{text}</pre>'

    return f"<h2>Schemas</h2>{''.join(each())}"


def _words(text: str) -> str:
    """Return a text with `code` as such; a single line's end is a space."""
    parts = escape(text, quote=False).replace("\n\n", "<br>").split("`")
    return "".join(f"<code>{part}</code>" if nth % 2 else part for nth, part in enumerate(parts))
