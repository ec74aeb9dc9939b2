"""A person with a browser, as a script: follows redirects, fills in each form that a page shows, and submits it.

    BROWSER="python -m tests.oidc.browser alice %s"

makes it the browser of whatever opens a page. A login of `nobody` declines.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from types import TracebackType
from typing import Final, Self
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx

from tests.support.waiting import PATIENCE_S

#: Login, consent, and the redirects between them are 8; who needs more goes round in circles.
_STEPS_MAX: Final = 20
_ANSWER_S: Final = PATIENCE_S


class Browser:
    """One person's browser, with the cookies of that person's session.

    Args:
        login: the name that goes into login forms; any password does.
        declines: the person says no: pages are left by the link that declines.
    """

    def __init__(self, login: str, *, declines: bool = False) -> None:
        self._login = login
        self._declines = declines
        self._http = httpx.Client(timeout=_ANSWER_S, follow_redirects=False)

    def open(self, url: str, *, until: str | None = None, **typed: str) -> str:
        """Open a page and do what it and the next ones ask.

        Args:
            url: the page.
            until: stop at the redirect to a URL that begins with this, and give that URL.
            **typed: what the person types into a form's empty fields, by their names.

        Returns:
            The URL, or the text of the first page that asks for nothing.
        """
        request = self._http.build_request("GET", url)
        for _ in range(_STEPS_MAX):
            response = self._http.send(request)
            if response.has_redirect_location:
                url = urljoin(str(response.url), response.headers["location"])
                if until is not None and url.startswith(until):
                    return url
                request = self._http.build_request("GET", url)
                continue
            page = _Page(response.text)
            if self._declines and page.decline is not None:
                request = self._http.build_request("GET", urljoin(str(response.url), page.decline))
            elif page.action is not None:
                fields = {"login": self._login, "password": "any", **typed}
                request = self._http.build_request(
                    "POST", urljoin(str(response.url), page.action), data=page.filled(fields)
                )
            else:
                return response.text
        raise AssertionError(f"{_STEPS_MAX} pages and no end: {url}")

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def query_of(url: str) -> dict[str, str]:
    """Return the parameters of a redirect."""
    return {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}


class _Page(HTMLParser):
    """The first form of a page, and the link that declines."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.action: str | None = None
        self.decline: str | None = None
        self._fields: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        if tag == "form" and self.action is None:
            self.action = found.get("action")
        elif tag == "input" and found.get("name"):
            self._fields[str(found["name"])] = found.get("value") or ""
        elif tag == "a" and (found.get("href") or "").endswith("/abort"):
            self.decline = found["href"]

    def filled(self, typed: dict[str, str]) -> dict[str, str]:
        return {name: value or typed.get(name, "") for name, value in self._fields.items()}


if __name__ == "__main__":
    with Browser(sys.argv[1], declines=sys.argv[1] == "nobody") as browser:
        sys.stderr.write(browser.open(sys.argv[2]))
