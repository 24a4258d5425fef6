"""The Celery application; tasks live in monitors/, events/ and metrics/."""

from __future__ import annotations

import os

from celery import Celery
from celery.signals import after_task_publish, beat_init

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "webui.settings")

app = Celery("halfpipe")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.conf.imports = (
    "monitors.tasks",
    "monitors.trying",
    "monitors.preview",
    "webui.events.tasks",
    "webui.metrics.tasks",
    "webui.revision_tasks",
)


@beat_init.connect  # type: ignore[untyped-decorator]  # Celery has no types
def note_each_task(**_signal: object) -> None:
    """In beat alone: leave a sign for each task that was handed over, see ``webui.readiness``."""
    from webui import readiness  # noqa: PLC0415 - needs the models, which this module is loaded before

    after_task_publish.connect(readiness.beat_has_sent)
