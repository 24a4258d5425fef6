"""Who may see a page, and response headers that Django has no setting for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.template import loader
from django.urls import reverse
from django.utils import timezone
from django.utils.http import urlencode

from webui import access, auditing, sessions
from webui.views.change import actor_of

RENEW_SECONDS: Final = 900  # a session is written this often at most

# Everything comes from this server: no inline script or style, nothing from the network.
POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "font-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ]
)


def content_security_policy(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Tell the browser to load nothing but our own files (W3C Content Security Policy level 3)."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response.headers.setdefault("Content-Security-Policy", POLICY)
        return response

    return middleware


def page_for_405(get_response: Callable[[HttpRequest], HttpResponse]) -> Callable[[HttpRequest], HttpResponse]:
    """Give 405 a page: Django's answer is empty, and so is what someone sees who opens a button's address."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        if isinstance(response, HttpResponseNotAllowed) and not response.content:
            response.content = loader.render_to_string("405.html", {}, request)
        return response

    return middleware


class AccessMiddleware:
    """Let a logged-in user see what the role allows, once the second factor is given. See webui/access.py.

    Addresses that take no login (``login_not_required``) decide for themselves.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Nothing is done before the address is known."""
        return self.get_response(request)

    def process_view(
        self, request: HttpRequest, view: Callable[..., HttpResponse], _args: Any, kwargs: dict[str, Any]
    ) -> HttpResponse | None:
        """Redirect to the step that is missing; raise PermissionDenied, recorded, for a page that is not allowed."""
        if not getattr(view, "login_required", True) or not request.user.is_authenticated:
            return None
        name = request.resolver_match.view_name if request.resolver_match else None
        step = access.missing_step(request.user, request.session)
        if step and name not in (access.UNVERIFIED if step == "login-second-factor" else access.WITHOUT_DEVICE):
            later = f"?{urlencode({'next': request.get_full_path()})}" if request.method == "GET" else ""
            return redirect(reverse(step) + later)
        actor = actor_of(request)
        if reason := access.refusal(actor, name, kwargs):
            auditing.refused(actor, kind="page", name=request.path, reason=reason)
            raise PermissionDenied(reason)
        self._renew(request)
        return None

    def _renew(self, request: HttpRequest) -> None:
        """Use keeps a session alive."""
        now = int(timezone.now().timestamp())
        if now - request.session.get("seen", 0) >= RENEW_SECONDS:
            request.session["seen"] = now
            sessions.seen(request)
