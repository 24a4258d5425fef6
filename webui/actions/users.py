"""Changes of users and their roles. The configuration stays as it is: these make no revision.

Whoever may not gets PermissionRefused, and the attempt is in the audit. Two rules hold for everybody: one active
superuser is always left, and nobody changes the own role, disables or deletes the own account.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from axes.utils import reset as forget_failures
from django.contrib.auth.models import Group, User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from webui import auditing, editions, passwords, roles, sessions
from webui.actions.base import Actor, NotFoundError, PermissionRefused
from webui.choices import AuditVerb, PasswordOrigin, Role
from webui.models import ApiToken, SecondFactor
from webui.wording import quoted

KIND: Final = "user"
NO_ROLE: Final = "none"


@contextmanager
def _managing(actor: Actor, deed: str, name: str) -> Iterator[None]:
    """Do what is inside as one change of users, one after the other; refuse who may not."""
    require(actor, deed, name)
    with transaction.atomic():
        editions.lock()
        yield


def require(actor: Actor, deed: str, name: str = "") -> None:
    """Raise :class:`PermissionRefused`, and write it to the audit, for who may not manage users."""
    if actor.may(roles.MANAGE_USERS):
        return
    reason = f"{actor.name} may not {deed} a user: the permission {roles.MANAGE_USERS} is missing."
    auditing.refused(actor, kind=KIND, name=name, reason=reason)
    raise PermissionRefused(reason)


def create(actor: Actor, values: Mapping[str, Any]) -> User:
    """Make a user of ``username``, ``password`` and ``role`` (one of Role, or none).

    Raises PermissionRefused, ValidationError.
    """
    name = str(values.get("username", "")).strip()
    with _managing(actor, "add", name):
        user, role = User(username=name), None
        problems: dict[str, Any] = _name_problems(user)
        try:
            role = _role(values.get("role"))
        except ValidationError as error:
            problems |= error.message_dict
        other = User.objects.filter(username__iexact=name).first()
        if other is not None:
            problems["username"] = [f"There is a user “{other.username}” already; upper and lower case are the same."]
        problems |= _password_problems(values.get("password", ""), user)
        if problems:
            raise ValidationError(problems)
        user.set_password(values["password"])
        user.save()
        passwords.give(user, PasswordOrigin.SET, actor.name)
        _assign(user, role)
        auditing.note(
            actor, AuditVerb.CREATE, kind=KIND, object_id=user.pk, object_name=name, after={"role": role or NO_ROLE}
        )
        return user


def set_role(actor: Actor, user: User, role: str | None) -> User:
    """Give a user another role, or none; the user's sessions end.

    Raises PermissionRefused, NotFoundError, ValidationError.
    """
    with _managing(actor, "change", user.username):
        row, wanted = _reload(user), _role(role)
        before = roles.role_of(row)
        if before == wanted and not (before is None and row.groups.exists()):
            return row
        _not_oneself(actor, row, "role", "Nobody changes the own role: ask another superuser.")
        if wanted != Role.SUPERUSER:
            _keep_a_superuser(row, "role")
        _assign(row, wanted)
        sessions.end(row)
        _note(actor, AuditVerb.UPDATE, row, {"role": before or NO_ROLE}, {"role": wanted or NO_ROLE})
        return row


def set_password(actor: Actor, user: User, password: str) -> User:
    """Give a user another password; the user's sessions end.

    Raises PermissionRefused, NotFoundError, ValidationError.
    """
    with _managing(actor, "change", user.username):
        row = _reload(user)
        if problems := _password_problems(password, row):
            raise ValidationError(problems)
        row.set_password(password)
        row.save(update_fields=["password"])
        if actor.user != row:  # one's own is one's choice on this way too
            passwords.give(row, PasswordOrigin.SET, actor.name)
        sessions.end(row)
        _note(actor, AuditVerb.UPDATE, row, None, {"password": "set"})
        return row


def enable(actor: Actor, user: User) -> User:
    """Let a user log in again. Raises PermissionRefused, NotFoundError."""
    with _managing(actor, "enable", user.username):
        row = _reload(user)
        if not row.is_active:
            row.is_active = True
            row.save(update_fields=["is_active"])
            _note(actor, AuditVerb.ENABLE, row, {"state": "DISABLED"}, {"state": "ENABLED"})
        return row


def disable(actor: Actor, user: User) -> User:
    """Let a user log in no more; sessions end and tokens are refused.

    Raises PermissionRefused, NotFoundError, ValidationError.
    """
    with _managing(actor, "disable", user.username):
        row = _reload(user)
        if row.is_active:
            _not_oneself(actor, row, None, "Nobody disables the own account.")
            _keep_a_superuser(row, None)
            row.is_active = False
            row.save(update_fields=["is_active"])
            sessions.end(row)
            _note(actor, AuditVerb.DISABLE, row, {"state": "ENABLED"}, {"state": "DISABLED"})
        return row


def delete(actor: Actor, user: User) -> None:
    """Delete a user with tokens and second factor. Raises PermissionRefused, NotFoundError, ValidationError."""
    with _managing(actor, "delete", user.username):
        row = _reload(user)
        _not_oneself(actor, row, None, "Nobody deletes the own account.")
        _keep_a_superuser(row, None)
        _note(actor, AuditVerb.DELETE, row, {"role": roles.role_of(row) or NO_ROLE}, None)
        sessions.end(row)
        row.delete()


def reset_second_factor(actor: Actor, user: User) -> None:
    """Take a user's second factor away, as when the device is lost; sessions end.

    Raises PermissionRefused, NotFoundError.
    """
    with _managing(actor, "change", user.username):
        row = _reload(user)
        had, _by_model = SecondFactor.objects.filter(user=row).delete()
        if had:
            sessions.end(row)
            _note(actor, AuditVerb.UPDATE, row, {"second factor": "set up"}, {"second factor": "reset"})


def unlock(actor: Actor, user: User) -> None:
    """Forget failed logins of a name, so that nobody has to wait. Raises PermissionRefused, NotFoundError."""
    with _managing(actor, "change", user.username):
        row = _reload(user)
        forgotten = forget_failures(username=row.username)
        SecondFactor.objects.filter(user=row).update(throttling_failure_timestamp=None, throttling_failure_count=0)
        _note(actor, AuditVerb.UPDATE, row, None, {"failed logins": f"forgotten ({forgotten})"})


def revoke_token(actor: Actor, token: ApiToken) -> None:
    """Revoke another's token. Raises PermissionRefused."""
    with _managing(actor, "change", token.user.username):
        mark_revoked(actor, token)


