"""Celery: one task every ten seconds that records what directors counted."""

from __future__ import annotations

import logging

from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from webui.celery import app
from webui.metrics import store

log = logging.getLogger(__name__)


@app.task(name="webui.metrics.tasks.keep")  # type: ignore[untyped-decorator]  # Celery has no types
def keep() -> int:
    """Record, roll up and trim; returns the number of directors that had something new."""
    try:
        return store.keep(timezone.now())
    except (DatabaseError, InterfaceError) as error:
        log.warning("What directors counted could not be recorded (%s); the next tick does it.", error)
        return 0
