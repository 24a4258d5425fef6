"""What every page that changes something shares: the actor, and errors of actions as messages or on forms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from webui.actions.base import Actor
from webui.actions.errors import ConflictError, NotFoundError, PermissionRefused
from webui.auditing import new_correlation
from webui.choices import Interface
from webui.forms import ErrorsFromActions


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


def attempt(form: ErrorsFromActions, action: Callable[[], Any]) -> Outcome:
    """Run an action; its errors go onto the form, whose input stays."""
    try:
        return Outcome(action())
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
