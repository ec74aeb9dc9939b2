"""Connect's pages as text, and the headers that go with each: no script, no frame, no referrer, nothing cached."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined

#: Nothing is loaded but our own stylesheet, no script runs, and no other page shows one of ours in a frame.
CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "content-security-policy": CONTENT_SECURITY_POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}
#: WCAG 2.2: the relative luminance at which black and white contrast equally with a colour.
_SAME_CONTRAST: Final = 0.179

_pages: Final = Environment(
    loader=PackageLoader("worker.connect", "pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    auto_reload=False,
)


@dataclass(frozen=True)
class Theme:
    """How the pages look.

    Args:
        url: where browsers reach this process.
        name: who asks.
        colour: of the button, #rrggbb.
    """

    url: str
    name: str
    colour: str

    @cached_property
    def css(self) -> str:
        """The stylesheet."""
        return _pages.get_template("connect.css").render(accent=self.colour, on_accent=text_on(self.colour))

    @cached_property
    def stylesheet(self) -> str:
        """The stylesheet's URL: another for another content, so that a browser may keep it."""
        return f"{self.url}/connect/style.css?{hashlib.sha256(self.css.encode()).hexdigest()[:12]}"

    def page(self, template: str, **values: object) -> str:
        """Return a page."""
        return _pages.get_template(template).render(name=self.name, stylesheet=self.stylesheet, **values)


def text_on(colour: str) -> str:
    """Return black or white, whichever is read better on a colour (WCAG 2.2, relative luminance)."""
    red, green, blue = (_linear(int(colour[at : at + 2], 16) / 255) for at in (1, 3, 5))
    return "#000000" if 0.2126 * red + 0.7152 * green + 0.0722 * blue > _SAME_CONTRAST else "#ffffff"


def _linear(part: float) -> float:
    return float(part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4)  # noqa: PLR2004  (sRGB's own)
