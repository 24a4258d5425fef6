"""Celery: one small task a second that keeps the checks of this process going."""

from __future__ import annotations

from typing import Final

from celery.signals import worker_shutdown

from monitors import registry
from monitors.keeper import Keeper
from webui.celery import app

PATIENCE: Final = 3.0  # seconds that a stopping worker waits for its probes

keeper = Keeper(registry.run)


@app.task(name="monitors.tasks.sweep")  # type: ignore[untyped-decorator]  # Celery has no types
def sweep() -> int:
    """Renew the leases of this worker, take what is free; returns the number of checks that it runs."""
    return keeper.sweep()


@worker_shutdown.connect  # type: ignore[untyped-decorator]  # Celery has no types
def stop(**_kwargs: object) -> None:
    """Write what is under way and give the rest back, when a worker stops in order."""
    keeper.stop(PATIENCE)
