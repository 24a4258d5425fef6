"""What users do with their own account: password, second factor, tokens, sessions. Every role may, and none for others.

An API token may do none of it: a token that leaked shall not make others, nor lock its owner out.
"""

from __future__ import annotations

import base64
import secrets
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import django_otp
from django.contrib.auth.models import User
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from webui import auditing, editions, roles, sessions
from webui.actions.base import Actor, NotFoundError, PermissionRefused
from webui.actions.users import KIND, mark_revoked
from webui.choices import AuditVerb, Role
from webui.models import ApiToken, LoginSession, SecondFactor
from webui.models.access import digest
from webui.models.fields import Problems

KEY_BYTES: Final = 20  # RFC 4226, section 4, R6: 160 bits are recommended
RECOVERY_CODES: Final = 10
RECOVERY_BYTES: Final = 10  # 16 letters and digits of base 32
TOKEN_BYTES: Final = 32
TOKEN_START: Final = "hp_"  # noqa: S105 - no secret, but so that a scanner of leaked secrets knows it
PREFIX: Final = len(TOKEN_START) + 8
LONGEST_DAYS: Final = 365
MOST_TOKENS: Final = 50  # that work, of one user


def change_password(actor: Actor, old: str, new: str, session_key: str | None = None) -> User:
    """Change the own password; all sessions but this one end.

    Raises PermissionRefused, ValidationError (``old_password``, ``password``).
    """
    user = _own(actor, "change the password")
    problems = Problems()
    if not user.check_password(old):
        auditing.refused(actor, kind=KIND, object_id=user.pk, name=user.username, reason="The old password was wrong.")
        problems["old_password"].append("This is not your password.")
    try:
        validate_password(new, user)
    except ValidationError as error:
        problems["password"] += error.messages
    problems.tell()
    with transaction.atomic():
        user.set_password(new)
        user.save(update_fields=["password"])
        sessions.end(user, but=session_key)
        _note(actor, user, {"password": "changed"})
    return user


def begin_second_factor(actor: Actor) -> SecondFactor:
    """A device to be set up, with a new key; it counts once confirmed. Raises PermissionRefused, ValidationError."""
    user = _own(actor, "set up a second factor")
    with transaction.atomic():
        editions.lock()
        found: SecondFactor | None = SecondFactor.objects.filter(user=user).first()
        if found is not None and found.confirmed:
            raise ValidationError("A second factor is set up already: remove it first.")
        if found is None:
            found = SecondFactor(user=user, name="authenticator", confirmed=False)
            found.key = secrets.token_bytes(KEY_BYTES)
            found.save()
    return found


def confirm_second_factor(actor: Actor, code: str, session_key: str | None = None) -> tuple[SecondFactor, list[str]]:
    """Take the device into use, as its first password shows that it works; the other sessions end.

    Returns the recovery codes, which nobody can see again. Raises PermissionRefused, ValidationError (``code``).
    """
    user = _own(actor, "set up a second factor")
    device = SecondFactor.objects.filter(user=user, confirmed=False).first()
    if device is None:
        raise ValidationError("There is no second factor to be set up.")
    _check(actor, user, device, code)
    with transaction.atomic():
        device.refresh_from_db()
        codes = _new_codes(device)
        device.confirmed = True
        device.save()
        sessions.end(user, but=session_key)
        _note(actor, user, {"second factor": "set up"}, {"second factor": "none"})
    return device, codes


def verify_second_factor(actor: Actor, code: str) -> SecondFactor:
    """The second step of a login. Writes it to the audit. Raises PermissionRefused, ValidationError (``code``)."""
    user = _own(actor, "verify a second factor")
    device = _device(user)
    _check(actor, user, device, code)
    reason = "The second factor was right."
    auditing.note(actor, AuditVerb.LOGIN, kind=KIND, object_id=user.pk, object_name=user.username, reason=reason)
    device.refresh_from_db()
    return device


def remove_second_factor(actor: Actor, code: str) -> None:
    """Do without, from now on. Raises PermissionRefused, ValidationError (``code``)."""
    user = _own(actor, "remove a second factor")
    device = _device(user)
    _check(actor, user, device, code)
    with transaction.atomic():
        device.delete()
        editions.raise_edition()
        _note(actor, user, {"second factor": "removed"}, {"second factor": "set up"})


def new_recovery_codes(actor: Actor, code: str) -> list[str]:
    """Other recovery codes in place of those there are. Raises PermissionRefused, ValidationError (``code``)."""
    user = _own(actor, "make recovery codes")
    device = _device(user)
    _check(actor, user, device, code)
    with transaction.atomic():
        device.refresh_from_db()
        codes = _new_codes(device)
        device.save()
        _note(actor, user, {"recovery codes": "made anew"})
    return codes


