"""Forms: what may be typed. Whether it may be done is decided by ``webui.actions``, whose errors land on the fields."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib.auth.forms import AuthenticationForm
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.db.models import Q

from monitors.registry import KINDS
from webui.actions.leaving import LONGEST_DELAY
from webui.choices import AdminState, ServiceType
from webui.models import Installation, Monitor, Server, Service, VServer
from webui.models.fields import ANY_PORT, MAX_PORT, parse_ports, port_text
from webui.models.service import no_port_to_connect_to
from webui.wording import in_words

if TYPE_CHECKING:
    ModelForm = forms.ModelForm[Any]
else:
    ModelForm = forms.ModelForm

CHOOSE = "choose …"


class PortField(forms.Field):
    """A port; ``*`` or nothing stands for 0, which is shown as ``zero``."""

    widget = forms.TextInput(attrs={"inputmode": "text", "autocomplete": "off", "spellcheck": "false"})

    def __init__(self, *, zero: str = "*", **kwargs: Any) -> None:
        self.zero = zero
        super().__init__(required=False, initial=0, **kwargs)

    def to_python(self, value: Any) -> int:
        """Raise ValidationError for anything but ``*``, nothing, or 0 to 65535."""
        text = str(value or "").strip()
        if text in {"", "*"}:
            return 0
        if not text.isascii() or not text.isdecimal() or len(text) > 5 or int(text) > MAX_PORT:
            raise ValidationError(f"“{text}” is not a port: use 1 to {MAX_PORT}, or * for any.", code="port")
        return int(text)

    def prepare_value(self, value: Any) -> Any:
        """Show 0 as NetScaler does."""
        return self.zero if value == 0 else value


class PortsField(PortField):
    """A port or a range of ports as text, which the action takes apart."""

    def to_python(self, value: Any) -> Any:
        """Raise ValidationError for anything but ``*``, nothing, a port or two with a dash between."""
        try:
            return port_text(*parse_ports(value))
        except ValueError as error:
            raise ValidationError(str(error), code="port") from error


class ErrorsFromActions(forms.BaseForm):
    """Puts errors where the user can see them, and the value that was typed into Django's."""

    def add_error(self, field: str | None, error: Any) -> None:
        """As Django's; a secret's value is never repeated."""
        shown = self.fields.get(field) if field else None
        if field and shown and isinstance(error, ValidationError) and not isinstance(shown.widget, forms.PasswordInput):
            typed = shown.widget.value_from_datadict(self.data, self.files, self.add_prefix(field))
            number = isinstance(shown, forms.IntegerField)
            choices = [] if isinstance(shown, forms.ModelChoiceField) else _words(getattr(shown, "choices", ()))
            if isinstance(shown, forms.MultiValueField):  # a number and its unit
                typed, number, choices = typed[0], True, _words(getattr(shown.fields[1], "choices", ()))
            error = ValidationError(in_words(error.error_list, typed, number=number, choices=choices))
        super().add_error(field, error)

    def keep_typed(self) -> None:
        """Put what was typed in the place of values that are wrong: an action can then be asked what else is."""
        for name in self.errors.keys() & self.fields.keys():
            typed = self[name].data
            if typed is None:  # it was not sent: the action has its defaults
                continue
            if isinstance(self.fields[name], forms.ModelChoiceField):
                typed = None
            elif isinstance(typed, list):  # a number and its unit
                typed = " ".join(filter(None, typed))
            self.cleaned_data.setdefault(name, typed)

    def take(self, error: ValidationError) -> None:
        """Add ``error`` to its fields; errors of unknown fields go to the top, with their names.

        A field that the form itself refused keeps the one reason.
        """
        if not hasattr(error, "error_dict"):
            self.add_error(None, error)
            return
        refused = set(self.errors)
        for name, messages in error.message_dict.items():
            if name in refused - {NON_FIELD_ERRORS}:
                continue
            if name in self.fields:
                self.add_error(name, ValidationError(messages))
            elif name == NON_FIELD_ERRORS:
                self.add_error(None, ValidationError(messages))
            else:
                self.add_error(None, ValidationError([f"{name}: {message}" for message in messages]))


