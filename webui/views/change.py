"""What every page that changes something shares: the actor, and errors of actions as messages or on forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from webui import dryrun
from webui.actions.base import Actor
from webui.actions.errors import ConflictError, NotFoundError, PermissionRefused
from webui.auditing import new_correlation
from webui.choices import Interface


def actor_of(request: HttpRequest) -> Actor:
    """The person at the browser; all that one request does has the same correlation."""
    correlation = request.META.setdefault("halfpipe.correlation", new_correlation())
    return Actor(request.user, Interface.PAGE, request.META.get("REMOTE_ADDR") or None, correlation=correlation)


@dataclass
class Outcome:
    """What came of an action; ``status`` is the answer's when the form is shown again."""

    result: Any = None
    status: int = 200
    conflict: ConflictError | None = None

    @property
    def done(self) -> bool:
        """Whether the change was made."""
        return self.status == 200


class TakesErrors(Protocol):
    """A form, or several as one."""

    def add_error(self, field: str | None, error: Any) -> None:
        """Put an error at a field, or above the form."""

    def take(self, error: ValidationError) -> None:
        """Put errors of an action at their fields."""

    def is_valid(self) -> bool:
        """Whether the form itself finds nothing wrong."""

    def keep_typed(self) -> None:
        """Put what was typed in the place of values that are wrong."""


def attempt(form: TakesErrors, action: Callable[[], Any]) -> Outcome:
    """Run an action; its errors go onto the form, whose input stays.

    Of a form that is wrong in itself the action is only rehearsed, with what was typed, so that it is told at once
    what else is wrong. It takes its values from the form when it is called.
    """
    wrong = not form.is_valid()
    if wrong:
        form.keep_typed()
    try:
        result = dryrun.rehearse(action) if wrong else action()
        return Outcome(status=422) if wrong else Outcome(result)
    except PermissionRefused as error:
        form.add_error(None, str(error))
        return Outcome(status=403)
    except NotFoundError as error:
        form.add_error(None, str(error.args[0]))
        return Outcome(status=404)
    except ConflictError as error:
        form.add_error(None, "Someone else changed it meanwhile. Nothing was saved; compare below, then save again.")
        return Outcome(status=409, conflict=error)
    except ValidationError as error:
        form.take(error)
        return Outcome(status=422)


def asks_preview(request: HttpRequest) -> bool:
    """Whether a form was sent by its button “Preview”."""
    return "preview" in request.POST


def attempt_preview(request: HttpRequest, form: TakesErrors, action: dryrun.Action) -> Outcome:
    """What an action would do, as a :class:`webui.dryrun.Preview`; its errors go onto the form, whose input stays."""
    return attempt(form, lambda: dryrun.preview(actor_of(request), action))


def within_page(request: HttpRequest, form: TakesErrors, preview: dryrun.Preview | None) -> HttpResponse | None:
    """The answer to a script that asks for a preview alone; None when a whole page is wanted."""
    if request.headers.get("HX-Request") != "true" or not asks_preview(request):
        return None
    # Always 200: htmx would not show another one
    return render(request, "partials/outcome.html", {"form": form, "outcome": preview})


@dataclass(frozen=True)
class Sent:
    """What came of a form that has a page of its own: the answer, or what the page shows with the form again."""

    answer: HttpResponse | None = None
    status: int = 200
    preview: dryrun.Preview | None = None


def submit(
    request: HttpRequest, form: TakesErrors, action: dryrun.Action, told: Callable[[Any], str], back: HttpResponse
) -> Sent:
    """Do or preview what a form was sent for; ``told`` says what came of the action, on the page ``back``."""
    if request.method != "POST":
        return Sent()
    outcome = Outcome(status=422)
    preview = None
    if form.is_valid():
        if asks_preview(request):
            outcome = attempt_preview(request, form, action)
            preview = outcome.result
        else:
            outcome = attempt(form, lambda: action(actor_of(request)))
            if outcome.done:
                messages.success(request, told(outcome.result))
                return Sent(back)
    return Sent(within_page(request, form, preview), outcome.status, preview)


@dataclass(frozen=True)
class Ahead:
    """What is to come of a deed that is being asked for: a preview, why it is refused, or why neither is known."""

    preview: dryrun.Preview | None = None
    refused: str = ""
    unknown: str = ""


def refusal(action: Callable[[], Any]) -> str:
    """Why an action would be refused; empty when it would be done. Nothing is changed, nor recorded as an attempt."""
    try:
        dryrun.rehearse(action)
    except ValidationError as error:
        return " ".join(error.messages)
    except (PermissionRefused, NotFoundError, ConflictError) as error:
        return str(error.args[0])
    return ""


def look_ahead(request: HttpRequest, action: dryrun.Action) -> Ahead:
    """What an action would do, for a page that asks first."""
    try:
        return Ahead(dryrun.preview(actor_of(request), action))
    except ValidationError as error:
        return Ahead(refused=" ".join(error.messages))
    except (PermissionRefused, NotFoundError, ConflictError) as error:
        return Ahead(refused=str(error.args[0]))


def attempt_button(request: HttpRequest, action: Callable[[], Any], success: str) -> bool:
    """Run an action that has no form of its own; what came of it is shown as a message on the next page."""
    try:
        action()
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return False
    except (PermissionRefused, NotFoundError, ConflictError) as error:
        messages.error(request, str(error.args[0]))
        return False
    messages.success(request, success)
    return True
