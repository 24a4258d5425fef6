"""Revisions of the configuration: which rows each changed, and how; written by :mod:`webui.journal` alone."""

from __future__ import annotations

from django.db import models
from django.utils import timezone


class ConfigurationRevision(models.Model):
    """One change of the configuration; its number is that of the installation after it."""

    number = models.PositiveBigIntegerField(unique=True)
    at = models.DateTimeField(default=timezone.now)
    actor_name = models.CharField(max_length=150)
    interface = models.CharField(max_length=8)
    summary = models.TextField(help_text="What was done, in words.")
    back_to = models.PositiveBigIntegerField(null=True, help_text="The revision that this one brought back.")

    class Meta:
        ordering = ["-number"]

    def __str__(self) -> str:
        return f"revision {self.number}"


class RevisionRow(models.Model):
    """A row of the configuration before and after a revision: every column, as JSON; null where there was no row.

    What is secret is in it encrypted, as in the row itself.
    """

    revision = models.ForeignKey(ConfigurationRevision, on_delete=models.CASCADE, related_name="rows")
    kind = models.CharField(max_length=32)
    row = models.BigIntegerField()
    name = models.CharField(max_length=300)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["revision", "kind", "row"], name="revision_row_unique")]
        indexes = [models.Index(fields=["kind", "row"], name="revision_of_row")]

    def __str__(self) -> str:
        return f"{self.kind} {self.name} in revision {self.revision_id}"


class PendingConfirmation(models.Model):
    """“Roll back unless I confirm”: there is one, or none. Whoever finds it past its time rolls back."""

    back_to = models.PositiveBigIntegerField(help_text="The revision that comes back.")
    begun_at = models.DateTimeField(default=timezone.now)
    until = models.DateTimeField()
    actor_name = models.CharField(max_length=150)

    def __str__(self) -> str:
        return f"back to revision {self.back_to} at {self.until:%H:%M:%S} UTC"
