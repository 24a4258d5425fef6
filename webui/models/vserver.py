"""A virtual server: what clients connect to."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Lower

from webui.backups import chain
from webui.choices import (
    TURNS,
    AdminState,
    ConnFailover,
    LbMethod,
    OnOff,
    Persistence,
    PingResponse,
    RedirectionMode,
    ServiceType,
    WhenDown,
)
from webui.models.addresses import check_address
from webui.models.fields import (
    ANY_PORT,
    MAX_PORT,
    Explained,
    Problems,
    Timestamped,
    check_name,
    check_unchanged,
    object_name_validator,
    port_text,
    twin_name,
)
from webui.models.reasons import FAILOVERS, METHODS, MODES, PERSISTENCES, PINGS, SERVICE_TYPES
from webui.models.server import Server
from webui.models.service import Service

MOST_SYNS = 100_000_000  # a second, or at once; beyond what any link carries


class VServer(Timestamped):
    """A VIP with protocol and port (0: ``*``), and how clients are spread over its services.

    With ``port_end`` it takes the ports from ``port`` to that one, else it is 0.
    """

    reasons = {
        "service_type": SERVICE_TYPES,
        "lb_method": METHODS,
        "mode": MODES,
        "persistence_type": PERSISTENCES,
        "conn_failover": FAILOVERS,
        "ping": PINGS,
    }
    finds_twins = True

    name = models.CharField(max_length=127, validators=[object_name_validator])
    service_type = models.CharField(max_length=8, choices=ServiceType, default=ServiceType.ANY)
    address = models.GenericIPAddressField(
        "VIP", help_text="On no interface of the director or any client; on lo of each server."
    )
    port = models.PositiveIntegerField(
        default=ANY_PORT, validators=[MaxValueValidator(65535)], help_text="0 or *: any port."
    )
    port_end = models.PositiveIntegerField(
        "last port", default=0, validators=[MaxValueValidator(MAX_PORT)], help_text="Of a range; 0: none."
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
    persistence_type = models.CharField("persistence", max_length=10, choices=Persistence, default=Persistence.NONE)
    timeout = models.PositiveSmallIntegerField(
        "persistence timeout (min)",
        default=2,
        validators=[MinValueValidator(1), MaxValueValidator(1440)],
        help_text="Minutes without a new flow (sessionless: without a packet) after which a client is free.",
    )
    persist_mask = models.GenericIPAddressField(
        "persistence mask", protocol="IPv4", default="255.255.255.255", help_text="IPv4: whose clients count as one."
    )
    v6_persist_mask_len = models.PositiveSmallIntegerField(
        "IPv6 persistence mask length", default=128, validators=[MinValueValidator(1), MaxValueValidator(128)]
    )
    clt_timeout = models.PositiveIntegerField(
        "client timeout (s)",
        default=0,
        validators=[MaxValueValidator(31_536_000)],
        help_text="Seconds without a packet after which a flow is forgotten; 0: 9000 for TCP, else 120.",
    )
    down_state_flush = models.CharField(
        max_length=8,
        choices=OnOff,
        default=OnOff.ENABLED,
        help_text="Flows of a service that goes DOWN get another at once, unless this or the service's is disabled.",
    )
    syn_rate = models.PositiveIntegerField(
        "SYN limit (per s)",
        default=0,
        validators=[MaxValueValidator(MOST_SYNS)],
        help_text="New TCP connections a second that are let through; 0: no limit.",
    )
    syn_burst = models.PositiveIntegerField(
        "SYN burst",
        default=0,
        validators=[MaxValueValidator(MOST_SYNS)],
        help_text="How many may come at once; 0: as many as in a second.",
    )
    source_syn_rate = models.PositiveIntegerField(
        "SYN limit of a source (per s)",
        default=0,
        validators=[MaxValueValidator(MOST_SYNS)],
        help_text="The same for each source network; 0: no limit.",
    )
    source_syn_burst = models.PositiveIntegerField(
        "SYN burst of a source", default=0, validators=[MaxValueValidator(MOST_SYNS)]
    )
    source_syn_mask = models.GenericIPAddressField(
        "source network mask", protocol="IPv4", default="255.255.255.255", help_text="IPv4: what counts as one source."
    )
    v6_source_syn_mask_len = models.PositiveSmallIntegerField(
        "IPv6 source network length",
        default=64,
        validators=[MinValueValidator(1), MaxValueValidator(128)],
        help_text="IPv6: a customer usually has a whole /64.",
    )
    ping = models.CharField(
        "ping of the VIP",
        max_length=8,
        choices=PingResponse,
        default=PingResponse.AUTO,
        help_text="Of several virtual servers on one VIP the strictest decides: DROP before ANSWER before FORWARD.",
    )
    when_down = models.CharField(
        "when no service can take clients",
        max_length=6,
        choices=WhenDown,
        default=WhenDown.DROP,
        help_text="Rejected: TCP by a reset, also of connections that are there; the rest by ICMP unreachable.",
    )
    fail_open = models.PositiveSmallIntegerField(
        "fail-open threshold (%)",
        default=0,
        validators=[MaxValueValidator(99)],
        help_text="If more than this share of its services that are UP fail within one interval, they stay in use and "
        "an alarm is raised: the check may be wrong. 0: never.",
    )
    backup_vserver = models.ForeignKey(
        "self",
        verbose_name="backup virtual server",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="backup_for",
        help_text="Its services take the clients while none of this one's can. Their servers carry this VIP too.",
    )
    state = models.CharField(max_length=8, choices=AdminState, default=AdminState.ENABLED)
    comment = models.CharField(max_length=255, blank=True)

    class Meta:
        ordering = ["name"]
        permissions = [
            ("watch_vserver", "Can watch the flows of a virtual server"),
            ("enable_vserver", "Can enable and disable virtual servers"),
        ]
        constraints = [
            models.UniqueConstraint(Lower("name"), name="vserver_name_unique"),
            models.UniqueConstraint(
                fields=["address", "service_type", "port", "port_end"], name="vserver_endpoint_unique"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def ports(self) -> str:
        """Port or range as NetScaler writes it."""
        return port_text(self.port, self.port_end)

    def has_port(self, port: int, port_end: int = 0) -> bool:
        """Whether it takes this port, or all of this range; any port (0) only if it takes any."""
        if self.port == ANY_PORT or (port, port_end) == (self.port, self.port_end):
            return True
        return self.port <= port <= (port_end or port) <= (self.port_end or self.port)

    def clean(self) -> None:
        """Rules of the name, the VIP and the mask."""
        problems = Problems()
        if self.usable("name"):
            check_name(self, problems)
        old = self.stored()
        if old is not None:
            check_unchanged(self, old, problems, {"service_type": "type"})
        if self.usable("port", "port_end"):
            self._check_ports(old, problems)
        if self.usable("address"):
            self._check_address(old, problems)
        for mask in ("netmask", "persist_mask", "source_syn_mask"):
            if self.usable(mask) and getattr(self, mask) == "0.0.0.0":  # noqa: S104 - a mask, nothing listens
                problems.alone(
                    mask,
                    "0.0.0.0 makes all clients one: every packet would go to the same server. Use a mask with bits "
                    "set.",
                )
        self._check_syn_limits(problems)
        if self.usable("lb_method", "sessionless", "conn_failover"):
            self._check_method(problems)
        if self.backup_vserver is not None and self.usable("backup_vserver", "service_type", "port"):
            self._check_backup(self.backup_vserver, problems)
        problems.tell()

    def _check_ports(self, old: VServer | None, problems: Problems) -> None:
        if self.port_end and not ANY_PORT < self.port < self.port_end:
            problems["port"].append(
                f"“{self.ports}” is not a range of ports: it begins at 1 or later and ends at a higher port."
            )
        if old is not None and old.ports != self.ports:
            problems["port"].append(
                f"The port of a vserver is fixed when it is made (“{old.ports}”): delete “{old.name}” and make it anew."
            )

    def _check_syn_limits(self, problems: Problems) -> None:
        for rate, burst in (("syn_rate", "syn_burst"), ("source_syn_rate", "source_syn_burst")):
            if not self.usable(rate, burst):
                continue
            if getattr(self, burst) and not getattr(self, rate):
                problems[burst].append(
                    f"A burst of {getattr(self, burst)} without a limit limits nothing: set the limit."
                )
            if getattr(self, rate) and self.service_type == ServiceType.UDP:
                problems[rate].append("A vserver of type UDP gets no SYNs, so there is nothing to limit.")

    def _check_method(self, problems: Problems) -> None:
        if self.lb_method == LbMethod.LEASTCONNECTION and self.sessionless == OnOff.ENABLED:
            problems["lb_method"].append(
                "LEASTCONNECTION counts flows, and sessionless forwarding keeps none: set sessionless to DISABLED, or "
                "use another method."
            )
        if self.lb_method in TURNS and self.conn_failover == ConnFailover.STATELESS:
            problems["conn_failover"].append(
                f"STATELESS means that another director picks the same server from the packet alone; with "
                f"{self.lb_method} whose turn it is decides. Use one of the hash methods, or DISABLED."
            )

    def _check_backup(self, backup: VServer, problems: Problems) -> None:
        told = problems["backup_vserver"]
        if backup.pk == self.pk:
            told.append(f"“{self.name}” cannot be its own backup.")
            return
        backup_of = dict(VServer.objects.values_list("pk", "backup_vserver"))
        if self.pk is not None and self.pk in chain(backup.pk, backup_of):
            names = dict(VServer.objects.values_list("pk", "name"))
            way = " → ".join([self.name, backup.name, *(names[pk] for pk in chain(backup.pk, backup_of))])
            told.append(f"Backups would go round in a circle: {way}.")
        if backup.service_type not in {self.service_type, ServiceType.ANY}:
            told.append(
                f"“{backup.name}” is {backup.service_type}, “{self.name}” is {self.service_type}: a backup has the "
                "same type or ANY, so that its services take the same packets."
            )
        if not backup.has_port(self.port, self.port_end):
            told.append(
                f"“{backup.name}” has port {backup.ports}, “{self.name}” has {self.ports}: a backup has the same port, "
                "a range with it or *, since DSR cannot translate ports."
            )

    def _check_address(self, old: VServer | None, problems: Problems) -> None:
        if old is None or old.address != self.address:
            check_address(self.address, "vserver", problems)
            server = twin_name(Server.objects.filter(address=self.address))
            if server is not None:
                problems["address"].append(
                    f"{self.address} is the own address of server “{server}”; a VIP is an address more, which no "
                    "machine answers ARP for."
                )
        if not self.usable("service_type", "port", "port_end"):
            return
        twins = VServer.objects.filter(
            address=self.address, service_type=self.service_type, port=self.port, port_end=self.port_end
        )
        twin = twin_name(twins.exclude(pk=self.pk))
        if twin is not None:
            problems["address"].append(
                f"Vserver “{twin}” has {self.service_type} {self.address} port {self.ports} already."
            )


class VServerServiceBinding(Explained):
    """A service bound to a vserver, with its share of clients."""

    finds_twins = True

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
        if service.port != ANY_PORT and (vserver.port == ANY_PORT or not vserver.has_port(service.port)):
            needed = "a port of that range" if vserver.port_end else "the same port"
            problems["service"].append(
                f"Port translation is impossible in MAC mode: vserver “{vserver.name}” has port "
                f"{vserver.ports}, service “{service.name}” has {port_text(service.port)}. "
                f"The service needs {needed} or *."
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
        on_server = others.filter(service__server=self.service.server_id).order_by("service__name")
        twins = dict(on_server.values_list("service", "service__name"))
        if self.service.pk in twins:
            problems["service"].append(
                f"Service “{self.service.name}” is bound to vserver “{self.vserver.name}” already."
            )
        elif twins:
            problems["service"].append(
                f"Server “{self.service.server.name}” serves vserver “{self.vserver.name}” already, through service "
                f"“{next(iter(twins.values()))}”: give that one a higher weight instead."
            )
