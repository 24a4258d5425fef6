"""What a list page was asked for: the query string as a value. Whatever stands in it, a list can be shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlencode

from django.http import QueryDict

PAGE_SIZES: Final = (25, 50, 100, 250)
PAGE_SIZE: Final = 50
LONGEST_SEARCH: Final = 100  # characters; each word becomes several comparisons of each row
LAST_PAGE: Final = 1_000_000


@dataclass(frozen=True)
class Asked:
    """A search, filters by name, a column to sort by (``-`` before it: descending), a page and its size in rows.

    ``ignored`` tells in words what was asked for and cannot be.
    """

    q: str = ""
    filters: Mapping[str, str] = field(default_factory=dict)
    sort: str = ""
    page: int = 1
    per: int = PAGE_SIZE
    ignored: tuple[str, ...] = ()

    @property
    def column(self) -> str:
        """Name of the column to sort by; empty for the usual order."""
        return self.sort.removeprefix("-")

    @property
    def descending(self) -> bool:
        """Whether the largest comes first."""
        return self.sort.startswith("-")

    @property
    def narrowed(self) -> bool:
        """Whether rows may be missing because of a search or a filter."""
        return bool(self.q or self.filters)

    def query(self) -> str:
        """The query string that asks for the same, without what is usual anyway; empty or beginning with ``?``."""
        values = {"q": self.q, **self.filters, "sort": self.sort}
        values["per"] = str(self.per) if self.per != PAGE_SIZE else ""
        values["page"] = str(self.page) if self.page > 1 else ""
        given = {name: value for name, value in values.items() if value}
        return f"?{urlencode(given)}" if given else ""

    def at(self, page: int) -> str:
        """The query string of another page."""
        return replace(self, page=page).query()

    def sorted_by(self, column: str) -> tuple[str, str]:
        """Where a heading leads (a query string), and what aria-sort says of it now, which may be nothing."""
        now = {column: "ascending", f"-{column}": "descending"}.get(self.sort, "")
        wanted = f"-{column}" if now == "ascending" else column
        # Without a query string a link leads to the page as it is, so there is always one.
        return replace(self, sort=wanted, page=1).query(), now


def parse(given: QueryDict, filters: Mapping[str, Mapping[str, str]], columns: frozenset[str]) -> Asked:
    """Read a query string. ``filters``: the values of each, with their labels; ``columns``: those that sort.

    Raises nothing: what is no use is left out, and told in ``ignored``.
    """
    ignored: list[str] = []
    search = " ".join(given.get("q", "").replace("\0", " ").split())
    if len(search) > LONGEST_SEARCH:
        ignored.append(f"only the first {LONGEST_SEARCH} characters of the search count")
        search = search[:LONGEST_SEARCH].rstrip()
    chosen = {}
    for name, values in filters.items():
        value = given.get(name, "").strip()
        if value in values:
            chosen[name] = value
        elif value:
            ignored.append(f"“{value[:40]}” is no {name}")
    sort = given.get("sort", "").strip()
    if sort and sort.removeprefix("-") not in columns:
        ignored.append(f"it cannot be sorted by “{sort[:40]}”")
        sort = ""
    per = _number(given, "per", PAGE_SIZE, ignored)
    if per not in PAGE_SIZES:
        sizes = ", ".join(map(str, PAGE_SIZES))
        ignored.append(f"{per} rows a page cannot be had, only {sizes}")
        per = PAGE_SIZE
    return Asked(search, chosen, sort, _number(given, "page", 1, ignored), per, tuple(ignored))


def _number(given: QueryDict, name: str, usual: int, ignored: list[str]) -> int:
    text = given.get(name, "").strip()
    if not text:
        return usual
    if text.isascii() and text.isdecimal() and len(text) <= len(str(LAST_PAGE)) and int(text) > 0:
        return min(int(text), LAST_PAGE)
    ignored.append(f"“{text[:40]}” is no number of {'rows a page' if name == 'per' else 'a page'}")
    return usual
