"""What is computed or reported: which server a client gets, directors, problems."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.http import HttpRequest
from ninja import Query, Router, Schema
from pydantic import Field

from webui import explained, queries
from webui.actions.errors import unfit
from webui.api.auth import may_view
from webui.api.fields import Host, Port, Protocol
from webui.api.objects import ERRORS
from webui.models import DataplaneStatus, VServer
from webui.question_form import QuestionForm
from webui.views import explaining

router = Router(tags=["State"])


class Director(Schema):
    """A machine that forwards."""

    director: str
    wanted_revision: int
    applied_revision: int
    applied_at: datetime | None
    heartbeat_at: datetime | None
    last_error: str


class Trouble(Schema):
    """One thing to look at."""

    severity: str
    what: str
    text: str


class Question(Schema):
    """A client's packet."""

    client: Host = Field(description="The client's address.")
    vip: Host = Field(description="The address that it asks.")
    protocol: Protocol = Field("tcp", description="tcp, udp, icmp or a number.")
    sport: Port = Field("", description="Source port.")
    dport: Port = Field("", description="Destination port.")
    director: str = Field("", max_length=64, description="Which director; the first without.")


class Explained(Schema):
    """What becomes of it, and why."""

    verdict: str
    service: str | None
    vserver: str | None
    slot: int | None
    lines: dict[str, str] = Field(description="Each step of the decision, in words.")
    notes: list[str]


@router.get("/directors", response={200: list[Director], **ERRORS}, summary="Directors and what they apply")
def directors(request: HttpRequest) -> Any:
    """Every director that has ever reported."""
    may_view(request, DataplaneStatus)
    return list(DataplaneStatus.objects.order_by("director"))


@router.get("/problems", response={200: list[Trouble], **ERRORS}, summary="Problems, worst first")
def problems(request: HttpRequest) -> Any:
    """As the dashboard lists them."""
    may_view(request, VServer)
    return queries.overview()["problems"]


@router.get("/explain", response={200: Explained, **ERRORS}, summary="Which server a client gets, and why")
def explain(request: HttpRequest, question: Query[Question]) -> Any:
    """Computed from the configuration and what the director reported, by the code that fills its tables."""
    may_view(request, VServer)
    known = explained.directors()
    form = QuestionForm(question.model_dump(), directors=[one.name for one in known])
    if not form.is_valid():
        raise unfit({name: " ".join(str(text) for text in texts) for name, texts in form.errors.items()})
    try:
        answer = explained.explain(form.query, explaining.chosen(known, form.cleaned_data.get("director", "")))
    except explained.UnknownError as error:
        raise ValidationError(str(error)) from error
    return {
        "verdict": explaining.verdict_of(answer)[1],
        "service": answer.service.name if answer.service else None,
        "vserver": answer.vserver.name if answer.vserver else None,
        "slot": answer.slot,
        "lines": {subject: text for subject, text, _url in explaining.lines(answer)},
        "notes": explained.notes(answer),
    }
