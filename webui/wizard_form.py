"""The form of a new DSR service: virtual server, servers and monitor in one, which goes to one action."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final

from django import forms
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.forms.boundfield import BoundField

from monitors.registry import KINDS
from webui.actions.wizard import Order
from webui.forms import ErrorsFromActions, ObjectForm, PortsField
from webui.models import Monitor, Server, VServer
from webui.monitor_form import MonitorForm

OFFERED: Final = 200  # servers to tick; others are typed by their name
ROWS: Final = 3  # of new servers, to begin with
MOST_ROWS: Final = 50
MONITOR: Final = "monitor"  # prefix of the fields of a new one
NEW: Final = "new:"  # and the kind: a choice of the check
SHOWN: Final = "monitor-shown"  # the kind whose parameters were on the page
MAIN: Final = frozenset({"name", "interval", "resp_timeout", "dest_port", "secure"})  # besides those of the kind
NO_SPELLING: Final = {"autocomplete": "off", "spellcheck": "false"}


class EndpointForm(ObjectForm):
    """What clients connect to, with what cannot be left to a default."""

    port = PortsField(
        label="Port",
        help_text="What clients ask for, and the same on the servers: DSR translates none. A range such as 80-90, or * "
        "for every port.",
    )

    class Meta:
        model = VServer
        fields = ["name", "address", "service_type", "port", "lb_method", "sessionless"]
        help_texts = {
            "name": "Of the virtual server; the names of its services and of its monitor begin with it.",
            "address": "The virtual IP address, IPv4 or IPv6: on no interface of the director, on lo of each server.",
            "service_type": "TCP for the web and most else. ANY takes every protocol, such as FTP with its second "
            "connection, with port *.",
            "lb_method": "What decides which server a client gets. Source IP hash suits nearly all: a client stays on "
            "its server, another director would choose the same, and only 1/n of the clients move when a server fails.",
            "sessionless": "Enabled: each packet alone decides, nothing is remembered, so any director can take over. "
            "Disabled: a flow keeps its server; the “least …” methods need that.",
        }

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.is_bound:
            self.initial.update({"service_type": "TCP", "port": "80"})


class ServersForm(ErrorsFromActions, forms.Form):
    """Servers that are there, to tick, and rows for others."""

    servers = forms.ModelMultipleChoiceField(
        Server.objects.none(), required=False, widget=forms.CheckboxSelectMultiple, label="Servers that are there"
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        choice = self.fields["servers"]
        if isinstance(choice, forms.ModelMultipleChoiceField):
            choice.queryset = Server.objects.order_by("name")
            offered = list(Server.objects.order_by("name")[: OFFERED + 1])
            self.left_out = len(offered) > OFFERED
            choice.choices = [(row.pk, f"{row.name} ({row.address})") for row in offered[:OFFERED]]
        self.rows = self._rows_wanted()
        for number in range(1, self.rows + 1):
            self.fields[f"row{number}-name"] = forms.CharField(
                label=f"Name of server {number}",
                required=False,
                strip=False,
                max_length=127,
                widget=forms.TextInput(attrs=NO_SPELLING),
            )
            self.fields[f"row{number}-address"] = forms.GenericIPAddressField(
                label=f"Address of server {number}", required=False, widget=forms.TextInput(attrs=NO_SPELLING)
            )

    def _rows_wanted(self) -> int:
        given = str(self.data.get("rows", "")) if self.is_bound else ""
        asked = int(given) if given.isascii() and given.isdecimal() and len(given) < 4 else ROWS
        return max(ROWS, min(asked + (ROWS if "more" in self.data else 0), MOST_ROWS))

    @property
    def offers(self) -> bool:
        """Whether there is a server to tick."""
        return bool(getattr(self.fields["servers"], "choices", []))

    @property
    def pairs(self) -> list[tuple[BoundField, BoundField]]:
        """Name and address of each row."""
        return [(self[f"row{number}-name"], self[f"row{number}-address"]) for number in range(1, self.rows + 1)]

    def clean(self) -> dict[str, Any]:
        """Tell rows of servers that are there from those of new ones."""
        given = self.cleaned_data
        self.found = list(given.get("servers") or [])
        self.new: dict[str, Mapping[str, Any]] = {}
        for number in range(1, self.rows + 1):
            key = f"row{number}"
            if self.errors.keys() & {f"{key}-name", f"{key}-address"}:  # for the action to tell what else is wrong
                self._take_wrong_row(key)
            else:
                self._take_row(key, given.get(f"{key}-name") or "", given[f"{key}-address"])
        return given

    def _take_wrong_row(self, key: str) -> None:
        if name := self[f"{key}-name"].data:
            self.new[key] = {"name": name, "address": self[f"{key}-address"].data}

    def _take_row(self, key: str, name: str, address: str) -> None:
        if not name and not address:
            return
        known = Server.objects.filter(name__iexact=name).first() if name and "\0" not in name else None
        if known is None and address and not name:
            known = Server.objects.filter(address=address).first()
        if known is not None and address in {"", known.address}:
            if known in self.found:
                self.add_error(f"{key}-name", ValidationError(f"Server “{known.name}” is chosen already."))
            else:
                self.found.append(known)
        elif not address:
            text = f"There is no server “{name}” yet: give its address."
            self.add_error(f"{key}-address", ValidationError(text))
            self._take_wrong_row(key)
        else:
            self.new[key] = {"name": name or address, "address": address}


class CheckForm(ErrorsFromActions, forms.Form):
    """What tells whether a server can take clients: the default, a monitor that is there, or a new one of a kind."""

    monitor = forms.ChoiceField(
        label="Check each server with",
        required=False,
        help_text="Checks go to the VIP on each server, so they find a VIP that is missing there. The default is a TCP "
        "handshake for TCP with a port, otherwise a ping; one that asks for what clients ask for tells more.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.label_suffix = ""
        choice = self.fields["monitor"]
        if isinstance(choice, forms.ChoiceField):
            there = [(str(pk), name) for pk, name in Monitor.objects.order_by("name").values_list("pk", "name")]
            new = [(f"{NEW}{kind.name}", f"new: {kind.label}") for kind in KINDS.values()]
            choice.choices = [("", "the default monitor"), ("Monitors that are there", there), ("A new monitor", new)]

    @property
    def chosen(self) -> Monitor | None:
        """The monitor that is there."""
        given = self.cleaned_data.get("monitor", "")
        return Monitor.objects.filter(pk=int(given)).first() if given.isdecimal() else None


class NewMonitorForm(MonitorForm):
    """A monitor of the kind that was chosen: its own parameters, and the main ones of all."""

    def __init__(self, *args: Any, kind: str, **kwargs: Any) -> None:
        self.wanted = kind
        super().__init__(*args, prefix=MONITOR, **kwargs)
        own = {one.name for one in self.kind.parameters} if self.kind else set()
        for name in [one for one in self.fields if one not in MAIN | own]:
            del self.fields[name]
        self.fields["name"].label = "Name of the monitor"
        self.fields["name"].required = False
        self.fields["name"].help_text = "Empty: that of the virtual server with the kind."

    def _chosen_kind(self) -> Any:
        return KINDS.get(self.wanted)


class Wizard:
    """The forms of the page as one; :func:`webui.views.change.attempt` puts errors of the action on their fields."""

    def __init__(self, data: Any = None) -> None:
        self.endpoint = EndpointForm(data)
        self.servers = ServersForm(data)
        self.check = CheckForm(data)
        given = str(data.get("monitor", "")) if data is not None else ""
        kind = given.removeprefix(NEW) if given.startswith(NEW) else ""
        # Parameters of a kind that was only just chosen begin with their defaults.
        self.incomplete = kind in KINDS and data.get(SHOWN) != kind
        own = None if self.incomplete else data
        self.new_monitor = NewMonitorForm(own, kind=kind) if kind in KINDS else None

    @property
    def forms(self) -> list[ErrorsFromActions]:
        """Those that are on the page, in its order."""
        return [self.endpoint, self.servers, self.check, *([self.new_monitor] if self.new_monitor else [])]

    def is_valid(self) -> bool:
        """Whether every field is fit to be judged by the action."""
        valid = [form.is_valid() for form in self.forms]  # all of them, so that each error is shown
        return all(valid)

    @property
    def has_errors(self) -> bool:
        """Whether something was refused."""
        return any(form.errors for form in self.forms)

    @cached_property
    def order(self) -> Order:
        """What the action is to make."""
        vserver = self.endpoint.values
        new_monitor = None
        if self.new_monitor is not None:
            kind = self.new_monitor.wanted
            new_monitor = self.new_monitor.values | {"monitor_type": kind}
            new_monitor["name"] = new_monitor.get("name") or f"{vserver.get('name', '')[:90]}_{kind.lower()}"
        return Order(vserver, self.servers.found, self.servers.new, self.check.chosen, new_monitor)

    def add_error(self, field: str | None, error: Any) -> None:
        """Put an error at the field of the form that has it, or above the page."""
        form, name = self._place(field or "")
        form.add_error(name, error)

    def keep_typed(self) -> None:
        """Put what was typed in the place of values that are wrong."""
        for form in self.forms:
            form.keep_typed()

    def take(self, error: ValidationError) -> None:
        """Add errors that carry the names of :class:`webui.actions.wizard.Order`; none that follows from another."""
        by_field = error.message_dict if hasattr(error, "error_dict") else {"": error.messages}
        refused = {(form, name) for form in self.forms for name in form.errors}
        if self.servers.errors:  # a wrong row is a server all the same
            by_field.pop("servers", None)
        unnamed = self.new_monitor is not None and not self.new_monitor["name"].data
        if unnamed and "name" in by_field.keys() | self.endpoint.errors.keys():  # it is made of the virtual server's
            by_field.pop(f"{MONITOR}-name", None)
        for field, texts in by_field.items():
            form, name = self._place(field)
            if (form, name) in refused:
                continue
            about = "" if name or field in {"", NON_FIELD_ERRORS} else f"{field}: "
            form.add_error(name, ValidationError([f"{about}{text}" for text in texts]))

    def _place(self, field: str) -> tuple[ErrorsFromActions, str | None]:
        for form in (self.endpoint, self.servers, self.check):
            if field in form.fields:
                return form, field
        own = field.removeprefix(f"{MONITOR}-")
        if self.new_monitor is not None and own != field and own in self.new_monitor.fields:
            return self.new_monitor, own
        if own != field and own == "dest_port":  # of a kind without one
            return self.check, "monitor"
        return self.endpoint, None
