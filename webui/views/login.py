"""Coming in: the second step of a login, and the page of a lock-out."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import django_otp
from axes.models import AccessAttempt
from django.conf import settings
from django.contrib.auth import REDIRECT_FIELD_NAME
from django.contrib.auth.models import User
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods

from webui import access, sessions
from webui.access_forms import CodeForm
from webui.actions import account
from webui.signals import source_address
from webui.views.change import actor_of, attempt


@sensitive_post_parameters("code")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def second_factor(request: HttpRequest) -> HttpResponse:
    """Ask for the code of a user whose password was right; nothing else is shown before."""
    after = request.POST.get(REDIRECT_FIELD_NAME, request.GET.get(REDIRECT_FIELD_NAME, ""))
    if not url_has_allowed_host_and_scheme(after, {request.get_host()}, require_https=request.is_secure()):
        after = settings.LOGIN_REDIRECT_URL
    if not access.missing_step(request.user, request.session):
        return redirect(after)
    form = CodeForm(request.POST if request.method == "POST" else None)
    status = 200
    if request.method == "POST":
        status = 422
        if form.is_valid():
            outcome = attempt(form, lambda: account.verify_second_factor(actor_of(request), form.cleaned_data["code"]))
            if outcome.done:
                verified(request, outcome.result)
                return redirect(after)
            status = outcome.status
    return render(
        request, "registration/second_factor.html", {"form": form, "next": after, "bare": True}, status=status
    )


def verified(request: HttpRequest, device: Any) -> None:
    """The session has its second factor from now on, under a new key."""
    django_otp.login(request, device)
    if isinstance(request.user, User):
        sessions.rotate(request, request.user)


def locked_out(request: HttpRequest, _response: HttpResponse, _credentials: dict[str, Any] | None) -> HttpResponse:
    """429: too many failed logins of a name from an address (django-axes calls it)."""
    # Under ASGI django-axes 8 passes the credentials in the response's place; the request has them either way.
    credentials = getattr(request, "axes_credentials", None) or {}
    again = free_at(str(credentials.get("username") or ""), source_address(request))
    context = {
        "again": again,
        "limit": settings.AXES_FAILURE_LIMIT,
        "minutes": settings.AXES_COOLOFF_TIME.seconds // 60,
    }
    answer = render(request, "registration/locked_out.html", context | {"bare": True}, status=429)
    answer.headers["Retry-After"] = str(max(1, int((again - timezone.now()).total_seconds())))
    return answer


def free_at(username: str, address: str | None) -> datetime:
    """When a name may be tried again from an address: when too few of its failures are young enough to count."""
    now, wait = timezone.now(), settings.AXES_COOLOFF_TIME
    found = AccessAttempt.objects.filter(username=username, ip_address=address, attempt_time__gte=now - wait)
    rows = list(found.order_by("attempt_time").values_list("attempt_time", "failures_since_start"))
    left = sum(number for _at, number in rows)
    for at, number in rows:
        left -= number
        if left < settings.AXES_FAILURE_LIMIT:
            free: datetime = at + wait
            return free
    return now
