"""What the checks found: current state on one row each, every change also an append-only row."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from webui.choices import CHECK_STATES, State
from webui.models.fields import AppendOnly, AppendOnlyQuerySet
from webui.models.monitor import Monitor
from webui.models.server import Server
from webui.models.service import Service


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
    """State of one monitor of one service at one VIP; made with the bindings, written by the checks."""

    target = models.ForeignKey(ProbeTarget, on_delete=models.CASCADE, related_name="health_states")
    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="health_states")
    monitor = models.ForeignKey(Monitor, on_delete=models.CASCADE, related_name="health_states")
    state = models.CharField(max_length=32, choices=CHECK_STATES, default=State.UNKNOWN)
    since = models.DateTimeField(default=timezone.now, help_text="When the state last changed.")
    due_at = models.DateTimeField(default=timezone.now, help_text="When the next check is due.")
    claimed_until = models.DateTimeField(null=True, blank=True, help_text="A sweep works on it until then at most.")
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
        indexes = [models.Index(fields=["due_at"], name="health_due")]  # the sweep: what is due now

    def __str__(self) -> str:
        return f"{self.service} at {self.target.vip}: {self.monitor} {self.state}"


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
        indexes = [models.Index(fields=["service", "-at"], name="transition_of_service")]  # a service's history

    def __str__(self) -> str:
        return f"{self.service_name} at {self.vip}: {self.old} → {self.new} ({self.reason})"
