"""A service: protocol and port on a server, with its monitors."""

from __future__ import annotations

from django.apps import apps
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Lower

from monitors.kind import Kind
from webui.choices import AdminState, OnOff, ServiceType
from webui.models.fields import (
    ANY_PORT,
    Explained,
    Problems,
    check_name,
    check_unchanged,
    name_taken,
    object_name_validator,
    port_text,
    twin_name,
)
from webui.models.leaving import Leaving
from webui.models.reasons import SERVICE_TYPES
from webui.models.server import Server


class Service(Leaving):
    """What a server offers behind a VIP. ``port`` 0 is NetScaler's ``*`` (any port)."""

    reasons = {"service_type": SERVICE_TYPES}
    finds_twins = True

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
    down_state_flush = models.CharField(
        max_length=8,
        choices=OnOff,
        default=OnOff.ENABLED,
        help_text="Disabled: flows that it has when it goes DOWN are not given to others; they end by themselves.",
    )
    comment = models.CharField(max_length=255, blank=True)

    class Meta:
        ordering = ["name"]
        permissions = [("enable_service", "Can enable and disable services")]
        constraints = [
            models.UniqueConstraint(Lower("name"), name="service_name_unique"),
            models.UniqueConstraint(fields=["server", "service_type", "port"], name="service_endpoint_unique"),
        ]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Rules of the name, the endpoint and use source IP."""
        problems = Problems()
        if self.usable("name"):
            check_name(self, problems, digit_first=False)
            group = name_taken(apps.get_model("webui", "ServiceGroup"), self.name)
            if group is not None:
                problems["name"].append(f"There is a service group “{group}”; commands could not tell them apart.")
        old = self.stored()
        if old is not None:
            check_unchanged(self, old, problems, {"server": "server", "service_type": "type", "port": "port"})
            self._check_usip(problems)
        elif self.usable("server", "service_type", "port"):
            self._check_endpoint(problems)
        if self.usable("hash_id") and self.hash_id is not None:
            twin = twin_name(Service.objects.filter(hash_id=self.hash_id).exclude(pk=self.pk))
            if twin is not None:
                problems["hash_id"].append(f"Hash ID {self.hash_id} belongs to service “{twin}” already.")
        problems.tell()

    def _check_endpoint(self, problems: Problems) -> None:
        twins = Service.objects.filter(server=self.server, service_type=self.service_type, port=self.port)
        if (twin := twin_name(twins)) is not None:
            problems["port"].append(
                f"Service “{twin}” is {self.service_type} port {port_text(self.port)} of server "
                f"“{self.server.name}” already."
            )

    def _check_usip(self, problems: Problems) -> None:
        if self.usip or not self.usable("usip"):
            return
        names = list(self.vserver_bindings.order_by("vserver__name").values_list("vserver__name", flat=True))
        if names:
            problems["usip"].append(
                f"Use source IP cannot be NO while the service is bound to {', '.join(names)}: in MAC mode the packet "
                "keeps the client's address, or the server could not answer the client."
            )


class ServiceMonitorBinding(Explained):
    """A monitor bound to a service, with its weight in the service's threshold."""

    finds_twins = True

    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="monitor_bindings")
    monitor = models.ForeignKey("webui.Monitor", on_delete=models.PROTECT, related_name="service_bindings")
    state = models.CharField(max_length=8, choices=AdminState, default=AdminState.ENABLED)
    weight = models.PositiveSmallIntegerField(default=1, validators=[MinValueValidator(1), MaxValueValidator(100)])

    class Meta:
        ordering = ["monitor__name"]
        constraints = [models.UniqueConstraint(fields=["service", "monitor"], name="service_monitor_unique")]

    def __str__(self) -> str:
        return f"{self.service} – {self.monitor}"

    def clean(self) -> None:
        """A monitor fits the service, and is bound once."""
        problems = Problems()
        if not self.usable("service", "monitor"):
            return
        twin = ServiceMonitorBinding.objects.filter(service=self.service, monitor=self.monitor).exclude(pk=self.pk)
        if twin.exists():
            problems["monitor"].append(
                f"Monitor “{self.monitor.name}” is bound to service “{self.service.name}” already."
            )
        if reason := no_port_to_connect_to(self.monitor.kind, self.service, self.monitor.dest_port):
            problems["monitor"].append(f"Monitor “{self.monitor.name}” has no port to connect to: {reason}.")
        self._check_destination(problems)
        problems.tell()

    def _check_destination(self, problems: Problems) -> None:
        wanted = self.monitor.dest_ip
        if not wanted:
            return
        vips = {str(binding.vserver.address) for binding in self.service.vserver_bindings.all()} - {wanted}
        if vips:
            problems["monitor"].append(
                f"Monitor “{self.monitor.name}” has destination IP {wanted}, but the service is checked at "
                f"{', '.join(sorted(vips))}: a check goes to the VIP on the bound server, always."
            )


def no_port_to_connect_to(kind: Kind | None, service: Service, dest_port: int = 0) -> str:
    """Why monitors of a kind with this destination port cannot check the service; empty when they can."""
    if kind is None or not kind.needs_port:
        return ""
    if kind.port(wanted=dest_port, service_port=service.port, service_type=service.service_type, secure=False):
        return ""
    if service.port == ANY_PORT:
        return f"service “{service.name}” is of any port (*); give the monitor a destination port"
    return (
        f"service “{service.name}” is {service.service_type} only; give the monitor the destination port of something "
        f"on {kind.transport}"
    )
