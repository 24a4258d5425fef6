"""Logins, failed logins and logouts go into the audit."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.core.exceptions import ValidationError
from django.core.validators import validate_ipv46_address
from django.dispatch import receiver
from django.http import HttpRequest

from webui import auditing
from webui.actions.base import Actor
from webui.choices import AuditVerb, Interface


def source_address(request: HttpRequest | None) -> str | None:
    """Address of the peer, or None (a Unix socket, or no request)."""
    address = request.META.get("REMOTE_ADDR", "") if request is not None else ""
    try:
        validate_ipv46_address(address)
    except ValidationError:
        return None
    return str(address)


def _write(verb: AuditVerb, request: HttpRequest | None, user: User | None, name: str, reason: str = "") -> None:
    interface = Interface.PAGE if request is not None else Interface.SYSTEM
    # Without a user the name that was typed takes the actor's place.
    actor = Actor(user, interface, source_address(request), command="" if user is not None else name)
    auditing.note(
        actor,
        verb,
        kind="user",
        object_id=user.pk if user is not None else None,
        object_name=name,
        reason=reason,
        command="",
    )


@receiver(user_logged_in, dispatch_uid="audit-login")
def _logged_in(request: HttpRequest, user: User, **_signal: Any) -> None:
    _write(AuditVerb.LOGIN, request, user, user.get_username())


@receiver(user_logged_out, dispatch_uid="audit-logout")
def _logged_out(request: HttpRequest, user: User | None, **_signal: Any) -> None:
    if user is not None:  # a session that had ended already
        _write(AuditVerb.LOGOUT, request, user, user.get_username())


@receiver(user_login_failed, dispatch_uid="audit-login-failed")
def _login_failed(credentials: dict[str, Any], request: HttpRequest | None = None, **_signal: Any) -> None:
    # Whoever tried is not known; the name is only what was typed. Django has blanked the password.
    name = str(credentials.get("username") or "")
    _write(AuditVerb.FAIL, request, None, name, reason="Login failed: no such user, wrong password, or inactive.")
