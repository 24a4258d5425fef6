"""bind and unbind, and what is set of a binding."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from django.db import transaction

from webui.actions import servicegroups, services, vservers
from webui.actions.base import by_name, find, require
from webui.models import Monitor, Service, ServiceGroup, VServer
from webui.nscli.commands.naming import spellings
from webui.nscli.context import Context, Entry
from webui.nscli.errors import CliError
from webui.nscli.grammar import Argument, Command, Option, Parsed
from webui.nscli.options import STATES

WEIGHT: Final = Option("weight", "weight", about="1 to 100.")
MONITOR_NAME: Final = Option("monitorName", "monitor", about="The monitor.")
MON_STATE: Final = Option("monState", "state", choices=STATES, about="DISABLED: it does not count.")
PASSIVE: Final = Option("passive", most=0, least=0)
POLICY: Final = Option("policyName")
PRIORITY: Final = Option("priority")
GOTO: Final = Option("gotoPriorityExpression")
FLOW_TYPE: Final = Option("type")
ORDER: Final = Option("order")
_NO_POLICIES: Final = (
    "Argument [-policyName] is refused: policies look into the content, which direct server return cannot follow"
)


def entries() -> Iterator[Entry]:
    """All of them."""
    service, monitor = Argument("serviceName", offers="service"), Argument("monitorName", offers="monitor")
    vserver = Argument("name", offers="vserver")
    policy = (POLICY, PRIORITY, GOTO, FLOW_TYPE)
    yield Entry(
        Command(
            ("bind", "service"),
            (service,),
            (MONITOR_NAME, MON_STATE, WEIGHT, PASSIVE, *policy),
            configures=True,
            about="Bind a monitor, or change its weight or state there.",
        ),
        _bind_monitor,
    )
    yield Entry(
        Command(("unbind", "service"), (service,), (MONITOR_NAME, *policy), configures=True, about="Unbind a monitor."),
        _unbind_monitor,
    )
    for words in spellings(("bind", "lb", "monitor")):
        options = (Option("state", "state", choices=STATES), WEIGHT, PASSIVE)
        yield Entry(
            Command(words, (monitor, service), options, configures=True, about="The same, the other way round."),
            _bind_to_service,
        )
    for words in spellings(("unbind", "lb", "monitor")):
        yield Entry(
            Command(words, (monitor, service), configures=True, about="The same, the other way round."),
            _unbind_from_service,
        )
    optional = Argument("serviceName", required=False, offers="service")
    for words in spellings(("bind", "lb", "vserver")):
        yield Entry(
            Command(
                words,
                (vserver, optional),
                (WEIGHT, ORDER, *policy),
                configures=True,
                about="Bind a service or a service group.",
            ),
            _bind_service,
        )
    for words in spellings(("unbind", "lb", "vserver")):
        yield Entry(
            Command(words, (vserver, optional), policy, configures=True, about="Unbind a service or a service group."),
            _unbind_service,
        )
    for verb, state in (("enable", "ENABLED"), ("disable", "DISABLED")):
        for words in spellings((verb, "lb", "monitor")):
            optional_monitor = Argument("monitorName", required=False, offers="monitor")
            yield Entry(
                Command(
                    words,
                    (service, optional_monitor),
                    configures=True,
                    about="A monitor's binding to a service or group.",
                ),
                _set_state(state),
            )


def _bind_monitor(context: Context, parsed: Parsed) -> None:
    refuse_policy(parsed)
    if not parsed.has("monitorname"):
        raise CliError("Required argument missing [-monitorName]")
    service = find(Service, parsed.one("serviceName"))
    monitor = find(Monitor, parsed.value("monitorname"))
    bind_monitor(context, service, monitor, parsed, parsed.value("monstate"))


def _bind_to_service(context: Context, parsed: Parsed) -> None:
    monitor, service = find(Monitor, parsed.one("monitorName")), find(Service, parsed.one("serviceName"))
    bind_monitor(context, service, monitor, parsed, parsed.value("state"))


def bind_monitor(context: Context, service: Service, monitor: Monitor, parsed: Parsed, state: str) -> None:
    """Bind a monitor; of one that is bound already, set weight and state where they were given."""
    if parsed.has("passive"):
        raise CliError("Argument [-passive] is refused: it belongs to LOAD monitors, which are not available")
    weight = parsed.value("weight")
    if (weight or state) and service.monitor_bindings.filter(monitor=monitor).exists():
        services.set_monitor_binding(
            context.actor, service, monitor, weight=number(weight) if weight else None, state=state or None
        )
        return
    values: dict[str, Any] = {"weight": number(weight)} if weight else {}
    values |= {"state": state} if state else {}
    services.bind_monitor(context.actor, service, monitor, **values)


def _unbind_monitor(context: Context, parsed: Parsed) -> None:
    refuse_policy(parsed)
    if not parsed.has("monitorname"):
        raise CliError("Required argument missing [-monitorName]")
    services.unbind_monitor(context.actor, find(Service, parsed.one("serviceName")), parsed.value("monitorname"))


def _unbind_from_service(context: Context, parsed: Parsed) -> None:
    services.unbind_monitor(context.actor, find(Service, parsed.one("serviceName")), parsed.one("monitorName"))


def _bind_service(context: Context, parsed: Parsed) -> None:
    vserver, row = _vserver_and_service(parsed)
    weight = parsed.value("weight")
    if isinstance(row, ServiceGroup):
        if weight:
            raise CliError("[-weight] is each member's own: set serviceGroup <group> <server> <port> -weight n")
        servicegroups.bind_to_vserver(context.actor, vserver, row)
        return
    name = row.name
    if weight and vserver.service_bindings.filter(service=row).exists():
        vservers.set_weight(context.actor, vserver, name, number(weight))
    else:
        vservers.bind_service(context.actor, vserver, name, **({"weight": number(weight)} if weight else {}))


def _unbind_service(context: Context, parsed: Parsed) -> None:
    vserver, row = _vserver_and_service(parsed)
    if isinstance(row, ServiceGroup):
        servicegroups.unbind_from_vserver(context.actor, vserver, row)
    else:
        vservers.unbind_service(context.actor, vserver, row.name)


def _vserver_and_service(parsed: Parsed) -> tuple[VServer, Service | ServiceGroup]:
    refuse_policy(parsed)
    if not parsed.one("serviceName"):
        raise CliError("Required argument missing [serviceName]")
    return find(VServer, parsed.one("name")), _service_or_group(parsed.one("serviceName"))


def _service_or_group(name: str) -> Service | ServiceGroup:
    """What has that name; a service and a group never have the same."""
    return by_name(Service, name) or by_name(ServiceGroup, name) or find(Service, name)


def refuse_policy(parsed: Parsed) -> None:
    """Raise CliError for an option that names a policy."""
    if parsed.has("policyname"):
        raise CliError(_NO_POLICIES)


def number(text: str) -> int:
    """A weight. Raises CliError."""
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise CliError(f"Invalid argument value [-weight] “{text}” is not a whole number")
    return int(text)


def _set_state(state: str) -> Any:
    def run(context: Context, parsed: Parsed) -> None:
        row, name = _service_or_group(parsed.one("serviceName")), parsed.one("monitorName")
        module: Any = servicegroups if isinstance(row, ServiceGroup) else services
        names = (
            [find(Monitor, name).name]
            if name
            else [one.monitor.name for one in row.monitor_bindings.select_related("monitor")]
        )
        require(context.actor, type(row), "change", row.name)  # before the transaction: it is written to stay
        with transaction.atomic():
            for one in names:
                module.set_monitor_binding(context.actor, row, one, state=state)

    return run


def set_weight(context: Context, parsed: Parsed) -> None:
    """``set lb vserver v -weight 5 s``."""
    if set(parsed.options) != {"weight"}:
        raise CliError("-weight with a service is set alone: give other options on a line of their own")
    vserver, service = find(VServer, parsed.one("name")), find(Service, parsed.one("serviceName"))
    vservers.set_weight(context.actor, vserver, service, number(parsed.value("weight")))
