"""Forms about service groups; as in ``forms.py``, whether something may be done is decided by the actions."""

from __future__ import annotations

from typing import Any

from django import forms

from monitors.registry import KINDS
from webui.choices import AdminState, ServiceType
from webui.forms import CHOOSE, ErrorsFromActions, ObjectForm, PortField, WeightForm
from webui.models import Monitor, Server, Service, ServiceGroup, ServiceGroupMember, VServer
from webui.models.fields import ANY_PORT
from webui.models.service import no_port_to_connect_to

MOST_LINES = 8  # of the box in which servers are chosen


class ServiceGroupForm(ObjectForm):
    """A service group, without its members."""

    fixed = ("service_type",)

    class Meta:
        model = ServiceGroup
        fields = [
            "name",
            "service_type",
            "usip",
            "health_monitor",
            "mon_threshold",
            "down_state_flush",
            "state",
            "comment",
        ]
        help_texts = {
            "usip": "The servers see the client's address. DSR needs it.",
            "service_type": "TCP and UDP groups fit virtual servers of their type alone; ANY fits every one.",
            "state": "Of all members; a new member begins with it.",
        }


class BindMembersForm(WeightForm):
    """Members on servers that are chosen, all at the same port."""

    server = forms.ModelMultipleChoiceField(
        Server.objects.order_by("name"),
        label="Servers",
        help_text="One or several: hold Ctrl, or Shift for a range.",
    )
    port = PortField(help_text="* or empty: any port.")
    field_order = ["server", "port", "weight"]

    def __init__(self, *args: Any, group: ServiceGroup, **kwargs: Any) -> None:
        kwargs["auto_id"] = "id_members_%s"
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        latest = Service.objects.filter(membership__group=group).order_by("-pk").first()
        if latest is not None:
            self.fields["port"].initial = latest.port
        self.fields["weight"].help_text = "Share of clients, 1 to 100."
        number = Server.objects.count()
        self.fields["server"].widget.attrs["size"] = max(2, min(number, MOST_LINES))


class MemberForm(WeightForm):
    """What a member has of its own."""

    hash_id = forms.IntegerField(
        label="Hash ID",
        required=False,
        help_text="Keeps the member's place in the hash when its server's address changes.",
    )

    def __init__(self, *args: Any, member: ServiceGroupMember, **kwargs: Any) -> None:
        kwargs["initial"] = {"weight": member.weight, "hash_id": member.service.hash_id}
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        self.fields["weight"].help_text = "Share of clients, 1 to 100, in every virtual server of the group."


class GroupMonitorForm(WeightForm):
    """How a monitor is bound to all members."""

    state = forms.ChoiceField(
        choices=AdminState.choices, initial=AdminState.ENABLED, help_text="Disabled: it does not count."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""


class BindGroupMonitorForm(GroupMonitorForm):
    """A monitor that is not bound yet, and knows a port to connect to."""

    monitor = forms.ModelChoiceField(Monitor.objects.none(), empty_label=CHOOSE)
    field_order = ["monitor", "weight", "state"]

    def __init__(self, *args: Any, group: ServiceGroup, **kwargs: Any) -> None:
        kwargs["auto_id"] = "id_monitors_%s"
        super().__init__(*args, **kwargs)
        choice = self.fields["monitor"]
        if isinstance(choice, forms.ModelChoiceField):
            offered = Monitor.objects.exclude(group_bindings__group=group)
            of_any_port = Service.objects.filter(membership__group=group, port=ANY_PORT).first()
            if of_any_port is not None:
                without = [kind.name for kind in KINDS.values() if no_port_to_connect_to(kind, of_any_port)]
                offered = offered.exclude(monitor_type__in=without, dest_port=0)
            choice.queryset = offered


class BindGroupForm(ErrorsFromActions, forms.Form):
    """A group that fits a virtual server by its type."""

    group = forms.ModelChoiceField(ServiceGroup.objects.none(), empty_label=CHOOSE, label="Service group")

    def __init__(self, *args: Any, vserver: VServer, **kwargs: Any) -> None:
        kwargs["auto_id"] = "id_groups_%s"
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        choice = self.fields["group"]
        if isinstance(choice, forms.ModelChoiceField):
            fitting = ServiceGroup.objects.filter(service_type__in={vserver.service_type, ServiceType.ANY}, usip=True)
            choice.queryset = fitting.exclude(vserver_bindings__vserver=vserver)


class BindVServerForm(ErrorsFromActions, forms.Form):
    """A virtual server that a group fits by its type."""

    vserver = forms.ModelChoiceField(VServer.objects.none(), empty_label=CHOOSE, label="Virtual server")

    def __init__(self, *args: Any, group: ServiceGroup, **kwargs: Any) -> None:
        kwargs["auto_id"] = "id_vservers_%s"
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        choice = self.fields["vserver"]
        if isinstance(choice, forms.ModelChoiceField):
            offered = VServer.objects.exclude(group_bindings__group=group)
            if group.service_type != ServiceType.ANY:
                offered = offered.filter(service_type=group.service_type)
            choice.queryset = offered if group.usip else offered.none()
