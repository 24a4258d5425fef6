"""Who may see which page, and whether a session is good for anything: asked for each request and each message."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.sessions.backends.base import SessionBase
from django.contrib.sessions.backends.db import SessionStore
from django.http import HttpRequest
from django_otp import DEVICE_ID_SESSION_KEY

from webui import roles
from webui.actions.base import Actor
from webui.choices import Interface
from webui.models import SecondFactor

Rule = str | Callable[[Mapping[str, Any]], str]

# Pages that show nothing of the installation: for everyone who has logged in, with or without a role.
OWN: Final = ""


def _of_kind(kwargs: Mapping[str, Any]) -> str:
    return f"webui.view_{kwargs['kind'].model._meta.model_name}"


_VSERVER, _SERVICE, _MONITOR = "webui.view_vserver", "webui.view_service", "webui.view_monitor"
_GROUP = "webui.view_servicegroup"

# The permission that each page takes, by the name of its address; an address without an entry is nobody's but a
# superuser's. What a POST changes is decided by the action, which also records a refusal.
PAGES: Final[dict[str, Rule]] = {
    **dict.fromkeys(("dashboard", "director-statistics", "director-statistics-json"), roles.VIEW_STATUS),
    **dict.fromkeys(("docs", "docs-page", "preview"), roles.VIEW_STATUS),
    "api-docs": roles.VIEW_STATUS,
    # What they show is the configuration as text, and who changed it.
    **dict.fromkeys(("revisions", "compare-revisions", "rollback"), "webui.rollback_installation"),
    **dict.fromkeys(("save-configuration", "begin-trial", "confirm-trial", "end-trial"), "webui.view_installation"),
    **dict.fromkeys(("audit", "audit-chain", "audit-export", "audit-entry"), roles.VIEW_AUDIT),
    "settings": "webui.view_installation",
    # Each line asks for its own permission.
    **dict.fromkeys(("cli", "cli-complete"), roles.VIEW_STATUS),
    "cli-export": roles.EXPORT_CONFIGURATION,
    "cli-import": "webui.add_vserver",
    **dict.fromkeys(("new-service", "validate-new"), "webui.add_vserver"),
    "verify": "webui.view_vserver",
    "object-audit": roles.VIEW_AUDIT,
    **dict.fromkeys(("explain", "triangle", "packet-path", "flows", "watch-flows"), _VSERVER),
    "weights": _VSERVER,
    **dict.fromkeys(("bind-service", "set-weight", "unbind-service", "preview-vserver"), _VSERVER),
    **dict.fromkeys(("bind-monitor", "unbind-monitor", "preview-service"), _SERVICE),
    **dict.fromkeys(("bind-group", "unbind-group"), _VSERVER),
    **dict.fromkeys(("bind-members", "edit-member", "enable-member", "disable-member", "unbind-member"), _GROUP),
    **dict.fromkeys(("bind-group-vserver", "bind-group-monitor"), _GROUP),
    **dict.fromkeys(("edit-group-monitor", "unbind-group-monitor"), _GROUP),
    **dict.fromkeys(("probe", "probe-result"), _MONITOR),
    "send-test": "webui.view_eventtarget",
    **dict.fromkeys(
        (
            *("list", "export", "bulk", "bulk-result", "add", "detail", "statistics", "statistics-json"),
            *("bindings", "history", "validate", "validate-object"),
        ),
        _of_kind,
    ),
    **dict.fromkeys(("edit", "rename", "delete", "enable", "disable-after", "disable", "statistics-json"), _of_kind),
    **dict.fromkeys(("users", "user", "user-add", "user-role", "user-password", "user-enable"), roles.MANAGE_USERS),
    **dict.fromkeys(("user-disable", "user-delete", "user-second-factor", "user-unlock"), roles.MANAGE_USERS),
    **dict.fromkeys(("user-token-revoke", "user-sessions-end"), roles.MANAGE_USERS),
    **dict.fromkeys(("account", "account-password", "second-factor", "second-factor-remove"), OWN),
    **dict.fromkeys(("recovery-codes", "token-add", "token-revoke", "session-end", "sessions-end"), OWN),
    **dict.fromkeys(("login-second-factor", "logout"), OWN),
}
# What a session may see that still lacks its second factor, and one whose user has to set one up.
UNVERIFIED: Final = frozenset({"login-second-factor", "logout"})
WITHOUT_DEVICE: Final = frozenset({"second-factor", "account-password", "logout"})


def permission_for(name: str | None, kwargs: Mapping[str, Any]) -> str | None:
    """The permission that an address takes; OWN for none, None where nothing is said of it."""
    rule = PAGES.get(name or "")
    return rule(kwargs) if callable(rule) else rule


def refusal(actor: Actor, name: str | None, kwargs: Mapping[str, Any]) -> str:
    """Why the actor may not see a page, in words; empty when it may."""
    permission = permission_for(name, kwargs)
    if permission == OWN:
        return ""
    if permission is None:
        superuser = actor.user is not None and actor.user.is_superuser
        return "" if superuser else "This page is for superusers."
    if actor.may(permission):
        return ""
    if actor.user is not None and roles.role_of(actor.user) is None:
        return f"Your account has no role that allows this page: the permission {permission} is missing."
    return f"Your role does not allow this page: the permission {permission} is missing."


def device_of(user: User | AnonymousUser) -> SecondFactor | None:
    """The second factor that is set up. One query."""
    return SecondFactor.objects.filter(user=user.pk, confirmed=True).first() if user.pk else None


def missing_step(user: User | AnonymousUser, session: SessionBase) -> str:
    """The name of the page where the user has to go first: to verify, or to set up, the second factor; or empty."""
    device = device_of(user)
    if device is not None:
        return "" if session.get(DEVICE_ID_SESSION_KEY) == device.persistent_id else "login-second-factor"
    required = settings.SECOND_FACTOR_ROLES
    return "second-factor" if required and roles.role_of(user) in required else ""


@dataclass(frozen=True)
class Standing:
    """What a session is good for: whether somebody is logged in with all that it takes, and what they may."""

    logged_in: bool
    allowed: bool = False
    sees_audit: bool = False
    user: User | None = None


def standing(session_key: str | None, permission: str) -> Standing:
    """Ask session, user, second factor and permissions anew. Raises django.db.Error."""
    if not session_key:
        return Standing(logged_in=False)
    request = HttpRequest()
    request.session = SessionStore(session_key)
    user = get_user(request)
    if not isinstance(user, User) or missing_step(user, request.session):
        return Standing(logged_in=False)
    actor = Actor(user, Interface.PAGE)
    return Standing(True, actor.may(permission), actor.may(roles.VIEW_AUDIT), user)
