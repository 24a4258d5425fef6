"""Logins, failed logins, lock-outs and logouts go into the audit; changes of users raise the edition of access."""

from __future__ import annotations

from typing import Any

from axes.signals import user_locked_out
from django.contrib.auth.models import Group, User
from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed
from django.core.exceptions import ValidationError
from django.core.validators import validate_ipv46_address
from django.db.models.signals import m2m_changed, post_delete, post_save
from django.dispatch import receiver
from django.http import HttpRequest

from webui import access, auditing, sessions
from webui.actions.base import Actor
from webui.choices import AuditVerb, Interface
from webui.editions import raise_edition

LOCKED_OUT = "Locked out after too many failed logins of this name from this address."


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
    waits = access.device_of(user) is not None
    reason = "The password was right; the second factor is still to come." if waits else ""
    _write(AuditVerb.LOGIN, request, user, user.get_username(), reason)
    sessions.begun(request, user)


@receiver(user_logged_out, dispatch_uid="audit-logout")
def _logged_out(request: HttpRequest, user: User | None, **_signal: Any) -> None:
    if user is not None:  # a session that had ended already
        _write(AuditVerb.LOGOUT, request, user, user.get_username())
        raise_edition()


@receiver(user_login_failed, dispatch_uid="audit-login-failed")
def _login_failed(credentials: dict[str, Any], request: HttpRequest | None = None, **_signal: Any) -> None:
    # Whoever tried is not known; the name is only what was typed. Django has blanked the password.
    name = str(credentials.get("username") or "")
    locked = getattr(request, "axes_locked_out", False)
    reason = LOCKED_OUT if locked else "Login failed: no such user, wrong password, or inactive."
    _write(AuditVerb.FAIL, request, None, name, reason=reason)


@receiver(user_locked_out, dispatch_uid="audit-locked-out")
def _locked_out(request: HttpRequest, username: str | None, **_signal: Any) -> None:
    # Sent with the failure that leads to it, and with each attempt while it lasts; the latter is recorded above.
    if getattr(request, "axes_failures_since_start", None) is not None:
        _write(AuditVerb.REFUSE, request, None, str(username or ""), reason=LOCKED_OUT)


@receiver([post_save, post_delete], sender=User, dispatch_uid="edition-user")
def _user_changed(update_fields: frozenset[str] | None = None, **_signal: Any) -> None:
    if update_fields != frozenset({"last_login"}):  # which every login writes
        raise_edition()


@receiver(m2m_changed, dispatch_uid="edition-roles")
def _role_changed(sender: Any, action: str, **_signal: Any) -> None:
    if action.startswith("post_") and sender in (
        User.groups.through,
        User.user_permissions.through,
        Group.permissions.through,
    ):
        raise_edition()