def _words(choices: Iterable[tuple[Any, Any]]) -> list[str]:
    return [str(value) for value, _label in choices if value != ""]


class ObjectForm(ErrorsFromActions, ModelForm):
    """Fields of an object. It neither changes the instance nor saves it: the action does."""

    fixed: tuple[str, ...] = ()  # fields that cannot change once the object is there
    choose_first = False  # whether this is only the question on which the form depends

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        for one in self.fields.values():
            if isinstance(one, forms.ModelChoiceField):
                one.empty_label = CHOOSE
        if self.instance.pk:
            for name in self.fixed:
                self.fields[name].disabled = True
                self.fields[name].help_text = "Cannot change: delete the object and make it anew."

    def _post_clean(self) -> None:
        """Leave the rules of the model to the action, so that there is one place and one wording for them."""

    def shown(self, obj: Any, name: str) -> Any:
        """The value that ``obj`` has for one of the form's fields."""
        return getattr(obj, name)

    @property
    def values(self) -> dict[str, Any]:
        """Values for the action, by model field."""
        return dict(self.cleaned_data)

    @property
    def shown_values(self) -> dict[str, Any]:
        """What was typed, as far as it may be shown."""
        return self.values


class ServerForm(ObjectForm):
    """A server."""

    class Meta:
        model = Server
        fields = ["name", "address", "state", "comment"]


class ServiceForm(ObjectForm):
    """A service; its server is chosen from those there are."""

    fixed = ("server", "service_type", "port")
    port = PortField(help_text="* or empty: any port. DSR cannot translate ports: it is the port clients connect to.")

    class Meta:
        model = Service
        fields = [
            "name",
            "server",
            "service_type",
            "port",
            "usip",
            "health_monitor",
            "mon_threshold",
            "hash_id",
            "down_state_flush",
            "state",
            "comment",
        ]
        help_texts = {
            "usip": "The server sees the client's address. DSR needs it.",
            "service_type": "TCP and UDP services fit virtual servers of their type alone; ANY fits every one.",
        }
        labels = {"hash_id": "Hash ID"}


