"""A service: protocol and port on a server, with its monitors."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Lower

from webui.choices import AdminState, ServiceType
from webui.models.fields import ANY_PORT, Timestamped, object_name_validator
from webui.models.server import Server


class Service(Timestamped):
    """What a server offers behind a VIP. ``port`` 0 is NetScaler's ``*`` (any port)."""

    name = models.CharField(max_length=127, validators=[object_name_validator])
    server = models.ForeignKey(Server, on_delete=models.PROTECT, related_name="services")
    service_type = models.CharField(max_length=8, choices=ServiceType, default=ServiceType.ANY)
    port = models.PositiveIntegerField(
        default=ANY_PORT, validators=[MaxValueValidator(65535)], help_text="0 or *: any port."
    )
    usip = models.BooleanField("use source IP", default=True)
    health_monitor = models.BooleanField(default=True, help_text="No: the service counts as UP at all times.")
    mon_threshold = models.PositiveIntegerField(
        "monitor threshold",
        default=0,
        validators=[MaxValueValidator(65535)],
        help_text="Sum of the weights of UP monitors that makes the service UP; 0: every monitor must be UP.",
    )
    hash_id = models.PositiveBigIntegerField(
        null=True,
        blank=True,
        unique=True,
        validators=[MinValueValidator(1), MaxValueValidator(4294967295)],
        help_text="Keeps the service's place in the hash ring when its address changes.",
    )
    state = models.CharField(max_length=8, choices=AdminState, default=AdminState.ENABLED)
    comment = models.CharField(max_length=255, blank=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(Lower("name"), name="service_name_unique"),
            models.UniqueConstraint(fields=["server", "service_type", "port"], name="service_endpoint_unique"),
        ]

    def __str__(self) -> str:
        return self.name


class ServiceMonitorBinding(models.Model):
    """A monitor bound to a service, with its weight in the service's threshold."""

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="monitor_bindings")
    monitor = models.ForeignKey("webui.Monitor", on_delete=models.PROTECT, related_name="service_bindings")
    state = models.CharField(max_length=8, choices=AdminState, default=AdminState.ENABLED)
    weight = models.PositiveSmallIntegerField(default=1, validators=[MinValueValidator(1), MaxValueValidator(100)])

    class Meta:
        ordering = ["monitor__name"]
        constraints = [models.UniqueConstraint(fields=["service", "monitor"], name="service_monitor_unique")]

    def __str__(self) -> str:
        return f"{self.service} – {self.monitor}"
