"""The configuration as commands: importing them makes it anew.

Every value that is not the default is written, so the text grows with what was configured. Objects that others name
come first. Secrets are sealed (``-encrypted``): this installation alone opens them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from django.utils.crypto import salted_hmac

from monitors.parameters import plain
from monitors.registry import KINDS as MONITOR_KINDS
from webui.builtin import default_monitor_name
from webui.choices import AdminState
from webui.events.kinds import KINDS as TARGET_KINDS
from webui.models import (
    EventTarget,
    Installation,
    Monitor,
    Server,
    Service,
    ServiceGroup,
    ServiceGroupMonitorBinding,
    ServiceMonitorBinding,
    VServer,
    VServerServiceBinding,
    VServerServiceGroupBinding,
)
from webui.models.fields import port_text
from webui.models.sealed import CannotOpenError, opened
from webui.nscli.grammar import ENCRYPTED
from webui.nscli.lexer import Word, line_of
from webui.nscli.options import OWN, UNIT_OPTIONS
from webui.nscli.values import default_of

FIRST_LINE: Final = "#Halfpipe 1"
ALWAYS: Final[dict[str, frozenset[str]]] = {
    # What the article's lines name, and what NetScaler takes otherwise when it is missing.
    "service": frozenset({"usip"}),
    "servicegroup": frozenset({"usip"}),
    "vserver": frozenset({"lb_method", "mode", "sessionless"}),
}
_SEALED: Final = re.compile(r"-(\w+) (\S+) -encrypted")
_LATER: Final = frozenset({"backup_vserver", "dest_ip"})  # they name what is made further down


def configuration(*, defaults: bool = False) -> str:
    """All commands, one on each line; ``defaults``: also values that nobody set."""
    return "".join(f"{line}\n" for line in _lines(defaults=defaults))


def document() -> str:
    """The configuration as a file: what it is, then the commands."""
    revision = Installation.objects.values_list("revision", flat=True).get(pk=1)
    return f"{FIRST_LINE}\n# Configuration of revision {revision}\n{configuration()}"


def _lines(*, defaults: bool) -> Iterator[str]:
    yield "enable ns feature LB"
    yield "enable ns mode MBF"
    yield from _of_installation(defaults=defaults)
    for server in Server.objects.order_by("name"):
        yield _line("add server", [server.name, server.address], "server", server, defaults=defaults)
    own_monitors = list(Monitor.objects.filter(built_in=False).order_by("name"))
    for monitor in own_monitors:
        yield _line("add lb monitor", [monitor.name, monitor.monitor_type], "monitor", monitor, defaults=defaults)
    for service in Service.objects.filter(membership=None).select_related("server").order_by("name"):
        place = [service.name, service.server.name, service.service_type, port_text(service.port)]
        yield _line("add service", place, "service", service, defaults=defaults)
    yield from _of_groups(defaults=defaults)
    yield from _of_vservers(defaults=defaults)
    for monitor in own_monitors:
        if monitor.dest_ip:
            yield _command("set lb monitor", monitor.name, monitor.monitor_type, destIP=monitor.dest_ip)
    yield from _monitor_bindings()
    of_services = VServerServiceBinding.objects.filter(service__membership=None).select_related("vserver", "service")
    for binding in of_services.order_by("vserver__name", "service__name"):
        weight = {"weight": str(binding.weight)} if binding.weight != 1 or defaults else {}
        yield _command("bind lb vserver", binding.vserver.name, binding.service.name, **weight)
    of_groups = VServerServiceGroupBinding.objects.select_related("vserver", "group")
    for bound in of_groups.order_by("vserver__name", "group__name"):
        yield _command("bind lb vserver", bound.vserver.name, bound.group.name)
    for target in EventTarget.objects.order_by("name"):
        yield _line("add eventTarget", [target.name, target.target_type], "eventtarget", target, defaults=defaults)


def _of_installation(*, defaults: bool) -> Iterator[str]:
    row = Installation.objects.get(pk=1)
    words = list(_options("installation", row, defaults=defaults))
    if words:
        yield line_of([Word("set"), Word("ns"), Word("param"), *words])


def _of_groups(*, defaults: bool) -> Iterator[str]:
    groups = list(ServiceGroup.objects.order_by("name"))
    for group in groups:
        place = [group.name, group.service_type]
        yield _line("add serviceGroup", place, "servicegroup", group, defaults=defaults)
    for group in groups:
        for member in group.members.select_related("service__server").order_by("service__name"):
            service = member.service
            values = {"weight": str(member.weight)} if member.weight != 1 or defaults else {}
            values |= {"state": str(service.state)} if service.state != group.state or defaults else {}
            values |= {"hashId": str(service.hash_id)} if service.hash_id is not None else {}
            yield _command("bind serviceGroup", group.name, service.server.name, port_text(service.port), **values)


def _of_vservers(*, defaults: bool) -> Iterator[str]:
    vservers = list(VServer.objects.select_related("backup_vserver").order_by("name"))
    for vserver in vservers:
        place = [vserver.name, vserver.service_type, vserver.address, vserver.ports]
        yield _line("add lb vserver", place, "vserver", vserver, defaults=defaults)
    for vserver in vservers:
        if vserver.backup_vserver is not None:
            yield _command("set lb vserver", vserver.name, backupVServer=vserver.backup_vserver.name)


def _monitor_bindings() -> Iterator[str]:
    """Of each service; its default monitor is there by itself while it is alone, and goes when another one comes."""
    found: dict[Service, list[ServiceMonitorBinding]] = {}
    rows = ServiceMonitorBinding.objects.filter(service__membership=None).select_related("service", "monitor")
    for binding in rows.order_by("service__name", "monitor__name"):
        found.setdefault(binding.service, []).append(binding)
    for service, bindings in found.items():
        stand_in = default_monitor_name(service.service_type, service.port)
        bindings.sort(key=lambda one: one.monitor.name == stand_in)
        for binding in bindings:
            values = _of_binding(binding)
            if values or len(bindings) > 1 or binding.monitor.name != stand_in:
                yield _command("bind service", service.name, monitorName=binding.monitor.name, **values)

    for group in ServiceGroup.objects.order_by("name"):
        for of_group in group.monitor_bindings.select_related("monitor").order_by("monitor__name"):
            yield _command("bind serviceGroup", group.name, monitorName=of_group.monitor.name, **_of_binding(of_group))


def _of_binding(binding: ServiceMonitorBinding | ServiceGroupMonitorBinding) -> dict[str, str]:
    values = {"weight": str(binding.weight)} if binding.weight != 1 else {}
    return values | ({"monState": str(binding.state)} if binding.state != AdminState.ENABLED else {})


def _line(verb: str, place: list[str], kind: str, row: Any, *, defaults: bool) -> str:
    parts = [*(Word(word) for word in verb.split()), *(Word(text, bare=False) for text in place)]
    return line_of([*parts, *_options(kind, row, defaults=defaults), *_parameters(row, defaults=defaults)])


def _command(verb: str, *place: str, **options: str) -> str:
    parts = [*(Word(word) for word in verb.split()), *(Word(text, bare=False) for text in place)]
    for name, value in options.items():
        parts += [Word(f"-{name}"), Word(value, bare=False)]
    return line_of(parts)


def _options(kind: str, row: Any, *, defaults: bool) -> Iterator[Word]:
    units = {f"{name}_unit" for name in UNIT_OPTIONS}
    for option in OWN[kind]:
        if option.field in _LATER or option.field in units:
            continue
        value, usual = getattr(row, option.field), default_of(kind, option.field)
        with_unit = option.unit and getattr(row, f"{option.field}_unit") != default_of(kind, f"{option.field}_unit")
        wanted = value != usual or with_unit or option.field in ALWAYS.get(kind, frozenset())
        if not (wanted or (defaults and value is not None)):
            continue
        yield Word(f"-{option.name}")
        yield Word(_text(option.choices, value), bare=False)
        if with_unit:
            yield Word(getattr(row, f"{option.field}_unit"))


def _text(choices: tuple[str, ...], value: Any) -> str:
    if isinstance(value, bool):
        return choices[0 if value == (choices[0] in {"YES", "ENABLED"}) else 1]
    return str(value)


def _parameters(row: Any, *, defaults: bool) -> Iterator[Word]:
    if not isinstance(row, Monitor | EventTarget):
        return
    kinds: dict[str, Any] = {**MONITOR_KINDS} if isinstance(row, Monitor) else {**TARGET_KINDS}
    kind = kinds.get(row.monitor_type if isinstance(row, Monitor) else row.target_type)
    if kind is None:
        return
    names = row.secret_names
    for one in kind.parameters:
        if one.secret:
            if one.name in names:  # the token has all secrets of the row: the option tells which
                yield from (Word(f"-{one.option}"), Word(row.secrets, bare=False), Word(f"-{ENCRYPTED}"))
            continue
        value = row.params.get(one.name, one.default)
        if value != one.default or defaults:
            text = ("YES" if value else "NO") if isinstance(value, bool) else str(value)
            yield from (Word(f"-{one.option}"), Word(text, bare=False))


def comparable(text: str) -> str:
    """The commands with a digest for each sealed secret: two texts with the same secrets are the same."""
    return _SEALED.sub(_digest, text)


def _digest(match: re.Match[str]) -> str:
    try:
        secrets = opened(match[2])
    except CannotOpenError:
        return match[0]
    names = [name for name in secrets if plain(name) == plain(match[1])]
    value = secrets[names[0]] if names else ""
    return (
        f"-{match[1]} sealed:{salted_hmac('webui.nscli.export', value, algorithm='sha256').hexdigest()[:12]} -encrypted"
    )
