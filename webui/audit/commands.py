"""Entries as NetScaler writes them to its ns.log.

A change is ``… default CLI CMD_EXECUTED 1488010 0 :  User nsroot - Remote_ip 192.168.0.1 - Command "save ns config" -
Status "Success"``, as the examples of NetScaler's documentation and of the patterns of log collectors have it; a change
of state is ``EVENT MONITORUP`` or ``MONITORDOWN``. What no command made has none: directors' rounds are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC
from typing import Any, Final

from webui.audit.search import Row
from webui.choices import PROBED, AuditVerb, Interface, Outcome, State
from webui.models import AuditEntry, HealthTransition

PRIORITY: Final = 16 * 8 + 6  # local0, informational
MODULES: Final = {str(Interface.CLI): "CLI", str(Interface.API): "API", str(Interface.PAGE): "GUI"}
KINDS: Final = {
    "vserver": "lb vserver",
    "servicegroup": "serviceGroup",
    "monitor": "lb monitor",
    "eventtarget": "audit target",
    "installation": "ns param",
    "user": "system user",
}
VERBS: Final = {
    str(AuditVerb.CREATE): "add",
    str(AuditVerb.UPDATE): "set",
    str(AuditVerb.DELETE): "rm",
    PROBED: "show",
    str(AuditVerb.FAIL): "login",
}
# What the reference has as arguments with a fixed place, by kind.
POSITIONAL: Final[Mapping[str, tuple[str, ...]]] = {
    "server": ("address",),
    "service": ("server", "service_type", "port"),
    "servicegroup": ("service_type",),
    "vserver": ("service_type", "address", "port"),
    "monitor": ("monitor_type",),
    "eventtarget": ("target_type",),
}


def command(entry: AuditEntry) -> str:
    """The command as typed; where there was none, one that says the same."""
    if entry.command:
        return entry.command
    verb = VERBS.get(entry.verb, entry.verb)
    if entry.verb in {AuditVerb.LOGIN, AuditVerb.LOGOUT, AuditVerb.FAIL}:
        return f"{verb} {quoted(entry.object_name)}"
    words = [verb, KINDS.get(entry.kind, entry.kind), quoted(entry.object_name)]
    if entry.kind == "installation":
        words.pop()
    given: dict[str, Any] = entry.after if isinstance(entry.after, dict) else {}
    if entry.verb in {AuditVerb.BIND, AuditVerb.UNBIND}:
        given = dict(given or (entry.before if isinstance(entry.before, dict) else {}))
        bound = given.pop("service", given.pop("group", None))
        words += [quoted(str(bound))] if bound is not None else []
        if (monitor := given.pop("monitor", None)) is not None:
            words += ["-monitorName", quoted(str(monitor))]
        given = given if entry.verb == AuditVerb.BIND else {}
    elif entry.verb == AuditVerb.CREATE:
        given = dict(given)
        given.pop("name", None)
        words += [quoted(_value(given.pop(name, ""))) for name in POSITIONAL.get(entry.kind, ())]
    elif entry.verb != AuditVerb.UPDATE:
        given = {}
    words += [f"-{option(name)} {quoted(_value(value))}" for name, value in given.items()]
    return " ".join(word for word in words if word)


def option(name: str) -> str:
    """``lb_method`` as NetScaler spells it: ``lbMethod``."""
    first, *others = re.split(r"[_ ]+", name)
    return first + "".join(one.capitalize() for one in others)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "YES" if value else "NO"
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def quoted(text: str) -> str:
    """In double quotes where it has to be: a quote or a backslash within gets a backslash."""
    if text and not re.search(r"[\s\"'\\]", text):
        return text
    return '"' + re.sub(r"([\"\\])", r"\\\1", text) + '"'


def line(row: Row, host: str) -> str:
    """A row as a line of ns.log, without its end; empty for what no command made."""
    if isinstance(row, HealthTransition):
        return _event(row, host)
    if row.verb in {AuditVerb.APPLY, AuditVerb.ARCHIVE}:
        return ""
    status = "Success" if row.outcome == Outcome.SUCCESS else f"ERROR: {row.reason or row.outcome}"
    pairs = [
        f"User {_plain(row.actor_name) or 'system'}",
        f"Remote_ip {row.source_address or '127.0.0.1'}",
        f'Command "{_plain(command(row))}"',
        f'Status "{_plain(status)}"',
    ]
    return _head(row, host, MODULES.get(row.interface, "CLI"), "CMD_EXECUTED") + " - ".join(pairs)


def _event(row: HealthTransition, host: str) -> str:
    kinds = {str(State.UP): "MONITORUP", str(State.DOWN): "MONITORDOWN"}
    if row.old == row.new or row.new not in kinds:
        return ""
    about = f"Monitor {row.monitor_name} of {row.service_name} at {row.vip}"
    return _head(row, host, "EVENT", kinds[row.new]) + f"{_plain(about)} - State {row.new} - {_plain(row.reason)}"


def _head(row: Row, host: str, module: str, event: str) -> str:
    at = f"{row.at.astimezone(UTC):%m/%d/%Y:%H:%M:%S} GMT"
    return f"<{PRIORITY}> {at} {host} 0-PPE-0 : default {module} {event} {row.pk} 0 :  "


def _plain(text: str) -> str:
    """On one line, and with a backslash before the quote that would end it."""
    return "".join(one if one.isprintable() else " " for one in text).replace('"', '\\"')