def make_token(actor: Actor, values: Mapping[str, Any]) -> tuple[ApiToken, str]:
    """Make an API token of ``name``, ``scope`` (a role, not above the own) and ``days`` until it expires.

    Returns it with the token itself, of which only a digest is kept. Raises PermissionRefused, ValidationError.
    """
    user = _own(actor, "make a token")
    name, scope, days = str(values.get("name") or "").strip(), str(values.get("scope") or ""), values.get("days")
    problems = {}
    if not name or len(name) > 64 or not name.isprintable():
        problems["name"] = "A name of 1 to 64 characters tells the tokens apart."
    mine = roles.role_of(user)
    if not roles.within(scope, mine):
        allowed = ", ".join(roles.up_to(mine)) or "none, since you have no role"
        problems["scope"] = f"Scope “{scope}” is not one that you may give: {allowed}."
    number = _days(days)
    if number is None:
        problems["days"] = f"“{days}” is not a number of days from 1 to {LONGEST_DAYS}."
    if problems:
        raise ValidationError(problems)
    raw = TOKEN_START + secrets.token_urlsafe(TOKEN_BYTES)
    now = timezone.now()
    with transaction.atomic():
        editions.lock()
        if ApiToken.objects.filter(user=user, revoked_at=None, expires_at__gt=now).count() >= MOST_TOKENS:
            raise ValidationError(f"You have {MOST_TOKENS} tokens that work: revoke one first.")
        token = ApiToken.objects.create(
            user=user,
            name=name,
            prefix=raw[:PREFIX],
            digest=digest(raw),
            scope=Role(scope),
            created_at=now,
            expires_at=now + timedelta(days=number or 0),
        )
        auditing.note(
            actor,
            AuditVerb.CREATE,
            kind="apitoken",
            object_id=token.pk,
            object_name=f"{user.username}: {name}",
            after={"prefix": token.prefix, "scope": scope, "expires_at": token.expires_at.isoformat()},
        )
    return token, raw


def revoke_token(actor: Actor, token: ApiToken) -> None:
    """Let an own token work no more. Raises PermissionRefused, NotFoundError (also for another's)."""
    user = _own(actor, "revoke a token")
    if token.user_id != user.pk:
        raise NotFoundError("No such resource: you have no such token.")
    with transaction.atomic():
        mark_revoked(actor, token)


def end_session(actor: Actor, pk: int) -> None:
    """End one of the own sessions. Raises PermissionRefused, NotFoundError."""
    user = _own(actor, "end a session")
    if not LoginSession.objects.filter(user=user, pk=pk).exists():
        raise NotFoundError("No such resource: this session has ended already.")
    with transaction.atomic():
        sessions.end(user, pk=pk)
        _note(actor, user, {"sessions ended": 1})


def end_other_sessions(actor: Actor, session_key: str | None) -> int:
    """End all of the own sessions but this one; returns how many. Raises PermissionRefused."""
    user = _own(actor, "end sessions")
    with transaction.atomic():
        ended = sessions.end(user, but=session_key)
        _note(actor, user, {"sessions ended": ended})
    return ended


def _own(actor: Actor, deed: str) -> User:
    user = actor.user
    if isinstance(user, User) and user.is_active and actor.scope is None:
        return User.objects.get(pk=user.pk)
    why = "a token may not look after its owner's account" if actor.scope is not None else "nobody is logged in"
    reason = f"{actor.name} may not {deed}: {why}."
    auditing.refused(actor, kind=KIND, name=actor.name, reason=reason)
    raise PermissionRefused(reason)


def _device(user: User) -> SecondFactor:
    found: SecondFactor | None = SecondFactor.objects.filter(user=user, confirmed=True).first()
    if found is None:
        raise ValidationError("No second factor is set up.")
    return found


def _check(actor: Actor, user: User, device: SecondFactor, code: str) -> None:
    """Raise ValidationError unless the code is right; a failure is counted and recorded, whatever follows."""
    allowed, why = device.verify_is_allowed()
    if not allowed:
        until = (why or {}).get("locked_until")
        when = f" at {until:%H:%M:%S} UTC" if until else " later"
        raise ValidationError({"code": f"There were too many wrong codes: try again{when}."})
    if django_otp.verify_token(user, device.persistent_id, code) is None:
        reason = "The code of the second factor was wrong."
        auditing.refused(actor, kind=KIND, object_id=user.pk, name=user.username, reason=reason)
        raise ValidationError({"code": "This code is wrong, too old, or was used before."})


def _new_codes(device: SecondFactor) -> list[str]:
    plain = [base64.b32encode(secrets.token_bytes(RECOVERY_BYTES)).decode() for _ in range(RECOVERY_CODES)]
    device.recovery = [digest(one) for one in plain]
    return ["-".join(one[at : at + 4] for at in range(0, len(one), 4)) for one in plain]


def _days(given: Any) -> int | None:
    text = str(given).strip()
    if isinstance(given, bool) or not text.isascii() or not text.isdecimal() or len(text) > 4:
        return None
    return int(text) if 1 <= int(text) <= LONGEST_DAYS else None


def _note(actor: Actor, user: User, after: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> None:
    auditing.note(
        actor,
        AuditVerb.UPDATE,
        kind=KIND,
        object_id=user.pk,
        object_name=user.username,
        before=before,
        after=after,
    )
