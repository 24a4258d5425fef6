"""Users and their roles, for superusers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils import timezone
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from webui import access, consequences, passwords, queries, roles, sessions
from webui.access_forms import PasswordForm, RoleForm, UserForm
from webui.actions import users
from webui.models import ApiToken, GivenPassword, SecondFactor
from webui.tables import COLUMNS, Table
from webui.views.change import actor_of, attempt, attempt_button, refusal


@require_safe
def user_list(request: HttpRequest) -> HttpResponse:
    """Every user, with role, second factor and whose password it is. Five queries, however many there are."""
    working = Q(api_tokens__revoked_at=None, api_tokens__expires_at__gt=timezone.now())
    rows = (
        User.objects.prefetch_related("groups")
        .annotate(tokens=Count("api_tokens", filter=working))
        .order_by("username")
    )
    devices = set(SecondFactor.objects.filter(confirmed=True).values_list("user", flat=True))
    given = {one.user_id: one for one in GivenPassword.objects.all()}
    listed = [
        {"user": row, "role": _role(row), "second_factor": row.pk in devices, "given": given.get(row.pk)}
        for row in rows
    ]
    wanting = [
        ("The password is not their own", [one for one in rows if one.is_active and one.pk in given]),
        ("No second factor", [one for one in rows if one.is_active and one.pk not in devices]),
    ]
    return render(request, "users.html", {"rows": listed, "wanting": [(what, who) for what, who in wanting if who]})


def _role(row: User) -> str:
    """As roles.role_of, from what was read beforehand."""
    if row.is_superuser:
        return "superuser"
    names = {group.name for group in row.groups.all()}
    return next((str(role) for role in reversed(roles.up_to("superuser")) if role in names), "")


@require_safe
def user_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """One user."""
    return _page(request, get_object_or_404(User, pk=pk))


def _page(request: HttpRequest, row: User, status: int = 200, **forms: Any) -> HttpResponse:
    history = queries.change_rows("user", row.pk)
    context = {
        "row": row,
        "role": roles.role_of(row),
        "is_self": request.user.pk == row.pk,
        "device": access.device_of(row),
        "given": passwords.given_to(row),
        "required": roles.role_of(row) in settings.SECOND_FACTOR_ROLES,
        "tokens": ApiToken.objects.filter(user=row),
        "sessions": sessions.of(row),
        "now": timezone.now(),
        "role_form": RoleForm(initial={"role": roles.role_of(row)}),
        "password_form": PasswordForm(),
        "history": Table("changes", "Latest changes", COLUMNS["changes"], history, "No change is recorded."),
    }
    return render(request, "user.html", context | forms, status=status)


@sensitive_post_parameters("password", "again")
@require_http_methods(["GET", "HEAD", "POST"])
def user_add(request: HttpRequest) -> HttpResponse:
    """Make a user."""
    form = UserForm(request.POST if request.method == "POST" else None)
    status = 200
    if request.method == "POST":
        outcome = attempt(form, lambda: users.create(actor_of(request), form.cleaned_data))
        if outcome.done:
            messages.success(request, f"User {outcome.result.username} was added.")
            return redirect("user", outcome.result.pk)
        status = outcome.status
    return render(request, "user_add.html", {"form": form}, status=status)


@require_POST
def user_role(request: HttpRequest, pk: int) -> HttpResponse:
    """Give another role."""
    row, form, status = get_object_or_404(User, pk=pk), RoleForm(request.POST), 422
    if form.is_valid():
        outcome = attempt(form, lambda: users.set_role(actor_of(request), row, form.cleaned_data["role"]))
        if outcome.done:
            messages.success(request, f"{row.username} has the role {form.cleaned_data['role'] or 'none'} now.")
            return redirect("user", pk)
        status = outcome.status
    return _page(request, row, status, role_form=form)


@sensitive_post_parameters("password", "again")
@require_POST
def user_password(request: HttpRequest, pk: int) -> HttpResponse:
    """Set another's password."""
    row, form, status = get_object_or_404(User, pk=pk), PasswordForm(request.POST), 422
    if form.is_valid():
        outcome = attempt(form, lambda: users.set_password(actor_of(request), row, form.cleaned_data["password"]))
        if outcome.done:
            messages.success(request, f"The password of {row.username} was set.")
            return redirect("user", pk)
        status = outcome.status
    return _page(request, row, status, password_form=form)


@require_http_methods(["GET", "HEAD", "POST"])
def user_delete(request: HttpRequest, pk: int) -> HttpResponse:
    """Ask first, telling the consequences; then delete."""
    row = get_object_or_404(User, pk=pk)
    if request.method == "POST":
        done = attempt_button(
            request, lambda: users.delete(actor_of(request), row), f"User {row.username} was deleted."
        )
        return redirect("users") if done else redirect("user", pk)
    context = {
        "row": row,
        "question": f"Delete user {row.username}?",
        "button": f"Delete {row.username}",
        "consequences": consequences.of_deleting_user(row),
        "refused": refusal(lambda: users.delete(actor_of(request), row)),
    }
    return render(request, "user_delete.html", context)


def _button(action: Callable[..., Any], done: str) -> Callable[[HttpRequest, int], HttpResponse]:
    @require_POST
    def view(request: HttpRequest, pk: int) -> HttpResponse:
        row = get_object_or_404(User, pk=pk)
        attempt_button(request, lambda: action(actor_of(request), row), done.format(row.username))
        return redirect("user", pk) if User.objects.filter(pk=pk).exists() else redirect("users")

    return view


user_enable = _button(users.enable, "{} may log in again.")
user_disable = _button(users.disable, "{} may log in no more.")
user_second_factor = _button(users.reset_second_factor, "{} has no second factor any more.")
user_unlock = _button(users.unlock, "Failed logins of {} are forgotten.")
user_sessions_end = _button(users.end_sessions, "Every session of {} has ended.")


@require_POST
def user_token_revoke(request: HttpRequest, pk: int, token_pk: int) -> HttpResponse:
    """Revoke another's token."""
    token = get_object_or_404(ApiToken.objects.select_related("user"), user=pk, pk=token_pk)
    attempt_button(
        request, lambda: users.revoke_token(actor_of(request), token), f"The token {token.name} was revoked."
    )
    return redirect("user", pk)
