"""Pages of the review: audit entries and changes of state, newest first, however many there are.

Changes of state have been append-only rows of their own all along, written by the checks. The review shows both tables
in one order instead of writing each change twice: a server that dies changes the state of every service on it, and
appending to the chain makes those who write wait for each other, which checks should not.

No page may take long:

- Without a filter, or with one, an index has the rows in the order of the page (keyset pagination: a page begins after
  a row, not after a number of rows).
- With several filters, or words to search for, the filter with the fewest rows of late drives: its rows are looked at
  for the rest, newest first and some at a time, until the page is full or SECONDS are over. The page then says how far
  back it has looked, and the next goes on there. What that takes does not depend on how many rows there are.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

from django.db import connection
from django.db.models import Q, QuerySet, Value
from django.db.models.functions import Lower

from webui.audit.asked import SERVICE, STATE, Asked, Position
from webui.choices import Interface, Outcome
from webui.models import AuditEntry, HealthTransition

Row = AuditEntry | HealthTransition

PAGE: Final = 50
LOOK_AHEAD: Final = 20_000  # entries of an index that are counted to choose the filter that drives
CHUNK: Final = 2_000  # rows that are looked at with one query
SECONDS: Final = 0.05  # for the looking, in both tables
MOST_WORDS: Final = 6


@dataclass(frozen=True)
class Source:
    """A table of the review. ``number`` is its place in :class:`Position`.

    ``lookups``: by filter, how the ORM finds it by an index; ``columns``: the same as SQL; ``text``: where words are
    looked for.
    """

    number: int
    model: type[Row]
    lookups: Mapping[str, str]
    columns: Mapping[str, str]
    text: tuple[str, ...]

    def newest(self, asked: Asked) -> QuerySet[Any]:
        """Rows in the time asked for and beyond the cursor, in the order of the review."""
        found: QuerySet[Any] = self.model._default_manager.alias(lower_name=Lower(self.lookups["object"])).order_by(
            "-at", "-id"
        )
        if asked.since is not None:
            found = found.filter(at__gte=asked.since)
        if asked.until is not None:
            found = found.filter(at__lt=asked.until)
        older = asked.older
        if older is None:
            return found
        if self.number < older.table:
            return found.filter(at__lte=older.at)
        if self.number > older.table:
            return found.filter(at__lt=older.at)
        # Twice, since a range is what an index is good for, and an alternative is not.
        return found.filter(at__lte=older.at).filter(Q(at__lt=older.at) | Q(pk__lt=older.number))

    def only(self, found: QuerySet[Any], name: str, value: str) -> QuerySet[Any]:
        """With one filter, by its index."""
        if name == "object":
            return found.filter(lower_name=Lower(Value(value)))
        return found.filter(**{self.lookups[name]: value})


ENTRIES: Final = Source(
    1,
    AuditEntry,
    {name: name for name in ("kind", "verb", "interface", "outcome", "correlation", "revision")}
    | {"actor": "actor_name", "id": "object_id", "object": "object_name"},
    {name: f"{name} = %s" for name in ("kind", "verb", "interface", "outcome", "correlation", "revision")}
    | {"actor": "actor_name = %s", "id": "object_id = %s", "object": "LOWER(object_name) = LOWER(%s)"},
    (
        *("actor_name", "source_address", "kind", "object_name", "command", "reason"),
        *("before", "after"),
    ),
)
STATES: Final = Source(
    0,
    HealthTransition,
    {"id": "service_id", "object": "service_name"},
    {"id": "service_id = %s", "object": "LOWER(service_name) = LOWER(%s)"},
    ("service_name", "monitor_name", "vip", "old", "new", "reason"),
)


@dataclass(frozen=True)
class Found:
    """A page. ``older``: where the next one begins. ``back_to``: how far back was searched, if not to the end."""

    rows: Sequence[Row]
    older: Position | None = None
    back_to: datetime | None = None


def position(row: Row) -> Position:
    """Where a row stands."""
    return Position(row.at, int(isinstance(row, AuditEntry)), row.pk)


def search(asked: Asked, size: int = PAGE, chunk: int = CHUNK, seconds: float = SECONDS) -> Found:
    """A page of at most ``size`` rows, newest first. A chunk of each table is looked at even when ``seconds`` is 0."""
    limits = Limits(chunk, time.monotonic() + seconds)
    rows: list[Row] = []
    ends: list[Position] = []
    for source, filters in _sources(asked):
        found, end = _part(source, asked, filters, size + 1, limits)
        rows += found
        if end is not None:
            ends.append(end)
    rows.sort(key=position, reverse=True)
    end = max(ends, default=None)
    if end is not None:
        rows = [row for row in rows if position(row) >= end]
    if len(rows) > size:
        return Found(rows[:size], position(rows[size - 1]))
    return Found(rows, end, end.at if end is not None else None)


def everything(asked: Asked) -> Iterator[Row]:
    """All rows, newest first, a page at a time, so that neither memory nor a transaction has to hold them."""
    while True:
        found = search(asked, 1000)
        yield from found.rows
        if found.older is None:
            return
        asked = replace(asked, older=found.older)


def _sources(asked: Asked) -> Iterator[tuple[Source, dict[str, str]]]:
    """The tables that can have such rows, with the filters that are left for each."""
    filters = dict(asked.filters)
    if filters.get("verb") != STATE:
        yield ENTRIES, filters
    fixed = {"verb": STATE, "kind": SERVICE, "interface": str(Interface.SYSTEM), "outcome": str(Outcome.SUCCESS)}
    left = {name: value for name, value in filters.items() if fixed.get(name) != value}
    numbered = "id" in left and filters.get("kind") != SERVICE  # a number alone may be that of anything
    if left.keys() <= STATES.lookups.keys() and not numbered:
        yield STATES, left


@dataclass(frozen=True, slots=True)
class Limits:
    """How many rows a query looks at, and until when (of the monotonic clock) there is another query."""

    chunk: int
    until: float


def _part(
    source: Source, asked: Asked, filters: Mapping[str, str], size: int, limits: Limits
) -> tuple[list[Row], Position | None]:
    """Rows of one table, and the oldest place that was looked at (None: all of it, or all that the page needs)."""
    newest = source.newest(asked)
    words = asked.q.split()[:MOST_WORDS]
    if not words and len(filters) <= 1:
        for name, value in filters.items():
            newest = source.only(newest, name, value)
        return list(newest[:size]), None
    driving = _driver(source, newest, filters)
    rest = {name: value for name, value in filters.items() if name != driving}
    rows: list[Row] = []
    while True:
        part = source.newest(asked)
        part = source.only(part, driving, filters[driving]) if driving else part
        last = part.values_list("at", "id")[limits.chunk - 1 : limits.chunk].first()
        rows += _looked_at(source, part[: limits.chunk], rest, words, size - len(rows))
        if last is None or len(rows) >= size:
            return rows, None
        end = Position(last[0], source.number, last[1])
        if time.monotonic() >= limits.until:
            return rows, end
        asked = replace(asked, older=end)


def _driver(source: Source, newest: QuerySet[Any], filters: Mapping[str, str]) -> str:
    """The filter that reaches back furthest with the same number of rows; index entries alone are read."""
    best, furthest = "", None
    for name, value in filters.items() if len(filters) > 1 else ():
        last = source.only(newest, name, value).values_list("at", flat=True)[LOOK_AHEAD - 1 : LOOK_AHEAD].first()
        if last is None:
            return name
        if furthest is None or last < furthest:
            best, furthest = name, last
    return best or next(iter(filters), "")


def _looked_at(
    source: Source, inner: QuerySet[Any], rest: Mapping[str, str], words: Sequence[str], size: int
) -> list[Row]:
    """Of the rows of ``inner`` those that pass the rest. The database is not left to choose another order of this."""
    sql, params = inner.query.sql_with_params()
    conditions: list[str] = []
    values: list[Any] = [*params]
    for name, value in rest.items():
        conditions.append(source.columns[name])
        values.append(int(value) if name in {"id", "revision"} else value)
    like = "ILIKE" if connection.vendor == "postgresql" else "LIKE"
    joined = " || ' ' || ".join(f"COALESCE(CAST({column} AS TEXT), '')" for column in source.text)
    for word in words:
        conditions.append(f"({joined}) {like} %s ESCAPE '!'")
        values.append(f"%{word.replace('!', '!!').replace('%', '!%').replace('_', '!_')}%")
    # All parts are constants of this module; what was typed goes as parameters.
    statement = f"SELECT * FROM ({sql}) AS looked_at WHERE {' AND '.join(conditions) or 'TRUE'}"  # noqa: S608
    return list(source.model._default_manager.raw(f"{statement} ORDER BY at DESC, id DESC LIMIT {size:d}", values))
