"""Celery: small tasks that hand due events to the couriers of this process, and look for what should alarm."""

from __future__ import annotations

import logging

from django.db import DatabaseError, InterfaceError

from webui.celery import app
from webui.events.deliver import Couriers
from webui.watch import watch as look

log = logging.getLogger(__name__)

couriers = Couriers()


@app.task(name="webui.events.tasks.deliver")  # type: ignore[untyped-decorator]  # Celery has no types
def deliver() -> int:
    """Start to send what is due; returns the number of targets."""
    try:
        return couriers.tick()
    except (DatabaseError, InterfaceError) as error:
        log.warning("Due events could not be claimed (%s); the next tick takes them.", error)
        return 0


@app.task(name="webui.events.tasks.watch")  # type: ignore[untyped-decorator]  # Celery has no types
def watch() -> int:
    """Raise and clear alarms; returns how many."""
    try:
        return len(look("checks"))
    except (DatabaseError, InterfaceError) as error:
        log.warning("Nobody could look for alarms (%s); the next tick does.", error)
        return 0
