"""The Celery task that ends trials of the configuration; the web process looks too (webui.events.standby)."""

from __future__ import annotations

from webui.actions import revisions
from webui.celery import app


@app.task(name="webui.revision_tasks.expire")  # type: ignore[untyped-decorator]  # Celery has no types
def expire() -> bool:
    """Roll back a trial whose time is over; whether there was one."""
    return revisions.expire()