def end_sessions(actor: Actor, user: User) -> int:
    """End all sessions of a user; returns how many. Raises PermissionRefused, NotFoundError."""
    with _managing(actor, "change", user.username):
        row = _reload(user)
        ended = sessions.end(row)
        _note(actor, AuditVerb.UPDATE, row, None, {"sessions ended": ended})
        return ended


def mark_revoked(actor: Actor, token: ApiToken) -> None:
    """Revoke a token as part of another change, whose permission was checked. Nothing when it is revoked already."""
    if ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now()):
        auditing.note(
            actor,
            AuditVerb.DELETE,
            kind="apitoken",
            object_id=token.pk,
            object_name=f"{token.user.username}: {token.name}",
            before={"prefix": token.prefix, "scope": token.scope},
        )


def _role(given: Any) -> Role | None:
    text = str(given or "").strip().lower()
    if text in {"", NO_ROLE}:
        return None
    if text not in Role.values:
        raise ValidationError({"role": f"“{given}” is no role: use {', '.join(Role.values)}, or none."})
    return Role(text)


def _assign(user: User, role: Role | None) -> None:
    user.is_superuser = role == Role.SUPERUSER
    user.save(update_fields=["is_superuser"])
    user.groups.set(Group.objects.filter(name=role) if role and role != Role.SUPERUSER else [])
    for cached in ("_perm_cache", "_user_perm_cache", "_group_perm_cache"):
        user.__dict__.pop(cached, None)


def _name_problems(user: User) -> dict[str, list[str]]:
    try:
        user.full_clean(exclude=["password"])
    except ValidationError as error:
        found = error.message_dict
        if any(one.code == "invalid" for one in error.error_dict.get("username", [])):  # Django does not name the value
            found["username"] = [f"{quoted(user.username)} is no user name: use letters, digits and @ . + - _ alone."]
        return found
    return {}


def _password_problems(password: Any, user: User) -> dict[str, list[str]]:
    try:
        validate_password(str(password), user)
    except ValidationError as error:
        return {"password": error.messages}
    return {}


def _reload(user: User) -> User:
    found = User.objects.select_for_update().filter(pk=user.pk).first()
    if found is None:
        msg = f"No such resource: user “{user.username}” was deleted meanwhile."
        raise NotFoundError(msg)
    return found


def _not_oneself(actor: Actor, row: User, field: str | None, why: str) -> None:
    if actor.user is not None and actor.user.pk == row.pk:
        raise ValidationError({field: why} if field else why)


def _keep_a_superuser(row: User, field: str | None) -> None:
    if not row.is_superuser or not row.is_active:
        return
    if not User.objects.filter(is_superuser=True, is_active=True).exclude(pk=row.pk).exists():
        why = f"“{row.username}” is the last superuser: make another one first, or nobody could manage users."
        raise ValidationError({field: why} if field else why)


def _note(
    actor: Actor, verb: str, row: User, before: Mapping[str, Any] | None, after: Mapping[str, Any] | None
) -> None:
    auditing.note(actor, verb, kind=KIND, object_id=row.pk, object_name=row.username, before=before, after=after)
