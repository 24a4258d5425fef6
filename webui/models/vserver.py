"""A virtual server: what clients connect to."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Lower

from webui.choices import AdminState, ConnFailover, LbMethod, OnOff, RedirectionMode, ServiceType
from webui.models.addresses import address_problems
from webui.models.fields import (
    ANY_PORT,
    Explained,
    Problems,
    Timestamped,
    check_name,
    check_unchanged,
    object_name_validator,
    port_text,
)
from webui.models.reasons import FAILOVERS, METHODS, MODES, SERVICE_TYPES, SESSIONLESS
from webui.models.server import Server
from webui.models.service import Service


class VServer(Timestamped):
    """A VIP with protocol and port (0: ``*``), and how clients are spread over its services."""

    reasons = {
        "service_type": SERVICE_TYPES,
        "lb_method": METHODS,
        "mode": MODES,
        "sessionless": SESSIONLESS,
        "conn_failover": FAILOVERS,
    }

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

    def clean(self) -> None:
        """Rules of the name, the VIP and the mask."""
        problems = Problems()
        if self.usable("name"):
            check_name(self, problems)
        old = self.stored()
        if old is not None:
            check_unchanged(self, old, problems, {"service_type": "type", "port": "port"})
        if self.usable("address"):
            self._check_address(old, problems)
        if self.usable("netmask") and self.netmask == "0.0.0.0":  # noqa: S104 - a mask, nothing listens
            problems["netmask"].append(
                "0.0.0.0 makes all clients one: every packet would go to the same server. Use a mask with bits set."
            )
        problems.tell()

    def _check_address(self, old: VServer | None, problems: Problems) -> None:
        if old is None or old.address != self.address:
            problems["address"] += address_problems(self.address, "vserver")
            server = Server.objects.filter(address=self.address).first()
            if server is not None:
                problems["address"].append(
                    f"{self.address} is the own address of server “{server.name}”; a VIP is an address more, which no "
                    "machine answers ARP for."
                )
        if not self.usable("service_type", "port"):
            return
        twins = VServer.objects.filter(address=self.address, service_type=self.service_type, port=self.port)
        twin = twins.exclude(pk=self.pk).first()
        if twin is not None:
            problems["address"].append(
                f"Vserver “{twin.name}” has {self.service_type} {self.address} port {port_text(self.port)} already."
            )


class VServerServiceBinding(Explained):
    """A service bound to a vserver, with its share of clients."""

    vserver = models.ForeignKey(VServer, on_delete=models.CASCADE, related_name="service_bindings")
    service = models.ForeignKey(Service, on_delete=models.CASCADE, related_name="vserver_bindings")
    weight = models.PositiveSmallIntegerField(default=1, validators=[MinValueValidator(1), MaxValueValidator(100)])

    class Meta:
        ordering = ["service__name"]
        constraints = [models.UniqueConstraint(fields=["vserver", "service"], name="vserver_service_unique")]

    def __str__(self) -> str:
        return f"{self.vserver} – {self.service}"

    def clean(self) -> None:
        """A service fits the vserver, and its server is there once.

        Families may differ: the forwarder needs the server's MAC alone, which either family tells.
        """
        problems = Problems()
        if not self.usable("vserver", "service"):
            return
        self._check_once(problems)
        vserver, service = self.vserver, self.service
        if service.port not in {vserver.port, ANY_PORT}:
            problems["service"].append(
                f"Port translation is impossible in MAC mode: vserver “{vserver.name}” has port "
                f"{port_text(vserver.port)}, service “{service.name}” has {port_text(service.port)}. "
                f"The service needs the same port or *."
            )
        if service.service_type not in {vserver.service_type, ServiceType.ANY}:
            problems["service"].append(
                f"Service “{service.name}” is {service.service_type}, vserver “{vserver.name}” is "
                f"{vserver.service_type}: the service needs the same type or ANY."
            )
        if not service.usip:
            problems["service"].append(
                f"Service “{service.name}” has use source IP NO: in MAC mode the packet keeps the client's address. "
                "Set it to YES first."
            )
        self._check_monitors(problems)
        problems.tell()

    def _check_monitors(self, problems: Problems) -> None:
        """A check goes to the VIP: a bound monitor must not name another address as its destination."""
        bound = self.service.monitor_bindings.exclude(monitor__dest_ip=None).select_related("monitor")
        for monitor in (binding.monitor for binding in bound):
            if monitor.dest_ip != self.vserver.address:
                problems["service"].append(
                    f"Monitor “{monitor.name}” of service “{self.service.name}” has destination IP {monitor.dest_ip}, "
                    f"and would be asked to check {self.vserver.address}: make its destination IP empty first."
                )

    def _check_once(self, problems: Problems) -> None:
        others = VServerServiceBinding.objects.filter(vserver=self.vserver).exclude(pk=self.pk)
        if others.filter(service=self.service).exists():
            problems["service"].append(
                f"Service “{self.service.name}” is bound to vserver “{self.vserver.name}” already."
            )
            return
        twin = others.filter(service__server=self.service.server).select_related("service").first()
        if twin is not None:
            problems["service"].append(
                f"Server “{self.service.server.name}” serves vserver “{self.vserver.name}” already, through service "
                f"“{twin.service.name}”: give that one a higher weight instead."
            )
