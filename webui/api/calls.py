"""Every call of the API goes into the audit: who asked for what, and what came of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from django.http import HttpRequest, HttpResponse

from webui import auditing
from webui.actions.base import Actor
from webui.choices import AuditVerb, Outcome

REFUSED: Final = frozenset({401, 403})


def audited(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Middleware: an entry for each call of somebody who is known; what it changes has entries of its own.

    Calls of nobody leave none here: whoever can reach the port could fill the audit. Failed logins and refused tokens
    are noted, and throttled, where they are looked at.
    """

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        actor = getattr(request, "auth", None)
        if isinstance(actor, Actor):
            status = response.status_code
            outcome = Outcome.SUCCESS if status < 400 else Outcome.REFUSED if status in REFUSED else Outcome.FAILED
            auditing.note(actor, AuditVerb.CALL, outcome=outcome, reason="" if status < 400 else f"HTTP {status}")
        return response

    return middleware
