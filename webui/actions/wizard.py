"""A whole DSR service in one change: virtual server, servers, services, monitor, and how they are bound."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS, ValidationError

from webui.actions import checks, membership, monitors, servers, services, vservers
from webui.actions.base import Actor, Change, change, require
from webui.actions.values import name_of
from webui.models import Monitor, Server, Service, VServer
from webui.models.fields import ANY_PORT, Problems

LONGEST_NAME = 127


@dataclass(frozen=True)
class Order:
    """What is to be made.

    Errors carry these names: of the vserver's fields, ``servers``, ``<key>-<field>`` of a new server, ``monitor``, and
    ``monitor-<field>`` of a new monitor. Without a monitor the services get the default one of their protocol.
    """

    vserver: Mapping[str, Any]
    servers: Sequence[Server] = ()
    new_servers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    monitor: Monitor | None = None
    new_monitor: Mapping[str, Any] | None = None


@dataclass
class Made:
    """What came of it. ``kept`` are services that were there already: they stay as they are, with their monitors."""

    vserver: VServer
    servers: list[Server] = field(default_factory=list)
    services: list[Service] = field(default_factory=list)
    kept: list[Service] = field(default_factory=list)
    monitor: Monitor | None = None


def make(actor: Actor, order: Order) -> Made:
    """Make all of it as one revision, or nothing. Raises PermissionRefused, ValidationError."""
    # Before the transaction: a refusal is written to stay.
    name = name_of(order.vserver)
    needed: list[type[VServer | Service | Server | Monitor]] = [Service]
    needed += [Server] if order.new_servers else []
    needed += [Monitor] if order.new_monitor is not None else []
    for model in needed:
        require(actor, model, "add", name)
    with change(actor, VServer, "add", name) as current:
        return _make(current, order)


def _make(current: Change, order: Order) -> Made:
    problems = Problems()
    vserver, monitor, found = VServer(), order.monitor, list(order.servers)
    new: list[Server] = []
    with _collected(problems):
        vserver = vservers.create_within(current, order.vserver)
    for key, values in order.new_servers.items():
        with _collected(problems, key):
            new.append(servers.create_within(current, values))
    if order.new_monitor is not None:
        with _collected(problems, "monitor"):
            monitor = monitors.create_within(current, order.new_monitor)
    if not found and not order.new_servers:
        problems["servers"].append("A virtual server without servers answers nobody: tick one or add one.")
    problems.tell()
    made = Made(vserver, servers=new, monitor=monitor if order.new_monitor is not None else None)
    for server in (*found, *new):
        _serve(current, made, server, monitor, problems)
    problems.tell()
    checks.sync_checks()
    return made


def _serve(current: Change, made: Made, server: Server, monitor: Monitor | None, problems: Problems) -> None:
    """Bind the server's service of that protocol and port; make it unless it is there."""
    vserver = made.vserver
    port = ANY_PORT if vserver.port_end else vserver.port
    service = Service.objects.filter(server=server, service_type=vserver.service_type, port=port).first()
    if service is not None:
        made.kept.append(service)
    else:
        values = {
            "name": f"{vserver.name}_{server.name}"[:LONGEST_NAME].rstrip(),
            "server": server,
            "service_type": vserver.service_type,
            "port": port,
        }
        with _collected(problems, rename={"name": "name", "port": "port"}, other="servers"):
            service = services.create_within(current, values)
            made.services.append(service)
        if service is None:
            return
        with _collected(problems, other=_place_of(made)):
            services.bind_within(current, service, monitor or services.default_monitor(service))
    with _collected(problems, other="servers"):
        membership.refuse(service, "bind the group")
        vservers.bind_within(current, vserver, service)


def _place_of(made: Made) -> str:
    """The field for a monitor that does not fit a service: of a new one its port, which is what can be wrong."""
    return "monitor-dest_port" if made.monitor is not None else "monitor"


@contextmanager
def _collected(
    problems: Problems, prefix: str = "", *, rename: Mapping[str, str] | None = None, other: str = ""
) -> Iterator[None]:
    """Take errors of what is inside into ``problems``, under the names that :class:`Order` gives them."""
    try:
        yield
    except ValidationError as error:
        by_field = error.message_dict if hasattr(error, "error_dict") else {NON_FIELD_ERRORS: error.messages}
        for name, texts in by_field.items():
            if other:
                place = (rename or {}).get(name, other)
            elif name == NON_FIELD_ERRORS:
                place = name
            else:
                place = f"{prefix}-{name}" if prefix else name
            problems[place] += [text for text in texts if text not in problems[place]]
