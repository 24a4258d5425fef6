"""Revisions of the configuration, trials, saving, and what holds for all directors."""

# No postponed annotations, as in webui.api.objects.

from datetime import datetime
from typing import Annotated, Any, TypeAlias

from django.http import HttpRequest, HttpResponse
from ninja import Query, Router, Schema, Status
from pydantic import Field

from webui import revisions as reading
from webui.actions import installation, revisions
from webui.api import schemas, values
from webui.api.auth import actor_of, may_see_revisions, may_view
from webui.api.objects import ERRORS, Page, given
from webui.api.previews import DryRun, Preview, act
from webui.models import ConfigurationRevision, Installation

router = Router(tags=["Configuration"])
Number: TypeAlias = Annotated[int, Field(ge=0, le=2**53)]
SettingsAnswer = schemas.answer_of(Installation)
SettingsBody = schemas.body_of(Installation, new=False)


class Standing(Schema):
    """Where the configuration stands."""

    revision: int = Field(description="What runs.")
    saved: int | None = Field(description="What was marked as saved last.")
    is_saved: bool
    back_to: int | None = Field(description="What a trial that runs goes back to.")
    until: datetime | None = Field(description="When it does, unless it is confirmed.")


class Revision(Schema):
    """One change of the configuration."""

    number: int
    at: datetime
    actor_name: str
    interface: str
    summary: str
    back_to: int | None


class Revisions(Schema):
    """A page of revisions, newest first."""

    items: list[Revision]
    next: str | None


class FieldDifference(Schema):
    """A field and its two values, as text."""

    name: str
    before: str
    after: str


class Difference(Schema):
    """An object that differs."""

    kind: str
    name: str
    what: str = Field(description="added, changed or deleted")
    fields: list[FieldDifference]


class Rollback(schemas.Strict):
    """What the actor has looked at."""

    expected: Number | None = Field(None, description="Refused (412) if another revision runs by now.")


class Trial(schemas.Strict):
    """How long changes stay unless they are confirmed."""

    minutes: int = Field(5, ge=1, le=1440)


class Done(Schema):
    """The revision that runs now."""

    revision: int


@router.get("/settings", response={200: SettingsAnswer, 304: None, **ERRORS}, summary="Settings of all directors")
def read_settings(request: HttpRequest, response: HttpResponse) -> Any:
    """What every director follows."""
    may_view(request, Installation)
    row = values.settings_row()
    values.tagged(response, row)
    return values.as_answer(row)


@router.patch("/settings", response={200: SettingsAnswer | Preview, **ERRORS}, summary="Change the settings")
def change_settings(request: HttpRequest, response: HttpResponse, body: SettingsBody, dry_run: DryRun = False) -> Any:  # type: ignore[valid-type]  # made above
    """All directors follow at once."""
    row = values.settings_row()
    update = installation.update
    values.unless_changed(request, row, lambda: act(request, lambda actor: update(actor, given(body)), dry_run=dry_run))
    row = values.settings_row()
    values.tagged(response, row)
    return values.as_answer(row)


@router.get("/revisions", response={200: Revisions, **ERRORS}, summary="List revisions, newest first")
def list_revisions(request: HttpRequest, page: Query[Page]) -> Any:
    """``q`` is searched in what was done."""
    may_see_revisions(request)
    rows = ConfigurationRevision.objects.filter(summary__icontains=page.q.replace("\0", ""))
    if page.cursor:
        rows = rows.filter(number__lt=values.after(page.cursor))
    found = list(rows[: page.limit + 1])
    more = len(found) > page.limit
    return {"items": found[: page.limit], "next": values.cursor_of(found[page.limit - 1].number) if more else None}


@router.get("/revisions/standing", response={200: Standing, **ERRORS}, summary="Running, saved, on trial")
def standing(request: HttpRequest) -> Any:
    """Which revision runs, which is saved, and whether a trial runs."""
    may_view(request, Installation)
    return reading.standing()


@router.get("/revisions/{old}/to/{new}", response={200: list[Difference], **ERRORS}, summary="Compare two revisions")
def compare(request: HttpRequest, old: Number, new: Number) -> Any:
    """What makes the second out of the first; either may be the later one."""
    may_see_revisions(request)
    return [
        {"kind": one.kind, "name": one.name, "what": one.what, "fields": list(one.fields())}
        for one in reading.difference(old, new)
    ]


@router.post("/revisions/{number}/rollback", response={200: Done | Preview, **ERRORS}, summary="Bring a revision back")
def rollback(request: HttpRequest, number: Number, body: Rollback, dry_run: DryRun = False) -> Any:
    """That is a change of its own, and makes a new revision."""
    return {"revision": act(request, lambda actor: revisions.rollback(actor, number, body.expected), dry_run=dry_run)}


@router.post("/revisions/save", response={200: Done, **ERRORS}, summary="Mark what runs as saved")
def save(request: HttpRequest) -> Any:
    """As ``save ns config``."""
    return {"revision": revisions.save(actor_of(request))}


@router.post("/revisions/trial", response={201: Standing, **ERRORS}, summary="Roll back later unless confirmed")
def begin_trial(request: HttpRequest, body: Trial) -> Any:
    """Everything that is changed from now on, whoever does it."""
    revisions.begin_trial(actor_of(request), body.minutes)
    return Status(201, reading.standing())


@router.post("/revisions/trial/confirm", response={204: None, **ERRORS}, summary="Keep what was changed")
def confirm(request: HttpRequest) -> Any:
    """Ends the trial."""
    revisions.confirm(actor_of(request))
    return Status(204, None)


@router.post("/revisions/trial/end", response={200: Done, **ERRORS}, summary="Roll back what was changed, now")
def end_trial(request: HttpRequest) -> Any:
    """Ends the trial."""
    return {"revision": revisions.end_trial(actor_of(request))}
