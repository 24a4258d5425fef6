"""Watching a virtual server's flows: no change of configuration, but a wish that a director follows for a while."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from webui import wake
from webui.actions.base import Actor, reload, require
from webui.models import FlowWatch, VServer

WATCH_SECONDS = 15  # a page renews it three times in that
DEED = "watch"  # webui.watch_vserver


def renew(actor: Actor, vserver: VServer, *, frames: bool = False) -> FlowWatch:
    """Ask the directors to tell of the vserver's flows from now on for :data:`WATCH_SECONDS`.

    With ``frames``, of the first bytes of each frame as well: its headers, and with them a little of what it carries.
    Raises PermissionRefused (after writing it to the audit), NotFoundError when the vserver is gone, and
    ValidationError for an actor who is nobody in particular.
    """
    require(actor, VServer, DEED, vserver.name)
    if not isinstance(actor.user, User):
        msg = "Flows are watched by somebody at a browser; on the director itself, use manage.py flows."
        raise ValidationError(msg)
    now = timezone.now()
    with transaction.atomic():
        row = reload(vserver)
        FlowWatch.objects.filter(until__lt=now - timedelta(minutes=1)).delete()
        watch = FlowWatch.objects.filter(vserver=row, requested_by=actor.user).first()
        is_new = watch is None or watch.until < now
        watch = watch or FlowWatch(vserver=row, requested_by=actor.user)
        if is_new:
            watch.started_at = now
            transaction.on_commit(wake.wake_dataplane, robust=True)
        watch.until = now + timedelta(seconds=WATCH_SECONDS)
        if frames:
            watch.frames_until = watch.until
        watch.save()
    return watch
