"""A user's own account: password, second factor, tokens, sessions."""

from __future__ import annotations

import base64
from typing import Any, Final
from urllib.parse import quote, urlencode

import qrcode
import qrcode.image.svg
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.utils.safestring import SafeString
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from webui import access, roles, sessions
from webui.access_forms import CodeForm, OwnPasswordForm, TokenForm
from webui.actions import account
from webui.models import ApiToken
from webui.models.access import DIGITS, STEP
from webui.views.change import actor_of, attempt, attempt_button
from webui.views.login import verified

ISSUER: Final = "Halfpipe"


@never_cache
@require_safe
def own(request: HttpRequest) -> HttpResponse:
    """Everything about the own account."""
    return _page(request)


def _page(request: HttpRequest, status: int = 200, **more: Any) -> HttpResponse:
    user = _me(request)
    role = roles.role_of(user)
    context = {
        "role": role,
        "device": access.device_of(user),
        "required": role in settings.SECOND_FACTOR_ROLES,
        "tokens": ApiToken.objects.filter(user=user),
        "sessions": sessions.of(user),
        "here": request.session.session_key,
        "now": timezone.now(),
        "password_form": OwnPasswordForm(),
        "code_form": CodeForm(),
        "token_form": TokenForm(role=role) if role else None,
    }
    return render(request, "account.html", context | more, status=status)


def _me(request: HttpRequest) -> User:
    return User.objects.get(username=request.user.get_username())


@sensitive_post_parameters()
@require_http_methods(["GET", "HEAD", "POST"])
def password(request: HttpRequest) -> HttpResponse:
    """Change the own password; this session goes on under a new key, the others end."""
    if request.method != "POST":
        return redirect("account")
    form, status = OwnPasswordForm(request.POST), 422
    if form.is_valid():
        given = form.cleaned_data
        key = request.session.session_key
        outcome = attempt(
            form, lambda: account.change_password(actor_of(request), given["old_password"], given["password"], key)
        )
        if outcome.done:
            update_session_auth_hash(request, outcome.result)
            sessions.begun(request, outcome.result)
            messages.success(request, "Your password was changed. Your other sessions have ended.")
            return redirect("account")
        status = outcome.status
    return _page(request, status, password_form=form)


@never_cache
@sensitive_post_parameters("code")
@require_http_methods(["GET", "HEAD", "POST"])
def second_factor(request: HttpRequest) -> HttpResponse:
    """Set up a second factor: show the key once, then take the first code."""
    try:
        device = account.begin_second_factor(actor_of(request))
    except ValidationError as error:
        messages.error(request, " ".join(error.messages))
        return redirect("account")
    form, status = CodeForm(request.POST if request.method == "POST" else None), 200
    form.fields["code"].help_text = "Six digits from your authenticator."
    if request.method == "POST":
        status = 422
        if form.is_valid():
            key = request.session.session_key
            outcome = attempt(
                form, lambda: account.confirm_second_factor(actor_of(request), form.cleaned_data["code"], key)
            )
            if outcome.done:
                confirmed, codes = outcome.result
                verified(request, confirmed)
                return render(request, "recovery_codes.html", {"codes": codes})
            status = outcome.status
    secret = base64.b32encode(device.key).decode()
    context = {
        "form": form,
        "picture": _picture(_address(_me(request), secret)),
        "secret": " ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
        "bare": bool(access.missing_step(request.user, request.session)),
    }
    return render(request, "second_factor.html", context, status=status)


def _address(user: User, secret: str) -> str:
    """As authenticators read it (Google Authenticator's "Key URI Format")."""
    query = urlencode({"secret": secret, "issuer": ISSUER, "algorithm": "SHA1", "digits": DIGITS, "period": STEP})
    return f"otpauth://totp/{quote(f'{ISSUER}:{user.get_username()}')}?{query}"


def _picture(address: str) -> SafeString:
    """A QR code as SVG; the library writes nothing into it but a path."""
    image = qrcode.make(address, image_factory=qrcode.image.svg.SvgPathImage)
    return SafeString(image.to_string(encoding="unicode"))


@sensitive_post_parameters("code")
@require_POST
def second_factor_remove(request: HttpRequest) -> HttpResponse:
    """Do without a second factor; takes a code."""
    form, status = CodeForm(request.POST), 422
    if form.is_valid():
        outcome = attempt(form, lambda: account.remove_second_factor(actor_of(request), form.cleaned_data["code"]))
        if outcome.done:
            messages.success(request, "Your second factor was removed.")
            return redirect("account")
        status = outcome.status
    return _page(request, status, code_form=form)


@never_cache
@sensitive_post_parameters("code")
@require_POST
def recovery_codes(request: HttpRequest) -> HttpResponse:
    """Make recovery codes anew; takes a code."""
    form, status = CodeForm(request.POST), 422
    if form.is_valid():
        outcome = attempt(form, lambda: account.new_recovery_codes(actor_of(request), form.cleaned_data["code"]))
        if outcome.done:
            return render(request, "recovery_codes.html", {"codes": outcome.result})
        status = outcome.status
    return _page(request, status, code_form=form)


@never_cache
@require_POST
def token_add(request: HttpRequest) -> HttpResponse:
    """Make a token, and show it this once."""
    form, status = TokenForm(request.POST, role=roles.role_of(_me(request))), 422
    if form.is_valid():
        outcome = attempt(form, lambda: account.make_token(actor_of(request), form.cleaned_data))
        if outcome.done:
            token, raw = outcome.result
            return render(request, "token.html", {"token": token, "raw": raw})
        status = outcome.status
    return _page(request, status, token_form=form)


@require_POST
def token_revoke(request: HttpRequest, pk: int) -> HttpResponse:
    """Revoke an own token."""
    token = get_object_or_404(ApiToken.objects.select_related("user"), pk=pk, user=request.user.pk)
    attempt_button(
        request, lambda: account.revoke_token(actor_of(request), token), f"The token {token.name} was revoked."
    )
    return redirect("account")


@require_POST
def session_end(request: HttpRequest, pk: int) -> HttpResponse:
    """End one of the own sessions."""
    attempt_button(request, lambda: account.end_session(actor_of(request), pk), "The session has ended.")
    return redirect("account")


@require_POST
def sessions_end(request: HttpRequest) -> HttpResponse:
    """End the other sessions."""
    key = request.session.session_key
    attempt_button(
        request, lambda: account.end_other_sessions(actor_of(request), key), "Your other sessions have ended."
    )
    return redirect("account")
