"""What the checks found: current state on one row each, every change also an append-only row."""

from __future__ import annotations

import secrets
from typing import Final

from django.db import models
from django.db.models import F
from django.db.models.functions import Lower
from django.utils import timezone

from webui.choices import CHECK_STATES, State
from webui.models.fields import AppendOnly, AppendOnlyQuerySet
from webui.models.monitor import Monitor
from webui.models.server import Server
from webui.models.service import Service

SHARDS: Final = 16  # parts of the checks that are leased as one


def new_edition() -> int:
    """A number that no other row has had, nor this one in a database that was wiped: figures kept elsewhere name it."""
    return secrets.randbelow(2**48)


class ProbeTarget(models.Model):
    """A probe address: traffic of the director to it reaches this VIP on this server, over the forwarding path."""

    vip = models.GenericIPAddressField()
    server = models.ForeignKey(Server, on_delete=models.CASCADE, related_name="probe_targets")
    address = models.GenericIPAddressField(unique=True)

    class Meta:
        ordering = ["pk"]
        constraints = [models.UniqueConstraint(fields=["vip", "server"], name="probe_target_unique")]

    def __str__(self) -> str:
        return f"{self.address} ({self.vip} on {self.server})"


class HealthState(models.Model):
    """State of one monitor of one service at one VIP; made with the bindings, written by the checks.

    The checks write a row when its state changes, and when they raise an alert. What the checks between found is in
    Redis (:mod:`webui.freshness`): ``checked_at`` and all below it are as old as the last change.
    """

    target = models.ForeignKey(ProbeTarget, on_delete=models.CASCADE, related_name="health_states")
    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="health_states")
    monitor = models.ForeignKey(Monitor, on_delete=models.CASCADE, related_name="health_states")
    state = models.CharField(max_length=32, choices=CHECK_STATES, default=State.UNKNOWN)
    since = models.DateTimeField(default=timezone.now, help_text="When the state last changed.")
    edition = models.PositiveBigIntegerField(
        default=new_edition, help_text="Counts on when what was found so far no longer counts."
    )
    checked_at = models.DateTimeField(null=True, blank=True)
    recent = models.CharField(
        max_length=127,
        blank=True,
        help_text="Latest results, newest last: P passed, F failed, T under maintenance; small: slow.",
    )
    response = models.CharField(max_length=255, blank=True, help_text="What the last check saw, in words.")
    response_time = models.FloatField(null=True, blank=True, help_text="Seconds.")
    average_time = models.FloatField(null=True, blank=True, help_text="Learned response time, seconds.")
    probes = models.PositiveBigIntegerField(default=0)
    failures = models.PositiveBigIntegerField(default=0)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["target", "service", "monitor"], name="health_state_unique")]

    def __str__(self) -> str:
        return f"{self.service} at {self.target.vip}: {self.monitor} {self.state}"


class CheckLease(models.Model):
    """One of :data:`SHARDS` parts of the checks (rows whose number leaves it as the remainder), and who runs it.

    The owner counts ``beats`` on every second. No clock is compared: who sees the row unchanged for long enough, by a
    clock of its own that nobody sets, may take it.
    """

    shard = models.PositiveSmallIntegerField(primary_key=True)
    owner = models.CharField(max_length=64, blank=True, help_text="Worker that runs these checks; empty: nobody.")
    beats = models.PositiveBigIntegerField(default=0)
    wanted_by = models.CharField(max_length=64, blank=True, help_text="Worker with less to do that asks for it.")
    renewed_at = models.DateTimeField(null=True, help_text="When the owner last said so; for people, not for owners.")

    def __str__(self) -> str:
        return f"checks {self.shard} of {SHARDS}: {self.owner or 'nobody'}"


class HealthTransition(AppendOnly):
    """A change of state. Append-only; names are copied so that it outlives the objects."""

    at = models.DateTimeField(default=timezone.now)
    service = models.ForeignKey(Service, null=True, on_delete=models.SET_NULL, related_name="transitions")
    service_name = models.CharField(max_length=127)
    monitor_name = models.CharField(max_length=127)
    vip = models.GenericIPAddressField()
    old = models.CharField(max_length=32, choices=CHECK_STATES)
    new = models.CharField(max_length=32, choices=CHECK_STATES)
    reason = models.CharField(max_length=255)

    objects = AppendOnlyQuerySet.as_manager()

    class Meta:
        ordering = ["-pk"]
        indexes = [
            models.Index(fields=["service", "-at"], name="transition_of_service"),  # a service's history
            # The review of the audit, which shows changes of state among its entries.
            models.Index(fields=["-at", "-id"], name="transition_at"),
            models.Index(Lower("service_name"), F("at").desc(), F("id").desc(), name="transition_name"),
        ]

    def __str__(self) -> str:
        return f"{self.service_name} at {self.vip}: {self.old} → {self.new} ({self.reason})"
