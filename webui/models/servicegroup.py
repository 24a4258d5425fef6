"""A service group: members on several servers that share type, options, monitors and virtual servers."""

from __future__ import annotations

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models.functions import Lower

from webui.choices import AdminState, OnOff, ServiceType
from webui.models.fields import (
    Explained,
    Problems,
    Timestamped,
    check_name,
    check_unchanged,
    name_taken,
    object_name_validator,
)
from webui.models.reasons import SERVICE_TYPES
from webui.models.service import Service
from webui.models.vserver import VServer


class ServiceGroup(Timestamped):
    """What its members have in common. Each member is a service of its own, made and changed through the group.

    ``state`` is what a new member begins with; enabling or disabling the group does so to each member.
    """

    reasons = {"service_type": SERVICE_TYPES}
    finds_twins = True

    name = models.CharField(max_length=127, validators=[object_name_validator])
    service_type = models.CharField(max_length=8, choices=ServiceType, default=ServiceType.ANY)
    usip = models.BooleanField("use source IP", default=True)
    health_monitor = models.BooleanField(default=True, help_text="No: the members count as UP at all times.")
    mon_threshold = models.PositiveIntegerField(
        "monitor threshold",
        default=0,
        validators=[MaxValueValidator(65535)],
        help_text="Sum of the weights of UP monitors that makes a member UP; 0: every monitor must be UP.",
    )
    down_state_flush = models.CharField(max_length=8, choices=OnOff, default=OnOff.ENABLED)
    state = models.CharField(max_length=8, choices=AdminState, default=AdminState.ENABLED)
    comment = models.CharField(max_length=255, blank=True)

    class Meta:
        ordering = ["name"]
        permissions = [("enable_servicegroup", "Can enable and disable service groups")]
        constraints = [models.UniqueConstraint(Lower("name"), name="servicegroup_name_unique")]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Rules of the name, the type and use source IP."""
        problems = Problems()
        if self.usable("name"):
            check_name(self, problems, digit_first=False)
            service = name_taken(Service, self.name)
            if service is not None:
                problems["name"].append(f"There is a service “{service}”; commands could not tell it from the group.")
        old = self.stored()
        if old is not None:
            check_unchanged(self, old, problems, {"service_type": "type"})
            self._check_usip(problems)
        problems.tell()

    def _check_usip(self, problems: Problems) -> None:
        if self.usip or not self.usable("usip"):
            return
        names = list(self.vserver_bindings.order_by("vserver__name").values_list("vserver__name", flat=True))
        if names:
            problems["usip"].append(
                f"Use source IP cannot be NO while the service group is bound to {', '.join(names)}: in MAC mode the "
                "packet keeps the client's address, or the server could not answer the client."
            )


class ServiceGroupMember(Explained):
    """A service of a group, with the weight that it has in each virtual server of the group."""

    group = models.ForeignKey(ServiceGroup, on_delete=models.CASCADE, related_name="members")
    service = models.OneToOneField(Service, on_delete=models.CASCADE, related_name="membership")
    weight = models.PositiveSmallIntegerField(default=1, validators=[MinValueValidator(1), MaxValueValidator(100)])

    class Meta:
        ordering = ["service__name"]

    def __str__(self) -> str:
        return f"{self.group} – {self.service}"


class ServiceGroupMonitorBinding(Explained):
    """A monitor bound to each member of a group; without any they have their default monitors."""

    finds_twins = True

    group = models.ForeignKey(ServiceGroup, on_delete=models.CASCADE, related_name="monitor_bindings")
    monitor = models.ForeignKey("webui.Monitor", on_delete=models.PROTECT, related_name="group_bindings")
    state = models.CharField(max_length=8, choices=AdminState, default=AdminState.ENABLED)
    weight = models.PositiveSmallIntegerField(default=1, validators=[MinValueValidator(1), MaxValueValidator(100)])

    class Meta:
        ordering = ["monitor__name"]
        constraints = [models.UniqueConstraint(fields=["group", "monitor"], name="group_monitor_unique")]

    def __str__(self) -> str:
        return f"{self.group} – {self.monitor}"

    def clean(self) -> None:
        """A monitor is bound once; whether it fits, the members' own bindings say."""
        problems = Problems()
        twin = ServiceGroupMonitorBinding.objects.filter(group=self.group, monitor=self.monitor).exclude(pk=self.pk)
        if twin.exists():
            problems["monitor"].append(
                f"Monitor “{self.monitor.name}” is bound to service group “{self.group.name}” already."
            )
        problems.tell()


class VServerServiceGroupBinding(Explained):
    """A group bound to a virtual server: all of its members are, each with its own weight."""

    finds_twins = True

    vserver = models.ForeignKey(VServer, on_delete=models.CASCADE, related_name="group_bindings")
    group = models.ForeignKey(ServiceGroup, on_delete=models.CASCADE, related_name="vserver_bindings")

    class Meta:
        ordering = ["group__name"]
        constraints = [models.UniqueConstraint(fields=["vserver", "group"], name="vserver_group_unique")]

    def __str__(self) -> str:
        return f"{self.vserver} – {self.group}"

    def clean(self) -> None:
        """A group fits the virtual server, also before it has members, and is bound once."""
        problems = Problems()
        vserver, group = self.vserver, self.group
        if VServerServiceGroupBinding.objects.filter(vserver=vserver, group=group).exclude(pk=self.pk).exists():
            problems["group"].append(f"Service group “{group.name}” is bound to vserver “{vserver.name}” already.")
        if group.service_type not in {vserver.service_type, ServiceType.ANY}:
            problems["group"].append(
                f"Service group “{group.name}” is {group.service_type}, vserver “{vserver.name}” is "
                f"{vserver.service_type}: the group needs the same type or ANY."
            )
        if not group.usip:
            problems["group"].append(
                f"Service group “{group.name}” has use source IP NO: in MAC mode the packet keeps the client's "
                "address. Set it to YES first."
            )
        problems.tell()
