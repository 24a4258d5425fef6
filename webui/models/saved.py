"""The configuration as it was when somebody saved it."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from webui.models.fields import AppendOnly, AppendOnlyQuerySet


class SavedConfiguration(AppendOnly):
    """Commands that make the configuration of a revision anew; secrets in it are sealed. Append-only."""

    revision = models.PositiveBigIntegerField()
    text = models.TextField()
    at = models.DateTimeField(default=timezone.now)
    actor_name = models.CharField(max_length=150)

    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"revision {self.revision}, saved by {self.actor_name} at {self.at:%Y-%m-%d %H:%M:%S} UTC"
