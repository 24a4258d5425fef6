"""What a director reports about itself. Written by the dataplane worker alone."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from webui.choices import EventKind
from webui.models.fields import AppendOnly, AppendOnlyQuerySet
from webui.models.server import Server


class DataplaneStatus(models.Model):
    """One row a director: what it has applied, and what it sees of its network.

    ``interfaces``: list of {"ifindex", "name", "mac", "up", "addresses": [CIDR text], "attached": bool}; those that
    are attached also have "mode": "tc" or "xdp", "mode_reason": why, and "mode_refused": whether XDP was demanded and
    cannot be had. ``mode`` is that of all of them: "tc", "xdp" or "xdp, tc".
    """

    director = models.CharField(max_length=64, unique=True)
    wanted_revision = models.PositiveBigIntegerField(default=0)
    applied_revision = models.PositiveBigIntegerField(default=0)
    applied_at = models.DateTimeField(null=True)
    heartbeat_at = models.DateTimeField(null=True)
    round_ms = models.FloatField(
        default=0, help_text="Duration of the last round that changed something, milliseconds."
    )
    round_summary = models.TextField(blank=True, help_text="What that round did.")
    drift = models.PositiveIntegerField(default=0, help_text="Repairs of changes that were not ours, since the start.")
    mode = models.CharField(max_length=16, default="tc")
    last_error = models.TextField(blank=True)
    interfaces = models.JSONField(default=list)

    def __str__(self) -> str:
        return self.director


class DirectorCounters(models.Model):
    """Latest counters of a director, one row each, rewritten every second.

    ``payload``: {"vservers": {row id: {"packets", "bytes", "packets_per_second", "bits_per_second", "dropped",
    "dropped_per_second", "drops": {reason: packets}, "new_flows", "new_flows_per_second"}}, "services": … without
    drops, "reasons": {name: {"packets", "packets_per_second"}}}. Dropped are packets too; "drops" is missing when there
    are none, and new flows where nobody counts them.
    """

    director = models.CharField(max_length=64, unique=True)
    taken_at = models.DateTimeField()
    payload = models.JSONField(default=dict)

    def __str__(self) -> str:
        return f"{self.director} at {self.taken_at}"


class DirectorEvent(AppendOnly):
    """Something that a director noticed by itself, such as a flood of SYNs that began or ended. Append-only."""

    at = models.DateTimeField(default=timezone.now)
    director = models.CharField(max_length=64)
    text = models.CharField(max_length=255)
    kind = models.CharField(max_length=16, choices=EventKind, default=EventKind.DIRECTOR)
    raised = models.BooleanField(null=True, help_text="Of an alarm: whether it began; null for what is none.")
    key = models.CharField(max_length=64, blank=True, help_text="Of an alarm: which one, as in Alarm.")

    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M:%S} {self.director}: {self.text}"


class ServerPath(models.Model):
    """Whether a director can reach a server on layer 2, and if not why."""

    director = models.CharField(max_length=64)
    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="paths")
    eligible = models.BooleanField(default=False)
    reason = models.CharField(max_length=255, blank=True)
    mac = models.CharField(max_length=17, blank=True)
    interface = models.CharField(max_length=16, blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["director", "server"], name="server_path_unique")]

    def __str__(self) -> str:
        return f"{self.server} from {self.director}: {self.mac or self.reason}"
