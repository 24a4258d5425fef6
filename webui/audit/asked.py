"""What the query string of the review page asks for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final

from django.utils.dateparse import parse_date, parse_datetime
from django.utils.http import urlencode

from webui.choices import PROBED, AuditVerb, Interface, Outcome

STATE: Final = "state"  # the verb under which changes of state appear
SERVICE: Final = "service"
VERBS: Final = {str(one): str(one.label) for one in AuditVerb} | {PROBED: PROBED, STATE: "changed state"}
INTERFACES: Final = {str(one): str(one.label) for one in Interface}
OUTCOMES: Final = {str(one): str(one.label) for one in Outcome}
KINDS: Final = {
    "vserver": "virtual server",
    "service": "service",
    "servicegroup": "service group",
    "server": "server",
    "monitor": "monitor",
    "eventtarget": "event target",
    "installation": "settings",
    "user": "user",
    "director": "director",
    "audit": "audit",
}
CHOICES: Final[Mapping[str, Mapping[str, str]]] = {"verb": VERBS, "interface": INTERFACES, "outcome": OUTCOMES}
LONGEST: Final = 255
_CURSOR = re.compile(r"([0-9]{1,18})\.([01])\.([0-9]{1,18})")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, order=True, slots=True)
class Position:
    """A place in the one order of audit entries (``table`` 1) and changes of state (0); ``number`` is the row's."""

    at: datetime
    table: int
    number: int

    def __str__(self) -> str:
        return f"{(self.at - _EPOCH) // timedelta(microseconds=1)}.{self.table}.{self.number}"

    @classmethod
    def parse(cls, text: str) -> Position | None:
        """The place that a cursor names; None for what is none."""
        match = _CURSOR.fullmatch(text)
        if match is None:
            return None
        try:
            return cls(_EPOCH + timedelta(microseconds=int(match[1])), int(match[2]), int(match[3]))
        except OverflowError:
            return None


@dataclass(frozen=True)
class Asked:
    """Filters by name (only those that are set), words to search for, time, and where to go on."""

    filters: Mapping[str, str] = field(default_factory=dict)
    q: str = ""
    since: datetime | None = None
    until: datetime | None = None  # exclusive
    older: Position | None = None
    ignored: tuple[str, ...] = ()
    given: Mapping[str, str] = field(default_factory=dict)  # what was typed, for the form

    def query(self, older: Position | None = None, **more: str) -> str:
        """The query string that asks for the same from another place on, with further filters."""
        names = {name: value for name, value in {**self.given, **more}.items() if value}
        return "?" + urlencode(names | ({"older": str(older)} if older else {}))

    @property
    def narrowed(self) -> bool:
        """Whether there is any filter."""
        return bool(self.given)


NAMES: Final = ("kind", "id", "object", "actor", "verb", "interface", "outcome", "correlation", "revision")


def parse(query: Mapping[str, str]) -> Asked:
    """What a query string asks for; what it does not know is left out, and told in ``ignored``."""
    ignored: list[str] = []
    filters: dict[str, str] = {}
    given = {name: query.get(name, "").replace("\0", "").strip()[:LONGEST] for name in (*NAMES, "q", "from", "to")}
    for name in NAMES:
        value = given[name]
        if not value:
            continue
        if name in CHOICES and value not in CHOICES[name]:
            ignored.append(f"{name}={value}: it is one of {', '.join(CHOICES[name])}")
        elif name in {"id", "revision"} and not re.fullmatch(r"[0-9]{1,18}", value):
            ignored.append(f"{name}={value}: it is a number")
        else:
            filters[name] = value
    since, until = _time(given["from"]), _time(given["to"], end=True)
    for name, found in (("from", since), ("to", until)):
        if given[name] and found is None:
            ignored.append(
                f"{name}={given[name]}: it is a date such as 2026-01-31, or with a time as in 2026-01-31T14:00"
            )
    older = Position.parse(query["older"]) if query.get("older") else None
    if query.get("older") and older is None:
        ignored.append("older: it is the cursor of a page")
    known = {name: value for name, value in given.items() if value}
    return Asked(filters, given["q"], since, until, older, tuple(ignored), known)


def _time(text: str, *, end: bool = False) -> datetime | None:
    """A moment in UTC; with ``end``, the first that is after the day or the minute."""
    try:
        if (day := parse_date(text)) is not None:
            return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(days=1 if end else 0)
        found = parse_datetime(text)
        if found is None:
            return None
        found = found if found.tzinfo is not None else found.replace(tzinfo=UTC)
        whole = end and found.second == 0 and found.microsecond == 0
        return found.astimezone(UTC) + (timedelta(minutes=1) if whole else timedelta(0))
    except (ValueError, OverflowError):
        return None
