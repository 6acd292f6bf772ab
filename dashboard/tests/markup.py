# SPDX-License-Identifier: Apache-2.0
"""A page as a browser reads it."""

from __future__ import annotations

from html.parser import HTMLParser


class Page(HTMLParser):
    """What of a page a Content-Security-Policy would stop, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.inline: list[str] = []
        self.loaded: list[str] = []
        self.labelled: set[str] = set()
        self.fields: list[dict[str, str | None]] = []
        self.links: list[dict[str, str | None]] = []
        # Elements that mean nothing by themselves, with names that nobody is told.
        self.unheard: list[dict[str, str | None]] = []
        self._open: str = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Look at a tag."""
        given = dict(attrs)
        self.inline += [name for name in given if name.startswith("on") or name == "style"]
        # Sources of styles are compiled into a file where a browser looks at it.
        source = given.get("type") == "text/scss"
        if tag in ("script", "style") and not given.get("src") and not source:
            self.inline.append(tag)
        if tag in ("script", "img", "iframe", "link", "form"):
            self.loaded.append(given.get("src") or given.get("href") or given.get("action") or "")
        if tag in ("div", "p", "pre", "span") and "aria-label" in given and "role" not in given:
            self.unheard.append(given)
        if tag == "a":
            self.links.append(given)
        if tag == "label" and given.get("for"):
            self.labelled.add(str(given["for"]))
        if tag == "label" and not given.get("for"):
            self._open = "label"
        visible = given.get("type") not in ("hidden", "submit")
        if tag in ("input", "select", "textarea") and visible and self._open != "label":
            self.fields.append(given)

    def handle_endtag(self, tag: str) -> None:
        """Look at the end of a tag."""
        if tag == "label":
            self._open = ""
