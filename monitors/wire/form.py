"""Login forms of web pages: the first form that has a password field, and what a browser would send for it."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final

_USER_WORDS: Final = ("user", "login", "name", "account", "email")
_DOMAIN_WORD: Final = "domain"


@dataclass(slots=True)
class Form:
    """``fields`` are names and the page's own values, in order."""

    action: str = ""
    method: str = "GET"
    fields: list[tuple[str, str]] = field(default_factory=list)
    password: str = ""
    texts: list[str] = field(default_factory=list)

    def filled(self, user_name: str, password: str, domain: str) -> list[tuple[str, str]]:
        """Names and values to send."""
        own = {self.password: password}
        for name in self.texts:
            if _DOMAIN_WORD in name.lower():
                own[name] = domain
        user = next((n for n in self.texts if n not in own and any(w in n.lower() for w in _USER_WORDS)), "")
        user = user or next((name for name in self.texts if name not in own), "")
        if user:
            own[user] = user_name
        return [(name, own.get(name, value)) for name, value in self.fields]


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(given.get("action", ""), given.get("method", "GET").upper()))
        if tag not in {"input", "select"} or not self.forms or not given.get("name"):
            return
        form, name, kind = self.forms[-1], given["name"], given.get("type", "text").lower()
        if kind in {"submit", "button", "image", "reset", "file"} and any(n == name for n, _v in form.fields):
            return
        if kind in {"checkbox", "radio"} and "checked" not in given:
            return
        if kind in {"button", "image", "reset", "file"}:
            return
        form.fields.append((name, given.get("value", "")))
        if kind == "password":
            form.password = form.password or name
        elif tag == "select" or kind in {"text", "email", "tel", "search"}:
            form.texts.append(name)


def login_form(page: str) -> Form | None:
    """The first form with a password field; None when there is none."""
    reader = _Reader()
    with suppress(AssertionError):  # what the parser raises for some broken declarations; what came before counts
        reader.feed(page)
    return next((form for form in reader.forms if form.password), None)
