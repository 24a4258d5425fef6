"""Alarms that are raised now; that they began and ended are rows of DirectorEvent."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class Alarm(models.Model):
    """One alarm while it is raised. The unique key lets exactly one of several watchers raise it, and clear it."""

    key = models.CharField(max_length=64, unique=True, help_text="“checks”, or “fail-open” and the vserver's row id.")
    raised_at = models.DateTimeField(default=timezone.now)
    text = models.CharField(max_length=255)

    def __str__(self) -> str:
        return f"{self.key} since {self.raised_at:%Y-%m-%d %H:%M:%S}: {self.text}"
