"""The kinds of objects: what the one set of pages needs to know about each."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any

from django.contrib.auth.models import AnonymousUser, User

from webui.actions import eventtargets, monitors, servers, servicegroups, services, vservers
from webui.actions.base import Actor, permission_of
from webui.choices import Interface
from webui.event_form import EventTargetForm
from webui.forms import ObjectForm, ServerForm, ServiceForm, VServerForm
from webui.group_forms import ServiceGroupForm
from webui.models import EventTarget, Monitor, Server, Service, ServiceGroup, VServer
from webui.monitor_form import MonitorForm


@dataclass(frozen=True)
class Kind:
    """``slug`` is the word in addresses and queries; ``actions`` has create, update, delete, enable and disable.

    ``first`` says what to do when there is none yet. ``own``: fields that no two have alike. ``can_wait``: disabling
    takes a delay.
    """

    slug: str
    singular: str
    plural: str
    about: str
    model: type[Server] | type[Service] | type[ServiceGroup] | type[VServer] | type[Monitor] | type[EventTarget]
    form: type[ObjectForm]
    actions: ModuleType
    first: str
    own: tuple[str, ...]
    can_wait: bool = False

    def __str__(self) -> str:
        return self.slug

    def allows(self, user: User | AnonymousUser, verb: str) -> bool:
        """Whether to offer an action; the action itself decides. ``verb``: add, change, delete, enable or disable."""
        return Actor(user, Interface.PAGE).may(permission_of(self.model, verb))


KINDS: dict[str, Kind] = {
    kind.slug: kind
    for kind in (
        Kind(
            "vservers",
            "virtual server",
            "Virtual servers",
            "What clients connect to: a VIP, a protocol and a port.",
            VServer,
            VServerForm,
            vservers,
            "Add one with the VIP that clients shall connect to, then bind services to it on its page.",
            ("address",),
        ),
        Kind(
            "services",
            "service",
            "Services",
            "What a server offers behind a VIP.",
            Service,
            ServiceForm,
            services,
            "Add the server first, then what it offers as a service.",
            ("server", "hash_id"),
            can_wait=True,
        ),
        Kind(
            "servicegroups",
            "service group",
            "Service groups",
            "Members on several servers that share type, options, monitors and virtual servers.",
            ServiceGroup,
            ServiceGroupForm,
            servicegroups,
            "Add one, then its members on its page; bind it to virtual servers as one.",
            (),
            can_wait=True,
        ),
        Kind(
            "servers",
            "server",
            "Servers",
            "Machines on the director's segment that carry VIPs on their loopback.",
            Server,
            ServerForm,
            servers,
            "Add each machine by its own address; it carries the VIP on its loopback.",
            ("address",),
            can_wait=True,
        ),
        Kind(
            "monitors",
            "monitor",
            "Monitors",
            "How the VIP on each server is checked.",
            Monitor,
            MonitorForm,
            monitors,
            "Add one and bind it to services on their pages.",
            (),
        ),
        Kind(
            "eventtargets",
            "event target",
            "Event targets",
            "Where changes of state, alerts and alarms are sent: syslog, e-mail, webhooks.",
            EventTarget,
            EventTargetForm,
            eventtargets,
            "Add a syslog collector, recipients of e-mail or a webhook to be told what happens.",
            (),
        ),
    )
}


class KindConverter:
    """Path converter: one of the words, as a :class:`Kind`."""

    regex = "|".join(KINDS)

    def to_python(self, value: str) -> Kind:
        """The kind of that word."""
        return KINDS[value]

    def to_url(self, value: Any) -> str:
        """The word of a kind, or the word itself."""
        return str(value)
