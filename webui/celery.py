"""The Celery application; tasks live in monitors/, events/ and metrics/."""

from __future__ import annotations

import os

from celery import Celery

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
