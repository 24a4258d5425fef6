"""Bring back an earlier revision, mark one as saved, and try changes that end unless they are confirmed."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any, Final

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from webui import live
from webui.actions.base import (
    INSTALLATION,
    Actor,
    ConflictError,
    NotFoundError,
    alone,
    change,
    lock_installation,
    note_attempt,
    require,
)
from webui.actions.errors import unfit
from webui.actions.restoring import restore
from webui.choices import AuditVerb
from webui.models import AuditEntry, Installation, PendingConfirmation
from webui.revisions import UnknownRevisionError, difference

LONGEST_TRIAL: Final = 1440  # minutes
ROLLBACK: Final = "rollback"  # webui.rollback_installation
SAVE: Final = "save"

log = logging.getLogger(__name__)


def rollback(actor: Actor, number: int, expected: int | None = None) -> int:
    """Make the configuration what it was at a revision; that is a new revision, whose number is returned.

    ``expected`` is the revision that the actor has looked at. A trial that began there or later ends with it.
    Raises PermissionRefused, NotFoundError (no such revision), ConflictError, ValidationError.
    """
    alone()
    with change(actor, Installation, ROLLBACK, f"revision {number}") as current:
        now = current.revision - 1
        if expected is not None and expected != now:
            msg = f"The configuration is at revision {now} by now, not at {expected}: look at what differs again."
            raise ConflictError(msg, current_version=now, changes=_since(expected))
        try:
            changes = difference(now, number)
        except UnknownRevisionError as error:
            raise NotFoundError(str(error)) from error
        if not changes:
            msg = f"Nothing differs between revision {number} and what runs now (revision {now})."
            raise ValidationError(msg)
        current.back_to = number
        reason = f"back to revision {number}"
        row = Installation.objects.get(pk=INSTALLATION)
        current.record(AuditVerb.ROLLBACK, row, before={"revision": now}, after={"revision": number}, reason=reason)
        restore(current, changes, reason)
        PendingConfirmation.objects.filter(back_to__gte=number).delete()
        return current.revision


def _since(revision: int) -> list[str]:
    entries = AuditEntry.objects.filter(revision__gt=revision).exclude(verb=AuditVerb.APPLY).order_by("pk")[:20]
    return [f"{one.get_verb_display()} {one.kind} {one.object_name} by {one.actor_name}" for one in entries]


def save(actor: Actor) -> int:
    """Mark the running configuration as saved (``save ns config``); returns its revision. Raises PermissionRefused.

    The database keeps every change anyway: what is saved is what the console compares with, and a good point to go back
    to.
    """
    row = _required(actor, SAVE)
    with transaction.atomic():
        revision = lock_installation()
        before = Installation.objects.values_list("saved_revision", flat=True).get(pk=INSTALLATION)
        Installation.objects.filter(pk=INSTALLATION).update(
            saved_revision=revision, saved_at=timezone.now(), saved_by=actor.name
        )
        note_attempt(actor, AuditVerb.SAVE, row, {"saved_revision": revision}, before={"saved_revision": before})
        transaction.on_commit(_announce, robust=True)
    return revision


def begin_trial(actor: Actor, minutes: Any) -> PendingConfirmation:
    """From now on everything is rolled back in so many minutes, whoever changes it, unless it is confirmed.

    Raises PermissionRefused, ValidationError (``minutes``; a trial that runs).
    """
    row = _required(actor, ROLLBACK)
    length = _minutes(minutes)
    with transaction.atomic():
        revision = lock_installation()
        running = PendingConfirmation.objects.first()
        if running is not None:
            msg = f"A trial by {running.actor_name} runs until {running.until:%H:%M:%S} UTC: confirm or end it first."
            raise ValidationError(msg)
        until = timezone.now() + timedelta(minutes=length)
        made = PendingConfirmation.objects.create(back_to=revision, until=until, actor_name=actor.name)
        after = {"back_to": revision, "until": f"{until:%Y-%m-%d %H:%M:%S} UTC"}
        note_attempt(actor, AuditVerb.TRIAL, row, after)
        transaction.on_commit(_announce, robust=True)
    return made


def confirm(actor: Actor) -> None:
    """Keep what was changed in the trial. Raises PermissionRefused, NotFoundError when none runs."""
    row = _required(actor, ROLLBACK)
    with transaction.atomic():
        revision = lock_installation()
        running = _running()
        running.delete()
        note_attempt(actor, AuditVerb.CONFIRM, row, {"revision": revision}, before={"back_to": running.back_to})
        transaction.on_commit(_announce, robust=True)


def end_trial(actor: Actor) -> int:
    """Roll back now what was changed in the trial; returns the revision that runs then.

    Raises PermissionRefused, NotFoundError when none runs, ValidationError.
    """
    _required(actor, ROLLBACK)
    with transaction.atomic():
        revision = lock_installation()
        running = _running()
        if revision == running.back_to:
            running.delete()
            transaction.on_commit(_announce, robust=True)
            return revision
        return rollback(actor, running.back_to)


def expire() -> bool:
    """Roll back when a trial has ended unconfirmed; whether it was so. For whoever looks at the clock, again and again.

    What cannot be rolled back, as rules are newer than that revision, stays: the audit and the log say why.
    """
    if not PendingConfirmation.objects.filter(until__lte=timezone.now()).exists():
        return False
    actor = Actor.system("commit-confirm")
    try:
        with transaction.atomic():
            lock_installation()
            if not PendingConfirmation.objects.filter(until__lte=timezone.now()).exists():
                return False  # somebody else was faster
            end_trial(actor)
    except (ValidationError, NotFoundError, ConflictError) as error:
        text = "; ".join(error.messages) if isinstance(error, ValidationError) else str(error)
        log.error("A trial was not confirmed, and cannot be rolled back: %s", text)
        with transaction.atomic():
            lock_installation()
            PendingConfirmation.objects.filter(until__lte=timezone.now()).delete()
            row = Installation.objects.get(pk=INSTALLATION)
            note_attempt(actor, AuditVerb.REFUSE, row, {}, reason=f"the trial cannot be rolled back: {text}")
    return True


def _required(actor: Actor, deed: str) -> Installation:
    row = Installation.objects.get_or_create(pk=INSTALLATION)[0]
    require(actor, Installation, deed, row.name)
    return row


def _running() -> PendingConfirmation:
    running = PendingConfirmation.objects.first()
    if running is None:
        msg = "No such resource: no trial runs, so there is nothing to confirm or to end."
        raise NotFoundError(msg)
    return running


def _minutes(given: Any) -> int:
    text = str(given).strip()
    if isinstance(given, bool) or not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= LONGEST_TRIAL:
        msg = f"“{given}” is not a number of minutes from 1 to {LONGEST_TRIAL}."
        raise unfit({"minutes": msg})
    return int(text)


def _announce() -> None:
    live.publish({"type": "live.changed", "what": "configuration"})
