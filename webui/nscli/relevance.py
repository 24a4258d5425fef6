"""Which objects of a NetScaler's configuration take part in direct server return; pure.

NetScaler forwards by ``-m IP`` unless told otherwise, as a proxy. Such a virtual server has no counterpart here, and so
have not what only such ones use.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from webui.nscli.grammar import Parsed

NOT_DSR: Final = "its redirection mode is {}, so connections end at NetScaler: not direct server return (-m MAC)"
UNUSED: Final = "only virtual servers without direct server return (-m MAC) use it"
_ENTITY: Final = {"server": "server", "service": "service", "monitor": "monitor", "vserver": "vserver"}


@dataclass
class _Uses:
    """What uses what, by name in lower case."""

    modes: dict[str, str] = field(default_factory=dict)
    of_vserver: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    of_service: dict[str, set[tuple[str, str]]] = field(default_factory=lambda: defaultdict(set))
    members: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))


def irrelevant(lines: Iterable[Parsed]) -> dict[tuple[str, str], str]:
    """Why objects are to be left out, by kind and name in lower case."""
    uses = _Uses()
    for parsed in lines:
        _note(parsed, uses)
    out = {("vserver", name): NOT_DSR.format(mode) for name, mode in uses.modes.items() if mode not in {"MAC"}}
    users: dict[tuple[str, str], set[bool]] = defaultdict(set)
    for vserver, services in uses.of_vserver.items():
        if vserver in uses.modes:
            for service in services:
                users["service", service].add(("vserver", vserver) not in out)
    out |= {key: UNUSED for key, relevant in users.items() if not any(relevant)}
    others: dict[tuple[str, str], set[bool]] = defaultdict(set)
    for service, things in uses.of_service.items():
        for thing in things:
            others[thing].add(("service", service) not in out)
    return out | {key: UNUSED for key, relevant in others.items() if not any(relevant)}


def _note(parsed: Parsed, uses: _Uses) -> None:
    verb, entity = parsed.command.words[0].lower(), parsed.command.words[-1].lower()
    name = (parsed.one("name") or parsed.one("serviceName")).lower()
    if entity == "vserver" and verb in {"add", "set"}:
        if verb == "add" or parsed.has("m"):
            uses.modes[name] = parsed.value("m", "IP").upper()
    elif entity == "vserver" and verb == "bind" and parsed.one("serviceName"):
        uses.of_vserver[parsed.one("name").lower()].add(parsed.one("serviceName").lower())
    elif entity in {"service", "servicegroup"} and verb == "add" and parsed.one("serverName"):
        uses.of_service[name].add(("server", parsed.one("serverName").lower()))
    elif entity in {"service", "servicegroup"} and verb == "bind":
        if parsed.has("monitorname"):
            uses.of_service[name].add(("monitor", parsed.value("monitorname").lower()))
        elif parsed.one("serverName"):
            uses.of_service[name].add(("server", parsed.one("serverName").lower()))


def why_left_out(parsed: Parsed, out: dict[tuple[str, str], str]) -> str:
    """Why a line is left out with the object that it is about; empty when it is not."""
    entity = parsed.command.words[-1].lower()
    kind = "service" if entity == "servicegroup" else _ENTITY.get(entity)
    if kind is None:
        return ""
    argument = next((one.name for one in parsed.command.arguments), "")
    names = parsed.all(argument)
    found = [out.get((kind, name.lower()), "") for name in names]
    return found[0] if found and all(found) else ""
