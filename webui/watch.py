"""Notices what nobody else would: checks that stall, and vservers that fail open. Any process may call it.

What is raised is a row of Alarm, whose key is unique: of several watchers exactly one raises an alarm, and one clears
it, each with an event in the same transaction.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import datetime

from django.db import IntegrityError, transaction
from django.urls import reverse

from webui.choices import EventKind, State
from webui.live import publish
from webui.models import Alarm, DirectorEvent
from webui.payloads import ProblemRow
from webui.rows import url_of
from webui.world import World, load_world

CHECKS = "checks"
FAIL_OPEN = "fail-open"

log = logging.getLogger(__name__)


def watch(who: str) -> list[DirectorEvent]:
    """Compare what is with the alarms that are raised; returns the events that this led to.

    ``who`` stands in the events as the one who noticed. Raises django.db.Error.
    """
    world = load_world()
    done = settle(alarms(world), who, world.now)
    if done:
        publish({"type": "live.changed", "what": "health"})
    return done


def alarms(world: World) -> dict[str, str]:
    """What should be raised now, in words, by key. Pure: works on rows that were read."""
    wanted = {}
    if text := stalled(world):
        wanted[CHECKS] = text
    for vserver in world.vservers.values():
        if text := failing_open(world, vserver.pk):
            wanted[f"{FAIL_OPEN} {vserver.pk}"] = f"virtual server {vserver.name}: {text}"
    return wanted


def alarm_problems(world: World) -> list[ProblemRow]:
    """What is wrong by :func:`alarms`, for the dashboard: as it is now, whether or not somebody watches."""
    return [
        ProblemRow(
            key=f"alarm-{key}",
            severity=State.DOWN if key == CHECKS else State.FAIL_OPEN,
            what="checks" if key == CHECKS else "fail-open",
            url=reverse("list", args=["monitors"])
            if key == CHECKS
            else url_of("vservers", int(key.removeprefix(FAIL_OPEN))),
            text=text,
        )
        for key, text in alarms(world).items()
    ]


def stalled(world: World) -> str:
    """That checks have stalled; empty when none has."""
    running = sum(len(world.vips(service)) * len(world.monitors_of[service.pk]) for service in world.services.values())
    stale = [row for service in world.services.values() for row in world.stale(service)]
    if not stale:
        return ""
    moments = [world.checked[row.pk] for row in stale if row.pk in world.checked]
    last = f"the last came at {max(moments):%Y-%m-%d %H:%M:%S} UTC" if moments else "none ever came"
    return (
        f"{len(stale)} of {running} checks have no new result ({last}): the workers that run them stopped, or cannot "
        "keep up. Services keep their last state."
    )


def failing_open(world: World, vserver: int) -> str:
    """That a vserver keeps failing services in use; empty when it does not."""
    row = world.vservers[vserver]
    verdicts = world.verdicts(row).values()
    kept = sum(verdict.state == State.FAIL_OPEN for verdict in verdicts)
    if not kept:
        return ""
    return (
        f"fail-open keeps {kept} of {len(verdicts)} services in use, which failed together (threshold {row.fail_open} "
        "%). Is the check wrong, or are the servers?"
    )


def settle(wanted: Mapping[str, str], who: str, now: datetime) -> list[DirectorEvent]:
    """Raise the alarms that are wanted and clear the others; returns the events. Raises django.db.Error."""
    raised = dict(Alarm.objects.values_list("key", "text"))
    events = [_raise(key, text, who, now) for key, text in wanted.items() if key not in raised]
    events += [_clear(key, text, who, now) for key, text in raised.items() if key not in wanted]
    found = [event for event in events if event is not None]
    for event in found:
        log.warning("%s", event)
    return found


def _raise(key: str, text: str, who: str, now: datetime) -> DirectorEvent | None:
    try:
        with transaction.atomic():
            Alarm.objects.create(key=key, raised_at=now, text=text[:255])
            return _event(key, f"Alarm: {text}", who, now, raised=True)
    except IntegrityError:  # another watcher was first
        return None


def _clear(key: str, text: str, who: str, now: datetime) -> DirectorEvent | None:
    with transaction.atomic():
        deleted, _by_model = Alarm.objects.filter(key=key).delete()
        return _event(key, f"Over: {text}", who, now, raised=False) if deleted else None


def _event(key: str, text: str, who: str, now: datetime, *, raised: bool) -> DirectorEvent:
    kind = EventKind.ALARM
    return DirectorEvent.objects.create(at=now, director=who, text=text[:255], kind=kind, raised=raised, key=key)
