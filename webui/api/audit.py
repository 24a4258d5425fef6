"""The audit: who changed what, newest first, and the end of its chain."""

# No postponed annotations, as in webui.api.objects.

from datetime import datetime
from typing import Any, Literal

from django.http import HttpRequest
from ninja import Query, Router, Schema
from pydantic import Field

from webui import roles
from webui.actions.errors import NotFoundError, unfit
from webui.api.auth import must
from webui.api.fields import AuditCursor, Moment, Number
from webui.api.objects import ERRORS
from webui.audit import asked, verify
from webui.audit.search import search
from webui.models import AuditEntry, HealthTransition

router = Router(tags=["Audit"])


class Wanted(Schema):
    """Which entries; all filters together."""

    q: str = Field("", max_length=200, description="Words that occur in the entry.")
    kind: str = Field("", max_length=32)
    object: str = Field("", max_length=255, description="Name of the object.")
    actor: str = Field("", max_length=150)
    verb: Literal["", *asked.VERBS] = Field("", description="What was done.")  # type: ignore[valid-type]  # data
    interface: Literal["", *asked.INTERFACES] = Field("", description="By which way.")  # type: ignore[valid-type]  # data
    outcome: Literal["", *asked.OUTCOMES] = Field("", description="What came of it.")  # type: ignore[valid-type]  # data
    correlation: str = Field("", max_length=32, description="All that one request or command caused.")
    revision: Number = ""
    since: Moment = Field("", description="A date, or a date and time, UTC.")
    until: Moment = ""
    limit: int = Field(50, ge=1, le=250)
    cursor: AuditCursor = Field("", description="“next” of the page before.")


class Entry(Schema):
    """One entry. ``sequence`` and ``hash`` are None for a change of state, which is a row of its own."""

    sequence: int | None
    at: datetime
    actor: str
    source_address: str | None
    interface: str
    verb: str
    outcome: str
    kind: str
    object_id: int | None
    object: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str
    command: str
    correlation: str
    revision: int | None
    hash: str | None


class Entries(Schema):
    """A page, newest first. ``searched_to``: how far back was looked, if the page ended before everything was seen."""

    items: list[Entry]
    next: str | None
    searched_to: datetime | None


class Head(Schema):
    """The end of the chain: keep it elsewhere, and a cut end will be found."""

    sequence: int
    hash: str


@router.get("", response={200: Entries, **ERRORS}, summary="Review the audit")
def review(request: HttpRequest, wanted: Query[Wanted]) -> Any:
    """Entries and changes of state."""
    must(request, roles.VIEW_AUDIT)
    given = {name: str(value) for name, value in wanted.model_dump().items() if name not in {"limit", "cursor"}}
    given |= {"from": given.pop("since"), "to": given.pop("until"), "older": wanted.cursor}
    found = asked.parse(given)
    if found.ignored:
        raise unfit({one.partition("=")[0].partition(":")[0]: one for one in found.ignored})
    page = search(found, size=wanted.limit)
    return {
        "items": [_of_state(row) if isinstance(row, HealthTransition) else _of(row) for row in page.rows],
        "next": str(page.older) if page.older else None,
        "searched_to": page.back_to,
    }


@router.get("/head", response={200: Head, **ERRORS}, summary="The end of the chain")
def head(request: HttpRequest) -> Any:
    """As ``manage.py audit head``."""
    must(request, roles.VIEW_AUDIT)
    return verify.head()


@router.get("/{sequence}", response={200: Entry, **ERRORS}, summary="Read one entry")
def read(request: HttpRequest, sequence: int) -> Any:
    """By its number in the chain."""
    must(request, roles.VIEW_AUDIT)
    row = AuditEntry.objects.filter(pk=sequence).first() if 0 < sequence < 2**62 else None
    if row is None:
        raise NotFoundError(f"No such resource: audit entry {sequence}.")
    return _of(row)


def _of(row: AuditEntry) -> dict[str, Any]:
    names = ("at", "source_address", "interface", "verb", "outcome", "kind", "object_id", "before", "after")
    found = {name: getattr(row, name) for name in (*names, "reason", "command", "correlation", "revision", "hash")}
    return found | {"sequence": row.pk, "actor": row.actor_name, "object": row.object_name}


def _of_state(row: HealthTransition) -> dict[str, Any]:
    return {
        "sequence": None,
        "at": row.at,
        "actor": f"monitor {row.monitor_name}",
        "source_address": None,
        "interface": "system",
        "verb": asked.STATE,
        "outcome": "success",
        "kind": asked.SERVICE,
        "object_id": row.service_id,
        "object": row.service_name,
        "before": {"state": row.old},
        "after": {"state": row.new, "vip": row.vip},
        "reason": row.reason,
        "command": "",
        "correlation": "",
        "revision": None,
        "hash": None,
    }
