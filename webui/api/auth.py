"""Who asks: a token, or a session with its CSRF token; and what everybody may read."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models
from django.http import HttpRequest
from ninja.security import APIKeyCookie, HttpBearer

from webui.actions.base import Actor, permission_of
from webui.actions.errors import PermissionRefused
from webui.choices import Interface


class Session(APIKeyCookie):
    """The session of somebody who is logged in at the console; changes need the header X-CSRFToken."""

    param_name: str = settings.SESSION_COOKIE_NAME
    openapi_name = "session"

    def authenticate(self, request: HttpRequest, key: str | None) -> Actor | None:
        """The actor, None for nobody."""
        if key is None or not request.user.is_authenticated:
            return None
        return Actor(request.user, Interface.API, request.META.get("REMOTE_ADDR") or None, _command(request))


def actor_of(request: HttpRequest) -> Actor:
    """The actor of an authenticated request."""
    found: Any = getattr(request, "auth", None)
    if not isinstance(found, Actor):
        raise PermissionRefused("Nobody is logged in.")
    return found


def may_view(request: HttpRequest, model: type[models.Model]) -> None:
    """Raise PermissionRefused for an actor who may not read objects of that kind."""
    permission = permission_of(model, "view")
    if not actor_of(request).may(permission):
        msg = f"You may not read this: the permission {permission} is missing."
        raise PermissionRefused(msg)


def _command(request: HttpRequest) -> str:
    return f"{request.method} {request.get_full_path()}"[:1000]


AUTH: list[Any] = [Session()]
__all__ = ["AUTH", "HttpBearer", "Session", "actor_of", "may_view"]
