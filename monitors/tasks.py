"""Celery: one small task a second that hands due checks to the runner of this process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from celery.signals import worker_shutdown
from django.db import DatabaseError, InterfaceError
from django.utils import timezone

from monitors import registry, store
from monitors.runner import Runner
from webui.celery import app

# Checks due before the next tick are taken too and wait until their moment, so that none is up to a second late;
# a second of the schedule and half a second for a tick that is late itself.
TICK: Final = 1.0  # seconds between sweeps
AHEAD: Final = timedelta(seconds=1.5)
PATIENCE: Final = 3.0  # seconds that a stopping worker waits for its probes

log = logging.getLogger(__name__)

_sweeping = threading.Lock()


def record(answers: Sequence[store.Answer]) -> None:
    """Write results. Checks with an interval shorter than that of the sweep do not wait for the next one.

    Raises django.db.DatabaseError; nothing is then written.
    """
    store.record(answers)
    if any(answer.claim.parameters.interval < TICK for answer in answers):
        sweep()


runner = Runner(registry.run, record)


@app.task(name="monitors.tasks.sweep")  # type: ignore[untyped-decorator]  # Celery has no types
def sweep() -> int:
    """Claim what is due and start it; returns the number of claims.

    Overlapping sweeps of several workers share the work; in one process a second one has nothing to do.
    """
    if not _sweeping.acquire(blocking=False):
        return 0
    try:
        claims = store.claim(timezone.now(), runner.free(), AHEAD)
        if claims:
            runner.submit(claims)
    except (DatabaseError, InterfaceError) as error:
        log.warning("Due checks could not be claimed (%s); the next sweep takes them.", error)
        return 0
    finally:
        _sweeping.release()
    return len(claims)


@worker_shutdown.connect  # type: ignore[untyped-decorator]  # Celery has no types
def stop(**_kwargs: object) -> None:
    """Record what is under way and give the rest back, when a worker stops in order."""
    left = runner.stop(PATIENCE)
    try:
        store.release(left)
    except (DatabaseError, InterfaceError) as error:
        log.warning("%d claims were not given back (%s); they expire.", len(left), error)
