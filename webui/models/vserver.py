"""A virtual server: what clients connect to."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Lower

from webui.choices import AdminState, ConnFailover, LbMethod, OnOff, RedirectionMode, ServiceType
from webui.models.fields import ANY_PORT, Timestamped, object_name_validator
from webui.models.service import Service


class VServer(Timestamped):
    """A VIP with protocol and port (0: ``*``), and how clients are spread over its services."""

    name = models.CharField(max_length=127, validators=[object_name_validator])
    service_type = models.CharField(max_length=8, choices=ServiceType, default=ServiceType.ANY)
    address = models.GenericIPAddressField(
        "VIP", help_text="On no interface of the director or any client; on lo of each server."
    )
    port = models.PositiveIntegerField(
        default=ANY_PORT, validators=[MaxValueValidator(65535)], help_text="0 or *: any port."
    )
    lb_method = models.CharField("method", max_length=24, choices=LbMethod, default=LbMethod.SOURCEIPHASH)
    netmask = models.GenericIPAddressField(protocol="IPv4", default="255.255.255.255")
    v6_netmask_len = models.PositiveSmallIntegerField(
        "IPv6 netmask length", default=128, validators=[MinValueValidator(1), MaxValueValidator(128)]
    )
    mode = models.CharField("redirection mode", max_length=8, choices=RedirectionMode, default=RedirectionMode.MAC)
    sessionless = models.CharField(max_length=8, choices=OnOff, default=OnOff.ENABLED)
    conn_failover = models.CharField(
        "connection failover", max_length=10, choices=ConnFailover, default=ConnFailover.DISABLED
    )
    state = models.CharField(max_length=8, choices=AdminState, default=AdminState.ENABLED)
    comment = models.CharField(max_length=255, blank=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(Lower("name"), name="vserver_name_unique"),
            models.UniqueConstraint(fields=["address", "service_type", "port"], name="vserver_endpoint_unique"),
        ]

    def __str__(self) -> str:
        return self.name


class VServerServiceBinding(models.Model):
    """A service bound to a vserver, with its share of clients."""

    vserver = models.ForeignKey(VServer, on_delete=models.CASCADE, related_name="service_bindings")
    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="vserver_bindings")
    weight = models.PositiveSmallIntegerField(default=1, validators=[MinValueValidator(1), MaxValueValidator(100)])

    class Meta:
        ordering = ["service__name"]
        constraints = [models.UniqueConstraint(fields=["vserver", "service"], name="vserver_service_unique")]

    def __str__(self) -> str:
        return f"{self.vserver} – {self.service}"