class VServerForm(ObjectForm):
    """A virtual server."""

    fixed = ("service_type", "port")
    port = PortsField(
        help_text="One port, a range such as 80-90, or * for any. One goes before a range, a range before a wider one."
    )

    class Meta:
        model = VServer
        fields = [
            "name",
            "service_type",
            "address",
            "port",
            "lb_method",
            "netmask",
            "v6_netmask_len",
            "mode",
            "sessionless",
            "conn_failover",
            "persistence_type",
            "timeout",
            "persist_mask",
            "v6_persist_mask_len",
            "clt_timeout",
            "down_state_flush",
            "syn_rate",
            "syn_burst",
            "source_syn_rate",
            "source_syn_burst",
            "source_syn_mask",
            "v6_source_syn_mask_len",
            "ping",
            "when_down",
            "fail_open",
            "backup_vserver",
            "state",
            "comment",
        ]
        help_texts = {
            "lb_method": "What decides which server a client gets. A hash method keeps a client on its server.",
            "netmask": "IPv4: the part of the address that is hashed.",
            "v6_netmask_len": "IPv6: the number of leading bits that are hashed.",
            "mode": "MAC based: the packet stays as it is, only its destination MAC address becomes the server's.",
            "sessionless": "Enabled: each packet alone decides; nothing is remembered, so any director can take over. "
            "Disabled: a flow keeps the server it got first.",
            "persistence_type": "SOURCEIP: a client keeps its server for new flows too.",
            "conn_failover": "STATELESS for protocols with several connections, such as passive FTP.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.instance.pk:
            self.initial["port"] = self.instance.ports
        backup = self.fields["backup_vserver"]
        if isinstance(backup, forms.ModelChoiceField):
            backup.empty_label = "none"
            backup.queryset = VServer.objects.exclude(pk=self.instance.pk)

    def shown(self, obj: Any, name: str) -> Any:
        """The value that ``obj`` has; ports in one."""
        return obj.ports if name == "port" else super().shown(obj, name)


class SettingsForm(ErrorsFromActions, ModelForm):
    """Settings of all directors."""

    class Meta:
        model = Installation
        fields = ["ttl_rule", "forwarding_mode"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""

    def _post_clean(self) -> None:
        """Leave the rules of the model to the action."""


class DisableForm(ErrorsFromActions, forms.Form):
    """How to take a server or a service out of service."""

    delay = forms.IntegerField(
        label="Delay (s)",
        min_value=0,
        max_value=LONGEST_DELAY,
        required=False,
        initial=60,
        help_text="Until then its clients are served on. Empty or 0: no time limit if graceful, otherwise at once.",
    )
    graceful = forms.BooleanField(
        required=False, help_text="Out of service as soon as its last flow has ended, if that is earlier."
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""


class RenameForm(ErrorsFromActions, forms.Form):
    """Another name."""

    name = forms.CharField(label="New name", max_length=127, strip=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""


class WeightForm(ErrorsFromActions, forms.Form):
    """A weight from 1 to 100."""

    weight = forms.IntegerField(min_value=1, max_value=100, initial=1)


class WeightsForm(ErrorsFromActions, forms.Form):
    """The weights of all services of a virtual server; the fields are named after the bindings' services by number."""

    def __init__(self, *args: Any, services: Iterable[tuple[int, str, int, str]], **kwargs: Any) -> None:
        """``services``: number, name and weight of each, and the service group that sets the weight, if one does."""
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        self.names: dict[str, str] = {}
        for pk, name, weight, group in services:
            self.names[f"weight-{pk}"] = name
            self.fields[f"weight-{pk}"] = forms.IntegerField(
                label=name,
                min_value=1,
                max_value=100,
                initial=weight,
                disabled=bool(group),
                help_text=f"The weight is set in service group {group}." if group else "",
            )

    @property
    def weights(self) -> dict[str, int]:
        """What was typed, by the services' names."""
        return {name: self.cleaned_data[field] for field, name in self.names.items()}

    def take(self, error: ValidationError) -> None:
        """Errors come by the services' names."""
        fields = {name: field for field, name in self.names.items()}
        if hasattr(error, "error_dict"):
            error = ValidationError({fields.get(name, name): told for name, told in error.message_dict.items()})
        super().take(error)


class BindMonitorForm(WeightForm):
    """Bind a monitor that is not bound yet and knows a port to connect to."""

    monitor = forms.ModelChoiceField(Monitor.objects.none(), empty_label=CHOOSE)
    state = forms.ChoiceField(
        choices=AdminState.choices, initial=AdminState.ENABLED, help_text="Disabled: it does not count."
    )
    field_order = ["monitor", "weight", "state"]

    def __init__(self, *args: Any, service: Service, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        choice = self.fields["monitor"]
        if isinstance(choice, forms.ModelChoiceField):
            offered = Monitor.objects.exclude(service_bindings__service=service)
            without = [kind.name for kind in KINDS.values() if no_port_to_connect_to(kind, service)]
            offered = offered.exclude(monitor_type__in=without, dest_port=0)
            choice.queryset = offered


class PreviewForm(ErrorsFromActions, forms.Form):
    """Choose a monitor to be tried."""

    monitor = forms.ModelChoiceField(Monitor.objects.all(), empty_label=CHOOSE)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""


class BindServiceForm(WeightForm):
    """Bind a service that fits the virtual server, of a server that does not serve it yet."""

    service = forms.ModelChoiceField(Service.objects.none(), empty_label=CHOOSE)
    field_order = ["service", "weight"]

    def __init__(self, *args: Any, vserver: VServer, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        choice = self.fields["service"]
        if isinstance(choice, forms.ModelChoiceField):
            fitting = Q(port=ANY_PORT) | Q(port__range=(vserver.port, vserver.port_end or vserver.port))
            choice.queryset = Service.objects.filter(
                fitting, service_type__in={vserver.service_type, ServiceType.ANY}, usip=True
            ).exclude(server__services__vserver_bindings__vserver=vserver)
        self.fields["weight"].help_text = "Share of clients, 1 to 100."


class LoginForm(AuthenticationForm):
    """Django's, in our style."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
